//! Next hops: one takes everything, one never says a word.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::net::TcpListener;
use waypost_tests::sink;

/// A next hop that takes everything and counts it.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let taken = Arc::<Mutex<BTreeMap<String, u32>>>::default();
        let counts = Arc::clone(&taken);
        let address = sink(move |to| {
            let name = to.last().and_then(|to| to.strip_prefix('<')?.split('@').next());
            *counts.lock().unwrap().entry(name.unwrap_or("").to_owned()).or_default() += 1;
            std::future::ready(Some(()))
        });
        Self { address: address.await, taken }
    }

    /// How often it took each message.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.taken.lock().unwrap().clone()
    }
}

/// A next hop that accepts connections and never says anything.
pub(crate) async fn silent() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}
