use std::path::PathBuf;

use tempfile::TempDir;
use tokio::sync::watch;
use waypost_auth::Directory;
use waypost_mail::{AccountSource, DateTime, Flags};
use waypost_message::Splitter;
use waypost_storage::{Acceptance, Delivery, NewAccount, Options};

use super::*;
use crate::{
    authenticity::testing::Zone,
    dns::Answers,
    reports::incoming::{
        WAITING_MAX,
        summary::{Summary, Wanted},
        testing::{aggregate, gzip, mail, record},
    },
};

/// 2026-11-26T01:02:03Z, as near to the samples as the store's own clock is not.
const CONFIG: &str = "hostname = \"mx.a.test\"\nstate_dir = \"s\"\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
    [[domain]]\nname = \"a.test\"\n[[alias]]\nfrom = \"postmaster@a.test\"\nto = [\"anna@a.test\"]\n[reports]\nmailbox = \"Reports\"\n";

struct World {
    store: Store,
    incoming: Incoming,
    context: Context,
    anna: AccountId,
    folder: PathBuf,
    _state: TempDir,
}

impl World {
    async fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(state.path())).await.unwrap();
        let anna = store
            .create_account(NewAccount {
                address: Address::parse("anna@a.test").unwrap(),
                source: AccountSource::Store,
                password_hash: None,
                scram_verifiers: Vec::new(),
                quota_bytes: None,
            })
            .await
            .unwrap();
        let config = waypost_config::parse(&state.path().join("waypost.toml"), CONFIG).unwrap();
        let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
        let directory = Directory::new(&config, &accounts).unwrap();
        let live = watch::channel(Arc::new(Live { config: Arc::new(config), directory })).1;
        let zone = Zone::default()
            .name("203.0.113.9", "shop.test")
            .address("shop.test", "203.0.113.9")
            .address("mx.a.test", "192.0.2.1");
        let context =
            Context { store: store.clone(), live, resolver: resolver(zone), shutdown: Shutdown::new() };
        let incoming = Incoming::open(state.path(), store.now());
        let folder = state.path().to_owned();
        Self { store, incoming, context, anna, folder, _state: state }
    }

    fn start(&self) {
        self.context.shutdown.spawn(self.incoming.clone().run(self.context.clone()));
    }

    /// Ends what runs; what is begun anew knows what is on disk.
    async fn restart(&mut self) {
        assert!(self.context.shutdown.drain(Duration::from_secs(10)).await);
        self.context.shutdown = Shutdown::new();
        self.incoming = Incoming::open(&self.folder, self.store.now());
        self.start();
    }

    /// Puts a mail into INBOX as SMTP does.
    async fn deliver(&self, mail: &[u8]) -> (EntryId, Placed) {
        let start = mail.windows(10).position(|found| found == b"\r\nReceived").unwrap() + 2;
        let end = mail.windows(4).position(|found| found == b"\r\n\r\n").unwrap() + 4;
        let mut body = self.store.body_writer();
        body.write(&mail[end..]).await.unwrap();
        let delivery = Delivery {
            account: self.anna,
            mailbox: None,
            prefix: mail[..start].to_vec(),
            flags: Flags::default(),
            internal_date: DateTime::utc(self.store.now()),
        };
        let acceptance = Acceptance {
            id: self.store.new_entry_id(),
            header: mail[start..end].to_vec().into(),
            body: body.finish().await.unwrap(),
            structure: Splitter::split(&mail[start..]),
            local: vec![delivery],
            relay: None,
        };
        let accepted = self.store.accept(acceptance).await.unwrap();
        (accepted.id, accepted.local.into_iter().next().unwrap())
    }

    fn summary(&self) -> Summary {
        self.incoming.summary(3, Wanted::default(), self.store.now()).unwrap()
    }

    async fn until(&self, is_so: impl Fn(&Summary) -> bool) -> Summary {
        for _ in 0..1_000 {
            let summary = self.summary();
            if is_so(&summary) {
                return summary;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.summary())
    }
}

fn resolver(answers: impl Answers) -> Resolver {
    Resolver::answered_by(answers)
}

/// A report about today, with this id.
fn today(id: &str, records: &[String], now: Timestamp) -> Vec<u8> {
    let xml = aggregate(records)
        .replace("1795564800", &(now.seconds() - 60).to_string())
        .replace("1795651199", &now.seconds().to_string())
        .replace("1122334455", id);
    mail(
        "big.test",
        "Subject: Report Domain: a.test\r\nContent-Type: application/gzip\r\n",
        &gzip(xml.as_bytes()),
    )
}

fn job((id, placed): (EntryId, Placed)) -> Job {
    Job { id, place: Place::Mailbox(placed), about: None }
}

#[tokio::test]
async fn what_is_offered_is_read_and_kept_once() {
    let mut world = World::new().await;
    world.start();
    let now = world.store.now();
    let report =
        today("1", &[record("192.0.2.1", 41, "pass", "pass"), record("203.0.113.9", 2, "fail", "fail")], now);
    world.incoming.offer(job(world.deliver(&report).await));
    world.incoming.offer(job(world.deliver(&report).await));
    let summary = world.until(|summary| !summary.mail.is_empty()).await;
    // the address of our name is one of ours; that of the others has a name
    assert_eq!((summary.mail[0].seen, summary.mail[0].others), (41, 2));
    assert_eq!(summary.mail[0].sources[0].name.as_deref(), Some("shop.test"));
    // wrong, gone, and from memory alone
    let wrong = mail(
        "big.test",
        "Subject: Report Domain: a.test\r\nContent-Type: application/gzip\r\n",
        b"\x1f\x8bdamaged",
    );
    world.incoming.offer(job(world.deliver(&wrong).await));
    let (id, placed) = world.deliver(&report).await;
    let account = world.store.account(world.anna).await.unwrap();
    account.expunge(placed.mailbox, vec![placed.uid]).await.unwrap();
    world.incoming.offer(job((id, placed)));
    let other = today("2", &[record("192.0.2.1", 1, "pass", "pass")], now);
    world.incoming.offer(Job { id, place: Place::Octets(other.into()), about: None });
    let summary = world.until(|summary| summary.mail[0].seen == 42).await;
    assert_eq!((summary.problems, summary.mail[0].reports.len()), (1, 2));
    world.restart().await;
    assert_eq!(world.until(|summary| !summary.mail.is_empty()).await, summary);
    world.context.shutdown.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn what_was_not_read_before_a_kill_is_read_after_it() {
    let mut world = World::new().await;
    let now = world.store.now();
    // accepted, and never offered
    for number in 0..3 {
        world.deliver(&today(&number.to_string(), &[record("192.0.2.1", 1, "pass", "pass")], now)).await;
    }
    let words = mail("big.test", "Content-Type: text/plain\r\n", b"hello");
    world.deliver(&words).await;
    world.restart().await;
    let summary = world.until(|summary| summary.mail.iter().any(|line| line.seen == 3)).await;
    assert_eq!(summary.problems, 0);
    world.context.shutdown.drain(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_waits_and_what_is_beyond_the_bound_is_said() {
    let incoming =
        Incoming(Arc::new(super::super::Shared { folder: Some(PathBuf::new()), ..Default::default() }));
    let placed = |_| Job { id: EntryId(1), place: Place::Octets(vec![0; 64 * 1024].into()), about: None };
    (0..WAITING_MAX).map(placed).for_each(|job| incoming.offer(job));
    assert_eq!(
        (incoming.waiting().len(), incoming.0.missed.load(Ordering::Relaxed)),
        (128, 128),
        "octets are bounded"
    );
    let small = |_| Job { id: EntryId(1), place: Place::Octets(Bytes::new()), about: None };
    (0..WAITING_MAX).map(small).for_each(|job| incoming.offer(job));
    assert_eq!((incoming.waiting().len(), incoming.0.missed.load(Ordering::Relaxed)), (WAITING_MAX, 256));
    // so many a minute
    let mut pace = Pace { begun: Instant::now(), count: 0 };
    for _ in 0..PER_MINUTE_MAX {
        assert_eq!(pace.next(Instant::now()), None);
    }
    let until = pace.next(Instant::now()).unwrap();
    assert_eq!(until - Instant::now(), MINUTE);
    tokio::time::sleep_until(until).await;
    assert_eq!(pace.next(Instant::now()), None);
}

#[tokio::test]
async fn nothing_is_kept_where_there_is_no_folder() {
    let incoming = Incoming::default();
    incoming.offer(Job { id: EntryId(1), place: Place::Octets(Bytes::new()), about: None });
    assert!(incoming.waiting().is_empty());
    assert_eq!(incoming.summary(7, Wanted::default(), Timestamp(0)).unwrap(), Summary::default());
    assert!(incoming.lines_of(7, Timestamp(0)).unwrap().is_empty());
}
