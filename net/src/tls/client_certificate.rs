//! Certificates of clients: asked for, never demanded. What a client shows is looked at after the handshake, each time also where the
//! session is resumed; a certificate that is not good is as none, so that nobody is kept out by one that a program shows by itself.

use std::{fmt, path::Path, sync::Arc, time::SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    CommonState, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::{TlsError, roots};

/// Most addresses of a certificate that are looked at.
const EMAILS_MAX: usize = 100;

/// What a verified certificate says of the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// Its subjectAltName's addresses: `rfc822Name` (RFC 5280 section 4.2.1.6).
    pub emails: Vec<String>,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}

/// Who issues certificates of clients. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ClientAuthorities {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientAuthorities {
    /// Those of a PEM file. Errors: it cannot be read, or holds none.
    pub(super) fn load(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let at = |problem: String| TlsError::File(file.to_owned(), problem);
        let roots = Arc::new(roots(&[file.to_owned()])?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let verifier = builder.build().map_err(|error| at(error.to_string()))?;
        Ok(Self { verifier })
    }

    /// What asks for certificates in a handshake.
    pub(super) fn requested(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Requested(Arc::clone(&self.verifier)))
    }

    /// The client's certificate, where it has shown a good one.
    pub(super) fn verify(&self, session: &CommonState) -> Option<ClientCertificate> {
        let (certificate, chain) = session.peer_certificates()?.split_first()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(now);
        match self.verifier.verify_client_cert(certificate, chain, now) {
            Ok(_) => read(certificate),
            Err(error) => {
                tracing::debug!(%error, "the client's certificate is not good");
                None
            }
        }
    }
}

fn read(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    // A certificate with two of them is none (RFC 5280 section 4.2).
    let names = parsed.subject_alternative_name().ok()?;
    let emails = names.iter().flat_map(|extension| &extension.value.general_names);
    let emails = emails.filter_map(|name| match name {
        GeneralName::RFC822Name(email) => Some((*email).to_owned()),
        _ => None,
    });
    Some(ClientCertificate { emails: emails.take(EMAILS_MAX).collect(), sha256: sha256(certificate) })
}

/// The fingerprint of a certificate.
pub(super) fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, certificate).as_ref());
    sha256
}

/// Asks for a certificate and takes any, but the peer must hold its key.
struct Requested(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requested")
    }
}

impl ClientCertVerifier for Requested {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
