//! A small HTTP/1.1 server (RFC 9110, RFC 9112) for the few documents that a mail server shows. Bounded in time and octets; what is asked
//! for and what is answered are values, so that nobody else knows HTTP's library.

use std::{convert::Infallible, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;

use crate::driver::Connection;

/// Longest head of a request in octets.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields in it.
const FIELDS_MAX: usize = 64;
/// Longest body of a request in octets.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for a request's head, and for its body; a connection without a request ends after it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is over after this time, whatever comes.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What a client asks for: GET (HEAD is answered like it, without the body) or POST.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpQuery {
    /// The host that it is asked of, in small letters and without a port; empty where none is named.
    pub host: String,
    /// The path; begins with `/`.
    pub path: String,
    /// What was posted; `None`: GET.
    pub body: Option<Bytes>,
}

/// What it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpReply {
    /// Status code (RFC 9110 section 15).
    pub status: u16,
    /// Media type, with its parameters.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

impl HttpReply {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Answers the requests of one connection, until its client or its time is over, or the server stops. Errors: what broke it off.
pub async fn serve_http(
    connection: Connection,
    answer: impl Fn(HttpQuery) -> HttpReply,
) -> Result<(), String> {
    let Connection { stream, shutdown, .. } = connection;
    let service = service_fn(|request| reply(request, &answer));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = async {
        tokio::select! {
            served = serving.as_mut() => return served,
            () = shutdown.stopping() => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    };
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(served) => served.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it took more than {} s", CONNECTION_TIMEOUT.as_secs())),
    }
}

async fn reply(
    request: Request<Incoming>,
    answer: &impl Fn(HttpQuery) -> HttpReply,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match query(request).await {
        Ok(query) => answer(query),
        Err(refused) => refused,
    };
    let mut response = Response::new(Full::new(reply.body.into()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if reply.status == 405 {
        fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    Ok(response)
}

async fn query(request: Request<Incoming>) -> Result<HttpQuery, HttpReply> {
    let is_post = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return Err(HttpReply::text(405, "Only GET, HEAD and POST are answered here.\n")),
    };
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority =
        request.uri().authority().map(hyper::http::uri::Authority::as_str).or(named).unwrap_or_default();
    let host = host(authority);
    let path = request.uri().path().to_owned();
    if !is_post {
        return Ok(HttpQuery { host, path, body: None });
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match timeout(REQUEST_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(HttpQuery { host, path, body: Some(body.to_bytes()) }),
        Ok(Err(_)) => Err(HttpReply::text(413, format!("At most {BODY_BYTES_MAX} octets are taken here.\n"))),
        Err(_) => Err(HttpReply::text(408, "The request did not come in time.\n")),
    }
}

/// The host of `HOST[:PORT]` (RFC 9110 section 7.2), in small letters and without a last dot.
fn host(authority: &str) -> String {
    let is_port = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit());
    let named =
        authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host);
    named.strip_suffix('.').unwrap_or(named).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
