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
    thread,
};

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

/// How much a log line matters.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing is logged.
    Off = 0,
    /// What the host should see to.
    Error = 1,
    /// What may need attention.
    Warn = 2,
    /// Changes of the state.
    Info = 3,
    /// Streams, submits, questions for tokens.
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

/// Sets what to call with each line that the library logs, up to `level`, for all clients of the process. It replaces the
/// callback before it, and NULL takes that away. A program sets it once, or a few times.
///
/// Lines go over a queue of 1,024 to a thread that is there while a callback is; when it does not keep up, lines are
/// dropped, and a line says how many. No line has a token, a topic or a query.
///
/// Threads: any; the callback runs on a thread of its own, one line at a time, and may call anything. `user_data` passes
/// to the library, and is dropped on that thread when the callback is replaced. In a forked child there is no log until it
/// sets one. Returns TIDINGS_ERR_INVALID_ARGUMENT for a number that is no level, TIDINGS_ERR_UNSUPPORTED when a Rust
/// program has taken the process's log before, and TIDINGS_ERR_OTHER when the system gives no thread.
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
            return Err(Error::new(Status::ErrUnsupported, "the process has another log already"));
        }
        Sink::install(level, callback.map(|callback| (callback, user_data)))?;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    })
}

type Callback = extern "C" fn(LogLevel, *const c_char, *mut c_void);

/// Whether this library has taken the process's log.
static LOG: OnceLock<()> = OnceLock::new();

/// All that were ever set, the last of which counts. A chain that only grows, since whoever logs must wait for no lock: a
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

#[derive(Default)]
struct Lines {
    waiting: VecDeque<(LogLevel, CString)>,
    dropped: u64,
    is_over: bool,
}

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
            thread::Builder::new().name("tidings-log".into()).spawn(run).map_err(|error| {
                Error::new(Status::ErrOther, format!("the system gave no thread: {error}"))
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
            if let Some((level, line)) = lines.waiting.pop_front() {
                drop(lines);
                callback(level, line.as_ptr(), user_data.pointer());
            } else if lines.dropped > 0 {
                let dropped = std::mem::take(&mut lines.dropped);
                drop(lines);
                let line = c_text(format!("tidings: {dropped} lines were dropped: the log is too slow"));
                callback(LogLevel::Warn, line.as_ptr(), user_data.pointer());
            } else if lines.is_over {
                return;
            } else {
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            lines = self.lock();
        }
    }

    fn put(&self, level: LogLevel, line: String) {
        let mut lines = self.lock();
        if lines.waiting.len() >= MOST {
            lines.dropped += 1;
        } else if !lines.is_over {
            lines.waiting.push_back((level, c_text(line)));
        }
        drop(lines);
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
