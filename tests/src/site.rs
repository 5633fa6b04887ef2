//! Servers under test: each with a domain, a certificate and a temporary store, all listeners on free ports of loopback.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use waypost_config::{ListenerConfig, ListenerRules, Service, TlsMode};
use waypost_mail::{AccountId, DateTime, Flags, SystemFlags, Timestamp};
use waypost_message::Splitter;
use waypost_net::{Connection, HeldPort, Stream, TlsInfo, TlsRole};
use waypost_server::{
    Parts, Running, Server,
    demo::{
        dns::{Data, Dns},
        world::{Authority, write_private},
    },
    start::Clock,
};
use waypost_storage::{Acceptance, Account, Delivery, Row, Store};

/// The password of every account in tests.
pub const PASSWORD: &str = "secret word";

/// Listeners of each server: service, TLS, whether login without TLS is allowed.
const LISTENERS: [(&str, &str, bool); 11] = [
    ("smtp", "starttls", false),
    ("lmtp", "starttls", false),
    ("submission", "starttls", false),
    ("submission", "implicit", false),
    ("submission", "none", true),
    ("imap", "starttls", false),
    ("imap", "implicit", false),
    ("imap", "none", true),
    ("pop3", "starttls", false),
    ("pop3", "implicit", false),
    ("pop3", "none", true),
];

/// A server to be started.
#[derive(Clone, Debug)]
pub struct SiteBuilder {
    domain: String,
    users: Vec<String>,
    address: IpAddr,
    smtp_port: u16,
    more: String,
    limits: String,
    dns: String,
    queue: String,
    tls: String,
    rules: Vec<(String, String)>,
    of_domain: String,
    clock: Option<Clock>,
    one_runtime: bool,
}

impl SiteBuilder {
    /// A server for a domain with the accounts alice and bob.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            users: vec!["alice".to_owned(), "bob".to_owned()],
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            smtp_port: 0,
            more: String::new(),
            limits: "error_delay = \"0\"\nconnections_per_address = 0\nauth_failures_per_minute = 0\n\
                     recipients_per_hour_per_account = 0\nrecipients_per_day_per_account = 0\n"
                .to_owned(),
            dns: String::new(),
            queue: String::new(),
            tls: String::new(),
            rules: Vec::new(),
            of_domain: String::new(),
            clock: None,
            one_runtime: false,
        }
    }

    /// All sessions on the runtime of the test, so that its timers stand still for them, too.
    #[must_use]
    pub fn one_runtime(mut self) -> Self {
        self.one_runtime = true;
        self
    }

    /// Whether this is the server of a domain.
    pub fn is(&self, domain: &str) -> bool {
        self.domain == domain
    }

    /// Other accounts.
    #[must_use]
    pub fn users(mut self, users: &[&str]) -> Self {
        self.users = users.iter().map(|user| (*user).to_owned()).collect();
        self
    }

    /// More sections for the configuration file.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self.more.push('\n');
        self
    }

    /// More lines of `[limits]`.
    #[must_use]
    pub fn limits(mut self, toml: &str) -> Self {
        self.limits.push_str(toml);
        self.limits.push('\n');
        self
    }

    /// Other lines of `[limits]` than those that tests have.
    #[must_use]
    pub fn only_limits(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.limits);
        self
    }

    /// More lines of each `[[listener]]` of a service.
    #[must_use]
    pub fn listeners(mut self, service: &str, toml: &str) -> Self {
        self.rules.push((service.to_owned(), toml.to_owned()));
        self
    }

    /// More lines of the `[[domain]]`.
    #[must_use]
    pub fn domain(mut self, toml: &str) -> Self {
        self.of_domain.push_str(toml);
        self.of_domain.push('\n');
        self
    }

    /// Lines of `[queue]`.
    #[must_use]
    pub fn queue(mut self, toml: &str) -> Self {
        self.queue.push_str(toml);
        self.queue.push('\n');
        self
    }

    /// Lines of `[tls]`.
    #[must_use]
    pub fn tls(mut self, toml: &str) -> Self {
        self.tls.push_str(toml);
        self.tls.push('\n');
        self
    }

    /// Asks this DNS server, and finds MX hosts on that port.
    #[must_use]
    pub fn dns(mut self, server: SocketAddr, mx_port: u16) -> Self {
        self.dns = format!("servers = [\"{server}\"]\n");
        self.queue.push_str(&format!("mx_port = {mx_port}\n"));
        self
    }

    /// Validates what DNS says, by these trust anchors.
    #[must_use]
    pub fn validating(mut self, anchors: &Path) -> Self {
        self.dns.push_str(&format!("dnssec = \"validate\"\ntrust_anchors = \"{}\"\n", anchors.display()));
        self
    }

    /// Has this clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Listens there.
    #[must_use]
    pub fn at(mut self, address: IpAddr, smtp_port: u16) -> Self {
        (self.address, self.smtp_port) = (address, smtp_port);
        self
    }

    /// Writes configuration and certificate into a folder; gives the configuration file.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let host = format!("mx.{}", self.domain);
        Authority::new(folder).unwrap().issue(&host, folder).unwrap();
        let Self { domain, more, limits, dns, queue, tls, of_domain, .. } = self;
        let mut text = format!(
            "hostname = \"{host}\"\nstate_dir = \"state\"\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n{tls}\
             [[domain]]\nname = \"{domain}\"\n{of_domain}[limits]\n{limits}[dns]\n{dns}[queue]\n{queue}{more}\n"
        );
        for user in &self.users {
            text.push_str(&format!(
                "[[account]]\naddress = \"{user}@{domain}\"\npassword = \"{PASSWORD}\"\n"
            ));
        }
        for (service, tls, auth_without_tls) in LISTENERS {
            let port = if service == "smtp" { self.smtp_port } else { 0 };
            let address = SocketAddr::new(self.address, port);
            text.push_str(&format!(
                "[[listener]]\nservice = \"{service}\"\naddress = \"{address}\"\ntls = \"{tls}\"\n"
            ));
            if auth_without_tls {
                text.push_str("auth_without_tls = true\n");
            }
            for (_, rules) in self.rules.iter().filter(|(of, _)| of == service) {
                text.push_str(&format!("{rules}\n"));
            }
        }
        let file = folder.join("waypost.toml");
        write_private(&file, &text).unwrap();
        file
    }

    /// Starts the server in this process.
    pub async fn start(self) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let config =
            waypost_config::load(&self.write(folder.path())).unwrap_or_else(|error| panic!("{error}"));
        let parts = Parts { clock: self.clock, one_runtime: self.one_runtime, ..Parts::default() };
        let running = Server::start(config, parts).await.unwrap();
        Site { domain: self.domain, folder, running }
    }
}

/// A server that runs in this process.
#[derive(Debug)]
pub struct Site {
    /// Its domain.
    pub domain: String,
    /// Configuration, certificates and store.
    pub folder: TempDir,
    /// The server.
    pub running: Running,
}

impl Site {
    /// Where a service is.
    pub fn address(&self, service: Service, tls: TlsMode) -> SocketAddr {
        self.running.address(service, tls).unwrap()
    }

    /// The server's store.
    pub fn store(&self) -> &Store {
        self.running.store()
    }

    /// PEM file of the authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// An account's address.
    pub fn user(&self, name: &str) -> String {
        format!("{name}@{}", self.domain)
    }

    /// Serves the other end of an in-memory stream, in a task of its own; under TLS, where something is known of it.
    pub fn attach(&self, stream: Box<dyn Stream>, service: Service, tls: TlsMode, shown: Option<TlsInfo>) {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4321);
        let starttls = self.running.tls().map_or(TlsRole::None, TlsRole::Server);
        let starttls = if tls == TlsMode::StartTls { starttls } else { TlsRole::None };
        let connection = Connection { tls: shown, starttls, ..Connection::over(stream, loopback, loopback) };
        let auth_without_tls = tls == TlsMode::None && service != Service::Smtp;
        let config = self.running.config();
        let of_config = config.listeners.iter().find(|listener| listener.service == service);
        let rules = of_config.map(|listener| listener.rules.clone()).unwrap_or_default();
        let ListenerRules { imap, apop, xclient, .. } = rules;
        let rules = ListenerRules { imap, apop, xclient, ..ListenerRules::default() };
        let listener = ListenerConfig { service, address: loopback.into(), tls, auth_without_tls, rules };
        tokio::spawn(self.running.attach(connection, &listener));
    }

    /// Waits until the mailbox holds so many messages; then their octets, in order.
    pub async fn messages(&self, user: &str, mailbox: &str, count: usize) -> Vec<Vec<u8>> {
        for _ in 0..400 {
            let found = self.read_mailbox(user, mailbox).await;
            if found.len() >= count {
                assert_eq!(found.len(), count, "messages in {mailbox} of {user}");
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{mailbox} of {user} does not hold {count} messages: {}",
            self.read_mailbox(user, mailbox).await.len()
        );
    }

    /// All messages of a mailbox now.
    pub async fn read_mailbox(&self, user: &str, mailbox: &str) -> Vec<Vec<u8>> {
        let store = self.running.store();
        let mut messages = Vec::new();
        for content in self.rows(user, mailbox, |row| row.content.clone()).await {
            messages.push(store.read(&content, 0, content.size()).await.unwrap().to_vec());
        }
        messages
    }

    /// The system flags of all messages of a mailbox.
    pub async fn flags(&self, user: &str, mailbox: &str) -> Vec<SystemFlags> {
        self.rows(user, mailbox, |row| row.flags).await
    }

    async fn rows<T>(&self, user: &str, mailbox: &str, take: impl Fn(&Row) -> T) -> Vec<T> {
        let account = self.account(user).await;
        let Some(mailbox) = account.state().by_name(mailbox).map(|mailbox| mailbox.id) else {
            return Vec::new();
        };
        let selection = account.select(mailbox).await.unwrap();
        let state = selection.state().unwrap();
        state.rows().map(take).collect()
    }

    async fn account(&self, user: &str) -> Account {
        self.running.store().account(self.account_id(user)).await.unwrap()
    }

    /// The id of a user's account.
    pub fn account_id(&self, user: &str) -> AccountId {
        account_id(self.running.store(), &self.user(user))
    }

    /// Puts messages into a mailbox through the store's own door; the mailbox is made where it is missing.
    pub async fn append(&self, user: &str, mailbox: &str, messages: &[Vec<u8>]) {
        let store = self.running.store();
        let account = self.account(user).await;
        let known = account.state().by_name(mailbox).map(|mailbox| mailbox.id);
        let mailbox = match known {
            Some(mailbox) => mailbox,
            None => account.create_mailbox(mailbox, None).await.unwrap(),
        };
        let mut acceptances = Vec::new();
        for message in messages {
            let mut body = store.body_writer();
            body.write(message).await.unwrap();
            acceptances.push(Acceptance {
                id: store.new_entry_id(),
                header: Bytes::new(),
                body: body.finish().await.unwrap(),
                structure: Splitter::split(message),
                local: vec![Delivery {
                    account: account.id(),
                    mailbox: Some(mailbox),
                    prefix: Vec::new(),
                    flags: Flags::default(),
                    internal_date: DateTime::utc(Timestamp(0)),
                }],
                relay: None,
            });
        }
        store.accept_all(acceptances).await.unwrap();
    }

    /// Waits until the queue is empty.
    pub async fn drain_queue(&self) {
        for _ in 0..400 {
            if self.running.store().queue().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the queue is not empty: {:?}", self.running.store().queue());
    }

    /// Ends the test: the store's own check finds nothing, and the server stops in time.
    pub async fn finish(self) {
        assert_eq!(self.running.store().check().await.unwrap(), Vec::<String>::new());
        assert_eq!(self.running.store().damage(), Vec::<String>::new());
        assert!(self.running.drain().await, "a session did not end in time");
    }
}

/// Two servers that find each other by MX: a.test and b.test.
#[derive(Debug)]
pub struct World {
    /// a.test
    pub a: Site,
    /// b.test
    pub b: Site,
    /// Their DNS.
    pub dns: Dns,
}

impl World {
    /// Starts both; `shape` may change the configuration of each, and `records` are added to the DNS.
    pub async fn start(records: &[(&str, Data)], shape: impl Fn(SiteBuilder) -> SiteBuilder) -> Self {
        let second = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let mut all = vec![
            ("a.test", Data::Mx(10, "mx.a.test".to_owned())),
            ("b.test", Data::Mx(10, "mx.b.test".to_owned())),
            ("mx.a.test", Data::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            ("mx.b.test", Data::Address(second)),
        ];
        all.extend(records.iter().cloned());
        let dns = Dns::start(&all).await.unwrap();
        // held until both listen there: tests beside this one ask for ports, too
        let held = HeldPort::on(&[IpAddr::V4(Ipv4Addr::LOCALHOST), second]).unwrap();
        let port = held.port();
        let site = |domain, address| {
            shape(SiteBuilder::new(domain).at(address, port).dns(dns.address(), port)).start()
        };
        let a = site("a.test", IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        let b = site("b.test", second).await;
        Self { a, b, dns }
    }

    /// Ends the test.
    pub async fn finish(self) {
        self.a.finish().await;
        self.b.finish().await;
    }
}

/// A port that is free on 127.0.0.1 and on `other`, for a program that does not take one that is held; another may be quicker.
pub fn free_port(other: IpAddr) -> u16 {
    HeldPort::on(&[IpAddr::V4(Ipv4Addr::LOCALHOST), other]).unwrap().port()
}

/// The id of the account with an address.
pub fn account_id(store: &Store, address: &str) -> AccountId {
    let directory = store.directory();
    let directory = directory.borrow();
    directory.accounts.values().find(|account| account.address.to_string() == address).unwrap().id
}
