//! A deadline that moves, on a runtime's timer.

use std::{fmt, pin::Pin, task::Context, time::Instant};

use crate::rt::{Runtime, Timer};

/// One timer for a deadline that moves.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<dyn Timer>>>,
    /// When it fires. Too early is harmless: the caller looks at the clock again.
    armed: Option<Instant>,
}

impl Alarm {
    /// Whether it has fired.
    pub(crate) fn poll(&mut self, runtime: &dyn Runtime, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| runtime.new_timer(deadline));
        if self.armed.is_none_or(|armed| deadline < armed) {
            timer.as_mut().reset(deadline);
            self.armed = Some(deadline);
        }
        let fired = timer.as_mut().poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("armed", &self.armed).finish_non_exhaustive()
    }
}
