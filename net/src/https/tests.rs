use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::sleep,
};

use super::*;
use crate::{CertificateFiles, ServerTls};

const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(5), body_bytes_max: 100 };

/// A host that says the same to everyone, and its certificate.
struct Host {
    directory: TempDir,
    address: SocketAddr,
    serving: JoinHandle<String>,
}

/// What a host does after its words.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Then {
    Close,
    /// Without close_notify.
    Cut,
    Wait,
}

impl Host {
    /// Gives what it was told when the client is served.
    async fn says(words: &str, then: Then) -> Self {
        let directory = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["id.a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("cert.pem"), certificate.pem()).unwrap();
        fs::write(at("key.pem"), key.serialize_pem()).unwrap();
        let files = CertificateFiles { names: Vec::new(), certificate: at("cert.pem"), key: at("key.pem") };
        let tls = ServerTls::load(&[files]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, words) = (listener.local_addr().unwrap(), words.to_owned());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok((mut stream, _)) = tls.accept(Box::new(stream)).await else { return String::new() };
            let mut heard = vec![0; 4000];
            let count = stream.read(&mut heard).await.unwrap();
            heard.truncate(count);
            // The client may have hung up: what it makes of the words is looked at there.
            drop(stream.write_all(words.as_bytes()).await);
            drop(stream.flush().await);
            match then {
                Then::Close => drop(stream.shutdown().await),
                Then::Cut => {}
                Then::Wait => sleep(Duration::from_secs(60)).await,
            }
            String::from_utf8(heard).unwrap()
        });
        Self { directory, address, serving }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    async fn asked(&self, bounds: Bounds) -> Result<HttpsAnswer, HttpsError> {
        let client = HttpsClient::new(&[self.root()]).unwrap();
        let url = HttpsUrl::new("id.a.test", "/keys?x=1").unwrap();
        client.exchange(&url, &[self.address], &HttpsRequest::default(), bounds).await
    }
}

fn ok(content_type: Option<&str>, body: &str) -> Result<HttpsAnswer, HttpsError> {
    let content_type = content_type.map(str::to_owned);
    Ok(HttpsAnswer { status: 200, content_type, body: body.into() })
}

#[test]
fn urls() {
    for (text, parsed) in [
        ("https://a.test", Some(("a.test", 443, "/"))),
        ("https://A.test/", Some(("a.test", 443, "/"))),
        ("https://a.test:8443/x/y?z=1", Some(("a.test", 8443, "/x/y?z=1"))),
        ("HTTPS://a.test?q", Some(("a.test", 443, "/?q"))),
        ("https://[2001:db8::1]/x", Some(("2001:db8::1", 443, "/x"))),
        ("https://[2001:db8::1]:1/x", Some(("2001:db8::1", 1, "/x"))),
        ("http://a.test/", None),
        ("https://", None),
        ("https://:443/", None),
        ("https://a.test:0/", None),
        ("https://a.test:65536/", None),
        ("https://a.test:x/", None),
        ("https://user@a.test/", None),
        ("https://a.test/#x", None),
        ("https://a.test/a b", None),
        ("https://a.test/\r\nx", None),
        ("/x", None),
        ("a.test", None),
        ("", None),
    ] {
        let url = HttpsUrl::parse(text).ok();
        let seen = url.as_ref().map(|url| (url.host.as_str(), url.port, url.path.as_str()));
        assert_eq!(seen, parsed, "{text}");
        if let Some(url) = url {
            assert_eq!(HttpsUrl::parse(&url.to_string()), Ok(url), "{text}");
        }
    }
    let long = |path: usize| format!("https://a.test/{}", "x".repeat(path));
    assert!(HttpsUrl::parse(&long(URL_BYTES_MAX - 15)).is_ok());
    assert!(HttpsUrl::parse(&long(URL_BYTES_MAX - 14)).is_err());
    assert!(
        HttpsUrl::new("a.test", ".well-known/x").is_err() && HttpsUrl::new("a.test@b.test", "/").is_err()
    );
}

#[tokio::test]
async fn answers() {
    let largest = "x".repeat(100);
    let of_length =
        |length: usize, body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    for (words, then, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi"
                .to_owned(),
            Then::Close,
            ok(Some("text/plain"), "hi"),
        ),
        // Whoever keeps the connection open is not waited for.
        (of_length(2, "hi"), Then::Wait, ok(None, "hi")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n".to_owned(),
            Then::Close,
            ok(None, "hi!"),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhi".to_owned(), Then::Close, ok(None, "hi")),
        (of_length(100, &largest), Then::Close, ok(None, &largest)),
        (of_length(0, ""), Then::Close, ok(None, "")),
    ] {
        assert_eq!(Host::says(&words, then).await.asked(BOUNDS).await, expected, "{words}");
    }
    // A redirect is an answer like any other.
    let moved = "HTTP/1.1 302 Found\r\nLocation: https://b.test/\r\nContent-Length: 0\r\n\r\n";
    let answer = Host::says(moved, Then::Close).await.asked(BOUNDS).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (302, 0));
}

#[tokio::test]
async fn what_is_not_an_answer() {
    let large = "x".repeat(101);
    let chunk = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n{large}\r\n0\r\n\r\n");
    for (words, then, problem) in [
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n{large}"), Then::Close, "larger than 100"),
        (chunk, Then::Close, "larger than 100"),
        (format!("HTTP/1.0 200 OK\r\n\r\n{large}"), Then::Close, "larger than 100"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi".to_owned(), Then::Close, "body"),
        // A body that ends with the connection may have been cut by anybody.
        ("HTTP/1.0 200 OK\r\n\r\nhi".to_owned(), Then::Cut, "body"),
        ("220 mx.a.test ESMTP\r\n".to_owned(), Then::Close, "HTTP"),
        (String::new(), Then::Close, "connection closed"),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX)), Then::Close, "large"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(FIELDS_MAX + 1)), Then::Close, "large"),
    ] {
        let error = Host::says(&words, then).await.asked(BOUNDS).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{words}: {error}");
    }
}

#[tokio::test]
async fn all_of_it_has_a_time() {
    let bounds = Bounds { timeout: Duration::from_millis(300), ..BOUNDS };
    for words in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"] {
        let host = Host::says(words, Then::Wait).await;
        assert_eq!(host.asked(bounds).await, Err(HttpsError::Timeout(bounds.timeout)), "{words}");
    }
    // One who accepts and does not even do TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::says("", Then::Close).await;
    let client = HttpsClient::new(&[host.root()]).unwrap();
    let (url, at) = (HttpsUrl::new("id.a.test", "/").unwrap(), silent.local_addr().unwrap());
    let answer = client.exchange(&url, &[at], &HttpsRequest::default(), bounds).await;
    assert_eq!(answer, Err(HttpsError::Timeout(bounds.timeout)));
}

#[tokio::test]
async fn addresses_are_tried_in_turn() {
    let host = Host::says("HTTP/1.1 204 No Content\r\n\r\n", Then::Close).await;
    let client = HttpsClient::new(&[host.root()]).unwrap();
    let url = HttpsUrl::new("id.a.test", "/").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let request = HttpsRequest::default();
    assert_eq!(client.exchange(&url, &[], &request, BOUNDS).await, Err(HttpsError::NoAddress));
    let refused = client.exchange(&url, &[closed], &request, BOUNDS).await;
    assert!(matches!(refused, Err(HttpsError::Connect(at, _)) if at == closed), "{refused:?}");
    let answer = client.exchange(&url, &[closed, host.address], &request, BOUNDS).await.unwrap();
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn only_the_host_itself_is_believed() {
    let host = Host::says("HTTP/1.1 200 OK\r\n\r\n", Then::Close).await;
    let url = HttpsUrl::new("id.b.test", "/").unwrap();
    let client = HttpsClient::new(&[host.root()]).unwrap();
    let answer = client.exchange(&url, &[host.address], &HttpsRequest::default(), BOUNDS).await;
    assert!(matches!(answer, Err(HttpsError::Tls(_))), "{answer:?}");
    let (host, stranger) = (Host::says("", Then::Close).await, Host::says("", Then::Close).await);
    let client = HttpsClient::new(&[stranger.root()]).unwrap();
    let url = HttpsUrl::new("id.a.test", "/").unwrap();
    let answer = client.exchange(&url, &[host.address], &HttpsRequest::default(), BOUNDS).await;
    assert!(matches!(answer, Err(HttpsError::Tls(_))), "{answer:?}");
    assert!(HttpsClient::new(&[PathBuf::from("/nowhere.pem")]).is_err());
}

#[tokio::test]
async fn what_the_server_is_told() {
    let host = Host::says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Close).await;
    let client = HttpsClient::new(&[host.root()]).unwrap();
    let url = HttpsUrl::parse("https://id.a.test:8443/introspect").unwrap();
    let payload =
        Payload { content_type: "application/x-www-form-urlencoded".into(), octets: b"token=x".to_vec() };
    let fields = vec![("Authorization".to_owned(), "Basic eDp5".to_owned())];
    let request = HttpsRequest { fields, payload: Some(payload) };
    client.exchange(&url, &[host.address], &request, BOUNDS).await.unwrap();
    let heard = host.serving.await.unwrap().to_ascii_lowercase();
    assert!(
        heard.starts_with("post /introspect http/1.1\r\n") && heard.ends_with("\r\n\r\ntoken=x"),
        "{heard}"
    );
    for field in [
        "host: id.a.test:8443",
        "connection: close",
        "content-type: application/x-www-form-urlencoded",
        "content-length: 7",
        "authorization: basic edp5",
    ] {
        assert!(heard.contains(&format!("\r\n{field}\r\n")), "{heard}");
    }
    for (name, value) in [("X\r\nY", "z"), ("X", "y\r\nZ: z"), ("", "x")] {
        let fields = vec![(name.to_owned(), value.to_owned())];
        let request = HttpsRequest { fields, payload: None };
        let answer = client.exchange(&url, &[], &request, BOUNDS).await;
        assert_eq!(answer, Err(HttpsError::Field(name.to_owned())));
    }
}
