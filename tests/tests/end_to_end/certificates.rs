//! Certificates of a running server: by name, renewed, and soon to expire.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpStream,
    time::{advance, pause, resume, sleep},
};
use waypost_config::{Service, TlsMode};
use waypost_net::{ClientTls, Verification};
use waypost_server::demo::world::Authority;
use waypost_tests::{Process, Site, SiteBuilder, program};

/// Whether the server shows a name a certificate of an authority.
async fn shows(site: &Site, name: &str, authority: &Path) -> bool {
    let stream = TcpStream::connect(site.address(Service::Imap, TlsMode::Implicit)).await.unwrap();
    let tls = ClientTls::new(name, &Verification::Pkix(vec![authority.to_owned()])).unwrap();
    tls.connect(Box::new(stream)).await.is_ok()
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_taken_when_they_change() {
    let other = tempfile::tempdir().unwrap();
    let other_ca = other.path().join("ca.pem");
    Authority::new(other.path()).unwrap().issue("mail.b.test", other.path()).unwrap();
    let named = format!(
        "[[tls.certificate_for]]\nnames = [\"mail.b.test\"]\ncertificate = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"",
        other.path().display()
    );
    let site = SiteBuilder::new("a.test").with(&named).start().await;
    let own_ca = site.authority();
    assert!(shows(&site, "mail.b.test", &other_ca).await && shows(&site, "mx.a.test", &own_ca).await);
    assert!(!shows(&site, "mx.a.test", &other_ca).await && !shows(&site, "mail.b.test", &own_ca).await);
    // A certificate without its key is not taken; with its key it is.
    let new = tempfile::tempdir().unwrap();
    let new_ca = new.path().join("ca.pem");
    Authority::new(new.path()).unwrap().issue("mx.a.test", new.path()).unwrap();
    for (file, is_new) in [("cert.pem", false), ("key.pem", true)] {
        fs::copy(new.path().join(file), site.folder.path().join(file)).unwrap();
        pause();
        advance(Duration::from_secs(61)).await;
        resume();
        let mut taken = false;
        for _ in 0..if is_new { 100 } else { 10 } {
            taken = shows(&site, "mx.a.test", &new_ca).await;
            if taken {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(taken, is_new, "{file}");
    }
    assert!(shows(&site, "mail.b.test", &other_ca).await);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_soon_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").with("[[trust]]\nnetworks = [\"198.0.0.0/8\"]").write(home);
    let mut params = rcgen::CertificateParams::new(["mx.a.test".to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(5 * 86_400 - 3_600);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(home.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
    let server = Process::serve(&program(), &config).await;
    server.logs("a certificate expires soon: renew it").await;
    server.logs("days=5").await;
    server.logs("[[trust]] holds a very wide network").await;
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
}
