//! A small HTTPS client (RFC 9110, HTTP/1.1) for the few documents that a mail server fetches: policies, key sets, verdicts
//! on tokens. One exchange a connection, bounded in time and octets, by a verified certificate. It follows no redirect, keeps
//! nothing, and looks no name up: the caller says where the host is.

use std::{fmt, net::SocketAddr, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Uri,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    driver::Stream,
    tls::{ClientTls, TlsError, Verification},
};

/// The port of URLs that name none (RFC 9110 section 4.2.2).
pub const PORT: u16 = 443;
/// Longest URL in octets (RFC 9110 section 4.1 wants at least that many).
pub const URL_BYTES_MAX: usize = 8000;
/// Longest head of an answer in octets.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields in it.
const FIELDS_MAX: usize = 64;

/// Where a document is: `https` only, without user name and fragment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HttpsUrl {
    /// Host name, or IP address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query; begins with `/`.
    path: String,
}

impl HttpsUrl {
    /// A document on a host's port 443. Errors: a path that does not begin with `/`, no host name.
    pub fn new(host: &str, path: &str) -> Result<Self, HttpsError> {
        let url = format!("https://{host}{path}");
        if path.starts_with('/') { Self::parse(&url) } else { Err(HttpsError::Url(url)) }
    }

    /// `https://HOST[:PORT][/PATH][?QUERY]`, at most [`URL_BYTES_MAX`]. Errors: anything else.
    pub fn parse(text: &str) -> Result<Self, HttpsError> {
        let wrong = || HttpsError::Url(text.chars().take(200).collect());
        if text.len() > URL_BYTES_MAX || text.contains('#') {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (authority, path) = (uri.authority().ok_or_else(wrong)?, uri.path_and_query());
        let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let port = port.map_or(Ok(PORT), |(_, port)| port.parse().map_err(|_| wrong()))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if uri.scheme_str() != Some("https")
            || authority.as_str().contains('@')
            || host.is_empty()
            || port == 0
        {
            return Err(wrong());
        }
        // A query may stand behind the host itself.
        let path = path.map_or("", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, port, path })
    }

    /// Host, and port where it is not the usual one: what stands in the Host field.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == PORT { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

/// What is said to the server beside the URL.
#[derive(Clone, Default)]
pub struct HttpsRequest {
    /// Further fields; their values are secrets where they are credentials.
    pub fields: Vec<(String, String)>,
    /// What is sent: POST. `None`: GET.
    pub payload: Option<Payload>,
}

/// What a POST sends.
#[derive(Clone)]
pub struct Payload {
    /// Its media type.
    pub content_type: String,
    /// Its octets.
    pub octets: Vec<u8>,
}

/// How long an exchange may take, and how large its answer may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// From the first connection to the last octet.
    pub timeout: Duration,
    /// Octets of the body.
    pub body_bytes_max: usize,
}

/// What the server said, whatever its status is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpsAnswer {
    /// 200, 404, …; 3xx is not followed.
    pub status: u16,
    /// The media type in lower case, without parameters: `text/plain`.
    pub content_type: Option<String>,
    /// All of the body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HttpsError {
    /// Not an `https` URL.
    #[error("{0:?} is not an https URL")]
    Url(String),
    /// A field that cannot be sent.
    #[error("the field {0} cannot be sent")]
    Field(String),
    /// The host has no address.
    #[error("no address")]
    NoAddress,
    /// None of its addresses could be reached.
    #[error("{address}: {problem}", address = .0, problem = .1)]
    Connect(SocketAddr, String),
    /// The handshake failed, or the certificate is not the host's.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// What the server said is not HTTP, or it hung up.
    #[error("{0}")]
    Http(String),
    /// The body is larger than its bound, in octets.
    #[error("the answer is larger than {0} octets")]
    TooLarge(usize),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl From<hyper::Error> for HttpsError {
    fn from(error: hyper::Error) -> Self {
        // hyper says what it was doing; the cause says what went wrong.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// A client with its roots. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpsClient {
    tls: ClientTls,
}

impl HttpsClient {
    /// A client that believes the system's roots, or those of these PEM files where there are any. Errors: a file that
    /// cannot be read, no roots.
    pub fn new(roots: &[std::path::PathBuf]) -> Result<Self, TlsError> {
        // Each exchange names its own server.
        let tls = ClientTls::new("localhost", &Verification::Pkix(roots.to_vec()))?;
        Ok(Self { tls: tls.speaking("http/1.1") })
    }

    /// One exchange with the host of a URL, which is at one of these addresses (with their ports): they are tried in turn, each
    /// for an equal share of the time. Errors: none could be reached, TLS, no HTTP, a bound.
    pub async fn exchange(
        &self,
        url: &HttpsUrl,
        addresses: &[SocketAddr],
        request: &HttpsRequest,
        bounds: Bounds,
    ) -> Result<HttpsAnswer, HttpsError> {
        let tls = self.tls.towards(&url.host)?;
        let request = request.build(url)?;
        let exchanging = async {
            let stream = reach(addresses, bounds.timeout).await?;
            let (stream, _) = tls.connect(Box::new(stream)).await?;
            talk(stream, request, bounds.body_bytes_max).await
        };
        timeout(bounds.timeout, exchanging).await.map_err(|_| HttpsError::Timeout(bounds.timeout))?
    }
}

impl HttpsRequest {
    fn build(&self, url: &HttpsUrl) -> Result<Request<Full<Bytes>>, HttpsError> {
        let method = if self.payload.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = url.path.parse().map_err(|_| HttpsError::Url(url.to_string()))?;
        let authority = url.authority();
        let own = [
            (HOST.as_str(), authority.as_str()),
            (CONNECTION.as_str(), "close"),
            (USER_AGENT.as_str(), "Waypost"),
        ];
        let sent = self.payload.iter().map(|payload| (CONTENT_TYPE.as_str(), payload.content_type.as_str()));
        let further = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(sent).chain(further) {
            let field = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = field.ok_or_else(|| HttpsError::Field(name.to_owned()))?;
            request.headers_mut().insert(name, value);
        }
        if let Some(payload) = &self.payload {
            *request.body_mut() = Full::new(payload.octets.clone().into());
        }
        Ok(request)
    }
}

/// A connection to the first address that answers.
async fn reach(addresses: &[SocketAddr], whole: Duration) -> Result<TcpStream, HttpsError> {
    let share = whole / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = HttpsError::NoAddress;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = HttpsError::Connect(*address, error.to_string()),
            Err(_) => last = HttpsError::Connect(*address, "no answer".to_owned()),
        }
    }
    Err(last)
}

/// Says the request and takes the answer. No task is left behind.
async fn talk(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> Result<HttpsAnswer, HttpsError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(media_type);
        let body = gather(response.into_body(), body_bytes_max).await?;
        Ok(HttpsAnswer { status, content_type, body })
    });
    // The connection may end before all that came with it was taken; what it failed by, the answer fails by.
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

/// `type "/" subtype` of a Content-Type field (RFC 9110 section 8.3.1).
fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn gather(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, HttpsError> {
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > bytes_max - gathered.len() {
            return Err(HttpsError::TooLarge(bytes_max));
        }
        gathered.extend_from_slice(data);
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests;
