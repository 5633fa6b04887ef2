//! The administration socket, `STATE/waypost.sock`: one JSON request a line, one JSON answer a line.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use waypost_auth::Live;
use waypost_net::Shutdown;
use waypost_storage::Store;

use crate::admin::request::{Request, Response, execute};

/// Longest request in octets.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// Longest wait for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
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
            () = accept(listener, store, live, &stopping) => (),
            () = stopping.stopping() => (),
        }
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "the administration socket is gone already");
        }
    });
    Ok(())
}

async fn accept(listener: UnixListener, store: Store, live: watch::Receiver<Arc<Live>>, shutdown: &Shutdown) {
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (store, live) = (store.clone(), live.borrow().clone());
                shutdown.spawn(async move {
                    if let Err(error) = answer(stream, &store, &live).await {
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

async fn answer(stream: UnixStream, store: &Store, live: &Live) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(REQUEST_TIMEOUT, BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line)).await??;
    let response = match serde_json::from_str::<Request>(&line) {
        Ok(request) => execute(store, live, request).await,
        Err(error) => Response::Failed(format!("not a request that this server knows: {error}")),
    };
    let mut answer = serde_json::to_string(&response)?;
    answer.push('\n');
    timeout(ANSWER_TIMEOUT, write.write_all(answer.as_bytes())).await?
}

/// Asks the running server; `None`: none runs.
pub async fn ask(state_dir: &Path, request: &Request) -> Option<io::Result<Response>> {
    let stream = UnixStream::connect(path(state_dir)).await;
    match stream {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            None
        }
        Err(error) => Some(Err(error)),
        Ok(stream) => Some(
            timeout(ANSWER_TIMEOUT, exchange(stream, request)).await.unwrap_or_else(|late| Err(late.into())),
        ),
    }
}

async fn exchange(stream: UnixStream, request: &Request) -> io::Result<Response> {
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(read).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
