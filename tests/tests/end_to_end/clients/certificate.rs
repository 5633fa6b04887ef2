//! Logins by a client's certificate: EXTERNAL.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use waypost_config::{Service, TlsMode};
use waypost_tests::{Client, Process, SiteBuilder, program, site::PASSWORD};

use super::Scene;

/// Makes an authority of clients, `NAME.pem`, and certificates by it, each with its key in `NAME-ADDRESS.pem`.
fn authority(folder: &Path, name: &str, addresses: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for address in addresses {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![SanType::Rfc822Name((*address).try_into().unwrap())];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let both = format!("{}{}", certificate.pem(), key.serialize_pem());
        std::fs::write(folder.join(format!("{name}-{address}.pem")), both).unwrap();
    }
}

/// Listeners that ask for certificates of an authority.
fn listeners(authority: &Path) -> String {
    let mut listeners = String::new();
    for service in ["imap", "pop3", "submission"] {
        for tls in ["implicit", "starttls"] {
            listeners.push_str(&format!(
                "[[listener]]\nservice = \"{service}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n\
                 client_certificates = \"{}\"\n",
                authority.display()
            ));
        }
    }
    listeners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_logs_in_by_its_certificate() {
    let home = tempfile::tempdir().unwrap();
    authority(home.path(), "ours", &["alice@a.test", "bob@a.test", "nobody@a.test"]);
    authority(home.path(), "theirs", &["alice@a.test"]);
    let listeners = listeners(&home.path().join("ours.pem"));
    let scene = Scene { site: SiteBuilder::new("a.test").with(&listeners).start().await, home };
    let curl = async |service, scheme: &str, tls, more: &[&str]| {
        let url = format!("{scheme}://localhost:{}/", scene.port(service, tls));
        let required: &[&str] = if tls == TlsMode::StartTls { &["--ssl-reqd"] } else { &[] };
        let command: &[&str] = if scheme.starts_with("smtp") { &["--request", "NOOP"] } else { &[] };
        let ca = scene.authority();
        let client = scene.client("curl").args(["--silent", "--show-error", "--cacert", &ca]);
        client.args(required).args(command).args(more).args([&url]).output().await
    };
    for (service, scheme) in [(Service::Imap, "imap"), (Service::Pop3, "pop3"), (Service::Submission, "smtp")]
    {
        for tls in [TlsMode::Implicit, TlsMode::StartTls] {
            let secure = format!("{scheme}{}", if tls == TlsMode::Implicit { "s" } else { "" });
            for (certificate, user, passes) in [
                (Some("ours-alice@a.test"), "alice@a.test:", true),
                // curl says whom it wants to be; that is nobody else's affair.
                (Some("ours-bob@a.test"), "alice@a.test:", false),
                (Some("ours-nobody@a.test"), "nobody@a.test:", false),
                (Some("theirs-alice@a.test"), "alice@a.test:", false),
                (None, "alice@a.test:", false),
            ] {
                let file = certificate.map(|name| scene.home.path().join(format!("{name}.pem")));
                let file = file.map(|file| file.display().to_string());
                let mut more = vec!["--login-options", "AUTH=EXTERNAL", "--user", user];
                file.iter().for_each(|file| more.extend(["--cert", file]));
                let output = curl(service, &secure, tls, &more).await;
                assert_eq!(output.code == 0, passes, "{secure} {certificate:?} {user}: {}", output.text);
            }
            // A certificate that is not good keeps nobody out who has a password.
            let file = scene.home.path().join("theirs-alice@a.test.pem").display().to_string();
            let (login, options) = (format!("alice@a.test:{PASSWORD}"), "AUTH=PLAIN");
            let more = ["--login-options", options, "--user", &login, "--cert", &file];
            let output = curl(service, &secure, tls, &more).await;
            assert_eq!(output.code, 0, "{secure}: {}", output.text);
        }
    }
    scene.site.finish().await;
}

/// Certificates of an account of the store, named without and with a running server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_an_account_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    authority(home, "ours", &["carol@a.test", "device@elsewhere.test", "other@elsewhere.test"]);
    let config = SiteBuilder::new("a.test").with(&listeners(&home.join("ours.pem"))).write(home);
    let file = config.display().to_string();
    let account = |args: &[&str]| {
        Client::new(program().to_str().unwrap(), home).args(["account"]).args(args).args(["-c", &file])
    };
    let certificate = |args: &[&str]| account(&[&["certificate"], args].concat());
    account(&["add", "carol@a.test"]).input(b"carol's\n").run().await;
    let pem = |name: &str| home.join(format!("ours-{name}.pem")).display().to_string();
    certificate(&["add", "carol@a.test", "device", &pem("device@elsewhere.test")]).run().await;

    let server = Process::serve(&program(), &config).await;
    let log_in = async |name: &str| {
        let url = format!("imaps://localhost:{}/", server.service("imaps")[0].port());
        let options = ["--login-options", "AUTH=EXTERNAL", "--user", "carol@a.test:", "--cert", &pem(name)];
        let curl = Client::new("curl", home).args(["--silent", "--show-error", "--cacert", "ca.pem"]);
        curl.args(options).args([&url]).output().await.code == 0
    };
    assert!(log_in("device@elsewhere.test").await);
    assert!(!log_in("other@elsewhere.test").await);
    assert!(!log_in("carol@a.test").await, "an account with certificates has no others");
    let printed = Client::new("openssl", home)
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &pem("other@elsewhere.test")])
        .run()
        .await;
    let fingerprint = printed.trim().split_once('=').unwrap().1.to_owned();
    certificate(&["add", "carol@a.test", "other", &fingerprint]).run().await;
    assert!(log_in("other@elsewhere.test").await);
    for (args, problem) in [
        (["carol@a.test", "other", &pem("carol@a.test")], "has a certificate of that name already"),
        (["carol@a.test", "again", &fingerprint], "has a certificate of that name already, or this one by"),
        (["carol@a.test", "", &fingerprint], "a name has 1 to 64 characters"),
        (["carol@a.test", "file", "waypost.toml"], "holds no certificate"),
        (["nobody@a.test", "x", &fingerprint], "there is no account nobody@a.test"),
        (["alice@a.test", "x", &fingerprint], "declared in the configuration file: change it there"),
    ] {
        let refused = certificate(&[&["add"], &args[..]].concat()).output().await;
        assert!(refused.code == 1 && refused.text.contains(problem), "{}", refused.text);
    }
    let listed = certificate(&["list", "carol@a.test", "--json"]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["device", "other"]);
    assert_eq!(listed[1]["sha256"], fingerprint.replace(':', "").to_lowercase());
    certificate(&["remove", "carol@a.test", "device"]).run().await;
    assert!(!log_in("device@elsewhere.test").await && log_in("other@elsewhere.test").await);
    let again = certificate(&["remove", "carol@a.test", "device"]).output().await;
    assert!(again.code == 1 && again.text.contains("no certificate of that name"), "{}", again.text);
    let last = certificate(&["remove", "carol@a.test", "other"]).run().await;
    assert!(last.contains("those log in that have carol@a.test in them"), "{last}");
    assert!(!log_in("other@elsewhere.test").await && log_in("carol@a.test").await);
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
}
