//! Several addresses of one host: connections are begun one after the other until one is there (RFC 8305 section 5).

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::connect::{ConnectError, Dial, Dialled, Raced};

/// How long one address has before the next one is tried beside it (RFC 8305 section 8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// An address that is dialled.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = Result<Dialled, ConnectError>> + Send>>;

/// Connects to the addresses in their order: the next one is begun when the one before has failed or [`ATTEMPT_DELAY`] has passed.
/// The first that is there wins, the others are given up.
pub(crate) async fn race(dials: &[Dial], begin: impl Fn(Dial) -> Dialling) -> Raced {
    let (mut waiting, mut running) = (dials.iter().copied().enumerate(), Vec::<(usize, Dialling)>::new());
    let (mut failed, mut next_at) = (Vec::new(), Instant::now());
    loop {
        if running.is_empty() || Instant::now() >= next_at {
            match waiting.next() {
                Some((at, dial)) => running.push((at, begin(dial))),
                None if running.is_empty() => return Raced { won: None, failed },
                None => {}
            }
            next_at = Instant::now() + ATTEMPT_DELAY;
        }
        // Both are cancel-safe: what is dialled stays in the list.
        let (at, dialled) = tokio::select! {
            biased;
            ended = first(&mut running) => ended,
            () = sleep_until(next_at), if waiting.len() > 0 => continue,
        };
        match dialled {
            Ok(dialled) => return Raced { won: Some((at, dialled)), failed },
            Err(error) => failed.push((at, error)),
        }
        next_at = Instant::now();
    }
}

/// Waits for the first that ends, and takes it out of the list.
async fn first(running: &mut Vec<(usize, Dialling)>) -> (usize, Result<Dialled, ConnectError>) {
    poll_fn(|context| {
        for place in 0..running.len() {
            let Some((at, dialling)) = running.get_mut(place) else { break };
            if let Poll::Ready(dialled) = dialling.as_mut().poll(context) {
                let at = *at;
                // its place is not asked for again, and the order of the others stays
                drop(running.remove(place));
                return Poll::Ready((at, dialled));
            }
        }
        Poll::Pending
    })
    .await
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
    use std::net::SocketAddr;

    use tokio::{
        net::{TcpListener, TcpSocket, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::Dialler;

    const LONGEST: Duration = Duration::from_secs(5);

    fn dial(address: SocketAddr) -> Dial {
        Dial { address, source: None }
    }

    fn dialler() -> Dialler {
        Dialler::default()
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
        let Raced { won, failed } =
            dialler().race(&[dial(nobody().await), dial(there), dial(there)], LONGEST).await;
        assert_eq!((won.unwrap().0, failed.len(), failed[0].0), (1, 1, 0));
        let Raced { won, failed } =
            dialler().race(&[dial(nobody().await), dial(nobody().await)], LONGEST).await;
        assert!(won.is_none() && failed.len() == 2, "{failed:?}");
        let Raced { won, failed } = dialler().race(&[], LONGEST).await;
        assert!(won.is_none() && failed.is_empty());
    }

    #[tokio::test]
    async fn one_that_does_not_answer_delays_the_next_a_little() {
        let (silent, _listener, _streams) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let raced = dialler().race(&[dial(silent), dial(listener.local_addr().unwrap())], LONGEST).await;
        assert_eq!(raced.won.unwrap().0, 1);
        assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < LONGEST);
        let longest = Duration::from_millis(50);
        let Raced { won, failed } = dialler().race(&[dial(silent)], longest).await;
        assert!(won.is_none());
        assert_eq!(failed, [(0, ConnectError::Timeout(longest))]);
    }

    #[tokio::test]
    async fn connections_come_from_their_source() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let from = |source: &str| Dial { address, source: Some(source.parse().unwrap()) };
        let raced = dialler().race(&[from("127.0.0.7")], LONGEST).await;
        assert_eq!(raced.won.unwrap().1.local.ip(), "127.0.0.7".parse::<IpAddr>().unwrap());
        let raced = dialler().race(&[from("203.0.113.1")], LONGEST).await;
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
