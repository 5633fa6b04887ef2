//! Logins by a client's certificate: EXTERNAL.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use waypost_config::{Service, TlsMode};
use waypost_tests::{SiteBuilder, site::PASSWORD};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_logs_in_by_its_certificate() {
    let home = tempfile::tempdir().unwrap();
    authority(home.path(), "ours", &["alice@a.test", "bob@a.test", "nobody@a.test"]);
    authority(home.path(), "theirs", &["alice@a.test"]);
    let mut listeners = String::new();
    for service in ["imap", "pop3", "submission"] {
        for tls in ["implicit", "starttls"] {
            listeners.push_str(&format!(
                "[[listener]]\nservice = \"{service}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n\
                 client_certificates = \"{}\"\n",
                home.path().join("ours.pem").display()
            ));
        }
    }
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
