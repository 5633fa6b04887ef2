//! What is logged of a login that failed. A process of its own: which lines are logged is remembered for all threads.
#![allow(clippy::unwrap_used, reason = "test")]

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;
use waypost_auth::{
    Authenticator, Directory, Origin,
    sasl::{Claim, Credentials},
};
use waypost_mail::LoginService;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The line that the filter in docs/operations.md matches.
#[tokio::test]
async fn a_failed_login_is_one_line() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let text = "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[[domain]]\nname = \"a.test\"\n\
                [[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n";
    let config = waypost_config::parse(Path::new("/nowhere/x.toml"), text).unwrap();
    let (directory, authenticator) = (Directory::new(&config, &[]).unwrap(), Authenticator::new(0));
    let claim = |login: &str| {
        let (authorization, password) = (String::new(), "secret!".to_owned());
        Claim::Password(Credentials { authorization, login: login.to_owned(), password })
    };
    let odd = claim("x\" address=192.0.2.9\r\nlogin failed");
    let origin = Origin { peer: "::ffff:192.0.2.1".parse().unwrap(), service: LoginService::Submission };
    assert!(authenticator.login(&directory, &odd, origin).await.is_err());
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let (_, line) = text.trim_end().split_once(" INFO waypost_auth::login: login failed ").unwrap();
    assert_eq!(
        line,
        "address=192.0.2.1 service=submission reason=\"wrong user name or password\" \
         account=\"x\\\" address=192.0.2.9\\r\\nlogin failed\""
    );
    // As much of a name as an address can have.
    for (login, shown) in [
        ("x".repeat(320), "x".repeat(320)),
        ("x".repeat(321), format!("{}…", "x".repeat(320))),
        ("é".repeat(4_000), format!("{}…", "é".repeat(160))),
        (format!("x{}", "é".repeat(4_000)), format!("x{}…", "é".repeat(159))),
    ] {
        log.0.lock().unwrap().clear();
        assert!(authenticator.login(&directory, &claim(&login), origin).await.is_err());
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with(&format!(" account=\"{shown}\"\n")), "{text}");
    }
}
