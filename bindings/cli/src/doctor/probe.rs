//! Single requests, each over a connection of its own, without redirects, cookies, proxies or retries: what the client of
//! the crate smooths out is just what is to be seen here.

use std::{cell::Cell, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tidings::sse::{Decoder, Item};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::evidence::{Answer, Got, Hello, Stage, Stream};
use crate::failure::Failure;

/// For one request. A server that needs more has another trouble.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// For everything that was not asked for.
const ALL: Duration = Duration::from_millis(9_500);
/// For the handshake of a stream.
pub(super) const HELLO: Duration = Duration::from_secs(5);
/// So long is what a compressor sends at once, before there is anything in it.
const GZIP_HEAD: usize = 18;
/// The largest body that is read.
const MOST: usize = 1 << 20;

pub(super) struct Probe {
    /// With a slash at the end.
    base: Url,
    tls: Option<Arc<ClientConfig>>,
    /// Connects over this family alone: IPv6, or IPv4.
    is_ipv6: Option<bool>,
    /// When all that was not asked for has to be over.
    until: Cell<Option<Instant>>,
}

/// What is asked.
#[derive(Clone, Default)]
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    /// Relative to the server's URL, with a query.
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) json: Option<serde_json::Value>,
}

impl<'a> Question<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, ..Self::default() }
    }

    pub(super) fn post(path: &'a str, json: serde_json::Value) -> Self {
        Self { method: "POST", path, json: Some(json), ..Self::default() }
    }

    pub(super) fn header(mut self, name: &'a str, value: impl Into<Option<String>>) -> Self {
        self.headers.extend(value.into().map(|value| (name, value)));
        self
    }
}

/// A stream that is held open.
pub(super) struct Open {
    body: Incoming,
    decoder: Decoder,
    /// The connection ends with it.
    _connection: Connection,
}

/// The task that drives a connection.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Probe {
    pub(super) fn new(url: &str, ca: Option<&[u8]>) -> Result<Self, Failure> {
        // The client's own check, with its words.
        drop(tidings::Client::new(url)?);
        let invalid = |why: &dyn std::fmt::Display| Failure::usage(format!("invalid URL: {why}"));
        let mut base = Url::parse(url).map_err(|error| invalid(&error))?;
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let tls = match base.scheme() {
            "https" => Some(Arc::new(tls(ca).map_err(Failure::usage)?)),
            _ => None,
        };
        Ok(Self { base, tls, is_ipv6: None, until: Cell::new(Some(Instant::now() + ALL)) })
    }

    /// The same over the family that is not tried first, where the name has addresses of both.
    pub(super) async fn over_the_other_family(&self) -> Option<Self> {
        let addresses = self.addresses().await.ok()?;
        let is_ipv6 = !addresses.first()?.is_ipv6();
        addresses.iter().find(|address| address.is_ipv6() == is_ipv6)?;
        Some(Self {
            base: self.base.clone(),
            tls: self.tls.clone(),
            is_ipv6: Some(is_ipv6),
            until: self.until.clone(),
        })
    }

    /// What is asked from now on was asked for, and may take its time.
    pub(super) fn take_time(&self) {
        self.until.set(None);
    }

    /// When a request has to be answered.
    fn deadline(&self, limit: Duration) -> Instant {
        let own = Instant::now() + limit;
        self.until.get().map_or(own, |until| own.min(until))
    }

    pub(super) fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// Without what may be secret.
    pub(super) fn shown_url(&self) -> String {
        let mut url = self.base.clone();
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.to_string().trim_end_matches('/').to_owned()
    }

    pub(super) async fn ask(&self, question: &Question<'_>) -> Got {
        let exchange = async {
            let (response, _connection) = self.send(question).await?;
            let mut answer = head(&response);
            let mut body = response.into_body();
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| failed(Stage::Http, &error))?;
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                if bytes.len() > MOST {
                    break;
                }
            }
            answer.body = String::from_utf8_lossy(&bytes).into_owned();
            Ok(Got::Answer(answer))
        };
        let (since, until) = (Instant::now(), self.deadline(PATIENCE));
        match timeout_at(until, exchange).await {
            Ok(Ok(got) | Err(got)) => got,
            Err(_) => too_late(since),
        }
    }

    /// Opens a stream and waits for its handshake.
    pub(super) async fn open(&self, question: &Question<'_>) -> (Stream, Option<Open>) {
        let until = self.deadline(HELLO);
        let (head, open) = self.open_head(question).await;
        let Some(mut open) = open else { return (Stream { head, hello: Hello::Nothing }, None) };
        if head.answer().and_then(Answer::coding).is_some() {
            let hello = match timeout_at(until, open.bytes(GZIP_HEAD)).await {
                Ok(true) => Hello::Coded,
                _ => Hello::Nothing,
            };
            return (Stream { head, hello }, Some(open));
        }
        let hello = match timeout_at(until, open.message()).await {
            Ok(Ok(Some((event, data)))) if event == "PB_CONNECT" => {
                let json: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
                json["clientId"].as_str().map_or(Hello::Nothing, |id| Hello::Client(id.to_owned()))
            }
            _ => Hello::Nothing,
        };
        (Stream { head, hello }, Some(open))
    }

    /// The head alone. The stream is there if it is one.
    pub(super) async fn open_head(&self, question: &Question<'_>) -> (Got, Option<Open>) {
        let since = Instant::now();
        match timeout_at(self.deadline(HELLO), self.send(question)).await {
            Err(_) => (too_late(since), None),
            Ok(Err(got)) => (got, None),
            Ok(Ok((response, connection))) => {
                let head = head(&response);
                let is_stream = head.status == 200
                    && head.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
                let body = response.into_body();
                let open = Open { body, decoder: Decoder::new(), _connection: connection };
                (Got::Answer(head), is_stream.then_some(open))
            }
        }
    }

    async fn send(&self, question: &Question<'_>) -> Result<(Response<Incoming>, Connection), Got> {
        let io = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(io)).await.map_err(|error| failed(Stage::Http, &error))?;
        let connection = Connection(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let url = self.base.join(question.path).map_err(|error| failed(Stage::Http, &error))?;
        let target = &url[url::Position::BeforePath..];
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::builder().method(question.method).uri(target).header(HOST, host);
        request = request.header("user-agent", concat!("tidings-doctor/", env!("CARGO_PKG_VERSION")));
        if question.json.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(basic) = self.basic() {
            request = request.header("authorization", basic);
        }
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        let body = question.json.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = request.body(Full::new(hyper::body::Bytes::from(body)));
        let request = request.map_err(|error| failed(Stage::Http, &error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(Stage::Http, &error))?;
        Ok((response, connection))
    }

    /// User and password of the URL, which are a proxy's.
    fn basic(&self) -> Option<String> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let password = self.base.password()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{}:{password}", self.base.username()))))
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Got> {
        let tcp = self.tcp().await?;
        match &self.tls {
            None => Ok(Box::new(tcp)),
            Some(config) => Ok(Box::new(self.shake(config.clone(), tcp).await?)),
        }
    }

    /// All in the order in which they are tried.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Got> {
        let port = self.base.port_or_known_default().unwrap_or(80);
        let found = tokio::net::lookup_host((self.host(), port)).await;
        let found = found.map_err(|error| failed(Stage::Resolve, &error))?;
        Ok(found.filter(|address| self.is_ipv6.is_none_or(|wanted| address.is_ipv6() == wanted)).collect())
    }

    fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    async fn tcp(&self) -> Result<TcpStream, Got> {
        let addresses = self.addresses().await?;
        let mut last = None;
        for address in addresses {
            match timeout(PATIENCE / 2, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = Some(error.to_string()),
                Err(_) => last = Some("no answer".to_owned()),
            }
        }
        let why = last.unwrap_or_else(|| "the name has no address".to_owned());
        let place = &self.base[url::Position::BeforeHost..url::Position::AfterPort];
        Err(Got::Failed { stage: Stage::Connect, why: format!("connecting to {place}: {why}") })
    }

    async fn shake(
        &self,
        config: Arc<ClientConfig>,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Got> {
        let name =
            ServerName::try_from(self.host().to_owned()).map_err(|error| failed(Stage::Tls, &error))?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| failed(Stage::Tls, &error))
    }

    /// Whether TLS offers HTTP/2; `None` without TLS, or if it fails.
    pub(super) async fn offers_http2(&self) -> Option<bool> {
        let mut config = ClientConfig::clone(self.tls.as_ref()?);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let shaken = async { self.shake(Arc::new(config), self.tcp().await?).await };
        let stream = timeout(PATIENCE, shaken).await.ok()?.ok()?;
        Some(stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }
}

impl Open {
    /// Whether more bytes than these came before the end.
    async fn bytes(&mut self, head: usize) -> bool {
        let mut count = 0;
        while count <= head {
            match self.body.frame().await {
                Some(Ok(frame)) => count += frame.data_ref().map_or(0, |data| data.len()),
                _ => return false,
            }
        }
        true
    }

    /// The next message; `None` at a clean end.
    pub(super) async fn message(&mut self) -> Result<Option<(String, String)>, hyper::Error> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame?;
            let mut items = self.decoder.feed(frame.data_ref().map_or(&[], |data| data));
            while let Some(item) = items.next() {
                if let Item::Message(message) = item {
                    return Ok(Some((message.event().to_owned(), message.data().to_owned())));
                }
            }
        }
    }
}

fn head(response: &Response<Incoming>) -> Answer {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    Answer { status: response.status().as_u16(), headers: headers.collect(), body: String::new() }
}

fn failed(stage: Stage, error: &dyn std::error::Error) -> Got {
    let mut why = error.to_string();
    // What hyper says is in the cause.
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        cause = error.source();
    }
    Got::Failed { stage, why }
}

fn too_late(since: Instant) -> Got {
    Got::Failed { stage: Stage::Timeout, why: format!("no answer in {:.1} s", since.elapsed().as_secs_f32()) }
}

/// Which certificates are trusted: the system's, and those that were given.
fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca.unwrap_or_default()).collect();
    let given = given.map_err(|error| format!("--ca: {error}"))?;
    if ca.is_some() && given.is_empty() {
        return Err("--ca: there is no certificate in it".to_owned());
    }
    let verifier =
        Verifier::new_with_extra_roots(given, provider.clone()).map_err(|error| format!("TLS: {error}"))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}
