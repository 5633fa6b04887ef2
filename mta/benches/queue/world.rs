//! A store with a queue, DNS that is told by a rule, and what the process uses.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::watch, task::JoinHandle};
use waypost_auth::{Directory, Live, Srs};
use waypost_config::Config;
use waypost_mail::{Address, EntryId, ReversePath};
use waypost_message::Splitter;
use waypost_mta::{
    Random,
    authenticity::Signers,
    dns::{Answering, Answers, DnsError, Resolver},
    queue::{Context, Control, run_with},
    tls_policy::Policies,
};
use waypost_net::{Dialler, Shutdown};
use waypost_storage::{Acceptance, Options, Relay, RelayRecipient, Store};

use crate::sink::Sink;

/// Who fills the store at the same time.
const WRITERS: usize = 64;
/// How often it is looked whether a message has left.
const LOOK: Duration = Duration::from_millis(1);
const TEXT: &str = "a line of a short message, as there are many of them in a queue\r\n";

/// Answers for `d<number>.test`: of four one refuses connections, one says nothing; `slow.test` is slow.
struct Rule;

impl Answers for Rule {
    fn mx<'a>(&'a self, domain: &'a str) -> Answering<'a, (u16, String)> {
        Box::pin(async move { Ok(vec![(10, format!("mx.{domain}"))]) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answering<'a, IpAddr> {
        Box::pin(async move {
            let name = host.strip_prefix("mx.").and_then(|rest| rest.strip_suffix(".test"));
            let last = match name {
                Some("slow") => 4,
                Some(name) => match name.trim_start_matches('d').parse::<usize>() {
                    Ok(number) if number % 2 == 0 => 1,
                    Ok(number) if number % 4 == 1 => 2,
                    Ok(_) => 3,
                    Err(_) => return Err(DnsError::NoSuchDomain(host.to_owned())),
                },
                None => return Err(DnsError::NoSuchDomain(host.to_owned())),
            };
            Ok(vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))])
        })
    }
}

/// Accepts so many messages, each for one of so many destinations.
pub(crate) async fn fill(place: &Path, messages: usize, domains: usize) {
    let store = Store::open(Options::new(place)).await.unwrap();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (writer..messages).step_by(WRITERS) {
                    let to = format!("user{number}@d{}.test", number % domains);
                    accept(&store, number, &to).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    println!("{messages} messages: accepted {rate:.0}/s");
    store.close().await;
}

async fn accept(store: &Store, number: usize, to: &str) -> EntryId {
    let header =
        format!("From: <sender{}@here.test>\r\nTo: <{to}>\r\nSubject: {number}\r\n\r\n", number % 1000);
    let mut body = store.body_writer();
    body.write(TEXT.as_bytes()).await.unwrap();
    let sender = ReversePath::Address(Address::parse(&format!("sender{}@here.test", number % 1000)).unwrap());
    let id = store.new_entry_id();
    let acceptance = Acceptance {
        id,
        structure: Splitter::split(format!("{header}{TEXT}").as_bytes()),
        header: Bytes::from(header),
        body: body.finish().await.unwrap(),
        local: Vec::new(),
        relay: Some(Relay::new(sender, vec![RelayRecipient::new(Address::parse(to).unwrap())])),
    };
    store.accept(acceptance).await.unwrap();
    id
}

/// The queue over a filled store.
pub(crate) struct World {
    /// When the store was begun to be opened.
    pub(crate) begun: Instant,
    _sink: Sink,
    /// Messages that were in the queue at the start.
    filled: usize,
    context: Context,
    control: Control,
}

impl World {
    pub(crate) async fn start(place: PathBuf) -> Self {
        waypost_net::raise_descriptor_limit(8192).unwrap();
        let sink = Sink::start();
        let begun = Instant::now();
        let store = Store::open(Options::new(&place)).await.unwrap();
        let (filled, config) = (store.queue_len(), config(&place, sink.port));
        let directory = Directory::new(&config, &[]).unwrap();
        let live = Live { directory, config: Arc::new(config) };
        let context = Context {
            store,
            live: watch::channel(Arc::new(live)).1,
            resolver: Resolver::answered_by(Rule),
            tls: Policies::in_memory(Resolver::answered_by(Rule)),
            srs: Srs::new(&[7; 32]),
            dialler: Dialler::default(),
            random: Random::default(),
            signers: Signers::default(),
            sent: Default::default(),
            shutdown: Shutdown::new(),
        };
        Self { begun, _sink: sink, filled, context, control: Control::default() }
    }

    /// Lets the queue run.
    pub(crate) fn deliver(&self) {
        let (context, control) = (self.context.clone(), self.control.clone());
        self.context.shutdown.spawn(async move { run_with(context, &control).await });
    }

    /// Waits until so many have left the queue; the most memory meanwhile, in MiB.
    pub(crate) async fn until_left(&self, count: usize, pause: Duration) -> u64 {
        let mut most = 0;
        while self.filled - self.waiting() < count {
            most = most.max(memory_mib());
            tokio::time::sleep(pause).await;
        }
        most
    }

    /// Accepts a message for a live destination, one in a hundred for the slow one first; how long it was in the queue.
    pub(crate) async fn send(&self, number: usize, domains: usize) -> JoinHandle<Duration> {
        let store = self.context.store.clone();
        if number.is_multiple_of(100) {
            accept(&store, number, "user@slow.test").await;
        }
        let to = format!("late{number}@d{}.test", number * 34 % domains / 2 * 2);
        let begun = Instant::now();
        let id = accept(&store, number, &to).await;
        tokio::spawn(async move {
            while store.queue_entry(id).is_some() {
                tokio::time::sleep(LOOK).await;
            }
            begun.elapsed()
        })
    }

    pub(crate) fn waiting(&self) -> usize {
        self.context.store.queue_len()
    }

    pub(crate) async fn end(self) {
        self.context.shutdown.drain(Duration::from_secs(1)).await;
        self.context.store.close().await;
    }
}

fn config(place: &Path, port: u16) -> Config {
    let text = format!(
        "hostname = \"mx.here.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [[domain]]\nname = \"here.test\"\n[queue]\nmx_port = {port}\n"
    );
    waypost_config::parse(&place.join("waypost.toml"), &text).unwrap()
}

/// Anonymous memory of the process in MiB.
pub(crate) fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Processor time of the process.
pub(crate) fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name in parentheses: utime and stime are the 12th and 13th field, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}
