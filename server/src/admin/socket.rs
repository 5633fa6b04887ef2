//! The administration socket, `STATE/waypost.sock`: one JSON request a line, one JSON answer a line. Before the answer to
//! what takes long stand lines with events; where they are not taken any more, the work ends.

use std::{
    fs::Permissions,
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    time::{interval, timeout},
};
use waypost_auth::Live;
use waypost_net::Shutdown;
use waypost_storage::Store;

use crate::{
    admin::request::{Parts, Request, Response, execute},
    port::Event,
};

/// Longest request in octets.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// Longest wait for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an answer, or for an event before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How often something is said while the answer is not there yet.
const EVENT_INTERVAL: Duration = Duration::from_secs(10);
/// Events that wait for being taken; then the work waits.
pub const EVENTS_MAX: usize = 64;
/// Most requests that are answered at once; others wait.
const REQUESTS_MAX: usize = 32;

/// Where the socket of a state directory is.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("waypost.sock")
}

/// Serves the socket until shutdown. The caller holds the store, so no other server does: an old socket is removed.
pub fn listen(
    state_dir: &Path,
    store: Store,
    live: watch::Receiver<Arc<Live>>,
    parts: Parts,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let path = path(state_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o660))?;
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = accept(listener, store, live, parts, &stopping) => (),
            () = stopping.stopping() => (),
        }
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "the administration socket is gone already");
        }
    });
    Ok(())
}

async fn accept(
    listener: UnixListener,
    store: Store,
    live: watch::Receiver<Arc<Live>>,
    parts: Parts,
    shutdown: &Shutdown,
) {
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (store, live, parts) = (store.clone(), live.borrow().clone(), parts.clone());
                let stopping = shutdown.clone();
                shutdown.spawn(async move {
                    if let Err(error) = answer(stream, &store, &live, &parts, &stopping).await {
                        tracing::debug!(%error, "administration request");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "administration socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(
    stream: UnixStream,
    store: &Store,
    live: &Live,
    parts: &Parts,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(REQUEST_TIMEOUT, BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line)).await??;
    let response = match serde_json::from_str::<Request>(&line) {
        Ok(request) => carry_out(&mut write, store, live, parts, request, shutdown).await,
        Err(error) => Response::Failed(format!("not a request that this server knows: {error}")),
    };
    say(&mut write, &response).await
}

/// Carries a request out and tells its events. The work is ended, and waited for, where the peer hangs up or the server stops.
async fn carry_out(
    write: &mut (impl AsyncWrite + Unpin),
    store: &Store,
    live: &Live,
    parts: &Parts,
    request: Request,
    shutdown: &Shutdown,
) -> Response {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    follow(write, execute(store, live, parts, request, sender), events, shutdown).await
}

/// Waits for work, and tells its events before its answer.
async fn follow(
    write: &mut (impl AsyncWrite + Unpin),
    work: impl Future<Output = Response>,
    mut events: mpsc::Receiver<Event>,
    shutdown: &Shutdown,
) -> Response {
    tokio::pin!(work);
    let mut ticks = interval(EVENT_INTERVAL);
    ticks.tick().await;
    let mut last = None;
    // All of these are cancel-safe: the work is polled where it stands.
    loop {
        let event = tokio::select! {
            biased;
            Some(event) = events.recv() => event,
            response = &mut work => {
                // what it said last, and was polled to its end with
                while let Ok(event) = events.try_recv() {
                    if say(write, &Response::Event(event)).await.is_err() {
                        break;
                    }
                }
                return response;
            }
            () = shutdown.stopping() => break,
            _ = ticks.tick() => match &last {
                Some(event) => Event::clone(event),
                None => continue,
            },
        };
        if matches!(event, Event::Progress(_)) {
            last = Some(event.clone());
        }
        if say(write, &Response::Event(event)).await.is_err() {
            break;
        }
    }
    drop(events);
    work.await
}

async fn say(write: &mut (impl AsyncWrite + Unpin), response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_string(response)?;
    line.push('\n');
    timeout(ANSWER_TIMEOUT, write.write_all(line.as_bytes())).await?
}

/// Asks the running server; `None`: none runs. Events before the answer are told.
pub async fn ask(
    state_dir: &Path,
    request: &Request,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Option<io::Result<Response>> {
    let stream = UnixStream::connect(path(state_dir)).await;
    match stream {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            None
        }
        Err(error) => Some(Err(error)),
        Ok(stream) => Some(exchange(stream, request, tell).await),
    }
}

async fn exchange(
    stream: UnixStream,
    request: &Request,
    tell: &mut (dyn FnMut(Event) + Send),
) -> io::Result<Response> {
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    timeout(ANSWER_TIMEOUT, write.write_all(line.as_bytes())).await??;
    let mut read = BufReader::new(read);
    loop {
        let mut answer = String::new();
        timeout(ANSWER_TIMEOUT, read.read_line(&mut answer)).await??;
        match serde_json::from_str(&answer)? {
            Response::Event(event) => tell(event),
            response => return Ok(response),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Progress;

    #[tokio::test]
    async fn events_that_come_with_the_answer_are_told_before_it() {
        for events in [0, 1, 5] {
            let (sender, receiver) = mpsc::channel(EVENTS_MAX);
            let work = async move {
                for messages in 1..=events {
                    let progress = Progress { messages, ..Progress::default() };
                    sender.send(Event::Progress(progress)).await.unwrap();
                }
                Response::Done
            };
            let mut written = Vec::new();
            let response = follow(&mut written, work, receiver, &Shutdown::new()).await;
            assert!(matches!(response, Response::Done));
            let text = String::from_utf8(written).unwrap();
            assert_eq!(text.lines().count() as u64, events, "{text}");
        }
    }
}
