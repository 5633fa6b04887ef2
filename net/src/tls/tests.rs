use std::fs;

use ::aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    task::JoinHandle,
};

use super::*;
use crate::{Disconnect, TlsRole, testing::Session};

/// Files of throw-away certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A self-signed certificate for a host, in `HOST.pem` and `HOST.key`.
    fn certificate(&self, host: &str, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = CertificateFiles {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            certificate: self.path(&format!("{host}.pem")),
            key: self.path(&format!("{host}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self) -> ServerTls {
        let files = [
            self.certificate("mx.example", &[]),
            self.certificate("other.example", &["Other.example", "*.wild.example"]),
        ];
        ServerTls::load(&files).unwrap()
    }

    fn client(&self, server_name: &str, root: &str) -> ClientTls {
        ClientTls::new(server_name, &Verification::Pkix(vec![self.path(root)])).unwrap()
    }
}

type Accepting = JoinHandle<Result<(Box<dyn Stream>, TlsInfo), TlsError>>;

/// What client and server know of each other after a handshake.
async fn handshake(
    server: ServerTls,
    client: &ClientTls,
) -> (Result<TlsInfo, TlsError>, Result<TlsInfo, TlsError>) {
    // Room for tickets with the client's certificate, which nobody reads here.
    let (ours, theirs) = duplex(16 * 1024);
    let accepting: Accepting = tokio::spawn(async move { server.accept(Box::new(theirs)).await });
    let connected = client.connect(Box::new(ours)).await;
    // Both streams live until both handshakes are over.
    let known = |done: &Result<(Box<dyn Stream>, TlsInfo), TlsError>| match done {
        Ok((_, info)) => Ok(info.clone()),
        Err(error) => Err(error.clone()),
    };
    (known(&connected), known(&accepting.await.unwrap()))
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let files = Files::new();
    let server = files.server();
    for (name, root) in [("mx.example", "mx.example.pem"), ("other.example", "other.example.pem")] {
        let (client, server) = handshake(server.clone(), &files.client(name, root)).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.server_name.as_deref(), Some(name));
        assert_eq!(server.server_name.as_deref(), Some(name));
        assert_eq!((client.version.as_str(), client.verified, server.verified), ("TLSv1.3", true, false));
        assert!(client.cipher.starts_with("TLS_AES_"), "{}", client.cipher);
    }
}

#[tokio::test]
async fn both_ends_know_the_same_channel_bindings() {
    let files = Files::new();
    let server = files.server();
    let mut seen = Vec::new();
    for (name, root) in [("mx.example", "mx.example.pem"), ("other.example", "other.example.pem")] {
        for _ in 0..2 {
            let (ours, theirs) = duplex(1000);
            let (server, client) = (server.clone(), files.client(name, root));
            let accepting = tokio::spawn(async move { server.accept(Box::new(theirs)).await });
            let connected =
                TlsConnector::from(client.config.clone()).connect(client.name.clone(), ours).await;
            let binding = accepting.await.unwrap().unwrap().1.binding;
            let exported = connected
                .unwrap()
                .get_ref()
                .1
                .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))
                .unwrap();
            assert_eq!(binding.exporter, Some(exported));
            let certificate = &read_certificates(&files.path(root)).unwrap()[0];
            let hash = digest(&SHA256, certificate);
            assert_eq!(binding.end_point.as_deref(), Some(hash.as_ref()), "ECDSA with SHA-256");
            assert!(!format!("{binding:?}").contains("[1"), "{binding:?}");
            seen.push(binding);
        }
    }
    assert_ne!(seen[0].exporter, seen[1].exporter, "each connection has its own");
    assert_ne!(seen[1].end_point, seen[2].end_point, "each certificate has its own");
}

#[test]
fn the_hash_of_an_end_point_is_that_of_the_signature() {
    let of = |algorithm: &'static rcgen::SignatureAlgorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            CertificateParams::new(["mx.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().clone(), end_point(&[certificate.der().clone()]))
    };
    let (certificate, hash) = of(&rcgen::PKCS_ECDSA_P384_SHA384);
    assert_eq!(hash.as_deref(), Some(digest(&SHA384, &certificate).as_ref()));
    let (certificate, hash) = of(&rcgen::PKCS_RSA_SHA512);
    assert_eq!(hash.as_deref(), Some(digest(&SHA512, &certificate).as_ref()));
    let (certificate, hash) = of(&rcgen::PKCS_RSA_SHA256);
    assert_eq!(hash.as_deref(), Some(digest(&SHA256, &certificate).as_ref()));
    assert_eq!(of(&rcgen::PKCS_ED25519).1, None, "not defined");
}

#[test]
fn names_fall_back_to_the_wildcard_and_the_default() {
    let files = Files::new();
    let provider = aws_lc_rs::default_provider();
    let named = files.certificate("a.example", &["A.example", "*.wild.example"]);
    let default = files.certificate("b.example", &[]);
    let both = Certificates::load(&[named.clone(), default], &provider).unwrap();
    let only = Certificates::load(&[named], &provider).unwrap();
    let named = &both.by_name["a.example"];
    for (name, chosen) in [
        (Some("a.EXAMPLE"), true),
        (Some("x.wild.example"), true),
        (Some("wild.example"), false),
        (Some("x.y.wild.example"), false),
        (Some("c.example"), false),
        (None, false),
    ] {
        assert_eq!(both.choose(name).is_some_and(|key| Arc::ptr_eq(key, named)), chosen, "{name:?}");
        assert_eq!(only.choose(name).is_some(), chosen, "{name:?}");
    }
}

#[tokio::test]
async fn only_the_right_root_and_name_are_trusted() {
    let files = Files::new();
    let server = files.server();
    let verified = files.client("mx.example", "mx.example.pem");
    assert!(handshake(server.clone(), &verified).await.0.is_ok());
    for client in [
        files.client("mx.example", "other.example.pem"),
        files.client("unknown.example", "mx.example.pem"),
        verified.towards("unknown.example").unwrap(),
    ] {
        let (client, server) = handshake(server.clone(), &client).await;
        assert!(matches!(client, Err(TlsError::Handshake(_))));
        assert!(matches!(server, Err(TlsError::Handshake(_))));
    }
    for name in ["mx.example", "unknown.example.", "192.0.2.1"] {
        let client = ClientTls::new(name, &Verification::None).unwrap();
        assert!(!handshake(server.clone(), &client).await.0.unwrap().verified, "{name}");
    }
    assert!(matches!(ClientTls::new("not a name", &Verification::None), Err(TlsError::Certificate(_))));
}

#[test]
fn errors_name_the_file() {
    let files = Files::new();
    let (good, other) = (files.certificate("a.example", &[]), files.certificate("b.example", &[]));
    let bad = files.path("bad.pem");
    fs::write(&bad, "no PEM at all").unwrap();
    let with = |certificate: &Path, key: &Path| {
        let files = CertificateFiles { names: vec![], certificate: certificate.into(), key: key.into() };
        ServerTls::load(&[files]).unwrap_err().to_string()
    };
    let missing = files.path("missing.pem");
    for (error, parts) in [
        (with(&missing, &good.key), ["missing.pem", "No such file"]),
        (with(&bad, &good.key), ["bad.pem", "holds no certificate"]),
        (with(&good.certificate, &bad), ["bad.pem", "holds no private key"]),
        (with(&good.certificate, &good.certificate), ["a.example.pem", "holds no private key"]),
        (with(&good.certificate, &other.key), ["b.example.key is not the key of", "a.example.pem"]),
        (ServerTls::load(&[]).unwrap_err().to_string(), ["no certificate", "configured"]),
        (
            ClientTls::new("a", &Verification::Pkix(vec![bad])).unwrap_err().to_string(),
            ["bad.pem", "no certificate"],
        ),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn dates_are_checked() {
    let files = Files::new();
    let dated = files.certificate("dated.example", &[]);
    let mut params = CertificateParams::new(["dated.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    // Behind a good one: each of the chain is looked at.
    let good = files.certificate("good.example", &[]);
    let chain = fs::read_to_string(&good.certificate).unwrap() + &params.self_signed(&key).unwrap().pem();
    fs::write(&dated.certificate, chain).unwrap();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (first, last) = (1_577_836_800, 1_609_459_200);
    for (seconds, problem) in [
        (0, Some("is not valid yet")),
        (first - 1, Some("is not valid yet")),
        (first, None),
        (last, None),
        (last + 1, Some("has expired")),
    ] {
        let checked = dated.check_dates(at(seconds)).map_err(|error| error.to_string());
        let shown = problem
            .map(|problem| format!("{}: holds a certificate that {problem}", dated.certificate.display()));
        assert_eq!(checked.err(), shown, "{seconds}");
    }
    assert_eq!(good.check_dates(at(last)), Ok(()));
    let day = 24 * 60 * 60;
    for (seconds, days) in
        [(last - 14 * day, None), (last - 14 * day + 1, Some(14)), (last - day, Some(2)), (last - 1, Some(1))]
    {
        let within = if days.is_none() { 14 } else { 20 };
        assert_eq!(dated.expires_within(at(seconds), within), Ok(days), "{seconds}");
    }
    assert!(dated.expires_within(at(last + 1), 14).is_err());
    assert_eq!(good.expires_within(at(last), 14), Ok(None));
}

#[tokio::test]
async fn sessions_are_resumed() {
    let files = Files::new();
    let server = files.server();
    for version in [&TLS13, &TLS12] {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let roots = roots(&[files.path("mx.example.pem")]).unwrap();
        let client = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let mut kinds = Vec::new();
        for server in [server.clone(), server.clone()] {
            let (ours, theirs) = duplex(16_000);
            let serving = tokio::spawn(async move {
                let (mut stream, info) = server.accept(Box::new(theirs)).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
                info.version
            });
            let connector = TlsConnector::from(Arc::clone(&client));
            let name = parse_name("mx.example").unwrap();
            let mut stream = connector.connect(name, ours).await.unwrap();
            let mut said = String::new();
            // Tickets of TLS 1.3 come behind the handshake.
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "hello");
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            assert_eq!(serving.await.unwrap(), version.version.as_str().unwrap().replace('_', "."));
        }
        assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn starttls_upgrades_a_session() {
    let files = Files::new();
    let mut session = Session::start(1000, TlsRole::Server(files.server()));
    session.send("one\nstarttls\n").await;
    session.expect("one\ngo\n").await;
    let client = files.client("mx.example", "mx.example.pem");
    let (mut stream, _) = client.connect(Box::new(session.peer)).await.unwrap();
    stream.write_all(b"ask 100000\nquit\n").await.unwrap();
    let mut output = String::new();
    // A clean end: close_notify came.
    stream.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, format!("TLSv1.3 mx.example\nhere\n{}sent 100000\nbye\n", "x".repeat(100_000)));
    drop(stream);
    assert!(matches!(session.driven.await.unwrap().1, Ok(())));
}

#[tokio::test]
async fn what_came_with_starttls_is_not_obeyed() {
    let files = Files::new();
    let mut session = Session::start(1000, TlsRole::Server(files.server()));
    session.send("starttls\ninjected\n").await;
    session.expect("go\n").await;
    let client = ClientTls::new("mx.example", &Verification::None).unwrap();
    let (mut stream, _) = client.connect(Box::new(session.peer)).await.unwrap();
    stream.write_all(b"quit\n").await.unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "TLSv1.3 mx.example\nbye\n");
}

#[tokio::test]
async fn plain_text_instead_of_a_handshake_ends_the_session() {
    let files = Files::new();
    let mut session = Session::start(1000, TlsRole::Server(files.server()));
    session.send("starttls\n").await;
    session.expect("go\n").await;
    session.send("injected\nquit\n").await;
    assert!(matches!(session.driven.await.unwrap().1, Err(Disconnect::Tls(TlsError::Handshake(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_deadline() {
    let files = Files::new();
    let begun = tokio::time::Instant::now();
    let mut session = Session::start(1000, TlsRole::Server(files.server()));
    session.send("starttls\n").await;
    let error = (&mut session.driven).await.unwrap().1;
    assert!(matches!(error, Err(Disconnect::Tls(TlsError::Handshake(_)))));
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
}

#[tokio::test]
async fn a_client_session_upgrades_too() {
    let files = Files::new();
    let server = files.server();
    let mut session = Session::start(1000, TlsRole::Client(files.client("mx.example", "mx.example.pem")));
    session.send("starttls\n").await;
    session.expect("go\n").await;
    let (mut stream, _) = server.accept(Box::new(session.peer)).await.unwrap();
    stream.write_all(b"quit\n").await.unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "TLSv1.3 mx.example\nbye\n");
}

/// An authority of clients, in `NAME.pem`.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(files: &Files, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(files.path(&format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// A client with a certificate for addresses; also one whose time is over.
    fn client(&self, files: &Files, emails: &[&str], until: i32) -> ClientTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        let names = emails.iter().map(|email| SanType::Rfc822Name((*email).try_into().unwrap()));
        params.subject_alt_names = names.collect();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read_certificates(&files.path("mx.example.pem")).unwrap().remove(0)).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(VERSIONS).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap();
        ClientTls { config: Arc::new(config), ..files.client("mx.example", "mx.example.pem") }
    }
}

#[tokio::test]
async fn clients_are_asked_for_certificates() {
    let files = Files::new();
    let (ours, theirs) = (Authority::new(&files, "ours"), Authority::new(&files, "theirs"));
    let roots = [files.path("ours.pem"), files.path("theirs.pem")];
    let server = files.server().with_client_certificates(&roots).unwrap();
    let asking = server.asking(&roots[0]);
    let alice = ours.client(&files, &["alice@a.test", "a@b.test"], 2100);
    let emails = async |server: &ServerTls, client: &ClientTls| {
        let (connected, accepted) = handshake(server.clone(), client).await;
        assert!(connected.is_ok(), "{connected:?}");
        accepted.unwrap().certificate.map(|certificate| certificate.emails.join(" "))
    };
    let both = Some("alice@a.test a@b.test".to_owned());
    assert_eq!(emails(&asking, &alice).await, both);
    // Nobody is kept out: without a certificate, with one of another authority, with an old one, one with no address.
    assert_eq!(emails(&asking, &files.client("mx.example", "mx.example.pem")).await, None);
    assert_eq!(emails(&asking, &theirs.client(&files, &["alice@a.test"], 2100)).await, None);
    assert_eq!(emails(&asking, &ours.client(&files, &["alice@a.test"], 2021)).await, None);
    assert_eq!(emails(&asking, &ours.client(&files, &[], 2100)).await, Some(String::new()));
    // Not asked for: not by other listeners, nor by a file that was not loaded.
    assert_eq!(emails(&server, &alice).await, None);
    assert_eq!(emails(&server.asking(&files.path("none.pem")), &alice).await, None);
    // Another listener believes others; a session that began at ours is not resumed there.
    assert_eq!(emails(&server.asking(&roots[1]), &alice).await, None);
    let error = files.server().with_client_certificates(&[files.path("none.pem")]).unwrap_err().to_string();
    assert!(error.contains("none.pem"), "{error}");
}

#[tokio::test]
async fn a_resumed_session_has_its_certificate() {
    let files = Files::new();
    let authority = Authority::new(&files, "ours");
    let roots = [files.path("ours.pem")];
    let server = files.server().with_client_certificates(&roots).unwrap().asking(&roots[0]);
    let client = authority.client(&files, &["alice@a.test"], 2100);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (ours, theirs) = duplex(10_000);
        let accepting = server.clone();
        let accepting = tokio::spawn(async move {
            let (mut stream, info) = accepting.accept(Box::new(theirs)).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.shutdown().await.unwrap();
            info
        });
        let connecting = TlsConnector::from(client.config.clone()).connect(client.name.clone(), ours).await;
        let mut stream = connecting.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        let certificate = accepting.await.unwrap().certificate.unwrap();
        assert_eq!(certificate.emails, ["alice@a.test"]);
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}
