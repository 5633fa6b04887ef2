//! Logins by bearer tokens.

use std::path::Path;

use tempfile::TempDir;
use waypost_config::{Service, TlsMode};
use waypost_tests::{Client, SiteBuilder, site::PASSWORD};

use super::{Scene, message, unix};

pub(super) async fn token(folder: &Path, more: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/bearer.py");
    let client = Client::new("python3", folder).args([script.as_path(), folder]).args(more);
    client.run().await.trim().to_owned()
}

/// An issuer of tokens for a server.
pub(crate) struct Tokens(TempDir);

impl Tokens {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        token(folder.path(), &[]).await;
        Self(folder)
    }

    /// Of the server's configuration.
    pub(crate) fn section(&self) -> String {
        let keys = self.0.path().join("jwks.json");
        format!("[oauth]\nissuer = \"https://id.a.test\"\naudience = \"mail\"\nkeys = \"{}\"", keys.display())
    }

    /// A token that is good for so long.
    pub(crate) async fn issue(&self, address: &str, seconds: &str) -> String {
        token(self.0.path(), &[address, seconds]).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_msmtp_log_in_by_tokens() {
    let tokens = Tokens::new().await;
    let site = SiteBuilder::new("a.test").with(&tokens.section()).start().await;
    let scene = Scene { site, home: tempfile::tempdir().unwrap() };
    let (valid, old) =
        (tokens.issue("alice@a.test", "300").await, tokens.issue("alice@a.test", "-300").await);
    let of_bob = tokens.issue("bob@a.test", "300").await;
    for (scheme, service) in
        [("imaps", Service::Imap), ("pop3s", Service::Pop3), ("smtps", Service::Submission)]
    {
        let url = format!("{scheme}://localhost:{}/", scene.port(service, TlsMode::Implicit));
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            for (token, initial, passes) in [
                (&valid, true, true),
                (&valid, false, true),
                (&old, true, false),
                (&old, false, false),
                // Bob's token is not for acting as alice.
                (&of_bob, true, false),
                (&PASSWORD.replace(' ', ""), true, false),
            ] {
                let (ca, options) = (scene.authority(), format!("AUTH={mechanism}"));
                let curl = ["--silent", "--show-error", "--cacert", &ca, "--login-options", &options];
                let login = ["--user", "alice@a.test", "--oauth2-bearer", token.as_str(), &url];
                let initial: &[&str] = if initial { &["--sasl-ir"] } else { &[] };
                let command: &[&str] = if scheme == "smtps" { &["--request", "NOOP"] } else { &[] };
                let curl = scene.client("curl").args(curl).args(initial).args(command).args(login);
                let output = curl.output().await;
                assert_eq!(output.code == 0, passes, "{scheme} {mechanism} {token}: {}", output.text);
            }
        }
    }
    let token = scene.file("token", &valid).display().to_string();
    for (number, mechanism) in ["oauthbearer", "xoauth2"].into_iter().enumerate() {
        let port = scene.port(Service::Submission, TlsMode::StartTls);
        let rc = format!(
            "account default\nhost localhost\nport {port}\nfrom alice@a.test\nauth {mechanism}\nuser alice@a.test\n\
             passwordeval cat {token}\ntls on\ntls_starttls on\ntls_trust_file {}\n",
            scene.authority()
        );
        let rc = scene.file("msmtprc", rc).display().to_string();
        scene.client("msmtp").args(["-C", &rc, "bob@a.test"]).input(&unix(&message())).run().await;
        scene.arrive("bob", &message(), number + 1).await;
    }
    scene.site.finish().await;
}
