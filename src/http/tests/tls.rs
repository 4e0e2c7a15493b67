//! https against servers with certificates of a private authority.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::http::ClientCertificate;

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        Self::named("A private authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn certify(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate, key }
    }

    /// Serves `ok("secure")` as `name`; with `clients`, only to those certified by it.
    fn serve(&self, name: &str, clients: Option<&Authority>) -> SocketAddr {
        serve(self.certify(name, ExtendedKeyUsagePurpose::ServerAuth), clients)
    }
}

fn serve(Identity { certificate, key }: Identity, clients: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);

    server(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        while stream.conn.is_handshaking() {
            // A client that does not trust us leaves here, or one that we do not.
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                _ = stream.conn.write_tls(&mut stream.sock);
                wait_for_end(&mut stream.sock);
                return;
            }
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        Received::from(&mut stream);
        let kind = stream.conn.handshake_kind().unwrap();
        let answer = ok("secure").replacen("\r\n", &format!("\r\nx-handshake: {kind:?}\r\n"), 1);
        stream.write_all(answer.as_bytes()).unwrap();
        wait_for_end(&mut stream);
    })
}

fn trusting(authority: &Authority) -> HttpConfig {
    HttpConfig { ca_pem: Some(authority.pem()), ..direct() }
}

fn fetch(config: HttpConfig, url: impl AsRef<str>) -> Result<Response, HttpError> {
    block_on(client(config).send(get(url)))
}

#[test]
fn a_private_authority_can_be_trusted() {
    let authority = Authority::new();
    let address = authority.serve("127.0.0.1", None);
    assert_eq!(text(fetch(trusting(&authority), format!("https://{address}/")).unwrap()), "secure");

    let address = authority.serve("localhost", None);
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(text(fetch(trusting(&authority), url).unwrap()), "secure");
}

/// What `openssl req -x509` makes unless told otherwise: its own authority, with dates of our choice.
fn self_signed(name: &str, is_authority: bool, years: (i32, i32)) -> (Identity, Vec<u8>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = if is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem().into_bytes();
    (Identity { certificate, key }, pem)
}

#[test]
fn a_self_signed_certificate_is_trusted_as_such_and_its_name_and_dates_are_checked() {
    for is_authority in [true, false] {
        let fetch_from = |name: &str, years: (i32, i32), given: Option<&[u8]>| {
            let (identity, pem) = self_signed(name, is_authority, years);
            let url = format!("https://{}/", serve(identity, None));
            let ca_pem = given.map_or(pem, <[u8]>::to_vec);
            fetch(HttpConfig { ca_pem: Some(ca_pem), ..direct() }, url)
        };
        let valid = (2020, 2100);
        assert_eq!(text(fetch_from("127.0.0.1", valid, None).unwrap()), "secure");
        let (_, another) = self_signed("127.0.0.1", is_authority, valid);
        for (name, years, given, says) in [
            ("127.0.0.2", valid, None, "for another name"),
            ("127.0.0.1", (2020, 2021), None, "has expired"),
            ("127.0.0.1", (2099, 2100), None, "not valid yet"),
            ("127.0.0.1", valid, Some(another.as_slice()), "`ca_pem`"),
        ] {
            let error = fetch_from(name, years, given).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("CaUsed"), "{is_authority} {says}: {error}");
        }
    }
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let address = Authority::new().serve("127.0.0.1", None);
    // None of ours, another one, and another of the same name (one's own, made anew).
    for config in [direct(), trusting(&Authority::named("Another authority")), trusting(&Authority::new())] {
        let error = fetch(config, format!("https://{address}/")).unwrap_err();
        assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("not signed by an authority that is trusted"), "{text}");
        assert!(text.contains("`ca_pem`"), "{text}");
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let address = authority.serve("other.example", None);
    let error = fetch(trusting(&authority), format!("https://{address}/")).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("for another name") && text.contains("other.example"), "{text}");
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let address = servers.serve("127.0.0.1", Some(&clients));
    let url = format!("https://{address}/");
    let identity = clients.certify("me", ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = ClientCertificate {
        chain_pem: identity.certificate.pem().into_bytes(),
        key_pem: identity.key.serialize_pem().into_bytes(),
    };
    let config = HttpConfig { client_cert: Some(certificate), ..trusting(&servers) };
    assert_eq!(text(fetch(config, &url).unwrap()), "secure");

    // In TLS 1.3 the refusal comes after the handshake, in place of an answer.
    let error = fetch(trusting(&servers), &url).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(error.to_string().ends_with("it wants a client certificate and got none"), "{error}");
}

/// The servers ask for a client certificate and answer with who they take the client for.
fn asking(authority: &Authority, clients: &Authority, answer: String) -> SocketAddr {
    let Identity { certificate, key } = authority.certify("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap());
    let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
    server(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        Received::from(&mut stream);
        let who = if stream.conn.peer_certificates().is_some() { "known" } else { "guest" };
        stream.write_all(answer.replace("WHO", who).as_bytes()).unwrap();
        wait_for_end(&mut stream);
    })
}

#[test]
fn a_client_certificate_is_shown_to_its_own_origin_alone() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let identity = clients.certify("me", ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = ClientCertificate {
        chain_pem: identity.certificate.pem().into_bytes(),
        key_pem: identity.key.serialize_pem().into_bytes(),
    };
    let config = |proxy| HttpConfig { client_cert: Some(certificate.clone()), proxy, ..trusting(&servers) };

    // Of the same name, so that a session could be resumed.
    let answer = || ok("WHO").replace(": 3", ": 5");
    let elsewhere = asking(&servers, &clients, answer());
    let here = asking(&servers, &clients, answer());
    let moved = format!("HTTP/1.1 302 WHO\r\nlocation: https://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let moved = asking(&servers, &clients, moved);
    let client = client(config(ProxyMode::Off));
    for _ in 0..2 {
        assert_eq!(text(block_on(client.send(get(format!("https://{here}/")))).unwrap()), "known");
        let request = Request { redirects: Redirects::Roam, ..get(format!("https://{moved}/")) };
        assert_eq!(text(block_on(client.send(request)).unwrap()), "guest");
    }

    let proxy = ProxyMode::Url(format!("https://{}", asking(&servers, &clients, answer())));
    assert_eq!(text(fetch(config(proxy), "http://nowhere.invalid/").unwrap()), "guest");
}

#[test]
fn unusable_certificates_are_refused_when_the_client_is_built() {
    let authority = Authority::new();
    let one = authority.certify("one", ExtendedKeyUsagePurpose::ClientAuth);
    let two = authority.certify("two", ExtendedKeyUsagePurpose::ClientAuth);
    let pair = |chain: &[u8], key: &str| {
        let (chain_pem, key_pem) = (chain.to_vec(), key.as_bytes().to_vec());
        HttpConfig { client_cert: Some(ClientCertificate { chain_pem, key_pem }), ..direct() }
    };
    let ca = |pem: &[u8]| HttpConfig { ca_pem: Some(pem.to_vec()), ..direct() };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let chain = one.certificate.pem();
    for (config, why) in [
        (ca(b"no pem at all"), "cannot use ca_pem: there is no `BEGIN CERTIFICATE` in it"),
        (ca(broken.as_bytes()), "cannot use ca_pem: a certificate in it cannot be read"),
        (ca(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), "cannot use ca_pem: it is not valid PEM"),
        (
            pair(chain.as_bytes(), "no key"),
            "cannot use the client certificate: there is no private key in its PEM",
        ),
        (
            pair(chain.as_bytes(), &two.key.serialize_pem()),
            "cannot use the client certificate: the private key is that of another certificate",
        ),
    ] {
        let error = HttpClient::new(Arc::new(AsyncIo), config).unwrap_err();
        assert!(error.to_string().starts_with(why), "{error}");
    }
}

#[test]
fn a_plain_server_is_told_from_a_secure_one() {
    let address = server(|mut stream| {
        _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        wait_for_end(&mut stream);
    });
    let error = fetch(direct(), format!("https://{address}/")).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("should the URL begin with http://?"), "{error}");
}

#[test]
fn a_connection_lost_in_the_handshake_is_not_a_matter_of_trust() {
    let address = server(|mut stream| {
        _ = stream.read(&mut [0; 1024]);
    });
    let error = fetch(direct(), format!("https://{address}/")).unwrap_err();
    assert!(error.to_string().contains("the connection broke during the handshake"), "{error}");
}

#[test]
fn nothing_goes_from_https_to_http() {
    let authority = Authority::new();
    let (plain, requests) = answering(ok("plain"));
    let Identity { certificate, key } = authority.certify("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let config = Arc::new(config);
    let secure = server(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        Received::from(&mut stream);
        let head = format!("HTTP/1.1 307 Moved\r\nlocation: http://{plain}/\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        wait_for_end(&mut stream);
    });

    let client = client(trusting(&authority));
    let mut with_token = get(format!("https://{secure}/"));
    with_token.headers.insert("authorization", "token".parse().unwrap());
    let roaming = Request { redirects: Redirects::Roam, ..get(format!("https://{secure}/")) };
    for request in [with_token, post(format!("https://{secure}/"), "password"), roaming] {
        let error = block_on(client.send(request)).unwrap_err();
        assert!(matches!(error, HttpError::BadRedirect { .. }), "{error:?}");
        assert!(requests.try_recv().is_err(), "the plain server was asked");
    }
}

/// A proxy that grants each tunnel, and a secure server behind it.
#[test]
fn secure_servers_are_reached_through_a_tunnel() {
    let authority = Authority::new();
    let target = authority.serve("localhost", None);
    let (seen, requests) = mpsc::channel();
    let proxy = server(move |mut stream| {
        seen.send(Received::from(&mut stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let behind = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (behind.try_clone().unwrap(), stream.try_clone().unwrap());
        thread::spawn(move || _ = std::io::copy(&mut from, &mut to));
        _ = std::io::copy(&mut stream, &mut &behind);
        _ = behind.shutdown(std::net::Shutdown::Both);
    });
    let proxy = ProxyMode::Url(format!("http://us%40er:pass@{proxy}"));
    let client = client(HttpConfig { proxy, ..trusting(&authority) });
    let mut request = get(format!("https://localhost:{}/x", target.port()));
    request.headers.insert("authorization", "token".parse().unwrap());
    let response = block_on(client.send(request)).unwrap();
    assert_eq!(response.peer, None);
    assert_eq!(text(response), "secure");

    let connect = requests.recv().unwrap();
    assert_eq!(connect.line, format!("CONNECT localhost:{} HTTP/1.1", target.port()));
    assert_eq!(connect.header("host"), Some(format!("localhost:{}", target.port()).as_str()));
    // us@er:pass
    assert_eq!(connect.header("proxy-authorization"), Some("Basic dXNAZXI6cGFzcw=="));
    assert_eq!(connect.header("authorization"), None, "that is for the server alone");
}

/// TLS inside TLS.
#[test]
fn a_proxy_may_be_secure_itself() {
    let authority = Authority::new();
    // It answers what it is asked for itself, which is enough to see that it was reached over TLS.
    let proxy = authority.serve("127.0.0.1", None);
    let proxy = ProxyMode::Url(format!("https://{proxy}"));
    let config = HttpConfig { proxy, ..trusting(&authority) };
    assert_eq!(text(fetch(config, "http://nowhere.invalid/").unwrap()), "secure");
}

/// What kind of handshake a client of its own makes.
fn handshake(config: HttpConfig, address: SocketAddr) -> String {
    let response = fetch(config, format!("https://{address}/")).unwrap();
    let kind = response.headers["x-handshake"].to_str().unwrap().to_owned();
    assert_eq!(text(response), "secure");
    kind
}

#[test]
fn clients_of_one_process_resume_each_others_sessions_unless_one_shows_a_certificate() {
    let authority = Authority::new();
    let address = authority.serve("127.0.0.1", None);
    assert_eq!(handshake(trusting(&authority), address), "Full");
    // Another test may hold the lock for a moment, and then this client shares nothing.
    assert!((0..10).any(|_| handshake(trusting(&authority), address) == "Resumed"));
    // Others trust others, and what they have verified counts for nobody else.
    let more = [authority.pem(), Authority::new().pem()].concat();
    assert_eq!(handshake(HttpConfig { ca_pem: Some(more), ..direct() }, address), "Full");

    let address = authority.serve("127.0.0.1", Some(&authority));
    for _ in 0..2 {
        let own = authority.certify("client", ExtendedKeyUsagePurpose::ClientAuth);
        let files = ClientCertificate {
            chain_pem: own.certificate.pem().into_bytes(),
            key_pem: own.key.serialize_pem().into_bytes(),
        };
        let config = HttpConfig { client_cert: Some(files), ..trusting(&authority) };
        assert_eq!(handshake(config, address), "Full");
    }
}
