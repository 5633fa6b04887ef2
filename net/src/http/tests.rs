#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

use super::*;
use crate::Shutdown;

/// A connection whose requests are answered with what they were taken for.
fn served(shutdown: &Shutdown) -> (DuplexStream, JoinHandle<Result<(), String>>) {
    let (ours, theirs) = duplex(256 * 1024);
    let (peer, local) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 443).into());
    let connection =
        Connection { shutdown: shutdown.clone(), ..Connection::over(Box::new(ours), peer, local) };
    let echo = |query: HttpQuery| {
        HttpReply::text(200, format!("{} {} {:?}", query.host, query.path, query.body.map(|body| body.len())))
    };
    (theirs, tokio::spawn(serve_http(connection, echo)))
}

/// What comes until the server hangs up.
async fn say(request: &str) -> (String, Result<(), String>) {
    let (mut stream, task) = served(&Shutdown::new());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer, task.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_one_after_the_other() {
    let requests = "GET /a?b=c HTTP/1.1\r\nHost: Autoconfig.A.test.:443\r\n\r\nPOST /p HTTP/1.1\r\nHost: [::1]:8\r\nContent-Length: 3\r\n\r\nabc\
                    HEAD /h HTTP/1.1\r\nHost: x\r\n\r\nGET http://y:1/z HTTP/1.1\r\nHost: x\r\n\r\n";
    let (answer, ended) = say(requests).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4, "{answer}");
    for part in
        ["autoconfig.a.test /a None", "[::1] /p Some(3)", "y /z None", "x-content-type-options: nosniff"]
    {
        assert!(answer.contains(part), "{part}\n{answer}");
    }
    assert!(!answer.contains("x /h"), "HEAD has no body (RFC 9110 section 9.3.2)");
    assert!(ended.is_ok() || ended == Err("read header from client timeout".to_owned()), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_or_too_much_is_refused() {
    let long = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}",
        BODY_BYTES_MAX + 1,
        "x".repeat(BODY_BYTES_MAX + 1)
    );
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    for (request, status) in [
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost a\r\n\r\n", "400"),
        ("EHLO a.test\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (&long, "413"),
        (&fields, "431"),
        (&head, "431"),
        (&path, "4"),
    ] {
        let (answer, _) = say(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{:.60}\n{answer}", request);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_is_not_waited_for() {
    for (said, most) in [
        ("", REQUEST_TIMEOUT),
        ("GET / HTTP/1.1\r\nHos", REQUEST_TIMEOUT),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_TIMEOUT),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", CONNECTION_TIMEOUT),
    ] {
        let (mut stream, task) = served(&Shutdown::new());
        let begun = Instant::now();
        stream.write_all(said.as_bytes()).await.unwrap();
        drop(task.await.unwrap());
        assert!(begun.elapsed() <= most + Duration::from_secs(1), "{said:?} {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_ends_what_is_idle() {
    let shutdown = Shutdown::new();
    let (mut stream, task) = served(&shutdown);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 8];
    stream.read_exact(&mut first).await.unwrap();
    let begun = Instant::now();
    assert!(shutdown.drain(Duration::from_secs(1)).await);
    assert_eq!(task.await.unwrap(), Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
