//! What stands between C and Rust, once for all functions: panics, arguments that may be wrong, and whose memory it is.
//!
//! The border functions take references, boxes and the types of this file, so that the types say who owns what. What a
//! C compiler cannot check, and the header therefore demands, is relied on here and nowhere else.

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    marker::PhantomData,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
    time::Duration,
};

use serde_json::Value;

use crate::failure::{Error, Status};

/// Where a function puts its error: `tidings_error **`, which may be NULL and need not be initialised.
pub type ErrorOut<'a> = Option<&'a mut MaybeUninit<Option<Box<Error>>>>;

/// The body of a function with a status.
pub(crate) fn answer(error: ErrorOut<'_>, body: impl FnOnce() -> Result<(), Error>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(panic)));
    let (status, failure) = match result {
        Ok(()) => (Status::Ok, None),
        Err(error) => (error.status, Some(Box::new(error))),
    };
    match error {
        Some(out) => drop(out.write(failure)),
        None => drop(failure),
    }
    status
}

/// The body of a function without a status; `None` becomes what such a function answers NULL with.
pub(crate) fn value<T>(otherwise: T, body: impl FnOnce() -> Option<T>) -> T {
    catch_unwind(AssertUnwindSafe(body)).ok().flatten().unwrap_or(otherwise)
}

/// Frees what was given back. Code of the host may run, so it is a body too.
pub(crate) fn free<T>(object: Option<Box<T>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
}

fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    Error::new(Status::ErrPanic, format!("the library panicked, which is a bug in it: {text}"))
}

/// An argument that may not be NULL.
pub(crate) fn given<T>(argument: Option<T>, name: &str) -> Result<T, Error> {
    argument.ok_or_else(|| Error::null(name))
}

/// Where a function puts what it gives: it may be NULL if the host does not want it.
pub(crate) fn put<T>(out: Option<&mut MaybeUninit<T>>, value: T) {
    if let Some(out) = out {
        out.write(value);
    }
}

/// A `const char *`: NULL, or text of the host that ends with a NUL and stays as it is during the call.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text<'a> {
    first: *const c_char,
    call: PhantomData<&'a CStr>,
}

impl<'a> Text<'a> {
    pub(crate) const NULL: Self = Self { first: ptr::null(), call: PhantomData };

    pub(crate) fn get(self, name: &str) -> Result<&'a str, Error> {
        given(self.optional(name)?, name)
    }

    pub(crate) fn optional(self, name: &str) -> Result<Option<&'a str>, Error> {
        if self.first.is_null() {
            return Ok(None);
        }
        // SAFETY: it is not NULL, so by the header it points to text that ends with a NUL and outlives the call, and so
        // `'a`, which the border functions let end with the call.
        let text = unsafe { CStr::from_ptr(self.first) };
        text.to_str().map(Some).map_err(|_| Error::not_utf8(name))
    }
}

/// An argument that is JSON, or NULL.
pub(crate) fn parsed(text: Text<'_>, name: &str) -> Result<Option<Value>, Error> {
    let parse = |text| serde_json::from_str(text).map_err(|error| Error::argument(name, &error.to_string()));
    text.optional(name)?.map(parse).transpose()
}

/// A `const void *` and a `size_t`: so many bytes of the host, which stay as they are during the call.
pub(crate) struct Bytes<'a>(Option<&'a [u8]>);

/// The pointer of [`Bytes`]; the length stands beside it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Data<'a> {
    first: *const c_void,
    call: PhantomData<&'a [u8]>,
}

impl<'a> Data<'a> {
    pub(crate) fn with_len(self, len: usize) -> Bytes<'a> {
        Bytes(match (self.first.is_null(), len) {
            (true, 0) => Some(&[]),
            (true, _) => None,
            // SAFETY: it is not NULL, so by the header it points to `len` bytes that outlive the call.
            (false, _) => Some(unsafe { slice::from_raw_parts(self.first.cast(), len) }),
        })
    }
}

impl<'a> Bytes<'a> {
    pub(crate) fn get(self, name: &str) -> Result<&'a [u8], Error> {
        given(self.0, name)
    }
}

/// A `void *` and a `size_t`: so many bytes of the host to write to, which nobody else uses during the call.
#[repr(transparent)]
pub struct Room<'a> {
    first: *mut c_void,
    call: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

/// [`Room`] with its length.
pub(crate) struct RoomFor<'a>(&'a mut [MaybeUninit<u8>]);

impl<'a> Room<'a> {
    pub(crate) fn with_len(self, len: usize, alignment: usize, name: &str) -> Result<RoomFor<'a>, Error> {
        if len == 0 {
            return Ok(RoomFor(&mut []));
        }
        if self.first.is_null() {
            return Err(Error::null(name));
        }
        if !(self.first as usize).is_multiple_of(alignment) {
            return Err(Error::argument(name, &format!("it is not aligned to {alignment} bytes")));
        }
        // SAFETY: it is not NULL, so by the header it points to `len` bytes that are ours during the call.
        Ok(RoomFor(unsafe { slice::from_raw_parts_mut(self.first.cast(), len) }))
    }
}

impl RoomFor<'_> {
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let room = &mut self.0[at..at + bytes.len()];
        // SAFETY: the slice has room for as many bytes, and cannot overlap what we own.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), room.as_mut_ptr().cast(), bytes.len()) };
    }

    pub(crate) fn write_value<T: Copy>(&mut self, at: usize, value: T) {
        let room = &mut self.0[at..at + size_of::<T>()];
        // SAFETY: the slice has room for the value, which is written wherever it is aligned to.
        unsafe { room.as_mut_ptr().cast::<T>().write_unaligned(value) };
    }
}

/// A `uint64_t *` and a `size_t`: room for so many ids, as [`Room`].
#[repr(transparent)]
pub struct Ids<'a>(Room<'a>);

/// [`Ids`] with its length.
pub(crate) struct IdsFor<'a>(RoomFor<'a>);

impl<'a> Ids<'a> {
    pub(crate) fn with_len(self, len: usize, name: &str) -> Result<IdsFor<'a>, Error> {
        Ok(IdsFor(self.0.with_len(len.saturating_mul(size_of::<u64>()), align_of::<u64>(), name)?))
    }
}

impl IdsFor<'_> {
    pub(crate) fn write(&mut self, ids: &[u64]) {
        for (index, id) in ids.iter().enumerate() {
            self.0.write_value(index * size_of::<u64>(), *id);
        }
    }
}

/// What a host gets back with each call of a callback, and what it wants called when there will be no more.
pub(crate) struct UserData {
    pointer: *mut c_void,
    drop: DropCallback,
}

/// Called exactly once, when a callback can no longer be called, with the user data that belongs to it.
pub type DropCallback = Option<extern "C" fn(user_data: *mut c_void)>;

impl UserData {
    pub(crate) fn new(pointer: *mut c_void, drop: DropCallback) -> Self {
        Self { pointer, drop }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

// SAFETY: the library never follows the pointer, and the header says on which threads it is given back.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            drop(self.pointer);
        }
    }
}

/// A timeout in milliseconds as `poll()` takes it: negative is none.
pub(crate) fn limit(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// A time in milliseconds, or -1 for none.
pub(crate) fn milliseconds(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// A number that should be one of an enumeration.
pub(crate) fn one_of<T: Copy>(
    number: c_int,
    known: impl IntoIterator<Item = (T, c_int)>,
    name: &str,
) -> Result<T, Error> {
    let found = known.into_iter().find(|(_, value)| *value == number).map(|(item, _)| item);
    found.ok_or_else(|| {
        Error::new(Status::ErrInvalidArgument, format!("invalid {name}: {number} is not in the enumeration"))
    })
}

/// The name of a number of an enumeration, which begin with "unknown" or "none" at 0.
pub(crate) fn name_of(number: c_int, names: &[&'static CStr]) -> *const c_char {
    let known = usize::try_from(number).ok().and_then(|number| names.get(number));
    known.unwrap_or(&c"unknown").as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_with_its_message() {
        let mut out = MaybeUninit::uninit();
        let status = answer(Some(&mut out), || panic!("no {}", "more"));
        // SAFETY: `answer` has written it.
        let error = unsafe { out.assume_init() }.unwrap();
        assert_eq!(status, Status::ErrPanic);
        assert!(error.message.to_str().unwrap().ends_with(": no more"));
        assert_eq!(value(7, || -> Option<i32> { panic!() }), 7);
    }

    #[test]
    fn user_data_is_dropped_once_also_by_a_panic() {
        extern "C" fn count(user_data: *mut c_void) {
            // SAFETY: it is the counter below, which outlives the call.
            unsafe { *user_data.cast::<u32>() += 1 };
        }
        let mut drops = 0_u32;
        let user_data = UserData::new((&raw mut drops).cast(), Some(count));
        answer(None, || {
            let _user_data = user_data;
            panic!();
        });
        assert_eq!(drops, 1);
    }
}
