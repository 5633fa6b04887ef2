//! How a client verifies a server's certificate, and what is wrong with one, in the words of TLS reports.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    TlsError,
    dane::{Dane, Unmatched},
    parse_name, roots,
};

/// Certification authorities that are trusted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Those of PEM files, or the system's where there are none. Errors: a file that cannot be read; none at all.
    pub fn load(files: &[PathBuf]) -> Result<Self, TlsError> {
        roots(files).map(|roots| Self(Arc::new(roots)))
    }
}

impl PartialEq for Roots {
    /// The same ones, not ones that are alike.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Roots {}

/// How a server's certificate is verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verification {
    /// Not at all: opportunistic TLS (RFC 7435).
    None,
    /// By the public roots, or these PEM files where there are any.
    Pkix(Vec<PathBuf>),
    /// By these roots, for one of these names (RFC 8461 section 4.1).
    Named(Roots, Vec<String>),
    /// As `Named`, but what is found only stands in [`super::TlsInfo::observed`].
    Observed(Roots, Vec<String>),
    /// By TLSA records (RFC 7672 section 3).
    Dane(Dane),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CertificateProblem {
    /// It has none of the names.
    Name,
    /// It has expired, or is not valid yet.
    Expired,
    /// Nobody who is trusted has signed it.
    Untrusted,
    /// It matches no TLSA record.
    Tlsa,
}

impl std::fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "the certificate is for another name",
            Self::Expired => "the certificate has expired or is not valid yet",
            Self::Untrusted => "the certificate is not signed by anyone who is trusted",
            Self::Tlsa => "the certificate matches no TLSA record",
        })
    }
}

impl CertificateProblem {
    /// `None`: the error is not about the certificate.
    pub(super) fn of(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error else { return None };
        Some(match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            CertificateError::Other(other) if other.0.is::<Unmatched>() => Self::Tlsa,
            _ => Self::Untrusted,
        })
    }
}

/// What is looked at in a chain.
#[derive(Debug)]
pub(super) enum Check {
    /// Nothing.
    Nothing,
    /// Signatures up to a root, and names.
    Named(Roots, Vec<String>),
    /// TLSA records.
    Dane(Dane),
}

impl Check {
    pub(super) fn run(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        match self {
            Self::Nothing => Ok(()),
            Self::Dane(dane) => dane.check(certificate, chain, now, algorithms),
            Self::Named(Roots(roots), names) => {
                let certificate = ParsedCertificate::try_from(certificate)?;
                verify_server_cert_signed_by_trust_anchor(&certificate, roots, chain, now, algorithms.all)?;
                is_named(&certificate, names)
            }
        }
    }
}

/// Whether a certificate is for one of these names; wildcards stand for one label, and the subject's common name is not looked at.
pub(super) fn is_named(certificate: &ParsedCertificate<'_>, names: &[String]) -> Result<(), rustls::Error> {
    let mut problem = rustls::Error::from(CertificateError::NotValidForName);
    for name in names.iter().filter_map(|name| parse_name(name).ok()) {
        match verify_server_name(certificate, &name) {
            Ok(()) => return Ok(()),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// Runs a check in the handshake. That the peer holds the certificate's key is looked at in any case.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) check: Check,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Checking {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check.run(certificate, chain, now, self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
