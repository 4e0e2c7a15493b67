//! What the clients of one process share of TLS: the authorities are read once for all of them, and each resumes the
//! sessions of the others.
//!
//! It is read again when the environment names others, and for clients that are made an hour later, since the system's
//! authorities change while a process runs.

use std::env;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use super::super::error::HttpError;
use super::with_rustls::Common;

/// Sets of authorities that are kept. Most processes have one.
const MOST: usize = 8;

/// How long a set is given to new clients.
const FRESH: Duration = Duration::from_secs(3600);

struct Known {
    authorities: Authorities,
    since: Instant,
    common: Arc<Common>,
}

/// What decides which authorities are trusted.
#[derive(PartialEq, Eq)]
struct Authorities {
    ca_pem: Option<Vec<u8>>,
    named: [Option<OsString>; 2],
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// That of all clients with these authorities besides the system's.
///
/// # Errors
///
/// `Config` if `ca_pem` cannot be used.
pub(super) fn of(ca_pem: Option<&[u8]>) -> Result<Arc<Common>, HttpError> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(env::var_os);
    let authorities = Authorities { ca_pem: ca_pem.map(<[u8]>::to_vec), named };
    let found = with_known(|known| {
        known.retain(|one| one.since.elapsed() < FRESH && one.common.is_sound());
        known.iter().find(|one| one.authorities == authorities).map(|one| Arc::clone(&one.common))
    });
    if let Some(common) = found.flatten() {
        return Ok(common);
    }
    let common = Arc::new(Common::new(ca_pem)?);
    with_known(|known| {
        if known.len() >= MOST {
            known.remove(0);
        }
        known.push(Known { authorities, since: Instant::now(), common: Arc::clone(&common) });
    });
    Ok(common)
}

/// None where another thread has it: the lock may have been held while the process was forked, and then nobody gives it
/// back here. Whoever gets nothing shares nothing.
fn with_known<R>(work: impl FnOnce(&mut Vec<Known>) -> R) -> Option<R> {
    match KNOWN.try_lock() {
        Ok(mut known) => Some(work(&mut known)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_with_the_same_authorities_share_them_and_others_do_not() {
        let authority = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().into_bytes()
        };
        let (one, other) = (authority("one.test"), authority("other.test"));
        // Another test may hold the lock in the same moment, and then nothing is shared.
        let share = |a: Option<&[u8]>, b: Option<&[u8]>| {
            (0..100).any(|_| Arc::ptr_eq(&of(a).unwrap(), &of(b).unwrap()))
        };
        assert!(share(Some(&one), Some(&one)));
        assert!(share(None, None));
        assert!(!share(Some(&one), Some(&other)));
        assert!(!share(Some(&one), None));
        for n in 0..2 * MOST {
            of(Some(&authority(&format!("{n}.test")))).unwrap();
        }
        assert!(with_known(|known| known.len()).is_none_or(|known| known <= MOST));
        assert!(of(Some(b"nothing")).is_err());
    }
}
