//! An issuer of tokens that is asked over HTTPS: where its keys are, and what it says of tokens.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use waypost_config::{Service, TlsMode};
use waypost_net::{CertificateFiles, ServerTls};
use waypost_server::demo::world::Authority;
use waypost_tests::SiteBuilder;

use super::{Scene, tokens::token};

/// A host with a certificate for `localhost`, what it says next, and what it heard.
struct Issuer {
    address: SocketAddr,
    says: Arc<Mutex<String>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    async fn start(home: &TempDir) -> Self {
        Authority::new(home.path()).unwrap().issue("id.a.test", home.path()).unwrap();
        let at = |name: &str| home.path().join(name);
        let files = CertificateFiles { names: Vec::new(), certificate: at("cert.pem"), key: at("key.pem") };
        let tls = ServerTls::load(&[files]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (says, heard) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (words, ears) = (Arc::clone(&says), Arc::clone(&heard));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok((mut stream, _)) = tls.accept(Box::new(stream)).await else { continue };
                let mut request = vec![0; 8000];
                let count = stream.read(&mut request).await.unwrap();
                ears.lock().unwrap().push(String::from_utf8_lossy(&request[..count]).into_owned());
                let answer = words.lock().unwrap().clone();
                // A client that has had enough hangs up.
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        Self { address, says, heard }
    }

    fn says(&self, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
        *self.says.lock().unwrap() = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.address.port())
    }
}

/// Whether curl logs in with a token, as alice.
async fn logs_in(scene: &Scene, scheme: &str, service: Service, token: &str) -> bool {
    let url = format!("{scheme}://localhost:{}/", scene.port(service, TlsMode::Implicit));
    let command: &[&str] = if scheme == "smtps" { &["--request", "NOOP"] } else { &[] };
    let ca = scene.authority();
    let options = ["--silent", "--show-error", "--cacert", &ca, "--login-options", "AUTH=OAUTHBEARER"];
    let login = ["--user", "alice@a.test", "--oauth2-bearer", token, &url];
    scene.client("curl").args(options).args(command).args(login).output().await.code == 0
}

const EVERYWHERE: [(&str, Service); 3] =
    [("imaps", Service::Imap), ("pop3s", Service::Pop3), ("smtps", Service::Submission)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_found_at_a_url() {
    let home = tempfile::tempdir().unwrap();
    token(home.path(), &[]).await;
    let issuer = Issuer::start(&home).await;
    issuer.says("200 OK", &std::fs::read_to_string(home.path().join("jwks.json")).unwrap());
    let (roots, url) = (home.path().join("ca.pem"), issuer.url("/keys"));
    let oauth = format!(
        "[oauth]\nissuer = \"https://id.a.test\"\naudience = \"mail\"\nkeys_url = \"{url}\"\nroots = [\"{}\"]",
        roots.display()
    );
    let scene = Scene { site: SiteBuilder::new("a.test").with(&oauth).start().await, home };
    let valid = token(scene.home.path(), &["alice@a.test", "300"]).await;
    let (old, early) = (
        token(scene.home.path(), &["alice@a.test", "-300"]).await,
        token(scene.home.path(), &["alice@a.test", "600", "300"]).await,
    );
    for (scheme, service) in EVERYWHERE {
        assert!(logs_in(&scene, scheme, service, &valid).await, "{scheme}");
        assert!(!logs_in(&scene, scheme, service, &old).await, "{scheme}: its time is over");
        assert!(!logs_in(&scene, scheme, service, &early).await, "{scheme}: its time has not come");
    }
    assert_eq!(issuer.heard.lock().unwrap().len(), 1, "fetched once, at start");
    assert!(issuer.heard.lock().unwrap()[0].starts_with("GET /keys HTTP/1.1\r\n"));
    issuer.says("503 Service Unavailable", "");
    assert!(logs_in(&scene, "imaps", Service::Imap, &valid).await);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_is_asked_about_tokens() {
    let home = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&home).await;
    std::fs::write(home.path().join("secret"), "s3cret\n").unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let oauth = format!(
        "[oauth]\nissuer = \"https://id.a.test\"\naudience = \"mail\"\nintrospection_url = \"{}\"\n\
         client_id = \"waypost\"\nclient_secret_file = \"{}\"\nroots = [\"{}\"]",
        issuer.url("/introspect"),
        at("secret"),
        at("ca.pem"),
    );
    let scene = Scene { site: SiteBuilder::new("a.test").with(&oauth).start().await, home };
    let alice = r#"{"active":true,"username":"alice@a.test","aud":"mail"}"#;
    let imap = async |token: &str| logs_in(&scene, "imaps", Service::Imap, token).await;
    for (status, answer) in [
        ("200 OK", r#"{"active":false}"#),
        ("200 OK", r#"{"active":true,"username":"alice@a.test","aud":"game"}"#),
        ("200 OK", r#"{"active":true,"username":"bob@a.test","aud":"mail"}"#),
        ("200 OK", r#"{"active":true,"username":"alice@a.test","aud":"mail","exp":1}"#),
        ("200 OK", "<html>"),
        ("200 OK", &format!("{alice}{}", " ".repeat(300 * 1024))),
        ("401 Unauthorized", alice),
        ("302 Found", alice),
    ] {
        issuer.says(status, answer);
        // Each has another token: bob's would be remembered.
        let token = format!("t{}{}", answer.len(), status.len());
        assert!(!imap(&token).await, "{status} {}", answer.get(..60).unwrap_or(answer));
    }
    issuer.heard.lock().unwrap().clear();
    issuer.says("200 OK", alice);
    for (scheme, service) in EVERYWHERE {
        assert!(logs_in(&scene, scheme, service, "op-aque+").await, "{scheme}");
    }
    {
        let heard = issuer.heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "what was said is believed for a while");
        assert!(heard[0].starts_with("POST /introspect HTTP/1.1\r\n"), "{heard:?}");
        // waypost:s3cret
        assert!(heard[0].to_lowercase().contains("authorization: basic d2f5cg9zddpzm2nyzxq="), "{heard:?}");
        assert!(heard[0].ends_with("\r\n\r\ntoken=op-aque%2B&token_type_hint=access_token"), "{heard:?}");
    }
    scene.site.finish().await;
}
