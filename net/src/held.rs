//! A port that is chosen first and listened on later, as where several servers, or one that is named in a configuration, need the same one.

use std::{io, net::IpAddr};

use socket2::Socket;

use crate::listener::bound;

/// How many ports are tried that are taken on another address.
const CHOICES_MAX: usize = 50;

/// A port that is the same on some addresses, and that the system gives to nobody else who asks for any, as long as this lives: its
/// sockets are bound, and do not listen. [`crate::bind`] can listen there meanwhile, and whoever else allows the reuse of addresses.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    _sockets: Vec<Socket>,
}

impl HeldPort {
    /// Chooses one on all of these addresses. Errors: none was free on all of them in 50 choices; no socket can be bound.
    pub fn on(addresses: &[IpAddr]) -> io::Result<Self> {
        let mut problem = None;
        for _ in 0..CHOICES_MAX {
            match Self::choose(addresses) {
                Ok(held) => return Ok(held),
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn choose(addresses: &[IpAddr]) -> io::Result<Self> {
        let mut held = Self { port: 0, _sockets: Vec::new() };
        for address in addresses {
            let socket = bound((*address, held.port).into())?;
            let local = socket.local_addr()?.as_socket();
            held.port = local.ok_or(io::ErrorKind::Unsupported)?.port();
            held._sockets.push(socket);
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_port_is_held_until_one_listens_and_given_to_nobody_meanwhile() {
        let addresses = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        let held = HeldPort::on(&addresses).unwrap();
        let port = held.port();
        for address in addresses {
            assert!(TcpStream::connect((address, port)).await.is_err(), "nobody listens yet");
        }
        let (mut others, mut holds) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            others.push(TcpListener::bind((addresses[0], 0)).await.unwrap());
            holds.push(HeldPort::on(&addresses).unwrap());
        }
        assert!(others.iter().all(|other| other.local_addr().unwrap().port() != port));
        assert!(holds.iter().all(|other| other.port() != port));
        let listening = addresses.map(|address| crate::bind((address, port).into()).unwrap());
        for (address, listener) in addresses.iter().zip(&listening) {
            let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect((*address, port)));
            accepted.unwrap();
            connected.unwrap();
        }
        let error = crate::bind((addresses[0], port).into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "one listens, and no more");
    }
}
