//! https: rustls with the ring provider, the system's roots, and certificates of the host's choice.

#[cfg(feature = "tls")]
pub(super) use self::with_rustls::{Tls, explain, has_certificate};
#[cfg(not(feature = "tls"))]
pub(super) use self::without::Tls;

#[cfg(feature = "tls")]
mod common;

#[cfg(feature = "tls")]
mod with_rustls {
    use std::io;
    use std::sync::{Arc, OnceLock};

    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
    use tokio_rustls::TlsConnector;

    use super::super::error::HttpError;
    use super::super::io::{TlsIo, TokioIo};
    use super::super::trust::{Trust, is_authority};
    use super::super::{ClientCertificate, HttpConfig};
    use super::common;
    use crate::rt::BoxIo;

    /// TLS as one client wants it.
    pub(in super::super) struct Tls {
        common: Arc<Common>,
        /// Where there is a client certificate: so that no session in which it was shown is resumed elsewhere, it has a
        /// configuration of its own, which no other client has.
        identity: Option<Identity>,
    }

    struct Identity {
        key: Arc<SingleCertAndKey>,
        config: OnceLock<Result<Arc<ClientConfig>, HttpError>>,
    }

    impl Tls {
        pub(in super::super) fn new(config: &HttpConfig) -> Result<Self, HttpError> {
            let common = common::of(config.ca_pem.as_deref())?;
            let identity = match &config.client_cert {
                Some(files) => {
                    let key = Arc::new(identity(files, &common.provider)?);
                    Some(Identity { key, config: OnceLock::new() })
                }
                None => None,
            };
            Ok(Self { common, identity })
        }

        /// Runs the handshake; with `shows_identity` a server that asks for the client certificate gets it.
        pub(in super::super) async fn wrap(
            &self,
            io: BoxIo,
            host: &str,
            shows_identity: bool,
        ) -> Result<BoxIo, HttpError> {
            let config = match &self.identity {
                Some(identity) if shows_identity => {
                    identity.config.get_or_init(|| self.common.build(Some(&identity.key))).clone()?
                }
                _ => self.common.config()?,
            };
            let name = ServerName::try_from(host.to_owned()).map_err(|error| HttpError::Tls {
                host: host.to_owned(),
                why: "the host is no name that a certificate can hold".to_owned(),
                cause: Arc::new(error),
            })?;
            let session = TlsConnector::from(config).connect(name, TokioIo(io)).await;
            let session = session.map_err(|error| explain_handshake(host, error))?;
            Ok(Box::new(TlsIo(session)))
        }
    }

    /// What all clients have in common that trust the same authorities: these, and the sessions that can be resumed.
    pub(super) struct Common {
        provider: Arc<CryptoProvider>,
        trust: Arc<Trust>,
        /// Built for the first https connection: reading the system's roots takes milliseconds
        /// that a client of a plain server should not pay.
        config: OnceLock<Result<Arc<ClientConfig>, HttpError>>,
    }

    impl Common {
        pub(super) fn new(ca_pem: Option<&[u8]>) -> Result<Self, HttpError> {
            // Named, since the process-wide default panics where two providers are linked.
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let own = match ca_pem {
                Some(pem) => certificates("ca_pem", pem)?,
                None => Vec::new(),
            };
            let trust = Arc::new(Trust::new(own, provider.clone())?);
            Ok(Self { provider, trust, config: OnceLock::new() })
        }

        /// Whether the system's authorities could be read, as far as that was tried.
        pub(super) fn is_sound(&self) -> bool {
            !matches!(self.config.get(), Some(Err(_))) && self.trust.is_sound()
        }

        fn config(&self) -> Result<Arc<ClientConfig>, HttpError> {
            self.config.get_or_init(|| self.build(None)).clone()
        }

        fn build(&self, identity: Option<&Arc<SingleCertAndKey>>) -> Result<Arc<ClientConfig>, HttpError> {
            let failed = |error: Error| HttpError::Tls {
                host: "any host".to_owned(),
                why: format!("TLS cannot be set up: {error}"),
                cause: Arc::new(error),
            };
            self.trust.check()?;
            let builder = ClientConfig::builder_with_provider(self.provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(failed)?
                .dangerous() // What the builder calls every verifier that it did not make itself.
                .with_custom_certificate_verifier(self.trust.clone());
            let mut config = match identity {
                Some(identity) => builder.with_client_cert_resolver(identity.clone()),
                None => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        }
    }

    fn certificates(setting: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, HttpError> {
        let unusable = |why: String| HttpError::Config { setting, why };
        let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(format!("it is not valid PEM: {error}")))?;
        match found.is_empty() {
            true => Err(unusable("there is no `BEGIN CERTIFICATE` in it".to_owned())),
            false => Ok(found),
        }
    }

    pub(in super::super) fn has_certificate(pem: &[u8]) -> bool {
        CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok())
    }

    fn identity(files: &ClientCertificate, provider: &CryptoProvider) -> Result<SingleCertAndKey, HttpError> {
        let unusable = |why: String| HttpError::Config { setting: "the client certificate", why };
        let chain = certificates("the client certificate", &files.chain_pem)?;
        // The error of the parser says what is wrong with the frame and shows nothing of the key.
        let key = PrivateKeyDer::from_pem_slice(&files.key_pem)
            .map_err(|_| unusable("there is no private key in its PEM".to_owned()))?;
        let pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                unusable("the private key is that of another certificate".to_owned())
            }
            error => unusable(error.to_string()),
        })?;
        Ok(SingleCertAndKey::from(pair))
    }

    fn explain_handshake(host: &str, error: io::Error) -> HttpError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(tls) => explain(host, tls),
            None => HttpError::Tls {
                host: host.to_owned(),
                why: format!("the connection broke during the handshake: {error}"),
                cause: Arc::new(error),
            },
        }
    }

    /// What rustls says, and what to do about it.
    pub(in super::super) fn explain(host: &str, error: &Error) -> HttpError {
        let why = match error {
            error if is_authority(error) => {
                "its certificate is its own authority (self-signed) and not trusted here; \
                if it is yours, give it as `ca_pem`"
                    .to_owned()
            }
            Error::InvalidCertificate(reason) => match reason {
                // The latter if an authority of that name is known, with another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "its certificate is not signed by an authority that is \
                    trusted here; if the authority is your own, give its certificate as `ca_pem`"
                        .to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("its certificate is for another name ({reason})")
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    format!("its certificate has expired, or the clock here is wrong ({reason})")
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    format!("its certificate is not valid yet, or the clock here is wrong ({reason})")
                }
                reason => format!("its certificate cannot be accepted: {reason}"),
            },
            Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "it wants a client certificate and got none".to_owned()
            }
            Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
                format!("it does not accept the client certificate ({error})")
            }
            Error::InvalidMessage(_) => {
                format!("it does not speak TLS; should the URL begin with http://? ({error})")
            }
            error => error.to_string(),
        };
        HttpError::Tls { host: host.to_owned(), why, cause: Arc::new(error.clone()) }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use super::super::HttpConfig;
    use super::super::error::HttpError;
    use crate::rt::BoxIo;

    /// Stands where TLS would be; https URLs are refused before they get here.
    pub(in super::super) struct Tls;

    impl Tls {
        pub(in super::super) fn new(config: &HttpConfig) -> Result<Self, HttpError> {
            let setting = match (&config.ca_pem, &config.client_cert) {
                (Some(_), _) => "ca_pem",
                (_, Some(_)) => "the client certificate",
                (None, None) => return Ok(Self),
            };
            Err(HttpError::Config { setting, why: "this needs the feature `tls` of this crate".to_owned() })
        }

        pub(in super::super) async fn wrap(
            &self,
            _io: BoxIo,
            host: &str,
            _shows_identity: bool,
        ) -> Result<BoxIo, HttpError> {
            Err(HttpError::InvalidUrl {
                place: format!("https://{host}"),
                why: "https needs the feature `tls` of this crate".to_owned(),
            })
        }
    }
}
