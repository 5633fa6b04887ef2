//! A node: Waypost's own server, queue and store over the simulated network, disk, DNS and time.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use waypost_auth::{Authenticator, Directory, Live, Srs};
use waypost_config::Config;
use waypost_mail::{AccountSource, Address, Timestamp};
use waypost_mta::{
    Random,
    authenticity::Signers,
    dns::Resolver,
    queue,
    reports::outgoing::Counts,
    server::{self, Guard},
    tls_policy::Policies,
};
use waypost_net::{Connection, Dialler, Shutdown};
use waypost_storage::{NewAccount, Options, Store, StoreError, disk::Simulated};

use crate::{
    chance::Chance,
    life::{Life, MortalDisk, state_directory},
    network::{Death, Host, Net, Seen, address},
    zones::Zones,
};

/// The moment at which simulations begin.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
/// Octets of a journal segment: small, so that many are filled.
const SEGMENT_BYTES: u64 = 128 * 1024;
/// The accounts of each node.
pub(crate) const ACCOUNTS: [&str; 2] = ["a", "b"];

/// A node, over all its lives.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) config: Arc<Config>,
    pub(crate) disk: Simulated,
    pub(crate) net: Net,
    pub(crate) zones: Zones,
    pub(crate) chance: Chance,
    pub(crate) begun: Instant,
    /// A control: what was recorded of each message that the next server took is lost.
    pub(crate) forgets: bool,
}

/// A node that lives.
#[derive(Debug)]
pub(crate) struct Living {
    pub(crate) store: Store,
    pub(crate) shutdown: Shutdown,
    life: Arc<Life>,
}

impl Node {
    pub(crate) fn domain(&self) -> &str {
        self.config.domains[0].name.as_str()
    }

    /// Starts it. Errors: it died while it started.
    pub(crate) async fn start(&self, life: &Arc<Life>) -> Result<Living, StoreError> {
        let (begun, life) = (self.begun, Arc::clone(life));
        let clock = move || BEGIN.after(begun.elapsed());
        let disk = MortalDisk { disk: self.disk.clone(), life: Arc::clone(&life) };
        let store = Store::open(Options {
            disk: Arc::new(disk),
            clock: Arc::new(clock),
            segment_bytes: SEGMENT_BYTES,
            checkpoint_records: u64::MAX,
            ..Options::new(state_directory())
        })
        .await?;
        for name in ACCOUNTS {
            let address = Address::parse(&format!("{name}@{}", self.domain())).unwrap();
            if store.directory().borrow().accounts.values().any(|record| record.address == address) {
                continue;
            }
            let account = NewAccount {
                address,
                source: AccountSource::Store,
                password_hash: None,
                scram_verifiers: Vec::new(),
                quota_bytes: None,
            };
            store.create_account(account).await?;
        }
        let shutdown = Shutdown::new();
        life.keep(Some(store.clone()));
        self.serve(&store, &shutdown, &life);
        Ok(Living { store, shutdown, life })
    }

    fn serve(&self, store: &Store, shutdown: &Shutdown, life: &Arc<Life>) {
        let records: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
        let directory = Directory::new(&self.config, &records).unwrap();
        let live = watch::channel(Arc::new(Live { config: Arc::clone(&self.config), directory })).1;
        let srs = Srs::new(&[u8::try_from(self.host).unwrap(); 32]);
        let chance = self.chance.fork();
        let random = Random::new(move || chance.next());
        let seen =
            Seen { net: self.net.clone(), host: self.host, life: Arc::clone(life), forgets: self.forgets };
        let resolver = Resolver::answered_by(self.zones.clone());
        let signers = Signers::default();
        shutdown.spawn(queue::run(queue::Context {
            store: store.clone(),
            live: live.clone(),
            tls: Policies::in_memory(resolver.clone()),
            resolver,
            srs: srs.clone(),
            dialler: Dialler::new(seen),
            random: random.clone(),
            signers: signers.clone(),
            sent: Default::default(),
            shutdown: shutdown.clone(),
        }));
        let context = server::Context {
            store: store.clone(),
            live,
            authenticator: Authenticator::new(0),
            guard: Guard::default(),
            srs,
            random,
            resolver: Resolver::answered_by(self.zones.clone()),
            signers,
            counts: Counts::default(),
            reports: Default::default(),
        };
        let mut arriving = self.net.listen(self.host, Arc::clone(life));
        let listener = Arc::new(self.config.listeners[0].clone());
        let stopping = shutdown.clone();
        shutdown.spawn(async move {
            loop {
                let arrived = tokio::select! {
                    biased;
                    () = stopping.stopping() => return,
                    arrived = arriving.recv() => arrived,
                };
                let Some(arrived) = arrived else { return };
                let connection = Connection {
                    shutdown: stopping.clone(),
                    ..Connection::over(Box::new(arrived.stream), arrived.peer, arrived.local)
                };
                stopping.spawn(server::serve(connection, context.clone(), &listener));
            }
        });
    }

    /// It dies, if it has not yet: the process is killed, or the power goes.
    pub(crate) fn bury(&self, life: &Life, death: Death) {
        life.end_now();
        self.disk.mend();
        self.net.sever(self.host, death);
        match death {
            Death::Resets => self.disk.restart(),
            Death::Silent => self.disk.crash(self.chance.next()),
        }
    }

    /// Its first configuration.
    pub(crate) fn config(host: Host, domain: &str, more: &str) -> Config {
        let text = format!(
            "hostname = \"mx{host}.hosts.test\"\nstate_dir = \"state\"\n\
             [[listener]]\nservice = \"smtp\"\naddress = \"{}\"\ntls = \"none\"\n\
             [[domain]]\nname = \"{domain}\"\n{more}",
            address(host)
        );
        waypost_config::parse(Path::new("/nowhere/waypost.toml"), &text)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Living {
    /// Ends what is left of it: nothing that it does can be seen any more, or all of it is done.
    pub(crate) async fn end(self) {
        self.shutdown.drain(Duration::from_secs(3600)).await;
        self.store.close().await;
        self.life.keep(None);
    }
}
