//! Certificates matched against TLSA records (RFC 6698, RFC 7671), as SMTP does it (RFC 7672 section 3).
//!
//! Only usages DANE-EE and DANE-TA count: the PKIX ones ask for a certification authority that an MTA has no reason to trust
//! (RFC 7672 section 3.1.3). A certificate that webpki does not read (X.509 before version 3) fails, as its handshake does.

use std::fmt;

use ::aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::{
    CertificateError, OtherError, RootCertStore, client::verify_server_cert_signed_by_trust_anchor,
    crypto::WebPkiSupportedAlgorithms, server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use webpki::EndEntityCert;

use super::verify::is_named;

/// Most certificates of a chain that are looked at.
const CHAIN_MAX: usize = 16;

/// A TLSA record (RFC 6698 section 2.1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TlsaRecord {
    /// Certificate usage: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// What is matched: 0 the certificate, 1 its public key (SubjectPublicKeyInfo).
    pub selector: u8,
    /// How: 0 as it is, 1 by SHA-256, 2 by SHA-512.
    pub matching: u8,
    /// What it must be.
    pub data: Vec<u8>,
}

impl fmt::Display for TlsaRecord {
    /// As in a zone file: `3 1 1 0a1b…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl TlsaRecord {
    /// Whether a client of SMTP can use it (RFC 7672 section 3.1, RFC 7671 section 10.1.1): usage, selector and matching type are
    /// known, and the data can be what they say.
    pub fn is_usable(&self) -> bool {
        let is_whole = match (self.matching, self.selector) {
            (0, 0) => ParsedCertificate::try_from(&CertificateDer::from(self.data.as_slice())).is_ok(),
            (0, _) => contents(&self.data).is_some(),
            (1, _) => self.data.len() == 32,
            (2, _) => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, 2 | 3) && self.selector <= 1 && is_whole
    }

    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let parsed;
        let selected = match self.selector {
            0 => certificate.as_ref(),
            _ => match ParsedCertificate::try_from(certificate) {
                Ok(certificate) => {
                    parsed = certificate.subject_public_key_info();
                    parsed.as_ref()
                }
                Err(_) => return false,
            },
        };
        match self.matching {
            0 => selected == self.data,
            1 => digest(&SHA256, selected).as_ref() == self.data,
            2 => digest(&SHA512, selected).as_ref() == self.data,
            _ => false,
        }
    }
}

/// Usable TLSA records of a server, and the names that its certificate may have where one is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dane {
    records: Vec<TlsaRecord>,
    names: Vec<String>,
}

impl Dane {
    /// `None`: none of the records is usable. Of several digests of the same usage and selector only the strongest count
    /// (RFC 7671 section 9).
    pub fn new(records: &[TlsaRecord], names: Vec<String>) -> Option<Self> {
        let usable: Vec<_> = records.iter().filter(|record| record.is_usable()).collect();
        let strongest = |of: &TlsaRecord| {
            let same =
                usable.iter().filter(|record| (record.usage, record.selector) == (of.usage, of.selector));
            same.map(|record| record.matching).max()
        };
        let counts = |record: &TlsaRecord| record.matching == 0 || Some(record.matching) == strongest(record);
        let records: Vec<_> =
            usable.iter().filter(|record| counts(record)).map(|record| (*record).clone()).collect();
        (!records.is_empty()).then_some(Self { records, names })
    }

    /// The records that count.
    pub fn records(&self) -> &[TlsaRecord] {
        &self.records
    }

    /// The names that a certificate under a DANE-TA record may have.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a chain is the server's: by DANE-EE neither names nor dates count (RFC 7672 section 3.1.1), by DANE-TA both do
    /// (section 3.1.2).
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        if self.of_usage(3).any(|record| record.matches(certificate)) {
            return Ok(());
        }
        let chain = chain.get(..CHAIN_MAX).unwrap_or(chain);
        let anchors = self.anchors(certificate, chain);
        if anchors.is_empty() {
            return Err(CertificateError::Other(OtherError(std::sync::Arc::new(Unmatched))).into());
        }
        let certificate = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &anchors, chain, now, algorithms.all)?;
        is_named(&certificate, &self.names)
    }

    fn of_usage(&self, usage: u8) -> impl Iterator<Item = &TlsaRecord> {
        self.records.iter().filter(move |record| record.usage == usage)
    }

    /// What DANE-TA records name: certificates of the chain, or ones that stand in the records themselves. Their own dates do not
    /// count, as those of no trust anchor do (RFC 5280 section 6.1.1).
    fn anchors(&self, certificate: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> RootCertStore {
        let mut anchors = RootCertStore::empty();
        let mut whole = Vec::new();
        for record in self.of_usage(2) {
            whole.extend(chain.iter().filter(|sent| record.matches(sent)).map(|sent| sent.as_ref().to_vec()));
            match (record.matching, record.selector) {
                (0, 0) => whole.push(record.data.clone()),
                (0, _) => anchors.extend(bare_keys(&record.data, certificate, chain)),
                _ => {}
            }
        }
        // what is no certificate can be no anchor
        anchors.add_parsable_certificates(whole.into_iter().map(CertificateDer::from));
        anchors
    }
}

/// A bare public key as a trust anchor: whose it is, the certificates say that it has signed.
fn bare_keys(
    key: &[u8],
    certificate: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
) -> Vec<TrustAnchor<'static>> {
    let Some(key) = contents(key) else { return Vec::new() };
    let anchor = |sent: &CertificateDer<'_>| {
        let issuer = EndEntityCert::try_from(sent).ok()?.issuer().to_vec();
        Some(TrustAnchor {
            subject: Der::from(issuer),
            subject_public_key_info: Der::from(key.to_vec()),
            name_constraints: None,
        })
    };
    [certificate].into_iter().chain(chain).filter_map(anchor).collect()
}

/// What a DER SEQUENCE that is the whole input holds.
fn contents(der: &[u8]) -> Option<&[u8]> {
    let [0x30, length, rest @ ..] = der else { return None };
    let octets = match *length {
        short @ 0..=0x7f => return (rest.len() == usize::from(short)).then_some(rest),
        long @ 0x81..=0x84 => usize::from(long & 0x7f),
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(octets)?;
    let length = length.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet));
    (rest.len() == length).then_some(rest)
}

/// No TLSA record is of the certificate or of what signed it.
#[derive(Debug)]
pub(super) struct Unmatched;

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate matches no TLSA record")
    }
}

impl std::error::Error for Unmatched {}

#[cfg(test)]
mod tests;
