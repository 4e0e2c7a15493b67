//! Which certificates of servers are believed: those of `ca_pem` and what they have signed, then those of the system's
//! authorities.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::error::HttpError;

/// What one client trusts.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    own: Option<Own>,
    /// Read when it is needed: never, where the host's own certificates do.
    system: OnceLock<Result<Arc<dyn ServerCertVerifier>, HttpError>>,
}

/// The certificates of the host's choice.
struct Own {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Trust {
    /// # Errors
    ///
    /// `Config` if a certificate cannot be read.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, HttpError> {
        let own = match certificates.is_empty() {
            true => None,
            false => Some(Own::new(certificates, provider.clone())?),
        };
        Ok(Self { provider, own, system: OnceLock::new() })
    }

    /// Whether the system's authorities can be had, where they are all there is.
    pub(super) fn check(&self) -> Result<(), HttpError> {
        match self.own {
            Some(_) => Ok(()),
            None => self.system().map(|_| ()),
        }
    }

    /// Whether they could be had, as far as that was tried.
    pub(super) fn is_sound(&self) -> bool {
        !matches!(self.system.get(), Some(Err(_)))
    }

    fn system(&self) -> Result<&Arc<dyn ServerCertVerifier>, HttpError> {
        let system = self.system.get_or_init(|| system(&self.provider));
        system.as_ref().map_err(HttpError::clone)
    }
}

impl Own {
    fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, HttpError> {
        let unusable = |error: &dyn fmt::Display| HttpError::Config {
            setting: "ca_pem",
            why: format!("a certificate in it cannot be read: {error}"),
        };
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| unusable(&error))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { certificates, verifier: verifier.map_err(|error| unusable(&error))? })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verifier.verify_server_cert(end_entity, intermediates, name, &[], now) {
            // What `openssl req -x509` makes: its own authority, which is not one of a chain. The very certificate that
            // the host trusts needs none. Its dates have been checked by then, and its name is here.
            Err(error) if is_authority(&error) && self.certificates.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }
}

/// Whether a server's certificate was turned down for being that of an authority.
pub(super) fn is_authority(error: &Error) -> bool {
    // No more than its name comes through from webpki, which is no dependency of this crate.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
        if why.to_string() == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ours = self.own.as_ref().map(|own| own.verify(end_entity, intermediates, server_name, now));
        if let Some(Ok(verified)) = ours {
            return Ok(verified);
        }
        let system = self.system().map_err(|error| Error::General(error.to_string()))?;
        let verdict = system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match (ours, verdict) {
            // Of two that say no, the one who knows the issuer says why.
            (Some(Err(ours)), Err(_)) if !is_unknown(&ours) => Err(ours),
            (_, verdict) => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)) || is_authority(error)
}

/// The system's authorities; the bundled ones only where the system has none, as in a bare container. What the
/// environment names and cannot be read is an error: the bundled ones may be more than was meant to be trusted.
fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    let named = environment()?;
    if let Ok(system) = rustls_platform_verifier::Verifier::new(provider.clone()) {
        return Ok(Arc::new(system));
    }
    if let Some(setting) = named {
        return Err(HttpError::Config { setting, why: "there is no certificate in it".to_owned() });
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier
        .map_err(|error| HttpError::Config { setting: "the bundled authorities", why: error.to_string() })?;
    Ok(verifier)
}

/// The variable that says where the authorities are, on systems where one is asked. Elsewhere they are no files.
fn environment() -> Result<Option<&'static str>, HttpError> {
    const FILE: &str = "SSL_CERT_FILE";
    const FOLDER: &str = "SSL_CERT_DIR";

    if cfg!(not(all(unix, not(target_vendor = "apple"), not(target_os = "android")))) {
        return Ok(None);
    }
    if let Some(path) = std::env::var_os(FILE) {
        let unusable = |why: &dyn fmt::Display| HttpError::Config {
            setting: FILE,
            why: format!("the file {path:?}, which the environment names: {why}"),
        };
        let pem = std::fs::read(&path).map_err(|error| unusable(&error))?;
        return match super::tls::has_certificate(&pem) {
            true => Ok(Some(FILE)),
            false => Err(unusable(&"there is no certificate in it")),
        };
    }
    Ok(std::env::var_os(FOLDER).map(|_| FOLDER))
}
