//! The one way to take a mutex.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder: whatever runs code of the host runs without a lock, so what a lock of this
/// crate guards is whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
