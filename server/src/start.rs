//! Starting a server from its configuration, reloading it, and stopping it.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::MissedTickBehavior};
use waypost_auth::{Authenticator, Live, Srs};
use waypost_config::{Config, LimitsConfig, ListenAddress, ListenerConfig, Service, TlsMode};
use waypost_mail::Timestamp;
use waypost_mta::{
    authenticity::{Signers, rotation},
    dns::{DnsError, Resolver},
    queue,
    reports::{
        incoming::{self, Incoming},
        outgoing::{Counts, Reporter},
    },
    tls_policy::Policies,
};
use waypost_net::{
    Acceptor, Connection, Cores, Dialler, Limits, LocalListener, Proxies, ServerTls, Shutdown, TlsError,
};
use waypost_storage::{Options, Store, StoreError, disk::Disk};

use crate::{
    admin,
    certificates::{self, load_tls},
    directory::{self, DirectoryProblem},
    issuer, precaution, secret,
};

/// How long sessions may take to end after SIGTERM.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server is made of beside its configuration; the defaults are the real world.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The file system of the store's journal.
    pub disk: Option<Arc<dyn Disk>>,
    /// The resolver.
    pub resolver: Option<Resolver>,
    /// Octets of a journal segment; tests have smaller ones.
    pub segment_bytes: Option<u64>,
    /// Records after which a checkpoint is made; tests have more of them.
    pub checkpoint_records: Option<u64>,
    /// The clock of store and queue.
    pub clock: Option<Clock>,
    /// Whether mail is received on the runtime of all else, too: a test whose timers stand still has them in one.
    pub one_runtime: bool,
}

/// A clock in place of the system's.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// Why a server does not start or does not take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// A certificate or key.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The state directory cannot be made.
    #[error("cannot make {0}: {1}")]
    StateDir(String, io::Error),
    /// A listening socket.
    #[error("cannot listen on {0}: {1}{hint}", hint = listen_hint(.0, .1))]
    Listen(ListenAddress, io::Error),
    /// File descriptors.
    #[error("{0}")]
    Descriptors(#[from] waypost_net::DescriptorError),
    /// The resolver.
    #[error("DNS: {0}")]
    Dns(#[from] DnsError),
    /// Accounts of file and store do not fit together.
    #[error("{0}")]
    Directory(#[from] DirectoryProblem),
    /// A key that mail is to be signed with.
    #[error("{0}")]
    Dkim(String),
    /// The key of return paths.
    #[error("cannot use {0}: {1}")]
    Secret(String, io::Error),
    /// Threads for sessions.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    /// The administration socket.
    #[error("cannot listen on {0}: {1}")]
    Admin(String, io::Error),
    /// What `[[trust]]` and the listeners' proxies let strangers do; the family of their addresses.
    #[error(
        "this would be an open relay: from most {0} addresses of the Internet anyone could send mail to anyone through this server; see [[trust]], \
         and xclient and proxy_protocol of the listeners"
    )]
    OpenRelay(&'static str),
    /// A change that a running server does not take.
    #[error("{0} cannot be changed while the server runs: restart it")]
    NeedsRestart(&'static str),
}

/// What the user may not know: who may listen on low ports.
fn listen_hint(address: &ListenAddress, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.socket().is_some_and(|address| address.port() < 1024) => {
            "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrInUse if address.socket().is_none() => "; another program serves it",
        io::ErrorKind::AddrInUse => "; another program listens there: `ss -ltnp` shows which",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// The server.
#[derive(Debug)]
pub struct Server;

/// A bound service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bound {
    /// What it speaks.
    pub service: Service,
    /// When TLS begins.
    pub tls: TlsMode,
    /// Where.
    pub address: ListenAddress,
}

impl fmt::Display for Bound {
    /// `submissions=127.0.0.1:465`: the service, with an `s` for implicit TLS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let implicit = if self.tls == TlsMode::Implicit { "s" } else { "" };
        write!(f, "{}{implicit}={}", self.service.name(), self.address)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    bound: Vec<Bound>,
    store: Store,
    live: Arc<watch::Sender<Arc<Live>>>,
    tls: watch::Sender<Option<ServerTls>>,
    shutdown: Shutdown,
    services: Arc<Services>,
    limits: Limits,
    /// Threads that receive mail.
    cores: Option<Cores>,
    /// Held while a reload changes configuration and directory.
    changing: Arc<Mutex<()>>,
}

impl Server {
    /// Starts all services; on return every listener accepts. Errors: what keeps it from starting.
    pub async fn start(config: Config, parts: Parts) -> Result<Running, StartError> {
        let outgoing = queue::connections_most(config.queue.connections);
        let possible =
            waypost_net::raise_descriptor_limit(config.limits.connections.saturating_add(outgoing))?;
        let connections = possible.saturating_sub(outgoing).max(possible / 2).min(config.limits.connections);
        if connections < config.limits.connections {
            tracing::warn!(
                connections,
                "file descriptors last for fewer connections than limits.connections: raise the hard limit"
            );
        }
        let tls = load_tls(&config)?;
        Signers::check(&config).map_err(StartError::Dkim)?;
        precaution::refuse_open_relay(&config).map_err(StartError::OpenRelay)?;
        certificates::warn_of_dates(&config);
        let resolver = parts.resolver.clone().map_or_else(|| Resolver::new(&config.dns), Ok)?;
        let listeners = bind_all(&config)?;
        make_state_dir(&config.state_dir)?;
        let mut options = store_options(&config);
        if let Some(disk) = parts.disk {
            options.disk = disk;
        }
        options.segment_bytes = parts.segment_bytes.unwrap_or(options.segment_bytes);
        options.clock = parts.clock.map_or(options.clock, |Clock(clock)| clock);
        options.checkpoint_records = parts.checkpoint_records.unwrap_or(options.checkpoint_records);
        let store = Store::open(options).await?;
        let srs = secret::srs(&config.state_dir).map_err(|error| {
            StartError::Secret(secret::srs_key(&config.state_dir).display().to_string(), error)
        })?;
        directory::adopt_file_accounts(&store, &config).await?;
        let config = Arc::new(config);
        let live = directory::live(&store, config.clone())?;
        precaution::warn(&live);
        let live = Arc::new(watch::Sender::new(live));
        let salt_key = salt_key(&config.state_dir)?;
        let ask = issuer::ask(resolver.clone());
        let use_code = directory::use_code(&store);
        let failures = config.limits.auth_failures_per_minute;
        let authenticator = Authenticator::with_salt_key(failures, &salt_key, Some(ask), Some(use_code));
        let counts = Counts::open(&reports_folder(&config), store.now());
        let cores = if parts.one_runtime { None } else { Some(Cores::start().map_err(StartError::Threads)?) };
        let running = Running {
            bound: listeners.iter().map(|(bound, _, _)| bound.clone()).collect(),
            services: Arc::new(Services::new(&store, &live, &authenticator, &srs, &resolver, counts)),
            limits: Limits::new(connections, config.limits.connections_per_address)
                .per_minute(config.limits.rates.connections_per_minute),
            store,
            live,
            tls: watch::Sender::new(tls),
            shutdown: Shutdown::new(),
            cores,
            changing: Arc::default(),
        };
        running.serve(&config, listeners, resolver)?;
        Ok(running)
    }
}

impl Running {
    fn serve(
        &self,
        config: &Config,
        listeners: Vec<Listening>,
        resolver: Resolver,
    ) -> Result<(), StartError> {
        self.accept(listeners);
        let (store, live, shutdown) = (self.store.clone(), self.live.subscribe(), self.shutdown.clone());
        let tls = Policies::open(resolver.clone(), &config.state_dir.join("tls"), store.now());
        let (watched, clock) = (self.live.subscribe(), self.store.clone());
        let of_now = move || watched.borrow().config.outbound_tls.clone();
        self.shutdown.spawn(tls.clone().run(of_now, move || clock.now(), shutdown.clone()));
        let reporter = self.reporter(config, &resolver, &tls);
        self.shutdown.spawn(reporter.clone().run(live.clone(), shutdown.clone()));
        let reports = self.services.mta.reports.clone();
        self.shutdown.spawn(reports.clone().run(incoming::Context {
            store: store.clone(),
            live: live.clone(),
            resolver: resolver.clone(),
            shutdown,
        }));
        let control = self.send(resolver.clone(), tls.clone());
        self.tend(&resolver);
        let mta = &self.services.mta;
        let router = admin::Router { resolver, tls, srs: mta.srs.clone(), random: mta.random.clone() };
        let parts = admin::Parts { router, control: Some(control), reporter, reports };
        admin::socket::listen(&config.state_dir, store, live, parts, &self.shutdown).map_err(|error| {
            StartError::Admin(admin::socket::path(&config.state_dir).display().to_string(), error)
        })
    }

    /// Takes connections.
    fn accept(&self, listeners: Vec<Listening>) {
        for (bound, listener, listener_config) in listeners {
            let acceptor = Acceptor {
                mode: net_tls_mode(bound.tls),
                tls: self.tls.subscribe(),
                client_certificates: listener_config.rules.client_certificates.clone(),
                limits: self.limits.clone(),
                proxies: proxies(&listener_config),
                cores: self.cores.clone().filter(|_| receives_mail(bound.service)),
                shutdown: self.shutdown.clone(),
            };
            let services = Arc::clone(&self.services);
            let session = move |connection| services.serve(connection, &listener_config);
            match listener {
                Socket::Ip(listener) => {
                    self.shutdown.spawn(acceptor.run(listener, refusal(bound.service), session));
                }
                Socket::Unix(listener) => self.shutdown.spawn(acceptor.run_local(listener, session)),
            }
        }
    }

    /// Sends what the queue holds.
    fn send(&self, resolver: Resolver, tls: Policies) -> queue::Control {
        let mta = &self.services.mta;
        let queue = queue::Context {
            store: self.store.clone(),
            live: self.live.subscribe(),
            resolver,
            tls,
            srs: mta.srs.clone(),
            dialler: Dialler::default(),
            random: mta.random.clone(),
            signers: mta.signers.clone(),
            sent: mta.reports.sent().clone(),
            shutdown: self.shutdown.clone(),
        };
        let control = queue::Control::default();
        let controlled = control.clone();
        self.shutdown.spawn(async move { queue::run_with(queue, &controlled).await });
        control
    }

    /// Keeps what is known of accounts, certificates, keys and maildrops as it has to be.
    fn tend(&self, resolver: &Resolver) {
        let live = || self.live.subscribe();
        self.until_stopping(directory::follow(self.store.clone(), self.live.clone(), self.changing.clone()));
        self.until_stopping(issuer::keep_keys(self.services.mta.authenticator.clone(), live()));
        self.until_stopping(certificates::watch(live(), self.tls.clone()));
        self.until_stopping(tend_keys(self.store.clone(), live(), resolver.clone()));
        self.until_stopping(waypost_pop3::expire(self.store.clone(), live()));
    }

    /// Lets a task run until it ends or the server stops.
    fn until_stopping(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.shutdown.clone();
        self.shutdown.spawn(async move {
            tokio::select! { () = task => (), () = stopping.stopping() => () }
        });
    }

    /// Tells other domains what was seen of their mail.
    fn reporter(&self, config: &Config, resolver: &Resolver, tls: &Policies) -> Reporter {
        let mta = &self.services.mta;
        let means = (self.store.clone(), resolver.clone(), mta.signers.clone(), mta.random.clone());
        Reporter::new(&reports_folder(config), mta.counts.clone(), tls.clone(), means)
    }

    /// Each bound service with its address.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// The configuration of this moment.
    pub fn config(&self) -> Arc<Config> {
        self.live.borrow().config.clone()
    }

    /// The first bound IP address of a service.
    pub fn address(&self, service: Service, tls: TlsMode) -> Option<SocketAddr> {
        self.bound
            .iter()
            .filter(|bound| bound.service == service && bound.tls == tls)
            .find_map(|bound| bound.address.socket())
    }

    /// Serves a connection that did not come through a listener, as `listener` says.
    pub fn attach(
        &self,
        connection: Connection,
        listener: &ListenerConfig,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.services.serve(connection, listener)
    }

    /// The certificates of this moment.
    pub fn tls(&self) -> Option<ServerTls> {
        self.tls.borrow().clone()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a new configuration: accounts, aliases, domains, routes, limits, certificates. On an error the old one goes on serving.
    pub async fn reload(&self, config: Config) -> Result<(), StartError> {
        let old = self.live.borrow().config.clone();
        if config.state_dir != old.state_dir {
            return Err(StartError::NeedsRestart("state_dir"));
        }
        if config.listeners != old.listeners {
            return Err(StartError::NeedsRestart("[[listener]]"));
        }
        if config.dns != old.dns {
            return Err(StartError::NeedsRestart("[dns]"));
        }
        if let Some(limit) = fixed_limit(&config.limits, &old.limits) {
            return Err(StartError::NeedsRestart(limit));
        }
        let tls = load_tls(&config)?;
        Signers::check(&config).map_err(StartError::Dkim)?;
        precaution::refuse_open_relay(&config).map_err(StartError::OpenRelay)?;
        certificates::warn_of_dates(&config);
        directory::adopt_file_accounts(&self.store, &config).await?;
        let retention = config.storage.retention;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let live = directory::live(&self.store, Arc::new(config))?;
        precaution::warn(&live);
        self.store.set_retention(retention);
        self.live.send_replace(live);
        self.tls.send_replace(tls);
        Ok(())
    }

    /// Stops: no new sessions, running ones end what they do, the store is closed. Whether all ended in time.
    pub async fn drain(self) -> bool {
        let in_time = self.shutdown.drain(DRAIN_TIMEOUT).await;
        let keep = self.config().reports.keep;
        self.services.mta.reports.write(keep, self.store.now()).await;
        self.store.close().await;
        in_time
    }
}

/// Whether sessions of a service receive mail. They do little between two waits, and have threads of their own; those of others may
/// search for long, and share theirs.
fn receives_mail(service: Service) -> bool {
    match service {
        Service::Smtp | Service::Submission | Service::Lmtp => true,
        Service::Imap | Service::Pop3 | Service::Http => false,
    }
}

/// Looks after the keys that mail is signed with; for ever.
async fn tend_keys(store: Store, live: watch::Receiver<Arc<Live>>, resolver: Resolver) {
    let mut ticks = tokio::time::interval(rotation::TEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u64.. {
        ticks.tick().await;
        let config = live.borrow().config.clone();
        rotation::tend(&store, &config, &resolver, look).await;
    }
}

/// Where counts and plans of reports are that are sent.
pub fn reports_folder(config: &Config) -> PathBuf {
    config.state_dir.join("reports").join("outgoing")
}

/// How a configuration wants its store.
pub fn store_options(config: &Config) -> Options {
    Options { retention: config.storage.retention, ..Options::new(&config.state_dir) }
}

/// Makes the state directory where it is missing: all mail is in it, so only its owner and its group, which may use the
/// administration socket, may look into it.
pub fn make_state_dir(path: &Path) -> Result<(), StartError> {
    let at = |error| StartError::StateDir(path.display().to_string(), error);
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(at(io::ErrorKind::NotADirectory.into())),
        Ok(found) if found.permissions().mode() & 0o007 != 0 => {
            tracing::warn!("everyone on this machine can look into {}: chmod o= it", path.display());
        }
        Ok(_) => {}
        Err(_) => {
            let parent = path.parent().unwrap_or(path);
            std::fs::create_dir_all(parent).map_err(at)?;
            let made = std::fs::DirBuilder::new().mode(0o750).create(path);
            made.map_err(at)?;
        }
    }
    Ok(())
}

/// The key of the salts that SCRAM shows for those who have none of their own, kept in `STATE/salt.key`.
fn salt_key(state_dir: &Path) -> Result<[u8; 32], StartError> {
    let path = state_dir.join("salt.key");
    let at = |error| StartError::StateDir(path.display().to_string(), error);
    if let Ok(key) = std::fs::read(&path).unwrap_or_default().try_into() {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| at(io::Error::other(error)))?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| io::Write::write_all(&mut file, &key));
    written.map(|()| key).map_err(at)
}

type Listening = (Bound, Socket, Arc<ListenerConfig>);

/// A listening socket.
enum Socket {
    Ip(TcpListener),
    Unix(LocalListener),
}

/// The limit that differs and is fixed when the server starts.
fn fixed_limit(new: &LimitsConfig, old: &LimitsConfig) -> Option<&'static str> {
    [
        ("limits.connections", new.connections != old.connections),
        ("limits.connections_per_address", new.connections_per_address != old.connections_per_address),
        (
            "limits.connections_per_minute",
            new.rates.connections_per_minute != old.rates.connections_per_minute,
        ),
        ("limits.auth_failures_per_minute", new.auth_failures_per_minute != old.auth_failures_per_minute),
    ]
    .into_iter()
    .find_map(|(name, differs)| differs.then_some(name))
}

fn bind_all(config: &Config) -> Result<Vec<Listening>, StartError> {
    let bind = |listener: &ListenerConfig| {
        let (address, socket) = bind_one(&listener.address)
            .map_err(|error| StartError::Listen(listener.address.clone(), error))?;
        let bound = Bound { service: listener.service, tls: listener.tls, address };
        Ok((bound, socket, Arc::new(listener.clone())))
    };
    config.listeners.iter().map(bind).collect()
}

fn bind_one(address: &ListenAddress) -> io::Result<(ListenAddress, Socket)> {
    Ok(match address {
        ListenAddress::Ip(address) => {
            let socket = waypost_net::bind(*address)?;
            (ListenAddress::Ip(socket.local_addr()?), Socket::Ip(socket))
        }
        ListenAddress::Unix(file) => {
            let socket = LocalListener::bind(&file.path, file.mode, file.users.clone())?;
            (address.clone(), Socket::Unix(socket))
        }
    })
}

fn net_tls_mode(mode: TlsMode) -> waypost_net::TlsMode {
    match mode {
        TlsMode::None => waypost_net::TlsMode::None,
        TlsMode::StartTls => waypost_net::TlsMode::StartTls,
        TlsMode::Implicit => waypost_net::TlsMode::Implicit,
    }
}

/// Who says on a listener whom it speaks for.
fn proxies(listener: &ListenerConfig) -> Proxies {
    let networks = listener.rules.proxy_protocol.clone();
    Proxies::new(move |peer| networks.iter().any(|network| network.contains(peer)))
}

/// What a client is told that has too many connections open.
fn refusal(service: Service) -> &'static str {
    match service {
        Service::Smtp | Service::Submission | Service::Lmtp => {
            "421 4.7.0 Too many connections from your address\r\n"
        }
        Service::Imap => "* BYE [LIMIT] Too many connections from your address\r\n",
        Service::Pop3 => "-ERR [SYS/TEMP] Too many connections from your address\r\n",
        Service::Http => "",
    }
}

/// The contexts of all protocols.
#[derive(Clone, Debug)]
struct Services {
    mta: waypost_mta::server::Context,
    imap: waypost_imap::Context,
    pop3: waypost_pop3::Context,
    web: waypost_web::Context,
}

impl Services {
    fn new(
        store: &Store,
        live: &watch::Sender<Arc<Live>>,
        authenticator: &Authenticator,
        srs: &Srs,
        resolver: &Resolver,
        counts: Counts,
    ) -> Self {
        let config = live.borrow().config.clone();
        let reports = Incoming::open(&config.state_dir, store.now());
        reports.configure(&config);
        let shared = || (store.clone(), live.subscribe(), authenticator.clone());
        let (mta_store, mta_live, mta_authenticator) = shared();
        let (imap, pop3) = (shared(), shared());
        Self {
            mta: waypost_mta::server::Context {
                store: mta_store,
                live: mta_live,
                authenticator: mta_authenticator,
                guard: waypost_mta::server::Guard::default(),
                srs: srs.clone(),
                random: waypost_mta::Random::default(),
                resolver: resolver.clone(),
                signers: Signers::default(),
                counts,
                reports,
            },
            imap: waypost_imap::Context::new(imap.0, imap.1, imap.2),
            pop3: waypost_pop3::Context::new(pop3.0, pop3.1, pop3.2),
            web: waypost_web::Context::new(store.clone(), live.subscribe()),
        }
    }

    fn serve(
        &self,
        connection: Connection,
        listener: &ListenerConfig,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match listener.service {
            Service::Smtp | Service::Submission | Service::Lmtp => {
                Box::pin(waypost_mta::server::serve(connection, self.mta.clone(), listener))
            }
            Service::Imap => Box::pin(waypost_imap::serve(connection, self.imap.clone(), listener)),
            Service::Pop3 => Box::pin(waypost_pop3::serve(connection, self.pop3.clone(), listener)),
            Service::Http => Box::pin(waypost_web::serve(connection, self.web.clone())),
        }
    }
}
