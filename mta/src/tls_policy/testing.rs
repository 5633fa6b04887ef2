//! Servers with certificates on loopback, for tests: one that has a policy of MTA-STS, and one that takes mail.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use waypost_net::{CertificateFiles, ServerTls, Stream, TlsaRecord};

/// A certification authority.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate of a host.
pub(crate) struct Certificate {
    pub(crate) tls: ServerTls,
    /// `3 0 0`: the certificate itself.
    pub(crate) record: TlsaRecord,
    /// `3 1 0`: its key.
    pub(crate) key_record: TlsaRecord,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("root.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        vec![self.folder.path().join("root.pem")]
    }

    pub(crate) fn issue(&self, host: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            names: Vec::new(),
            certificate: self.folder.path().join(format!("{host}.pem")),
            key: self.folder.path().join(format!("{host}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        let record = |selector, data| TlsaRecord { usage: 3, selector, matching: 0, data };
        Certificate {
            tls: ServerTls::load(&[files]).unwrap(),
            record: record(0, certificate.der().to_vec()),
            key_record: record(1, key.subject_public_key_info()),
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn line(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// A media type, and octets.
pub(crate) type Sent = (String, Vec<u8>);

/// Answers every HTTPS request in one way, which may change.
pub(crate) struct PolicyHost {
    pub(crate) address: SocketAddr,
    /// Head and body.
    pub(crate) answer: Arc<Mutex<String>>,
    /// The first lines of requests, and their Host fields.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// What was sent with requests.
    pub(crate) sent: Arc<Mutex<Vec<Sent>>>,
}

impl PolicyHost {
    pub(crate) async fn start(tls: ServerTls) -> Self {
        let (listener, address) = listen().await;
        let (answer, asked) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (says, hears) = (answer.clone(), asked.clone());
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let takes = sent.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok((mut stream, _)) = tls.accept(Box::new(stream)).await else { continue };
                let mut request = line(&mut stream).await.unwrap();
                let (mut media_type, mut length) = (String::new(), 0);
                while let Some(field) = line(&mut stream).await.filter(|field| !field.is_empty()) {
                    let (name, value) = field.split_once(':').unwrap();
                    match name.to_ascii_lowercase().as_str() {
                        "host" => request = format!("{request} {field}"),
                        "content-type" => value.trim().clone_into(&mut media_type),
                        "content-length" => length = value.trim().parse().unwrap(),
                        _ => {}
                    }
                }
                let mut octets = vec![0; length];
                stream.read_exact(&mut octets).await.unwrap();
                if length > 0 {
                    takes.lock().unwrap().push((media_type, octets));
                }
                hears.lock().unwrap().push(request);
                let answer = says.lock().unwrap().clone();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { address, answer, asked, sent }
    }

    pub(crate) fn say(&self, status: &str, content_type: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}", body.len());
        *self.answer.lock().unwrap() = format!("{head}\r\n\r\n{body}");
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Takes mail, with STARTTLS where it has a certificate, and notes what it hears after `EHLO`: `TLS` when it is on.
pub(crate) async fn mail_server(tls: Option<ServerTls>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (listener, address) = listen().await;
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let notes = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, notes) = (tls.clone(), notes.clone());
            tokio::spawn(take_mail(Box::new(stream), tls, notes));
        }
    });
    (address, heard)
}

async fn take_mail(mut stream: Box<dyn Stream>, mut tls: Option<ServerTls>, heard: Arc<Mutex<Vec<String>>>) {
    stream.write_all(b"220 b\r\n").await.unwrap();
    while let Some(command) = line(&mut stream).await {
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_owned();
        let answer: &[u8] = match (verb.as_str(), &tls) {
            ("EHLO", Some(_)) => b"250-b\r\n250-REQUIRETLS\r\n250 STARTTLS\r\n",
            ("EHLO", None) => b"250-b\r\n250 REQUIRETLS\r\n",
            ("STARTTLS", _) => b"220 go\r\n",
            ("DATA", _) => b"354 go\r\n",
            ("QUIT", _) => b"221 bye\r\n",
            (".", _) | ("MAIL" | "RCPT", _) => b"250 ok\r\n",
            _ => continue,
        };
        if matches!(verb.as_str(), "MAIL" | "RCPT" | ".") {
            heard.lock().unwrap().push(command);
        }
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if verb == "STARTTLS" {
            let Some(server) = tls.take() else { return };
            match server.accept(stream).await {
                Ok((secured, _)) => stream = secured,
                Err(_) => return,
            }
            heard.lock().unwrap().push("TLS".to_owned());
        }
    }
}
