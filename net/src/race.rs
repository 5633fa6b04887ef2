//! Several addresses of one host: connections are begun one after the other until one is there (RFC 8305 section 5).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::connect::ConnectError;

/// How long one address has before the next one is tried beside it (RFC 8305 section 8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Where a connection goes, and the address of ours that it comes from; `None`: the system chooses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dial {
    /// The server.
    pub address: SocketAddr,
    /// Ours, of the same family.
    pub source: Option<IpAddr>,
}

/// How a race ended.
#[derive(Debug)]
pub struct Raced {
    /// The connection that was there first, with its place in the list.
    pub won: Option<(usize, TcpStream)>,
    /// Addresses that failed before that, by their places, in the order in which they failed.
    pub failed: Vec<(usize, ConnectError)>,
}

/// Connects to the addresses in their order: the next one is begun when the one before has failed or [`ATTEMPT_DELAY`] has passed.
/// The first that is there wins, the others are given up. Each has `longest`.
pub async fn race(dials: &[Dial], longest: Duration) -> Raced {
    let (mut waiting, mut running) = (dials.iter().copied().enumerate(), JoinSet::new());
    let (mut failed, mut next_at) = (Vec::new(), Instant::now());
    let mut more = waiting.len() > 0;
    loop {
        if more && (running.is_empty() || Instant::now() >= next_at) {
            if let Some((at, dial)) = waiting.next() {
                running.spawn(async move { (at, dial.connect(longest).await) });
            }
            more = waiting.len() > 0;
            next_at = Instant::now() + ATTEMPT_DELAY;
        }
        // Both are cancel-safe.
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = sleep_until(next_at), if more => continue,
        };
        match ended {
            Some(Ok((at, Ok(stream)))) => return Raced { won: Some((at, stream)), failed },
            Some(Ok((at, Err(error)))) => {
                failed.push((at, error));
                next_at = Instant::now();
            }
            // A task that was cancelled: the runtime ends.
            Some(Err(_)) => {}
            None if !more => return Raced { won: None, failed },
            None => {}
        }
    }
}

impl Dial {
    async fn connect(self, longest: Duration) -> Result<TcpStream, ConnectError> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        if let Some(source) = self.source {
            let bound = socket.bind(SocketAddr::new(source, 0));
            bound.map_err(|error| ConnectError::Io(format!("cannot send from {source}: {error}")))?;
        }
        let connected = timeout(longest, socket.connect(self.address)).await;
        Ok(connected.map_err(|_| ConnectError::Timeout(longest))??)
    }
}

/// Whether an address is one of this machine's. No packet is sent: the system says from where it would reach it.
pub fn is_local(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || -> io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    address.is_loopback() || from().is_ok_and(|ours| ours == address)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn dial(address: SocketAddr) -> Dial {
        Dial { address, source: None }
    }

    async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// A port whose queue of connections is full: a further one waits for its answer.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut streams = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            streams.push(stream);
        }
        (address, listener, streams)
    }

    #[tokio::test]
    async fn the_first_that_is_there_wins() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let Raced { won, failed } = race(&[dial(nobody().await), dial(there), dial(there)], LONGEST).await;
        assert_eq!((won.unwrap().0, failed.len(), failed[0].0), (1, 1, 0));
        let Raced { won, failed } = race(&[dial(nobody().await), dial(nobody().await)], LONGEST).await;
        assert!(won.is_none() && failed.len() == 2, "{failed:?}");
        let Raced { won, failed } = race(&[], LONGEST).await;
        assert!(won.is_none() && failed.is_empty());
    }

    #[tokio::test]
    async fn one_that_does_not_answer_delays_the_next_a_little() {
        let (silent, _listener, _streams) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let raced = race(&[dial(silent), dial(listener.local_addr().unwrap())], LONGEST).await;
        assert_eq!(raced.won.unwrap().0, 1);
        assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < LONGEST);
        let longest = Duration::from_millis(50);
        let Raced { won, failed } = race(&[dial(silent)], longest).await;
        assert!(won.is_none());
        assert_eq!(failed, [(0, ConnectError::Timeout(longest))]);
    }

    #[tokio::test]
    async fn connections_come_from_their_source() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let from = |source: &str| Dial { address, source: Some(source.parse().unwrap()) };
        let raced = race(&[from("127.0.0.7")], LONGEST).await;
        assert_eq!(raced.won.unwrap().1.local_addr().unwrap().ip(), "127.0.0.7".parse::<IpAddr>().unwrap());
        let raced = race(&[from("203.0.113.1")], LONGEST).await;
        let ConnectError::Io(text) = &raced.failed[0].1 else { panic!("{raced:?}") };
        assert!(text.starts_with("cannot send from 203.0.113.1: "), "{text}");
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("203.0.113.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
        }
    }
}
