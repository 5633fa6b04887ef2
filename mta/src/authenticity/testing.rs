//! A zone of texts and a signer, for tests.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::Engine;
use mail_auth::{
    common::{
        crypto::{Ed25519Key, SigningKey},
        headers::HeaderWriter,
    },
    dkim::{Canonicalization, DkimSigner},
};

use waypost_mail::{Domain, ReversePath};
use waypost_message::{HeaderBlock, HeaderCollector};

use super::dkim::{
    body::Bodies,
    canonical::Canonicalization as Form,
    signature::{Kind, Signature, add_unsigned},
};
use super::{Check, Sender, Verdict};
use crate::dns::{Answering, Answers, DnsError, Resolver};

/// Records by name; a name with `TIMEOUT` as its text is not answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    texts: HashMap<String, Vec<Vec<u8>>>,
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
    exchanges: HashMap<String, Vec<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Zone {
    pub(crate) fn text(mut self, owner: &str, text: &str) -> Self {
        self.texts.entry(owner.to_owned()).or_default().push(text.as_bytes().to_vec());
        self
    }

    pub(crate) fn address(mut self, owner: &str, address: &str) -> Self {
        self.addresses.entry(owner.to_owned()).or_default().push(address.parse().unwrap());
        self
    }

    pub(crate) fn name(mut self, address: &str, name: &str) -> Self {
        self.names.entry(address.parse().unwrap()).or_default().push(name.to_owned());
        self
    }

    pub(crate) fn exchange(mut self, owner: &str, host: &str) -> Self {
        self.exchanges.entry(owner.to_owned()).or_default().push((10, host.to_owned()));
        self
    }

    /// How many look-ups there were, of this and all its copies.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn resolver(self) -> Resolver {
        Resolver::answered_by(self)
    }

    fn is_known(&self, owner: &str) -> bool {
        let below = |name: &String| name == owner || name.ends_with(&format!(".{owner}"));
        self.texts.keys().any(below) || self.addresses.keys().any(below)
    }

    fn none(&self, owner: &str) -> DnsError {
        if self.is_known(owner) {
            DnsError::NoRecords(owner.into())
        } else {
            DnsError::NoSuchDomain(owner.into())
        }
    }
}

impl Answers for Zone {
    fn mx<'a>(&'a self, owner: &'a str) -> Answering<'a, (u16, String)> {
        self.count();
        Box::pin(async move { self.exchanges.get(owner).cloned().ok_or_else(|| self.none(owner)) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answering<'a, IpAddr> {
        self.count();
        Box::pin(async move { self.addresses.get(host).cloned().ok_or_else(|| self.none(host)) })
    }

    fn texts<'a>(&'a self, owner: &'a str) -> Answering<'a, Vec<u8>> {
        self.count();
        Box::pin(async move {
            let texts = self.texts.get(owner).cloned().ok_or_else(|| self.none(owner))?;
            if texts == [b"TIMEOUT"] {
                return Err(DnsError::Temporary(owner.into(), "no answer".into()));
            }
            Ok(texts)
        })
    }

    fn names(&self, address: IpAddr) -> Answering<'_, String> {
        self.count();
        let none = move || DnsError::NoSuchDomain(address.to_string());
        Box::pin(async move { self.names.get(&address).cloned().ok_or_else(none) })
    }
}

/// Signs for a domain with a key of its own, by code that is not ours.
pub(crate) struct Signing {
    key: Vec<u8>,
    domain: String,
}

impl Signing {
    pub(crate) fn new(domain: &str) -> Self {
        Self { key: Ed25519Key::generate_pkcs8().unwrap(), domain: domain.to_owned() }
    }

    pub(crate) fn key(&self) -> Ed25519Key {
        Ed25519Key::from_pkcs8_der(&self.key).unwrap()
    }

    /// The record of its key, which is to stand at `s._domainkey.DOMAIN`.
    pub(crate) fn record(&self) -> String {
        let public = base64(&self.key().public_key());
        format!("v=DKIM1; k=ed25519; p={public}")
    }

    /// A zone with that record.
    pub(crate) fn zone(&self) -> Zone {
        Zone::default().text(&format!("s._domainkey.{}", self.domain), &self.record())
    }

    /// The message with a signature before it.
    pub(crate) fn sign(&self, message: &str) -> String {
        self.sign_as(message, Canonicalization::Relaxed, false, "")
    }

    /// As [`sign`](Self::sign), in one form of both, with or without the length of the body, for an identity.
    pub(crate) fn sign_as(
        &self,
        message: &str,
        form: Canonicalization,
        length: bool,
        identity: &str,
    ) -> String {
        let signer = DkimSigner::from_key(self.key())
            .domain(&self.domain)
            .selector("s")
            .headers(["From", "To", "Subject"]);
        let signer = signer.header_canonicalization(form).body_canonicalization(form).body_length(length);
        let signature = signer.agent_user_identifier(identity).sign(message.as_bytes()).unwrap();
        assert_eq!(self.key().algorithm().name(), "ed25519-sha256");
        signature.to_header() + message
    }

    /// The message with one more set of ARC, which says what was found.
    pub(crate) fn seal(&self, message: &str, instance: usize, found: &str) -> String {
        let cv = if instance == 1 { "none" } else { "pass" };
        let results = format!("ARC-Authentication-Results: i={instance}; {}; {found}\r\n", self.domain);
        let (header, used) = HeaderCollector::default().feed(message.as_bytes()).unwrap().unwrap();
        let mut bodies = Bodies::default();
        let body = bodies.add(Form::Relaxed, None);
        bodies.feed(&message.as_bytes()[used..]);
        let hash = base64(bodies.finish().digest(body));
        let tags = format!("i={instance}; a=ed25519-sha256; d={}; s=s; t=1", self.domain);
        let unsigned =
            format!("ARC-Message-Signature: {tags}; c=relaxed/relaxed; h=from:to:subject; bh={hash}; b=");
        let signature = self.signed(&unsigned, |own| {
            let read = Signature::parse(unsigned_value(&unsigned).as_bytes(), Kind::Arc).unwrap();
            read.signed_octets(&header, &own.fields().next().unwrap())
        });
        let chain = self.chain(&header, instance, &results, &signature);
        let seal = self.signed(&format!("ARC-Seal: {tags}; cv={cv}; b="), |own| {
            let mut octets = chain.clone();
            add_unsigned(Form::Relaxed, &own.fields().next().unwrap(), &mut octets);
            octets
        });
        [seal, signature, results, message.to_owned()].concat()
    }

    /// The sets that are there, the oldest first, and what is new of this one.
    fn chain(&self, header: &HeaderBlock, instance: usize, results: &str, signature: &str) -> Vec<u8> {
        let mut chain = Vec::new();
        for at in 1..instance {
            for name in ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"] {
                let is_of =
                    |raw: &[u8]| String::from_utf8_lossy(raw).trim_start().starts_with(&format!("i={at};"));
                let field = header.fields().find(|field| field.is(name) && is_of(field.raw)).unwrap();
                Form::Relaxed.field(&field, &mut chain);
            }
        }
        for text in [results, signature] {
            Form::Relaxed.field(&HeaderBlock::new(text.into()).fields().next().unwrap(), &mut chain);
        }
        chain
    }

    /// A field that ends with `b=`, with the signature of what it signs.
    fn signed(&self, unsigned: &str, octets: impl Fn(&HeaderBlock) -> Vec<u8>) -> String {
        let own = HeaderBlock::new(unsigned.into());
        let signature = self.key().sign(octets(&own).as_slice()).unwrap();
        format!("{unsigned}{}\r\n", base64(&signature))
    }
}

/// The value of a field, as if it were signed.
fn unsigned_value(field: &str) -> String {
    format!("{}eA==", field.split_once(':').unwrap().1)
}

fn base64(octets: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(octets)
}

/// What the checks find out about a message from `mx.a.test` (192.0.2.1) with this reverse path; empty: the null one.
pub(crate) async fn verdict(zone: Zone, sender: &str, message: &str) -> Verdict {
    let (header, used) = HeaderCollector::default().feed(message.as_bytes()).unwrap().unwrap();
    let mut check = Check::begin(&header, 0);
    check.feed(&message.as_bytes()[used..]);
    let reverse_path = match sender {
        "" => ReversePath::Null,
        sender => ReversePath::Address(sender.parse().unwrap()),
    };
    let (peer, receiver) = ("192.0.2.1".parse().unwrap(), Domain::new("mx.b.test").unwrap());
    let sender = Sender { peer, helo: "mx.a.test", reverse_path: &reverse_path, receiver: &receiver, now: 0 };
    check.finish(&zone.resolver(), sender).await
}
