//! A dialogue by lines, with bounds and a deadline for each step.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};
use waypost_net::{ClientTls, ConnectError, Shutdown, Stream, TlsError, TlsRole, connect};

/// Longest wait for a server.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Octets that are sent within one step.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Largest literal or message that is read.
const OCTETS_MAX: usize = 64 << 20;

/// What went wrong in a dialogue.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There was no connection.
    #[error("no connection to {0}: {1}")]
    Connect(String, ConnectError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    Late,
    /// The server said something else than was wanted.
    #[error("to {0}, the server said: {1}")]
    Answer(String, String),
    /// What the user wants cannot be.
    #[error("{0}")]
    Usage(String),
}

impl From<tokio::time::error::Elapsed> for AgentError {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Late
    }
}

/// A connection to a server, by lines.
pub struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
}

impl Dialogue {
    /// Connects; with `tls` from the first octet on.
    pub async fn connect(address: SocketAddr, tls: Option<ClientTls>) -> Result<Self, AgentError> {
        let connection = connect(address, STEP_TIMEOUT, tls, TlsRole::None, Shutdown::new()).await;
        let connection = connection.map_err(|error| AgentError::Connect(address.to_string(), error))?;
        Ok(Self { stream: BufReader::new(connection.stream) })
    }

    /// Goes on under TLS. What the server sent before it in plain text is an error, not an answer (RFC 3207 section 5).
    pub async fn start_tls(self, tls: &ClientTls) -> Result<Self, AgentError> {
        if !self.stream.buffer().is_empty() {
            let text = String::from_utf8_lossy(self.stream.buffer()).into_owned();
            return Err(AgentError::Answer("STARTTLS".to_owned(), text));
        }
        let (stream, _) = tls.connect(self.stream.into_inner()).await?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends octets as they are; each piece of them has its time, so that many may go over a slow line.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), AgentError> {
        for piece in octets.chunks(PIECE_BYTES) {
            timeout(STEP_TIMEOUT, self.stream.write_all(piece)).await??;
        }
        timeout(STEP_TIMEOUT, self.stream.flush()).await??;
        Ok(())
    }

    /// Sends a line; CRLF is added.
    pub async fn send_line(&mut self, line: &str) -> Result<(), AgentError> {
        self.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Reads a line, without its line end.
    pub async fn line(&mut self) -> Result<String, AgentError> {
        self.line_within(STEP_TIMEOUT).await
    }

    /// Reads a line that may take so long to come.
    pub async fn line_within(&mut self, longest: Duration) -> Result<String, AgentError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
        timeout(longest, bounded.read_until(b'\n', &mut line)).await??;
        if line.pop() != Some(b'\n') {
            return Err(AgentError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads so many octets.
    pub async fn octets(&mut self, count: usize) -> Result<Vec<u8>, AgentError> {
        if count > OCTETS_MAX {
            return Err(AgentError::Usage(format!("{count} octets are more than this agent reads")));
        }
        let mut octets = vec![0; count];
        timeout(STEP_TIMEOUT, self.stream.read_exact(&mut octets)).await??;
        Ok(octets)
    }
}
