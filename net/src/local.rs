//! Unix sockets: programs on this machine, told apart by their users.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::{
    driver::Connection,
    listener::{AcceptWait, Acceptor, BACKLOG},
};

/// What the peer of a Unix socket has for an address: it is on this machine.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listening Unix socket, and who may connect. Its file goes with it.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    /// User ids; empty: everyone whom the mode of the file lets.
    users: Vec<u32>,
}

impl LocalListener {
    /// Binds a socket with a mode of its file. A socket that nobody serves any more is removed. Errors: `AddrInUse` where somebody
    /// serves it, `AlreadyExists` where the file is no socket, and those of the system.
    pub fn bind(path: &Path, mode: u32, users: Vec<u32>) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before it listens nobody can connect.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, path: path.to_owned(), users })
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        let user = stream.peer_cred().map(|peer| peer.uid());
        let admitted = self.users.is_empty() || user.as_ref().is_ok_and(|user| self.users.contains(user));
        if !admitted {
            tracing::info!(socket = %self.path.display(), user = ?user.ok(), "this user may not connect");
        }
        admitted
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(socket = %self.path.display(), %error, "the socket is gone already");
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no socket"));
        }
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

impl Acceptor {
    /// Accepts on a Unix socket until shutdown, as [`Acceptor::run`] does. There is no TLS and no PROXY header, and connections count
    /// for no address.
    pub async fn run_local<S, F>(self, listener: LocalListener, session: S)
    where
        S: Fn(Connection) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut wait = AcceptWait::default();
        // Cancel-safe: a connection that is not accepted stays with the kernel.
        while let Some(accepted) = self.unless_stopping(listener.listener.accept()).await {
            match accepted {
                Ok((stream, _)) if !listener.admits(&stream) => wait = AcceptWait::default(),
                Ok((stream, _)) => {
                    wait = AcceptWait::default();
                    let permit = Arc::clone(&self.limits.connections).acquire_owned();
                    // The semaphore is never closed.
                    let Some(Ok(permit)) = self.unless_stopping(permit).await else { return };
                    let (session, shutdown) = (session.clone(), self.shutdown.clone());
                    self.place(stream, |stream| async move {
                        session(connection(stream, shutdown)).await;
                        drop(permit);
                    });
                }
                Err(error) => wait.after(&error).await,
            }
        }
    }
}

fn connection(stream: UnixStream, shutdown: crate::Shutdown) -> Connection {
    Connection { shutdown, ..Connection::over(Box::new(stream), HERE, HERE) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::watch,
    };

    use super::*;
    use crate::{Limits, Proxies, Shutdown, TlsMode};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_bound_where_no_server_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lmtp");
        let first = LocalListener::bind(&path, 0o660, Vec::new()).unwrap();
        assert_eq!(mode(&path), 0o660);
        let error = LocalListener::bind(&path, 0o660, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "it goes with its listener");
        // What a server left that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let again = LocalListener::bind(&path, 0o600, Vec::new()).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(again);
        fs::write(&path, "mail").unwrap();
        let error = LocalListener::bind(&path, 0o600, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mail");
    }

    #[tokio::test]
    async fn only_its_users_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let us = rustix::process::getuid().as_raw();
        for (users, said) in [(vec![], "hello"), (vec![us], "hello"), (vec![us + 1], "")] {
            let path = folder.path().join("lmtp");
            let listener = LocalListener::bind(&path, 0o600, users.clone()).unwrap();
            let (shutdown, limits) = (Shutdown::new(), Limits::new(1, 0));
            let (tls, proxies) = (watch::channel(None).1, Proxies::default());
            let acceptor = Acceptor {
                mode: TlsMode::None,
                tls,
                limits,
                proxies,
                client_certificates: None,
                cores: None,
                shutdown: shutdown.clone(),
            };
            shutdown.spawn(acceptor.run_local(listener, |mut connection: Connection| async move {
                assert_eq!(connection.peer, HERE);
                connection.stream.write_all(b"hello").await.unwrap();
            }));
            for _ in 0..3 {
                let mut text = String::new();
                UnixStream::connect(&path).await.unwrap().read_to_string(&mut text).await.unwrap();
                assert_eq!(text, said, "{users:?}");
            }
            assert!(shutdown.drain(Duration::from_secs(5)).await);
            assert!(!path.exists());
        }
    }
}
