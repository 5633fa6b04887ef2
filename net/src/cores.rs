//! Threads for sessions: a connection stays on the one that it was given to, so that what wakes it wakes no other thread.
//!
//! On threads that take each other's work each wake-up from outside costs a second one, of a thread that looks whether there is more.

use std::{fmt, io, sync::Arc, thread};

use tokio::{
    net::{TcpStream, UnixStream},
    runtime::{Builder, Handle},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads. Cheap to clone; they end when the last clone is dropped.
#[derive(Clone)]
pub struct Cores {
    threads: Arc<[Handle]>,
    _end: Arc<DropGuard>,
}

impl Cores {
    /// As many threads as the machine has cores. Errors: those of the system.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let threads = (0..count).map(|number| begin(number, end.clone())).collect::<io::Result<_>>()?;
        Ok(Self { threads, _end: Arc::new(end.drop_guard()) })
    }

    /// The thread that has the fewest tasks.
    pub(crate) fn least(&self) -> Option<&Handle> {
        self.threads.iter().min_by_key(|thread| thread.metrics().num_alive_tasks())
    }
}

fn begin(number: usize, end: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let name = format!("sessions-{number}");
    thread::Builder::new().name(name).spawn(move || runtime.block_on(end.cancelled()))?;
    Ok(handle)
}

/// A stream that another thread can go on with.
pub(crate) trait Movable: Sized {
    /// The same stream, which wakes tasks of that thread from now on.
    fn moved(self, thread: &Handle) -> io::Result<Self>;
}

impl Movable for TcpStream {
    fn moved(self, thread: &Handle) -> io::Result<Self> {
        let stream = self.into_std()?;
        let _entered = thread.enter();
        Self::from_std(stream)
    }
}

impl Movable for UnixStream {
    fn moved(self, thread: &Handle) -> io::Result<Self> {
        let stream = self.into_std()?;
        let _entered = thread.enter();
        Self::from_std(stream)
    }
}

impl fmt::Debug for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::watch,
        time::sleep,
    };

    use super::*;
    use crate::{Acceptor, Connection, Limits, LocalListener, Proxies, Shutdown, TlsMode, bind};

    fn acceptor(cores: &Cores, shutdown: &Shutdown) -> Acceptor {
        Acceptor {
            mode: TlsMode::None,
            tls: watch::channel(None).1,
            client_certificates: None,
            limits: Limits::new(0, 0),
            proxies: Proxies::default(),
            cores: Some(cores.clone()),
            shutdown: shutdown.clone(),
        }
    }

    /// Says on which thread it is, when it is asked.
    async fn session(mut connection: Connection) {
        while connection.stream.read_u8().await.is_ok() {
            let name = thread::current().name().unwrap_or_default().to_owned();
            connection.stream.write_all(format!("{name:16}").as_bytes()).await.unwrap();
        }
    }

    async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
        let mut name = [0; 16];
        stream.write_all(b"?").await.unwrap();
        stream.read_exact(&mut name).await.unwrap();
        String::from_utf8_lossy(&name).trim_end().to_owned()
    }

    #[tokio::test]
    async fn a_session_stays_on_its_thread_and_sessions_are_spread() {
        let (cores, shutdown) = (Cores::start().unwrap(), Shutdown::new());
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        shutdown.spawn(acceptor(&cores, &shutdown).run(listener, "", session));
        let (mut streams, mut names) = (Vec::new(), Vec::new());
        for _ in 0..2 * cores.threads.len() {
            let mut stream = TcpStream::connect(address).await.unwrap();
            names.push(ask(&mut stream).await);
            streams.push(stream);
        }
        for (stream, name) in streams.iter_mut().zip(&names) {
            assert_eq!(&ask(stream).await, name);
        }
        names.sort();
        let expected = (0..2 * cores.threads.len()).map(|number| format!("sessions-{}", number / 2));
        assert_eq!(names, expected.collect::<Vec<_>>());
        drop(streams);
        assert!(shutdown.drain(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn sessions_of_unix_sockets_have_a_thread_too() {
        let (cores, shutdown) = (Cores::start().unwrap(), Shutdown::new());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lmtp");
        let listener = LocalListener::bind(&path, 0o600, Vec::new()).unwrap();
        shutdown.spawn(acceptor(&cores, &shutdown).run_local(listener, session));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let name = ask(&mut stream).await;
        assert!(name.starts_with("sessions-"), "{name}");
        drop(stream);
        assert!(shutdown.drain(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn the_threads_end_with_the_last_of_those_that_hold_them() {
        let cores = Cores::start().unwrap();
        let (other, thread) = (cores.clone(), cores.least().unwrap().clone());
        let held = Arc::new(());
        let there = Arc::clone(&held);
        thread.spawn(async move {
            sleep(Duration::from_secs(3600)).await;
            drop(there);
        });
        drop(cores);
        sleep(Duration::from_millis(20)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(other);
        for _ in 0..1000 {
            if Arc::strong_count(&held) == 1 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the threads go on");
    }
}
