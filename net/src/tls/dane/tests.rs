//! Each usage, selector and matching type against chains of throw-away certificates, in real handshakes.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::io::duplex;

use super::{
    super::{
        CertificateFiles, CertificateProblem, ClientTls, Names, Roots, ServerTls, TlsError, TlsInfo,
        Verification,
    },
    *,
};

const HOST: &str = "mx.b.test";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, by: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    match by {
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
        Some(by) => CertifiedIssuer::signed_by(params, key, by).unwrap(),
    }
}

/// A chain as a server sends it, with its key.
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

#[derive(Clone, Copy, PartialEq)]
enum Dates {
    Now,
    Past,
}

/// A certificate for a host, by an intermediate authority, by a root.
struct Pki {
    root: Issuer,
    intermediate: Issuer,
}

impl Pki {
    fn new() -> Self {
        let root = authority("root", None);
        let intermediate = authority("intermediate", Some(&root));
        Self { root, intermediate }
    }

    fn chain(&self, host: &str, dates: Dates) -> Chain {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        if dates == Dates::Past {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.intermediate).unwrap();
        let certificates =
            vec![certificate.der().clone(), self.intermediate.der().clone(), self.root.der().clone()];
        Chain { certificates, key }
    }
}

fn self_signed(host: &str) -> Chain {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap();
    Chain { certificates: vec![certificate.der().clone()], key }
}

impl Chain {
    fn server(&self) -> ServerTls {
        let folder = TempDir::new().unwrap();
        let files = CertificateFiles {
            names: Vec::new(),
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        fs::write(&files.certificate, self.certificates.iter().map(pem).collect::<String>()).unwrap();
        fs::write(&files.key, self.key.serialize_pem()).unwrap();
        ServerTls::load(&[files]).unwrap()
    }

    fn without_last(mut self, count: usize) -> Self {
        self.certificates.truncate(self.certificates.len() - count);
        self
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(certificate.as_ref()))
}

/// In lines of 64, as PEM has them.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (number, group) in octets.chunks(3).enumerate() {
        let bits =
            group.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        let digits = (0..4).map(|place| DIGITS[(bits >> (18 - 6 * place)) as usize & 63] as char);
        text.extend(digits.take(group.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - group.len()));
        if number % 16 == 15 {
            text.push('\n');
        }
    }
    text
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> TlsaRecord {
    let selected = match selector {
        0 => certificate.as_ref().to_vec(),
        _ => ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info().to_vec(),
    };
    let data = match matching {
        0 => selected,
        1 => digest(&SHA256, &selected).as_ref().to_vec(),
        _ => digest(&SHA512, &selected).as_ref().to_vec(),
    };
    TlsaRecord { usage, selector, matching, data }
}

/// What a client finds in a handshake with the server of a chain.
async fn handshake(chain: &Chain, verification: &Verification) -> Result<TlsInfo, TlsError> {
    handshake_of(chain, &ClientTls::new(HOST, verification).unwrap()).await
}

async fn handshake_of(chain: &Chain, client: &ClientTls) -> Result<TlsInfo, TlsError> {
    let (ours, theirs) = duplex(1000);
    let server = chain.server();
    let accepting = tokio::spawn(async move { server.accept(Box::new(theirs)).await });
    let connected = client.connect(Box::new(ours)).await;
    let accepted = accepting.await.unwrap();
    assert!(accepted.is_ok() || connected.is_err());
    connected.map(|(_, info)| info)
}

fn names() -> Vec<String> {
    vec![HOST.to_owned()]
}

async fn dane(chain: &Chain, records: &[TlsaRecord]) -> Result<(), CertificateProblem> {
    let dane = Dane::new(records, names()).expect("usable records");
    match handshake(chain, &Verification::Dane(dane)).await {
        Ok(info) => {
            assert!(info.verified && info.observed.is_none());
            assert_eq!(info.server_name.as_deref(), Some(HOST));
            Ok(())
        }
        Err(TlsError::Peer(problem, _)) => Err(problem),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_usage_selector_and_matching_type_is_matched() {
    let pki = Pki::new();
    let (chain, other) = (pki.chain(HOST, Dates::Now), self_signed(HOST));
    for selector in 0..=1 {
        for matching in 0..=2 {
            let of = |usage, certificate: &CertificateDer<'_>| record(usage, selector, matching, certificate);
            let what = format!("selector {selector}, matching type {matching}");
            let ee = &chain.certificates[0];
            assert_eq!(dane(&chain, &[of(3, ee)]).await, Ok(()), "EE, {what}");
            assert_eq!(
                dane(&chain, &[of(3, &other.certificates[0])]).await,
                Err(CertificateProblem::Tlsa),
                "{what}"
            );
            // an authority's certificate is not the server's
            assert_eq!(dane(&chain, &[of(3, pki.root.der())]).await, Err(CertificateProblem::Tlsa), "{what}");
            for anchor in [pki.root.der(), pki.intermediate.der()] {
                assert_eq!(dane(&chain, &[of(2, anchor)]).await, Ok(()), "TA, {what}");
            }
            let wrong = dane(&chain, &[of(2, authority("root", None).der())]).await;
            // one that stands in the record itself is an anchor, which has signed nothing here
            let expected =
                if matching == 0 { CertificateProblem::Untrusted } else { CertificateProblem::Tlsa };
            assert_eq!(wrong, Err(expected), "TA, {what}");
        }
    }
}

#[tokio::test]
async fn names_and_dates_count_for_an_anchor_only() {
    let pki = Pki::new();
    let spki = |usage, certificate: &CertificateDer<'_>| record(usage, 1, 1, certificate);
    for (host, dates, problem) in [
        (HOST, Dates::Now, Ok(())),
        ("*.b.test", Dates::Now, Ok(())),
        ("mx.elsewhere.test", Dates::Now, Err(CertificateProblem::Name)),
        ("*.test", Dates::Now, Err(CertificateProblem::Name)),
        (HOST, Dates::Past, Err(CertificateProblem::Expired)),
    ] {
        let chain = pki.chain(host, dates);
        assert_eq!(dane(&chain, &[spki(2, pki.root.der())]).await, problem, "{host}");
        assert_eq!(dane(&chain, &[spki(3, &chain.certificates[0])]).await, Ok(()), "{host}");
    }
    let other = pki.chain("b.test", Dates::Now);
    let names = vec![HOST.to_owned(), "b.test".to_owned()];
    let dane = Dane::new(&[spki(2, pki.root.der())], names).unwrap();
    assert!(handshake(&other, &Verification::Dane(dane)).await.is_ok(), "any of the names will do");
}

#[tokio::test]
async fn an_anchor_may_stand_in_the_record_instead_of_the_chain() {
    let pki = Pki::new();
    let root = pki.root.der();
    for (missing, selector, matching, expected) in [
        (1, 0, 0, Ok(())),
        (1, 1, 0, Ok(())),
        (1, 0, 1, Err(CertificateProblem::Tlsa)),
        (1, 1, 2, Err(CertificateProblem::Tlsa)),
        // nothing leads to it any more
        (2, 0, 0, Err(CertificateProblem::Untrusted)),
        (2, 1, 0, Err(CertificateProblem::Untrusted)),
    ] {
        let chain = pki.chain(HOST, Dates::Now).without_last(missing);
        let found = dane(&chain, &[record(2, selector, matching, root)]).await;
        assert_eq!(found, expected, "{missing} {selector} {matching}");
    }
}

#[tokio::test]
async fn keys_roll_over() {
    let (now, next) = (self_signed(HOST), self_signed(HOST));
    let both = [record(3, 1, 1, &now.certificates[0]), record(3, 1, 1, &next.certificates[0])];
    for chain in [&now, &next] {
        assert_eq!(dane(chain, &both).await, Ok(()));
    }
    let pki = Pki::new();
    let chain = pki.chain(HOST, Dates::Now);
    let mixed = [record(3, 1, 1, &now.certificates[0]), record(2, 0, 1, pki.root.der())];
    assert_eq!(dane(&chain, &mixed).await, Ok(()), "the one or the other");
}

#[tokio::test]
async fn the_strongest_digest_counts() {
    let (ours, other) = (self_signed(HOST), self_signed(HOST));
    let (ours_der, other_der) = (&ours.certificates[0], &other.certificates[0]);
    let tlsa = Err(CertificateProblem::Tlsa);
    for (records, expected) in [
        (vec![record(3, 1, 1, ours_der), record(3, 1, 2, other_der)], tlsa),
        (vec![record(3, 1, 2, ours_der), record(3, 1, 1, other_der)], Ok(())),
        // of another selector or usage it is another set; what is no digest counts always
        (vec![record(3, 1, 1, ours_der), record(3, 0, 2, other_der)], Ok(())),
        (vec![record(3, 1, 1, ours_der), record(2, 1, 2, other_der)], Ok(())),
        (vec![record(3, 1, 0, ours_der), record(3, 1, 2, other_der)], Ok(())),
    ] {
        assert_eq!(dane(&ours, &records).await, expected, "{records:?}");
    }
}

#[test]
fn what_no_client_of_smtp_can_use_is_left_out() {
    let chain = self_signed(HOST);
    let certificate = &chain.certificates[0];
    let good = record(3, 1, 1, certificate);
    let with = |change: fn(&mut TlsaRecord)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let unusable = [
        with(|record| record.usage = 0),
        with(|record| record.usage = 1),
        with(|record| record.usage = 4),
        with(|record| record.usage = 255),
        with(|record| record.selector = 2),
        with(|record| record.matching = 3),
        with(|record| record.data.truncate(31)),
        with(|record| record.data.push(0)),
        with(|record| record.data.clear()),
        with(|record| record.matching = 2),
        // 32 octets are neither a certificate nor a key
        with(|record| record.matching = 0),
        with(|record| (record.selector, record.matching) = (0, 0)),
    ];
    for record in &unusable {
        assert!(!record.is_usable(), "{record}");
    }
    assert_eq!(Dane::new(&unusable, names()), None);
    let all: Vec<_> = unusable.iter().chain([&good]).cloned().collect();
    assert_eq!(Dane::new(&all, names()).unwrap().records(), std::slice::from_ref(&good));
    assert!(good.to_string().starts_with("3 1 1 ") && good.to_string().len() == 6 + 64, "{good}");
    for octets in [
        &[][..],
        &[0x30],
        &[0x30, 1],
        &[0x30, 0x84, 255, 255, 255, 255],
        &[0x30, 0x85, 0, 0, 0, 0, 0],
        &[0x30, 0x80, 0, 0],
        &[0x31, 0],
    ] {
        assert_eq!(contents(octets), None, "{octets:?}");
    }
    assert_eq!(contents(&[0x30, 0x81, 1, 7]), Some(&[7][..]));
}

#[tokio::test]
async fn a_certificate_for_a_name_that_is_not_sure_proves_nothing() {
    let chain = self_signed(HOST);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("root.pem");
    fs::write(&file, pem(&chain.certificates[0])).unwrap();
    let roots = Roots::load(&[file]).unwrap();
    let other = Roots::load(&[]).ok();
    let named = Verification::Named(roots.clone(), names());
    let observed = Verification::Observed(roots, names());
    let mut cases = vec![
        (named.clone(), Names::Authentic, true),
        (named, Names::Doubtful, false),
        (observed.clone(), Names::Authentic, true),
        (observed, Names::Doubtful, false),
        (Verification::None, Names::Authentic, false),
    ];
    cases.extend(other.map(|roots| (Verification::Observed(roots, names()), Names::Authentic, false)));
    for (verification, sure, verified) in cases {
        let client = ClientTls::new(HOST, &verification).unwrap().naming(sure);
        assert_eq!(
            handshake_of(&chain, &client).await.unwrap().verified,
            verified,
            "{verification:?} {sure:?}"
        );
    }
}

#[tokio::test]
async fn roots_and_names_are_asked_for_or_only_looked_at() {
    let pki = Pki::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("root.pem");
    fs::write(&file, pki.root.pem()).unwrap();
    let roots = Roots::load(&[file]).unwrap();
    assert!(Roots::load(&[folder.path().join("none.pem")]).is_err());
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (chain, names, expected) in [
        (pki.chain(HOST, Dates::Now), named(&["x.test", HOST]), Ok(())),
        (pki.chain(HOST, Dates::Now).without_last(1), named(&[HOST]), Ok(())),
        (pki.chain(HOST, Dates::Now), named(&["x.test"]), Err(CertificateProblem::Name)),
        (pki.chain(HOST, Dates::Now), Vec::new(), Err(CertificateProblem::Name)),
        (pki.chain(HOST, Dates::Past), named(&[HOST]), Err(CertificateProblem::Expired)),
        (pki.chain(HOST, Dates::Now).without_last(2), named(&[HOST]), Err(CertificateProblem::Untrusted)),
        (self_signed(HOST), named(&[HOST]), Err(CertificateProblem::Untrusted)),
    ] {
        let observed =
            handshake(&chain, &Verification::Observed(roots.clone(), names.clone())).await.unwrap();
        assert_eq!((observed.observed, observed.verified), (Some(expected), false), "{names:?}");
        match handshake(&chain, &Verification::Named(roots.clone(), names.clone())).await {
            Ok(info) => assert!(info.verified && expected.is_ok(), "{names:?}"),
            Err(TlsError::Peer(problem, _)) => assert_eq!(Err(problem), expected, "{names:?}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}
