//! Hostile input over TCP and TLS, and hostile DNS (`dns`). After each case the protocol's own error has been said, the server takes and shows a message in a
//! normal session, no message is missing or doubled, and the memory of the server process has not grown beyond a bound; after all of
//! them the server stops in time, has not panicked, and its store is sound.

mod config;
mod crowd;
mod dns;
mod imap;
mod international;
mod manners;
mod names;
mod peer;
mod pop3;
mod proxy;
mod relay;
mod slow;
mod smtp;
mod target;

pub(crate) use self::peer::Peer;
use self::target::{Case, Protocol, Target, Way, case};
