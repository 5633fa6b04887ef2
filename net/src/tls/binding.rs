//! Channel bindings: what only the two ends of one connection know, for SASL (RFC 5056).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use rustls::{ProtocolVersion, ServerConnection};
use rustls_pki_types::CertificateDer;

/// Label of the exporter (RFC 9266 section 4.2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// The DER tag of a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// The DER tag of an OBJECT IDENTIFIER.
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The channel bindings of a connection.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ChannelBinding {
    /// `tls-exporter` (RFC 9266). Only of TLS 1.3: of TLS 1.2 it is safe with the extended master secret alone, and rustls does not
    /// say whether there was one.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 section 4).
    pub end_point: Option<Vec<u8>>,
}

impl fmt::Debug for ChannelBinding {
    /// Without the octets: they are for no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exporter, end_point) = (self.exporter.is_some(), self.end_point.is_some());
        f.debug_struct("ChannelBinding").field("exporter", &exporter).field("end_point", &end_point).finish()
    }
}

impl ChannelBinding {
    pub(super) fn new(session: &ServerConnection, end_point: Option<Vec<u8>>) -> Self {
        let is_1_3 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let export = || session.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok();
        Self { exporter: is_1_3.then(export).flatten(), end_point }
    }
}

/// The hash of a server's certificate, by the hash function of its signature, but SHA-256 for MD5 and SHA-1 (RFC 5929 section 4.1).
/// `None` where the signature has none of its own, as Ed25519 and RSASSA-PSS: for them the binding is not defined.
pub(super) fn end_point(chain: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let certificate = chain.first()?;
    let algorithm = match signature_algorithm(certificate)? {
        // pkcs-1 md5, sha1, sha256, sha384, sha512WithRSAEncryption
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last] => match last {
            4 | 5 | 11 => &SHA256,
            12 => &SHA384,
            13 => &SHA512,
            _ => return None,
        },
        // ecdsa-with-SHA1, then ecdsa-with-SHA256, SHA384, SHA512
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => &SHA256,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last] => match last {
            2 => &SHA256,
            3 => &SHA384,
            4 => &SHA512,
            _ => return None,
        },
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, … }, … }`
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (inside, _) = element(SEQUENCE, certificate)?;
    let (_, rest) = element(SEQUENCE, inside)?;
    let (identifier, _) = element(SEQUENCE, rest)?;
    element(OBJECT_IDENTIFIER, identifier).map(|(algorithm, _)| algorithm)
}

/// What is inside of the first DER element, which has this tag, and what comes after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (short, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    if *short < 0x80 {
        return rest.split_at_checked(usize::from(*short));
    }
    let (length, rest) =
        rest.split_at_checked(usize::from(short & 0x7f)).filter(|(length, _)| length.len() <= 4)?;
    let length = length.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_is_read_within_its_bounds() {
        let oid = [0x06, 0x03, 1, 2, 3];
        for (der, found) in [
            (&[0x30, 0x0b, 0x30, 0x02, 9, 9, 0x30, 0x05, 0x06, 0x03, 1, 2, 3][..], Some(&oid[2..])),
            (&[0x30, 0x81, 0x0b, 0x30, 0x02, 9, 9, 0x30, 0x05, 0x06, 0x03, 1, 2, 3], Some(&oid[2..])),
            (&[0x30, 0x0b, 0x30, 0x02, 9, 9, 0x30, 0x05, 0x06, 0x04, 1, 2, 3], None),
            (&[0x30, 0x0c, 0x30, 0x02, 9, 9, 0x30, 0x05, 0x06, 0x03, 1, 2, 3], None),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30], None),
            (&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0x30], None),
            (&[0x31, 0x00], None),
            (&[0x30], None),
            (&[], None),
        ] {
            assert_eq!(signature_algorithm(der), found, "{der:?}");
            assert_eq!(end_point(&[CertificateDer::from(der)]), None);
        }
        assert_eq!(end_point(&[]), None);
    }
}
