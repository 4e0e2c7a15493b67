//! Log
//!
//! The core speaks through `tracing`. Lines go over a bounded queue to a thread of their own, so that the callback of the
//! host runs outside of everything, and may call anything.

use std::{
    collections::VecDeque,
    ffi::{CString, c_char, c_int, c_void},
    fmt::{self, Write},
    process,
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tidings_core::blocking::spawn_thread;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

use crate::{
    border::{DropCallback, ErrorOut, UserData, answer, one_of},
    failure::{Error, Status},
    text::c_text,
};

/// The severity of a log line.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing is logged.
    Off = 0,
    /// Errors that need attention.
    Error = 1,
    /// Conditions that may need attention.
    Warn = 2,
    /// Changes of the state.
    Info = 3,
    /// Streams, submits, token requests.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// A tidings_log_level as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawLogLevel(c_int);

/// Called with each line. The text belongs to the call.
pub type LogCallback = Option<extern "C" fn(level: LogLevel, line: *const c_char, user_data: *mut c_void)>;

/// Sets the callback for log lines up to `level`, for all clients of the process, and replaces the previous one; NULL
/// removes it. It is meant to be called once, or a few times: each call keeps a little memory.
///
/// Up to 1,024 lines are queued. When the callback does not keep up, lines are dropped, and one line, at most every 10
/// seconds, says how many. No line contains a token, a topic or a query.
///
/// Threads: any; the callback runs on the log's own thread, one line at a time, and may call anything. The library owns
/// `user_data`; `drop` is called on that thread when the callback has been replaced. A forked child has no log until it
/// sets one. Returns TIDINGS_ERR_INVALID_ARGUMENT for an unknown level, TIDINGS_ERR_UNSUPPORTED when a Rust program has
/// installed its own log before, and TIDINGS_ERR_OTHER when a thread cannot be started.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_log_set(
    level: RawLogLevel,
    callback: LogCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(error, || {
        let known = [
            (LevelFilter::OFF, LogLevel::Off as c_int),
            (LevelFilter::ERROR, LogLevel::Error as c_int),
            (LevelFilter::WARN, LogLevel::Warn as c_int),
            (LevelFilter::INFO, LogLevel::Info as c_int),
            (LevelFilter::DEBUG, LogLevel::Debug as c_int),
            (LevelFilter::TRACE, LogLevel::Trace as c_int),
        ];
        let level = one_of(level.0, known, "level")?;
        if LOG.set(()).is_ok() && tracing::subscriber::set_global_default(Log).is_err() {
            return Err(Error::new(
                Status::ErrUnsupported,
                "the process already has a log, installed by a Rust program",
            ));
        }
        Sink::install(level, callback.map(|callback| (callback, user_data)))?;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    })
}

type Callback = extern "C" fn(LogLevel, *const c_char, *mut c_void);

/// Whether this library has taken the process's log.
static LOG: OnceLock<()> = OnceLock::new();

/// All that were ever set; the last one counts. A chain that only grows, since whoever logs must wait for no lock: a
/// forked child may have been born while one was held.
static FIRST: Next = Next(OnceLock::new());

struct Next(OnceLock<Box<Sink>>);

/// Where lines go.
struct Sink {
    level: LevelFilter,
    process: u32,
    queue: Mutex<Lines>,
    changed: Condvar,
    next: Next,
}

/// Lines that wait for the host, and how many did not fit. It reads no clock, so that a test can.
#[derive(Default)]
struct Lines {
    waiting: VecDeque<(LogLevel, CString)>,
    dropped: u64,
    /// When to report what was dropped; at the first drop, and after the one before, there is something to wait for.
    report_at: Option<Instant>,
    is_over: bool,
}

/// What the log's thread does next.
enum Step {
    Call(LogLevel, CString),
    Wait(Option<Duration>),
    End,
}

impl Lines {
    fn push(&mut self, level: LogLevel, line: String, now: Instant) {
        if self.is_over {
            return;
        }
        if self.waiting.len() < MOST {
            self.waiting.push_back((level, c_text(line)));
        } else {
            self.dropped += 1;
            self.report_at.get_or_insert(now + FIRST_REPORT);
        }
    }

    fn next(&mut self, now: Instant) -> Step {
        if self.dropped > 0 && (self.is_over || self.report_at.is_none_or(|at| at <= now)) {
            let dropped = std::mem::take(&mut self.dropped);
            self.report_at = Some(now + REPORTS);
            let line = format!("tidings: {dropped} lines were dropped: the log callback is too slow");
            return Step::Call(LogLevel::Warn, c_text(line));
        }
        match self.waiting.pop_front() {
            Some((level, line)) => Step::Call(level, line),
            None if self.is_over => Step::End,
            None if self.dropped > 0 => {
                Step::Wait(self.report_at.map(|at| at.saturating_duration_since(now)))
            }
            None => Step::Wait(None),
        }
    }
}

/// Reports of dropped lines come a second after the first drop, and then no more often than every ten.
const FIRST_REPORT: Duration = Duration::from_secs(1);
const REPORTS: Duration = Duration::from_secs(10);

/// Lines that may wait for the host.
const MOST: usize = 1024;

impl Sink {
    fn install(level: LevelFilter, to: Option<(Callback, UserData)>) -> Result<(), Error> {
        let level = if to.is_some() { level } else { LevelFilter::OFF };
        let mut sink = Box::new(Self {
            level,
            process: process::id(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            next: Next(OnceLock::new()),
        });
        let mut last = None;
        let mut end = &FIRST;
        let sink: &'static Self = loop {
            while let Some(sink) = end.0.get() {
                last = Some(&**sink);
                end = &sink.next;
            }
            match end.0.set(sink) {
                Ok(()) => break end.0.get().expect("set above"),
                // Another thread was faster.
                Err(refused) => sink = refused,
            }
        };
        if let Some(before) = last.filter(|before| before.is_ours()) {
            before.lock().is_over = true;
            before.changed.notify_all();
        }
        if let Some((callback, user_data)) = to {
            let run = move || sink.run(callback, &user_data);
            spawn_thread("tidings-log", run).map_err(|error| {
                Error::new(Status::ErrOther, format!("a thread cannot be started: {error}"))
            })?;
        }
        Ok(())
    }

    fn current() -> Option<&'static Self> {
        let mut sink = FIRST.0.get()?;
        while let Some(next) = sink.next.0.get() {
            sink = next;
        }
        Some(&**sink).filter(|sink| sink.is_ours())
    }

    fn is_ours(&self) -> bool {
        self.process == process::id()
    }

    fn run(&self, callback: Callback, user_data: &UserData) {
        let mut lines = self.lock();
        loop {
            match lines.next(Instant::now()) {
                Step::Call(level, line) => {
                    drop(lines);
                    callback(level, line.as_ptr(), user_data.pointer());
                    lines = self.lock();
                }
                Step::Wait(limit) => {
                    let limit = limit.unwrap_or(Duration::MAX);
                    lines = self.changed.wait_timeout(lines, limit).unwrap_or_else(PoisonError::into_inner).0;
                }
                Step::End => return,
            }
        }
    }

    fn put(&self, level: LogLevel, line: String) {
        self.lock().push(level, line, Instant::now());
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the core's `tracing` speaks to.
struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Others in the process have logs of their own.
        metadata.target().starts_with("tidings")
            && Sink::current().is_some_and(|sink| *metadata.level() <= sink.level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Sink::current().map_or(LevelFilter::OFF, |sink| sink.level))
    }

    fn event(&self, event: &Event<'_>) {
        let Some(sink) = Sink::current() else { return };
        let metadata = event.metadata();
        let mut line = Line(format!("{}:", metadata.target()));
        event.record(&mut line);
        let level = match *metadata.level() {
            tracing::Level::ERROR => LogLevel::Error,
            tracing::Level::WARN => LogLevel::Warn,
            tracing::Level::INFO => LogLevel::Info,
            tracing::Level::DEBUG => LogLevel::Debug,
            tracing::Level::TRACE => LogLevel::Trace,
        };
        sink.put(level, line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line being written: "target: message field=value".
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_reported_in_one_line_with_the_count() {
        let mut now = Instant::now();
        let mut lines = Lines::default();
        let (mut put, mut taken, mut reports, mut counted) = (0, 0, 0, 0);
        let mut take_all = |lines: &mut Lines, now| {
            while let Step::Call(_, line) = lines.next(now) {
                let line = line.into_string().unwrap();
                match line.strip_prefix("tidings: ").and_then(|rest| rest.split_once(" lines were dropped")) {
                    Some((count, _)) => {
                        counted += count.parse::<u64>().unwrap();
                        reports += 1;
                    }
                    None => taken += 1,
                }
            }
        };
        // Ten seconds in which the host now and then takes all that waits.
        for _ in 0..1000 {
            for _ in 0..MOST + 10 {
                lines.push(LogLevel::Debug, "tidings: a line".into(), now);
                put += 1;
            }
            now += Duration::from_millis(10);
            take_all(&mut lines, now);
        }
        let Step::Wait(Some(rest)) = lines.next(now) else { panic!("it waits for the next report") };
        take_all(&mut lines, now + rest);
        lines.is_over = true;
        take_all(&mut lines, now + rest);
        assert!(matches!(lines.next(now), Step::End));
        assert_eq!(reports, 2);
        assert_eq!((taken + counted, counted), (put, 10_000));
    }
}
