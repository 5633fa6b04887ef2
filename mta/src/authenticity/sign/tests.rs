use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
        UnparsedPublicKey,
    },
};
use waypost_storage::DkimAlgorithm;

use super::*;
use crate::authenticity::{
    dkim::{DkimCheck, DkimResult, key::Keys},
    keys::generate,
    testing::Zone,
};

fn decoded(text: &str) -> Vec<u8> {
    let bare: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(bare).unwrap()
}

/// RFC 8463 appendix A.3, in the order of its fields.
const EXAMPLE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n";
const EXAMPLE_BODY: &str = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n\r\n";
const EXAMPLE_BODY_HASH: &str = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=";
const EXAMPLE_NAMES: [&str; 9] =
    ["from", "to", "subject", "date", "message-id", "from", "subject", "date", "none"];

/// What a field signs that stands before a header.
fn data(names: &[&str], header: &str, own: &str) -> Vec<u8> {
    let mut data = Vec::new();
    add_fields(FORM, names.iter().copied(), &HeaderBlock::new(header.into()), &mut data);
    add_unsigned(FORM, &HeaderBlock::new(own.into()).fields().next().unwrap(), &mut data);
    data
}

fn example_data(field: &str) -> Vec<u8> {
    data(&EXAMPLE_NAMES, EXAMPLE, field)
}

#[test]
fn the_example_of_rfc_8463_comes_out() {
    let mut bodies = Bodies::default();
    let body = bodies.add(FORM, None);
    bodies.feed(EXAMPLE_BODY.as_bytes());
    assert_eq!(STANDARD.encode(bodies.finish().digest(body)), EXAMPLE_BODY_HASH);

    let ed25519 = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
        i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : \
        from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let seed = decoded("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
    // the prefix of RFC 8410 section 7: PKCS#8 without the public key
    let pkcs8 = [decoded("MC4CAQAwBQYDK2VwBCIEIA=="), seed].concat();
    let domain = Domain::new("football.example.com").unwrap();
    let key = SigningKey::new(domain, "brisbane".to_owned(), &pkcs8).unwrap();
    assert_eq!(key.record(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let signature = key.sign(&example_data(ed25519)).unwrap();
    let expected = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    assert_eq!(STANDARD.encode(signature), expected);

    // Its RSA key is too small to sign with (RFC 8301 section 3.2); what it signed is what we would sign.
    let rsa = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
        i=@football.example.com;\r\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : \
        subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let public = decoded(
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC
         DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
    );
    let signature = decoded(
        "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
         dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
    );
    let public = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, public);
    public.verify(&example_data(rsa), &signature).unwrap();
}

pub(crate) fn keys() -> Vec<Arc<SigningKey>> {
    let domain = Domain::new("example.org").unwrap();
    let key = |algorithm: DkimAlgorithm| {
        let kept = generate(domain.clone(), algorithm.name().to_owned(), algorithm, Timestamp(0)).unwrap();
        Arc::new(SigningKey::new(domain.clone(), kept.selector, kept.secret.pkcs8()).unwrap())
    };
    [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519].map(key).to_vec()
}

fn signed(keys: &[Arc<SigningKey>], header: &str, body: &str, piece: usize) -> (String, String) {
    let mut block = HeaderBlock::new(header.into());
    let mut signing = Signing::begin(keys, &mut block, Timestamp(1_000)).unwrap();
    body.as_bytes().chunks(piece).for_each(|octets| signing.feed(octets));
    let mut octets = block.into_octets();
    let before = octets.len();
    signing.finish(&mut octets).unwrap();
    assert_eq!(octets.len(), before, "what stands behind the fields stays where it is");
    let text = String::from_utf8(octets).unwrap();
    (text.strip_suffix(header).unwrap().to_owned(), header.to_owned())
}

fn tag(field: &str, name: &str) -> String {
    let value = field.split_once(':').unwrap().1;
    let found = value.split(';').find_map(|tag| {
        let (tag, value) = tag.trim().split_once('=')?;
        (tag == name).then(|| value.split_ascii_whitespace().collect())
    });
    found.unwrap()
}

/// Verifies one field the long way round: by what it says itself.
fn verify(key: &SigningKey, field: &str, header: &str, canonical_body: &str) -> bool {
    if decoded(&tag(field, "bh")) != digest(&SHA256, canonical_body.as_bytes()).as_ref() {
        return false;
    }
    let names = tag(field, "h");
    let names: Vec<&str> = names.split(':').collect();
    let data = data(&names, header, field);
    let (signature, public) = (decoded(&tag(field, "b")), decoded(&key.public()));
    match key.algorithm() {
        DkimAlgorithm::Rsa => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(&data, &signature).is_ok()
        }
        DkimAlgorithm::Ed25519 => {
            let data = digest(&SHA256, &data);
            UnparsedPublicKey::new(&ED25519, public).verify(data.as_ref(), &signature).is_ok()
        }
    }
}

#[test]
fn both_signatures_hold_and_what_is_changed_breaks_them() {
    let keys = keys();
    let header = "From: a@example.org\r\nSubject: one\r\n\ttwo\r\nX-Own: x\r\n\r\n";
    for (body, canonical) in [("", ""), ("a \r\n\r\n", "a\r\n"), ("a", "a\r\n")] {
        for piece in [1, 4096] {
            let (fields, header) = signed(&keys, header, body, piece);
            let block = HeaderBlock::new(fields.clone().into());
            let fields: Vec<_> =
                block.fields().map(|field| String::from_utf8(field.octets.to_vec()).unwrap()).collect();
            assert_eq!(fields.len(), 2);
            for (key, field) in keys.iter().zip(&fields) {
                assert!(verify(key, field, &header, canonical), "{field}");
                assert!(verify(key, field, &header.replace("X-Own: x", "X-Own: y"), canonical));
                assert!(verify(key, field, &header.replace("one\r\n\ttwo", "one  two"), canonical));
                assert!(!verify(key, field, &header, "b\r\n"));
                assert!(!verify(key, field, &header.replace("one", "1"), canonical));
                for added in ["From: b@example.org\r\n", "Reply-To: x@b.test\r\n", "Subject: other\r\n"] {
                    assert!(!verify(key, field, &format!("{added}{header}"), canonical), "{added}");
                }
            }
            assert!(!verify(&keys[0], &fields[0], &header.replace("@example", "@exampl"), canonical));
        }
    }
}

#[test]
fn a_field_is_folded_and_names_what_it_signs() {
    let header = "From: a@example.org\r\nTo: x\r\nTo: y\r\nList-Id: <l>\r\nDate: d\r\n\r\n";
    let (fields, _) = signed(&keys(), header, "", 1);
    assert!(fields.lines().all(|line| line.len() <= 78), "{fields}");
    let block = HeaderBlock::new(fields.into());
    let field = String::from_utf8(block.fields().last().unwrap().octets.to_vec()).unwrap();
    for (name, expected) in [
        ("v", "1"),
        ("a", "ed25519-sha256"),
        ("c", "relaxed/relaxed"),
        ("d", "example.org"),
        ("s", "ed25519"),
        ("t", "1"),
        (
            "h",
            "From:From:To:To:To:Cc:Subject:Date:Date:Message-ID:Reply-To:In-Reply-To:References:MIME-Version:\
             Content-Type:Content-Transfer-Encoding:List-Id:List-Id",
        ),
    ] {
        assert_eq!(tag(&field, name), expected, "{name}");
    }
}

#[test]
fn what_has_no_keys_or_too_many_fields_is_not_signed() {
    let mut block = HeaderBlock::new("From: a@example.org\r\n\r\n".into());
    assert!(Signing::begin(&[], &mut block, Timestamp(0)).is_none());
    let keys = &keys()[1..];
    let many = |count: usize| HeaderBlock::new(format!("{}\r\n", "To: x\r\n".repeat(count)).into());
    let most = NAMES_MAX - OVERSIGNED.len();
    assert!(Signing::begin(keys, &mut many(most), Timestamp(0)).is_some());
    let mut more = many(most + 1);
    assert!(Signing::begin(keys, &mut more, Timestamp(0)).is_none());
    assert_eq!(more, many(most + 1), "it is as it was");
}

#[test]
fn the_first_author_says_for_which_domain() {
    for (header, domain) in [
        ("From: A <a@One.test>, b@two.test\r\n\r\n", Some("one.test")),
        ("From: =?utf-8?q?x?= <a@b\u{fc}cher.test>\r\n\r\n", Some("xn--bcher-kva.test")),
        ("Sender: a@one.test\r\n\r\n", None),
        ("From: nobody\r\n\r\n", None),
    ] {
        let found = author_domain(&HeaderBlock::new(header.into()));
        assert_eq!(found.as_ref().map(Domain::as_str), domain, "{header}");
    }
}

/// What our own check says about a message that we signed, by these keys.
async fn checked(keys: &[Arc<SigningKey>], header: &str, body: &str) -> Vec<DkimResult> {
    let (fields, header) = signed(keys, header, body, 7);
    let (mut zone, mut bodies) = (Zone::default(), Bodies::default());
    for key in keys {
        zone = zone.text(&key.record_name(), &key.record());
    }
    let check = DkimCheck::begin(&HeaderBlock::new(format!("{fields}{header}").into()), &mut bodies, 0);
    bodies.feed(body.as_bytes());
    let keys = Keys::fetch(&zone.resolver(), check.key_names()).await;
    check.finish(&bodies.finish(), &keys).into_iter().map(|outcome| outcome.result).collect()
}

#[tokio::test]
async fn a_bare_cr_or_lf_is_signed_as_it_is_verified() {
    let keys = keys();
    for text in ["a\rb", "a \r b", "a\r\r\n b", "a\n b", "a \n\tb", "\n a", "a\r"] {
        let header = format!("From: a@example.org\r\nSubject: {text}\r\nTo: {text}\r\n\r\n");
        assert_eq!(checked(&keys, &header, text).await, [DkimResult::Pass; 2], "{text:?}");
    }
}
