//! A connection to the server that mail comes from: a task drives the client machine, and tells what it hears over a bounded
//! channel. Where nobody takes it, the task reads no more, and so the server is held back.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use waypost_imap::client::{
    Answer, Client, Done, Encryption, Fault, Heard, LOGOUT_TIMEOUT, Login, Order, Question, Settings,
};
use waypost_mta::dns::{DnsError, Resolver};
use waypost_net::{
    ClientTls, ConnectError, Connection, Dial, Dialler, Disconnect, Handler, Output, Shutdown, TlsError,
    TlsRole, drive,
};

use super::{Foreign, ForeignTls};

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What is told and was not taken; then nothing more is read. A piece of a message is 16 KiB at most.
const TOLD_MAX: usize = 64;
/// Most addresses of the server that are tried.
const ADDRESSES_MAX: usize = 10;
/// Octets of a nonce before base 64.
const NONCE_BYTES: usize = 18;

/// What the task tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Something was heard.
    Heard(Heard),
    /// The order before is done; another one is waited for.
    Next(Option<Done>),
    /// The connection is over.
    Over(Over),
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) why: String,
    /// Whether another connection would end alike.
    pub(super) lasts: bool,
    /// The first message that was asked for and did not come.
    pub(super) expected: Option<u32>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    told: mpsc::Receiver<Told>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to connect. What comes of it is told.
    pub(super) fn open(runtime: &Handle, source: &Foreign, tls: &ClientTls, resolver: &Resolver) -> Self {
        let (teller, told) = mpsc::channel(TOLD_MAX);
        let (orders, ordered) = mpsc::channel(1);
        let caller = Caller { source: source.clone(), tls: tls.clone(), resolver: resolver.clone() };
        let task = runtime.spawn(async move {
            let courier = Courier { teller: teller.clone(), ordered };
            let over = match caller.connect().await {
                Ok(connection) => caller.speak(connection, courier).await,
                Err(over) => over,
            };
            // Nobody may be there to hear it.
            drop(teller.send(Told::Over(over)).await);
        });
        Self { told, orders, task }
    }

    /// Gives an order; one that finds nobody is told of by what is heard next.
    pub(super) async fn order(&self, order: Order) {
        drop(self.orders.send(order).await);
    }

    pub(super) async fn hear(&mut self) -> Told {
        let gone = || Over { why: "the connection is gone".to_owned(), lasts: false, expected: None };
        self.told.recv().await.unwrap_or_else(|| Told::Over(gone()))
    }

    /// Logs out. Nothing depends on it.
    pub(super) async fn close(mut self) {
        self.order(Order::LogOut).await;
        let end = async { while !matches!(self.hear().await, Told::Over(_)) {} };
        drop(tokio::time::timeout(LOGOUT_TIMEOUT, end).await);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with the server, by its name. Errors: a file of authorities that cannot be read; no host name.
pub(super) fn client_tls(source: &Foreign) -> Result<ClientTls, TlsError> {
    let roots = source.ca.iter().cloned().collect();
    ClientTls::new(&source.host, &waypost_net::Verification::Pkix(roots))
}

struct Caller {
    source: Foreign,
    tls: ClientTls,
    resolver: Resolver,
}

impl Caller {
    async fn connect(&self) -> Result<Connection, Over> {
        let dials: Vec<Dial> =
            self.addresses().await?.into_iter().map(|address| Dial { address, source: None }).collect();
        let raced = Dialler::default().race(&dials, CONNECT_TIMEOUT).await;
        let Some((at, dialled)) = raced.won else {
            let why = raced.failed.last().map_or_else(String::new, |(_, error)| error.to_string());
            return Err(self.failed(&why, false));
        };
        let implicit = (self.source.tls == ForeignTls::Implicit).then(|| self.tls.clone());
        let starttls = match self.source.tls {
            ForeignTls::Starttls => TlsRole::Client(self.tls.clone()),
            ForeignTls::Implicit | ForeignTls::None => TlsRole::None,
        };
        let connection = dialled.connection(dials[at].address, implicit, starttls, Shutdown::new()).await;
        connection.map_err(|error| match &error {
            ConnectError::Tls(tls) => self.failed(&format!("TLS: {tls}"), is_lasting(tls)),
            error => self.failed(&error.to_string(), false),
        })
    }

    fn failed(&self, why: &str, lasts: bool) -> Over {
        let Foreign { host, port, .. } = &self.source;
        Over { why: format!("no connection to {host}:{port}: {why}"), lasts, expected: None }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Over> {
        let host = self.source.host.trim_end_matches('.');
        let ips: Vec<IpAddr> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            // a name that nobody needs to ask for
            Err(_) if host.eq_ignore_ascii_case("localhost") => vec![[127, 0, 0, 1].into()],
            Err(_) => self.resolver.addresses(host).await.map_err(|error| {
                let lasts = !matches!(error, DnsError::Temporary(..));
                self.failed(&error.to_string(), lasts)
            })?,
        };
        Ok(ips.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, self.source.port)).collect())
    }

    async fn speak(&self, connection: Connection, courier: Courier) -> Over {
        let Foreign { user, password, tls, .. } = &self.source;
        let encryption = match tls {
            ForeignTls::Implicit => Encryption::Implicit,
            ForeignTls::Starttls => Encryption::StartTls,
            ForeignTls::None => Encryption::None,
        };
        let login = Login { user: user.clone(), password: password.0.clone() };
        let client = Client::new(Settings { encryption, login, nonce: nonce() });
        let (client, _, result) = drive(connection, client, courier).await;
        let expected = client.expected().next();
        let (why, lasts) = match (client.fault(), result) {
            (Some(fault), _) => (fault.to_string(), fault.lasts()),
            (None, Err(Disconnect::Tls(error))) => (format!("TLS: {error}"), is_lasting(&error)),
            (None, Err(error)) => (format!("the connection broke: {error}"), false),
            (None, Ok(())) => (Fault::Lost.to_string(), false),
        };
        Over { why, lasts, expected }
    }
}

/// Whether the server would show the same certificate again.
fn is_lasting(error: &TlsError) -> bool {
    !matches!(error, TlsError::Handshake(_))
}

/// Empty where the system has no randomness: then there is no SCRAM.
fn nonce() -> String {
    let mut octets = [0; NONCE_BYTES];
    getrandom::fill(&mut octets).map_or_else(|_| String::new(), |()| BASE64_STANDARD_NO_PAD.encode(octets))
}

/// Carries what the machine says to those who listen, and their orders back.
struct Courier {
    teller: mpsc::Sender<Told>,
    ordered: mpsc::Receiver<Order>,
}

impl Courier {
    async fn tell(&self, told: Told) -> Result<(), Disconnect> {
        let gone = |_| Disconnect::Handler("nobody listens".to_owned());
        self.teller.send(told).await.map_err(gone)
    }
}

impl Handler<Client> for Courier {
    async fn answer(&mut self, question: Question, _output: &mut Output<'_>) -> Result<Answer, Disconnect> {
        match question {
            Question::Heard(heard) => {
                self.tell(Told::Heard(heard)).await?;
                Ok(Answer::GoOn)
            }
            Question::Next(done) => {
                self.tell(Told::Next(done)).await?;
                Ok(Answer::Order(self.ordered.recv().await.unwrap_or(Order::LogOut)))
            }
        }
    }

    async fn event(&mut self) -> std::convert::Infallible {
        std::future::pending().await
    }
}
