use std::net::Ipv6Addr;

use waypost_mail::{ApopSecret, TotpSecret};

use super::*;
use crate::{
    apop,
    directory::tests::{certified, directory, protected, with_bob, with_issuer},
    hash_password,
    password::HASHES_AT_ONCE,
    sasl::{Certificate, Fault, ScramHash, ServerFirst},
    token::TokenFault,
};

const PEER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6));
const NEIGHBOUR: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 9, 9, 9, 9));

fn credentials(authorization: &str, login: &str, password: &str) -> Claim {
    let own = str::to_owned;
    let (authorization, login, password) = (own(authorization), own(login), own(password));
    Claim::Password(Credentials { authorization, login, password })
}

fn proof(authorization: &str, login: &str, verdict: Result<(), Fault>) -> Claim {
    Claim::Scram(Proof { authorization: authorization.into(), login: login.into(), verdict })
}

fn from(peer: IpAddr) -> Origin {
    Origin { peer, service: LoginService::Imap }
}

#[tokio::test]
async fn a_user_may_act_as_herself_however_she_is_written() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    for (claim, expected) in [
        (credentials("alice", "alice", "open sesame"), Ok("Alice@a.test")),
        (credentials("ALICE@a.test", "alice", "open sesame"), Ok("Alice@a.test")),
        (credentials("bob@a.test", "alice", "open sesame"), Err(LoginError::AnotherUser)),
        (credentials("nobody", "alice", "open sesame"), Err(LoginError::AnotherUser)),
        (credentials("bob@a.test", "alice", "wrong"), Err(LoginError::Invalid)),
        (proof("", "alice", Ok(())), Ok("Alice@a.test")),
        (proof("alice@a.test", "alice", Ok(())), Ok("Alice@a.test")),
        (proof("bob@a.test", "alice", Ok(())), Err(LoginError::AnotherUser)),
        (proof("", "alice", Err(Fault::Proof)), Err(LoginError::Invalid)),
        (proof("", "alice", Err(Fault::Binding)), Err(LoginError::Invalid)),
        (proof("", "nobody", Ok(())), Err(LoginError::Invalid)),
    ] {
        let identity = authenticator.login(&directory, &claim, from(PEER)).await;
        let address = identity.map(|identity| identity.address.to_string());
        assert_eq!(address.as_deref().map_err(|error| *error), expected, "{claim:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_checked_soon_is_told_so() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    let permits = &authenticator.shared.passwords.permits;
    let _taken = permits.acquire_many(HASHES_AT_ONCE as u32).await.unwrap();
    let claim = credentials("", "bob@a.test", "bob's");
    assert_eq!(authenticator.login(&directory, &claim, from(PEER)).await, Err(LoginError::Busy));
}

#[tokio::test]
async fn logins_are_checked() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    for (login, password, address) in [
        ("alice@a.test", "open sesame", Some("Alice@a.test")),
        ("ALICE@A.test", "open sesame", Some("Alice@a.test")),
        ("alice", "open sesame", Some("Alice@a.test")),
        ("bob@a.test", "bob's", Some("bob@a.test")),
        ("bob@a.test", "bob's", Some("bob@a.test")),
        ("bob@a.test", "Bob's", None),
        ("bob@a.test", "", None),
        ("alice@a.test", "open sesam", None),
        ("nobody@a.test", "x", None),
        ("gone@a.test", "x", None),
        ("x@no-longer.test", "bob's", None),
        ("", "", None),
    ] {
        let identity = authenticator.login(&directory, &credentials("", login, password), from(PEER)).await;
        let found = identity.ok().map(|identity| identity.address.to_string());
        assert_eq!(found.as_deref(), address, "{login} {password}");
    }
    // Bob's right password, once; what was wrong, each time, but for the one without domain, which also has no hash.
    assert_eq!(authenticator.shared.passwords.computed(), 8);
}

#[tokio::test]
async fn an_app_password_is_for_its_services() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    let login = async |login, service| {
        let claim = credentials("", login, "bobs-telephone");
        authenticator.login(&directory, &claim, Origin { peer: PEER, service }).await
    };
    assert!(login("bob@a.test", LoginService::Imap).await.is_ok());
    assert!(login("bob@a.test", LoginService::Submission).await.is_ok());
    assert_eq!(login("bob@a.test", LoginService::Pop3).await, Err(LoginError::Invalid));
    assert_eq!(login("alice@a.test", LoginService::Imap).await, Err(LoginError::Invalid));
}

#[tokio::test]
async fn a_protected_password_needs_a_code() {
    let secret = TotpSecret(b"12345678901234567890".to_vec());
    let (directory, authenticator) = (protected(secret), Authenticator::new(0));
    let check = async |login: &str, password: &str, now| {
        let (authorization, login) = (String::new(), login.to_owned());
        let shown = Credentials { authorization, login, password: password.to_owned() };
        authenticator.check(&directory, &shown, from(PEER), now).await.unwrap()
    };
    // RFC 6238 appendix B: all later than the test's start.
    let (one, two) = (20_000_000_000, 20_000_000_030);
    assert_eq!(check("bob", "bob's353130", one).await, Password::Right);
    assert_eq!(check("bob", "bob's353130", one).await, Password::Wrong, "a code is good once");
    assert_eq!(check("bob", "bob's353130", two).await, Password::Wrong);
    assert_eq!(check("bob", "bob's000000", one).await, Password::Wrong);
    assert_eq!(check("bob", "Bob's353130", one).await, Password::Wrong);
    assert_eq!(check("bob", "353130", one).await, Password::Wrong);
    assert_eq!(check("bob", "bob's", one).await, Password::WithoutCode);
    assert_eq!(check("bob", "Bob's", one).await, Password::Wrong);
    assert_eq!(check("bob", "bobs-telephone", one).await, Password::Right, "an app password needs none");
    assert_eq!(check("alice", "open sesame", one).await, Password::Right);
    assert_eq!(check("alice", "open sesame353130", one).await, Password::Wrong);
    let alone = credentials("", "bob", "bob's");
    let refused = authenticator.login(&directory, &alone, from(PEER)).await;
    assert_eq!(refused, Err(LoginError::CodeMissing));
    // SCRAM cannot carry a code: it goes on, as for somebody who does not exist, with what no password fits.
    let lookup = Lookup::Verifier { login: "bob".into(), hash: ScramHash::Sha256 };
    let Ok(Found::Verifier(verifier)) = authenticator.look_up(&directory, &lookup, from(PEER)).await else {
        panic!("SCRAM goes on")
    };
    let record = crate::directory::tests::record(2, "bob@a.test", waypost_mail::AccountSource::Store);
    assert!(record.scram_verifiers.iter().all(|stored| *stored != verifier.to_string()));
    // A wrong code is a failed login like any other.
    let limited = Authenticator::new(1);
    let wrong = credentials("", "bob", "bob's");
    assert_eq!(limited.login(&directory, &wrong, from(PEER)).await, Err(LoginError::CodeMissing));
    assert_eq!(limited.login(&directory, &wrong, from(PEER)).await, Err(LoginError::Throttled));
}

#[tokio::test]
async fn a_certificate_is_somebodys() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    for (authorization, emails, sha256, expected) in [
        ("", &["bob@a.test"][..], 1, Ok("bob@a.test")),
        ("", &["BOB@A.test", "x@elsewhere.test", "no address"], 1, Ok("bob@a.test")),
        ("bob", &["bob@a.test"], 1, Ok("bob@a.test")),
        ("alice@a.test", &["bob@a.test"], 1, Err(LoginError::AnotherUser)),
        ("nobody@a.test", &["bob@a.test"], 1, Err(LoginError::AnotherUser)),
        ("", &[], 1, Err(LoginError::Invalid)),
        ("bob@a.test", &[], 1, Err(LoginError::Invalid)),
        ("", &["team@a.test", "gone@a.test"], 1, Err(LoginError::Invalid)),
        // Alice's account names its certificates: her address in another one is not enough.
        ("", &["alice@a.test"], 1, Err(LoginError::Invalid)),
        ("", &[], 7, Ok("Alice@a.test")),
        // Two accounts.
        ("", &["bob@a.test"], 7, Err(LoginError::Invalid)),
        ("alice", &["bob@a.test"], 7, Ok("Alice@a.test")),
        ("bob", &["bob@a.test"], 7, Ok("bob@a.test")),
        ("x@elsewhere.test", &["bob@a.test"], 7, Err(LoginError::Invalid)),
    ] {
        let emails = emails.iter().map(|email| (*email).to_owned()).collect();
        let certificate = Certificate { emails, sha256: [sha256; 32] };
        let claim = Claim::Certificate(Shown { authorization: authorization.into(), certificate });
        let identity = authenticator.login(&directory, &claim, from(PEER)).await;
        let address = identity.map(|identity| identity.address.to_string());
        assert_eq!(address.as_deref().map_err(|error| *error), expected, "{claim:?}");
    }
}

#[tokio::test]
async fn an_account_of_the_store_names_its_certificates() {
    let (directory, authenticator) = (certified(&[8, 9]), Authenticator::new(0));
    for (emails, sha256, expected) in [
        (&["bob@a.test"][..], 1, Err(LoginError::Invalid)),
        (&[], 8, Ok("bob@a.test")),
        (&["bob@a.test"], 9, Ok("bob@a.test")),
        (&["x@elsewhere.test"], 9, Ok("bob@a.test")),
    ] {
        let emails = emails.iter().map(|email| (*email).to_owned()).collect();
        let certificate = Certificate { emails, sha256: [sha256; 32] };
        let claim = Claim::Certificate(Shown { authorization: String::new(), certificate });
        let identity = authenticator.login(&directory, &claim, from(PEER)).await;
        let address = identity.map(|identity| identity.address.to_string());
        assert_eq!(address.as_deref().map_err(|error| *error), expected, "{claim:?}");
    }
}

#[tokio::test]
async fn apop_logs_in_to_an_account_that_has_a_secret() {
    let secret = ApopSecret("0a1b2c-3d4e5f".into());
    let directory = with_bob(|bob| {
        bob.apop = Some(secret.clone());
        // Its password alone would not do.
        bob.totp = Some(TotpSecret(vec![7; 20]));
    });
    let authenticator = Authenticator::new(2);
    let timestamp = "<1@mx.a.test>";
    let login = async |login: &str, secret: &str| {
        let (timestamp, digest) = (timestamp.to_owned(), apop::digest(timestamp, secret));
        let claim = Claim::Apop(Apop { login: login.into(), timestamp, digest });
        authenticator.login(&directory, &claim, from(PEER)).await.map(|identity| identity.address.to_string())
    };
    assert_eq!(login("bob", &secret.0).await.as_deref(), Ok("bob@a.test"));
    assert_eq!(login("BOB@a.test", &secret.0).await.as_deref(), Ok("bob@a.test"));
    // alice has a password that is known in clear, and no secret.
    assert_eq!(login("alice", "open sesame").await, Err(LoginError::Invalid));
    assert_eq!(login("nobody", "").await, Err(LoginError::Invalid));
    assert_eq!(login("bob", &secret.0).await, Err(LoginError::Throttled), "it counts as all failures do");
}

#[tokio::test]
async fn a_password_is_right_as_it_was_typed_and_as_it_is_prepared() {
    let hashed = |password: &str| {
        let hash = hash_password(password).unwrap();
        with_bob(|bob| bob.password_hash = Some(hash))
    };
    let authenticator = Authenticator::new(0);
    for (kept, typed, is_right) in [
        ("\u{e4}x", "\u{e4}x", true),
        ("\u{e4}x", "a\u{308}x", true),
        ("a\u{308}x", "a\u{308}x", true),
        ("x\u{b2}", "x\u{b2}", true),
        ("x2", "x\u{b2}", true),
        ("\u{e4}x", "ax", false),
    ] {
        let claim = credentials("", "bob", typed);
        let identity = authenticator.login(&hashed(kept), &claim, from(PEER)).await;
        assert_eq!(identity.is_ok(), is_right, "{kept:?} {typed:?}");
    }
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits() {
    let (directory, authenticator) = (directory(), Authenticator::new(2));
    let login = async |peer, password| {
        authenticator.login(&directory, &credentials("", "alice@a.test", password), from(peer)).await
    };
    assert_eq!(login(PEER, "x").await, Err(LoginError::Invalid));
    assert!(login(PEER, "open sesame").await.is_ok());
    let wrong = proof("", "alice@a.test", Err(Fault::Proof));
    let failed = authenticator.login(&directory, &wrong, from(NEIGHBOUR)).await;
    assert_eq!(failed, Err(LoginError::Invalid));
    assert_eq!(login(PEER, "open sesame").await, Err(LoginError::Throttled));
    let (login_name, hash) = ("alice@a.test".to_owned(), ScramHash::Sha256);
    let elsewhere = "192.0.2.1".parse().unwrap();
    for lookup in [
        Lookup::ServerFirst { login: login_name.clone(), hash },
        Lookup::Verifier { login: login_name.clone(), hash },
    ] {
        let found = async |peer| authenticator.look_up(&directory, &lookup, from(peer)).await;
        assert_eq!(found(PEER).await, Err(LoginError::Throttled));
        assert!(found(elsewhere).await.is_ok());
    }
    assert!(login(elsewhere, "open sesame").await.is_ok());
}

/// What a client is told before it shows a proof.
async fn first(
    authenticator: &Authenticator,
    directory: &Directory,
    login: &str,
    hash: ScramHash,
) -> ServerFirst {
    let lookup = Lookup::ServerFirst { login: login.into(), hash };
    match authenticator.look_up(directory, &lookup, from(PEER)).await {
        Ok(Found::ServerFirst(first)) => first,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn users_who_do_not_exist_look_as_if_they_did() {
    let directory = directory();
    let verifier = async |authenticator: &Authenticator, login: &str, hash| {
        let lookup = Lookup::Verifier { login: login.into(), hash };
        match authenticator.look_up(&directory, &lookup, from(PEER)).await {
            Ok(Found::Verifier(verifier)) => verifier,
            other => panic!("{other:?}"),
        }
    };
    let first = async |authenticator: &Authenticator, login: &str, hash| {
        first(authenticator, &directory, login, hash).await
    };
    let (one, two) = (
        Authenticator::with_salt_key(0, &[1; 32], None, None),
        Authenticator::with_salt_key(0, &[1; 32], None, None),
    );
    let other = Authenticator::with_salt_key(0, &[2; 32], None, None);
    for hash in ScramHash::ALL {
        // alice's are made of her password, bob's are stored, nobody and gone have none.
        for login in ["alice@a.test", "bob@a.test", "nobody@a.test", "gone@a.test"] {
            let told = first(&one, login, hash).await;
            assert_eq!((told.salt.len(), told.iterations.get()), (16, 10_000), "{login}");
            let made = verifier(&one, login, hash).await;
            assert_eq!((&made.salt, made.iterations), (&told.salt, told.iterations), "{login}");
            let (upper, local) = (login.to_uppercase(), login.split('@').next().unwrap());
            for (authenticator, name) in [(&one, login), (&one, &*upper), (&one, local), (&two, login)] {
                let again = first(authenticator, name, hash).await;
                assert_eq!(again.salt, told.salt, "{login}");
                assert_ne!(again.nonce, told.nonce, "{login}");
                assert_eq!(verifier(authenticator, name, hash).await, made, "{login}");
            }
            let is_stored = login.starts_with("bob");
            assert_eq!(first(&other, login, hash).await.salt == told.salt, is_stored, "{login}");
        }
    }
    let nobody = first(&one, "nobody", ScramHash::Sha256).await;
    assert_ne!(nobody.salt, first(&one, "someone", ScramHash::Sha256).await.salt);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_proof_costs_no_derivation_whoever_it_says_it_is() {
    let (directory, authenticator) = (directory(), Authenticator::new(0));
    let permits = &authenticator.shared.passwords.permits;
    let hash = ScramHash::Sha256;
    for login in ["alice", "bob", "nobody"] {
        let lookup = Lookup::Verifier { login: login.into(), hash };
        let find = async || authenticator.look_up(&directory, &lookup, from(PEER)).await;
        let taken = permits.acquire_many(HASHES_AT_ONCE as u32).await.unwrap();
        first(&authenticator, &directory, login, hash).await;
        assert_eq!(find().await, Err(LoginError::Busy), "{login}: the first proof costs one");
        drop(taken);
        let found = find().await;
        assert!(found.is_ok(), "{login}");
        let _taken = permits.acquire_many(HASHES_AT_ONCE as u32).await.unwrap();
        assert_eq!(find().await, found, "{login}: the next ones cost none");
    }
}

/// Tokens of an issuer who knows none.
fn without_tokens(failures_per_minute: u32) -> (Arc<Directory>, Authenticator) {
    let asked = waypost_config::Introspection {
        url: "https://id.a.test/x".into(),
        client_id: "me".into(),
        client_secret: "s3cret".into(),
    };
    let directory = with_issuer(waypost_config::OauthConfig {
        issuer: "https://id.a.test".into(),
        audience: "mail".into(),
        claim: "email".into(),
        source: waypost_config::TokenSource::Introspection(asked),
        roots: Vec::new(),
    });
    let ask: Ask = Arc::new(|_, _| Box::pin(async { Ok(br#"{"active":false}"#.to_vec()) }));
    (directory, Authenticator::with_salt_key(failures_per_minute, &[1; 32], Some(ask), None))
}

fn token(authorization: &str) -> Lookup {
    Lookup::Token { authorization: authorization.into(), token: "x".into() }
}

#[tokio::test]
async fn a_token_that_is_not_valid_counts_once_whether_or_not_the_client_goes_on() {
    let (directory, authenticator) = without_tokens(2);
    let bad = Ok(Found::Token(Err(TokenFault::Inactive)));
    let look_up = async || authenticator.look_up(&directory, &token(""), from(PEER)).await;
    assert_eq!(look_up().await, bad);
    let (authorization, login) = (String::new(), String::new());
    let claim = Claim::Token(Bearer { authorization, login, verdict: Err(TokenFault::Inactive) });
    assert_eq!(authenticator.login(&directory, &claim, from(PEER)).await, Err(LoginError::Invalid));
    assert_eq!(look_up().await, bad, "one failure so far");
    assert_eq!(look_up().await, Err(LoginError::Throttled));
}

#[tokio::test]
async fn a_token_that_names_nobody_counts_for_its_address_alone() {
    let (directory, authenticator) = without_tokens(2);
    for last in 0..10 {
        for authorization in ["", "alice@a.test"] {
            let peer = IpAddr::from([192, 0, 2, last]);
            authenticator.look_up(&directory, &token(authorization), from(peer)).await.unwrap();
        }
    }
    let elsewhere = IpAddr::from([192, 0, 2, 100]);
    let look_up =
        async |authorization| authenticator.look_up(&directory, &token(authorization), from(elsewhere)).await;
    assert!(look_up("").await.is_ok());
    assert_eq!(look_up("alice@a.test").await, Err(LoginError::Throttled));
}
