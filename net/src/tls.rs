//! TLS by rustls: server configurations that can be swapped while serving, client policies.

mod binding;
mod client_certificate;
mod dane;
mod verify;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, ClientConfig, CommonState, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use self::{
    binding::ChannelBinding,
    client_certificate::ClientCertificate,
    dane::{Dane, TlsaRecord},
    verify::{CertificateProblem, Roots, Verification},
};
use self::{
    binding::end_point,
    client_certificate::ClientAuthorities,
    verify::{Check, Checking},
};
use crate::driver::Stream;

/// Longest handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// RFC 8996 forbids the older ones.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// When TLS begins on a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsMode {
    /// Never.
    None,
    /// When the client asks for it.
    StartTls,
    /// With the first octet.
    Implicit,
}

/// What is known of a TLS connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsInfo {
    /// `TLSv1.3`, `TLSv1.2`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// Whether the peer's certificate was verified for a name that is surely the peer's (outbound).
    pub verified: bool,
    /// What was found where the certificate was looked at and did not matter ([`Verification::Observed`]).
    pub observed: Option<Result<(), CertificateProblem>>,
    /// What ties a login to the connection (inbound).
    pub binding: ChannelBinding,
    /// The client's certificate, verified (inbound, where it was asked for and shown).
    pub certificate: Option<ClientCertificate>,
}

/// What went wrong with TLS.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or holds no key or certificate.
    #[error("{file}: {problem}", file = .0.display(), problem = .1)]
    File(PathBuf, String),
    /// Certificate and key do not belong together, or are not usable.
    #[error("{0}")]
    Certificate(String),
    /// The handshake failed or took too long.
    #[error("{0}")]
    Handshake(String),
    /// The peer's certificate is not what was asked for.
    #[error("{0}: {1}")]
    Peer(CertificateProblem, String),
}

/// Certificates of one name set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// SNI names; empty: the default certificate.
    pub names: Vec<String>,
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// The SHA-256 fingerprint of the first certificate of a PEM file. Errors: the file cannot be read or holds none.
pub fn fingerprint(file: &Path) -> Result<[u8; 32], TlsError> {
    let certificates = read_certificates(file)?;
    let first =
        certificates.first().ok_or_else(|| TlsError::File(file.into(), "holds no certificate".into()))?;
    Ok(client_certificate::sha256(first))
}

impl CertificateFiles {
    /// Whether all certificates of the chain are valid at a time. Errors: a file that cannot be read, the first that is not.
    pub fn check_dates(&self, now: SystemTime) -> Result<(), TlsError> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for certificate in read_certificates(&self.certificate)? {
            let wrong = |problem: &str| TlsError::File(self.certificate.clone(), problem.into());
            match date_error(&certificate, UnixTime::since_unix_epoch(now)) {
                Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                    return Err(wrong("holds a certificate that is not valid yet"));
                }
                Some(_) => return Err(wrong("holds a certificate that has expired")),
                None => {}
            }
        }
        Ok(())
    }
}

impl CertificateFiles {
    /// After how many days a certificate of the chain will have expired; `None`: not within so many. Errors: as `check_dates`.
    pub fn expires_within(&self, now: SystemTime, days: u64) -> Result<Option<u64>, TlsError> {
        self.check_dates(now)?;
        let after = |days: u64| now + Duration::from_secs(days * 24 * 60 * 60);
        Ok((0..=days).find(|days| self.check_dates(after(*days)).is_err()))
    }
}

/// What is wrong with the dates of a certificate. They are looked at first of all, so it does not matter that it is its own root here.
fn date_error(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
        Err(rustls::Error::InvalidCertificate(
            error @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        )) => Some(error),
        _ => None,
    }
}

/// TLS as a server; certificates are chosen by SNI. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// Whose certificates of clients are asked for.
    authorities: Option<ClientAuthorities>,
    /// The same for other authorities, by their files.
    asking: Arc<HashMap<PathBuf, (Arc<ServerConfig>, ClientAuthorities)>>,
}

impl ServerTls {
    /// Loads certificates; the first whose `names` are empty is the default. Errors name the file.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::load(files, &aws_lc_rs::default_provider())?);
        let config = server_config(&certificates, None)?;
        Ok(Self { config, certificates, authorities: None, asking: Arc::default() })
    }

    /// So that listeners can ask for clients' certificates which the authorities in one of these PEM files have issued. Errors
    /// name the file.
    pub fn with_client_certificates(self, files: &[PathBuf]) -> Result<Self, TlsError> {
        let mut asking = HashMap::new();
        for file in files {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let authorities = ClientAuthorities::load(file, &provider)?;
            let config = server_config(&self.certificates, Some(&authorities))?;
            asking.insert(file.clone(), (config, authorities));
        }
        Ok(Self { asking: Arc::new(asking), ..self })
    }

    /// For a listener that asks for certificates by a file's authorities. A file that was not loaded: none are asked for.
    #[must_use]
    pub fn asking(&self, file: &Path) -> Self {
        match self.asking.get(file) {
            Some((config, authorities)) => {
                let (config, authorities) = (Arc::clone(config), Some(authorities.clone()));
                Self { config, authorities, ..self.clone() }
            }
            None => self.clone(),
        }
    }

    /// The handshake, within [`HANDSHAKE_TIMEOUT`].
    pub async fn accept(&self, stream: Box<dyn Stream>) -> Result<(Box<dyn Stream>, TlsInfo), TlsError> {
        let accepting = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let stream = in_time(accepting).await?;
        let session = stream.get_ref().1;
        // A session that is resumed has the name, and so the certificate, that it began with; tickets die with the certificates.
        let end_point =
            self.certificates.choose(session.server_name()).and_then(|served| end_point(&served.cert));
        let binding = ChannelBinding::new(session, end_point);
        let certificate = self.authorities.as_ref().and_then(|authorities| authorities.verify(session));
        let known = TlsInfo::new(session, session.server_name().map(Into::into), false);
        let info = TlsInfo { binding, certificate, ..known };
        Ok((Box::new(stream), info))
    }
}

/// Each has tickets of its own: a session that began by other authorities is not resumed.
fn server_config(
    certificates: &Arc<Certificates>,
    authorities: Option<&ClientAuthorities>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(VERSIONS);
    let builder = builder.map_err(|error| TlsError::Certificate(error.to_string()))?;
    let builder = match authorities {
        Some(authorities) => builder.with_client_cert_verifier(authorities.requested()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(Arc::new(config))
}

/// Whether the names that are verified are surely the peer's. A certificate for a name that anybody can have put there proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Names {
    /// By DNSSEC, by a policy, or by the operator.
    Authentic,
    /// By DNS that anybody could have forged.
    Doubtful,
}

/// TLS as a client.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Name for SNI and for verification.
    pub server_name: String,
    name: ServerName<'static>,
    verified: bool,
    names: Names,
    observed: Option<Arc<Check>>,
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// A policy towards one server. Errors: a root file that cannot be read; no host name.
    pub fn new(server_name: &str, verification: &Verification) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(VERSIONS);
        let builder = builder.map_err(|error| TlsError::Certificate(error.to_string()))?;
        let checking = |check| {
            let algorithms = provider.signature_verification_algorithms;
            Arc::new(Checking { check, algorithms })
        };
        let builder = match verification {
            Verification::None | Verification::Observed(..) => {
                builder.dangerous().with_custom_certificate_verifier(checking(Check::Nothing))
            }
            Verification::Named(roots, names) => {
                let check = Check::Named(roots.clone(), names.clone());
                builder.dangerous().with_custom_certificate_verifier(checking(check))
            }
            Verification::Dane(dane) => {
                builder.dangerous().with_custom_certificate_verifier(checking(Check::Dane(dane.clone())))
            }
            Verification::Pkix(files) => builder.with_root_certificates(roots(files)?),
        };
        let observed = match verification {
            Verification::Observed(roots, names) => {
                Some(Arc::new(Check::Named(roots.clone(), names.clone())))
            }
            _ => None,
        };
        let verified = !matches!(verification, Verification::None | Verification::Observed(..));
        let names = if observed.is_some() { Names::Doubtful } else { Names::Authentic };
        let (server_name, name) = (server_name.to_owned(), parse_name(server_name)?);
        let mut config = builder.with_no_client_auth();
        if !matches!(verification, Verification::Pkix(_)) {
            // one for each connection: it would remember sessions, in 16 KiB, that nobody resumes
            config.resumption = rustls::client::Resumption::disabled();
        }
        Ok(Self { server_name, name, verified, names, observed, config: Arc::new(config) })
    }

    /// The same policy, for names that are sure or not.
    #[must_use]
    pub fn naming(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// The same policy towards another server; loads nothing again.
    pub fn towards(&self, server_name: &str) -> Result<Self, TlsError> {
        Ok(Self { server_name: server_name.to_owned(), name: parse_name(server_name)?, ..self.clone() })
    }

    /// The same policy for one application protocol (ALPN, RFC 7301).
    pub(crate) fn speaking(&self, protocol: &str) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.into()];
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// The handshake, within [`HANDSHAKE_TIMEOUT`].
    pub async fn connect(&self, stream: Box<dyn Stream>) -> Result<(Box<dyn Stream>, TlsInfo), TlsError> {
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream);
        let stream = in_time(connecting).await?;
        let session = stream.get_ref().1;
        let observed = self.observed.as_ref().map(|check| observe(check, session));
        let verified = self.names == Names::Authentic && (self.verified || observed == Some(Ok(())));
        let info = TlsInfo { observed, ..TlsInfo::new(session, Some(self.server_name.clone()), verified) };
        Ok((Box::new(stream), info))
    }
}

impl TlsInfo {
    fn new(session: &CommonState, server_name: Option<String>, verified: bool) -> Self {
        let version = session.protocol_version().and_then(|version| version.as_str());
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        // TLS13_AES_… is rustls's name of what IANA calls TLS_AES_….
        let (version, cipher) = (version.unwrap_or("TLS"), cipher.unwrap_or("unknown"));
        Self {
            version: version.replace('_', "."),
            cipher: cipher.replace("TLS13_", "TLS_"),
            server_name,
            verified,
            observed: None,
            binding: ChannelBinding::default(),
            certificate: None,
        }
    }
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(done) => done.map_err(|error| handshake_error(&error)),
        Err(_) => Err(TlsError::Handshake("the handshake took too long".into())),
    }
}

/// What is wrong with the peer's certificate is told apart from all else.
fn handshake_error(error: &io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(CertificateProblem::of) {
        Some(problem) => TlsError::Peer(problem, error.to_string()),
        None => TlsError::Handshake(error.to_string()),
    }
}

/// What a check finds in the certificates of a session that is established.
fn observe(check: &Check, session: &CommonState) -> Result<(), CertificateProblem> {
    let chain = session.peer_certificates().unwrap_or_default();
    let Some((certificate, chain)) = chain.split_first() else { return Err(CertificateProblem::Untrusted) };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    check
        .run(certificate, chain, UnixTime::now(), algorithms)
        .map_err(|error| CertificateProblem::of(&error).unwrap_or(CertificateProblem::Untrusted))
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let host = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(host.to_owned())
        .map_err(|_| TlsError::Certificate(format!("{name} is not a host name")))
}

/// Certificates that all can be asked for by name.
#[derive(Debug, Default)]
struct Certificates {
    default: Option<Arc<CertifiedKey>>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    fn load(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut certificates = Self::default();
        for file in files {
            let key = Arc::new(file.load(provider)?);
            if file.names.is_empty() {
                certificates.default.get_or_insert_with(|| Arc::clone(&key));
            }
            let named = file.names.iter().map(|name| (name.to_ascii_lowercase(), Arc::clone(&key)));
            certificates.by_name.extend(named);
        }
        let none = certificates.default.is_none() && certificates.by_name.is_empty();
        if none {
            Err(TlsError::Certificate("no certificate is configured".into()))
        } else {
            Ok(certificates)
        }
    }

    /// The certificate of the name itself, of the wildcard above it, or the default.
    fn choose(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard =
                || name.split_once('.').and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")));
            self.by_name.get(&name).or_else(wildcard)
        });
        named.or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).cloned()
    }
}

impl CertificateFiles {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = read_certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| file_error(&self.key, &error))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            TlsError::Certificate(match error {
                rustls::Error::InconsistentKeys(_) => format!("{key} is not the key of {certificate}"),
                error => format!("{certificate} with {key}: {error}"),
            })
        })
    }
}

/// All certificates of a PEM file; at least one.
fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(none) if none.is_empty() => Err(TlsError::File(file.into(), "holds no certificate".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(file_error(file, &error)),
    }
}

fn file_error(file: &Path, error: &pem::Error) -> TlsError {
    let problem = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "holds no private key".into(),
        error => format!("is not PEM: {error}"),
    };
    TlsError::File(file.into(), problem)
}

/// The roots of the files, or the system's.
fn roots(files: &[PathBuf]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in read_certificates(file)? {
            roots.add(certificate).map_err(|error| TlsError::File(file.clone(), error.to_string()))?;
        }
    }
    if files.is_empty() {
        // Single bad files of a system's root directory are left out, as everywhere; without any root nothing verifies.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        Err(TlsError::Certificate("the system has no root certificates".into()))
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
mod tests;
