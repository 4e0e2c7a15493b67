//! https: rustls with the ring provider, the system's roots, and certificates of the host's choice.

#[cfg(feature = "tls")]
pub(super) use self::with_rustls::{Tls, explain, has_certificate};
#[cfg(not(feature = "tls"))]
pub(super) use self::without::Tls;

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
    use crate::rt::BoxIo;

    /// TLS as one client wants it.
    pub(in super::super) struct Tls {
        provider: Arc<CryptoProvider>,
        trust: Arc<Trust>,
        identity: Option<Arc<SingleCertAndKey>>,
        /// Built for the first https connection: reading the system's roots takes milliseconds
        /// that a client of a plain server should not pay.
        configs: OnceLock<Result<Configs, HttpError>>,
    }

    /// Two where there is a client certificate, so that no session in which it was shown is resumed elsewhere.
    #[derive(Clone)]
    struct Configs {
        with_identity: Arc<ClientConfig>,
        anonymous: Arc<ClientConfig>,
    }

    impl Tls {
        pub(in super::super) fn new(config: &HttpConfig) -> Result<Self, HttpError> {
            // Named, since the process-wide default panics where two providers are linked.
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let own = match &config.ca_pem {
                Some(pem) => certificates("ca_pem", pem)?,
                None => Vec::new(),
            };
            let identity = match &config.client_cert {
                Some(files) => Some(Arc::new(identity(files, &provider)?)),
                None => None,
            };
            let trust = Arc::new(Trust::new(own, provider.clone())?);
            Ok(Self { provider, trust, identity, configs: OnceLock::new() })
        }

        /// Runs the handshake; with `shows_identity` a server that asks for the client certificate gets it.
        pub(in super::super) async fn wrap(
            &self,
            io: BoxIo,
            host: &str,
            shows_identity: bool,
        ) -> Result<BoxIo, HttpError> {
            let configs = self.configs.get_or_init(|| self.build()).clone()?;
            let config = if shows_identity { configs.with_identity } else { configs.anonymous };
            let name = ServerName::try_from(host.to_owned()).map_err(|error| HttpError::Tls {
                host: host.to_owned(),
                why: "the host is no name that a certificate can hold".to_owned(),
                cause: Arc::new(error),
            })?;
            let session = TlsConnector::from(config).connect(name, TokioIo(io)).await;
            let session = session.map_err(|error| explain_handshake(host, error))?;
            Ok(Box::new(TlsIo(session)))
        }

        fn build(&self) -> Result<Configs, HttpError> {
            let failed = |error: Error| HttpError::Tls {
                host: "any host".to_owned(),
                why: format!("TLS cannot be set up: {error}"),
                cause: Arc::new(error),
            };
            self.trust.check()?;
            let config = |identity: Option<&Arc<SingleCertAndKey>>| {
                let builder = ClientConfig::builder_with_provider(self.provider.clone())
                    .with_safe_default_protocol_versions()?
                    .dangerous() // What the builder calls every verifier that it did not make itself.
                    .with_custom_certificate_verifier(self.trust.clone());
                let mut config = match identity {
                    Some(identity) => builder.with_client_cert_resolver(identity.clone()),
                    None => builder.with_no_client_auth(),
                };
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Ok(Arc::new(config))
            };
            let anonymous = config(None).map_err(failed)?;
            let with_identity = match &self.identity {
                Some(identity) => config(Some(identity)).map_err(failed)?,
                None => anonymous.clone(),
            };
            Ok(Configs { with_identity, anonymous })
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
