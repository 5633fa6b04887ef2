use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicI64, Ordering},
};

use mail_auth::report as wire;
use waypost_auth::Directory;
use waypost_mail::{AccountSource, Address, Domain, Notify, ReversePath};
use waypost_storage::{NewAccount, Options, QueueEntry};

use super::*;
use crate::{
    authenticity::{rotation, testing::Zone},
    reports::outgoing::{plan::WAIT, sighting::Sighting},
    tls_policy::testing::{Authority, PolicyHost},
};

const DAY: i64 = 1_795_564_800; // 2026-11-25T00:00:00Z
const CONFIG: &str = "hostname = \"mx.b.test\"\nstate_dir = \"s\"\n[[domain]]\nname = \"b.test\"\n\
                      [[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n";

/// A server of b.test whose clock is set by hand.
struct World {
    store: Store,
    clock: Arc<AtomicI64>,
    zone: Zone,
    counts: Counts,
    config: String,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(zone: Zone) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(DAY));
        let seconds = clock.clone();
        let options = Options {
            clock: Arc::new(move || Timestamp::from_seconds(seconds.load(Ordering::Relaxed))),
            ..Options::new(folder.path().join("store"))
        };
        let store = Store::open(options).await.unwrap();
        let account = NewAccount {
            address: Address::parse("bob@b.test").unwrap(),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        store.create_account(account).await.unwrap();
        let counts = Counts::open(folder.path(), store.now());
        Self { store, clock, zone, counts, config: CONFIG.to_owned(), folder }
    }

    /// Makes keys that sign at once.
    async fn signing(self) -> Self {
        let domain = Domain::new("b.test").unwrap();
        for key in rotation::make(&self.store, &domain).await.unwrap() {
            self.store.activate_dkim_key(domain.clone(), key.selector).await.unwrap();
        }
        self
    }

    fn live(&self) -> Live {
        let config = waypost_config::parse(Path::new("/x/waypost.toml"), &self.config).unwrap();
        let records: Vec<_> = self.store.directory().borrow().accounts.values().cloned().collect();
        Live { directory: Directory::new(&config, &records).unwrap(), config: Arc::new(config) }
    }

    /// One that was started now.
    fn reporter(&self) -> Reporter {
        let resolver = self.zone.clone().resolver();
        let tls = Policies::open(resolver.clone(), &self.folder.path().join("tls"), self.store.now());
        let means = (self.store.clone(), resolver, Signers::default(), Random::new(|| 0));
        Reporter::new(self.folder.path(), self.counts.clone(), tls, means)
    }

    /// Sets the clock to so many seconds after the day.
    fn after(&self, seconds: u64) {
        self.clock.store(DAY + 86_400 + i64::try_from(seconds).unwrap(), Ordering::Relaxed);
    }

    /// A server that starts looks what is due.
    async fn looks(&self) -> Vec<QueueEntry> {
        self.reporter().look(&self.live(), &Shutdown::new()).await;
        self.store.queue()
    }

    /// Counts a message in the name of a domain, on the day.
    fn sees(&self, domain: &str, report_uris: &str) {
        let sighting = Sighting {
            policy: wire::PolicyPublished { domain: domain.into(), ..Default::default() },
            report_uris: report_uris.into(),
            record: wire::Record::new()
                .with_source_ip(IpAddr::V4(Ipv4Addr::LOCALHOST))
                .with_header_from(domain),
        };
        self.counts.note(vec![sighting], Timestamp::from_seconds(DAY));
    }

    /// What came of TLS on the day.
    fn had_tls(&self, domain: &str) {
        let policy = serde_json::json!({"policy-type": "no-policy-found", "policy-domain": domain});
        let summary =
            serde_json::json!({"total-successful-session-count": 1, "total-failure-session-count": 1});
        let text = serde_json::json!({domain: [{"policy": policy, "summary": summary}]}).to_string();
        let file = self.folder.path().join("tls/results/2026-11-25.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    async fn text(&self, entry: &QueueEntry) -> String {
        let octets = self.store.read(&entry.content, 0, entry.content.size()).await.unwrap();
        String::from_utf8(octets.to_vec()).unwrap()
    }
}

fn recipients(queue: &[QueueEntry]) -> Vec<String> {
    let to = |entry: &QueueEntry| entry.recipients[0].recipient.address.to_string();
    let mut all: Vec<String> = queue.iter().map(to).collect();
    all.sort();
    all
}

const DUE: u64 = WAIT.0.as_secs();

#[tokio::test]
async fn a_day_is_told_once_some_time_after_it() {
    let world = World::new(Zone::default()).await.signing().await;
    world.sees("a.test", "mailto:d@a.test,mailto:e@a.test");
    world.sees("c.test", "junk");
    for early in [0, DUE - 1] {
        world.after(early);
        assert!(world.looks().await.is_empty(), "{early}");
    }
    world.after(DUE);
    let queue = world.looks().await;
    assert_eq!(recipients(&queue), ["d@a.test", "e@a.test"]);
    for again in [DUE, DUE + 60, 86_400, 2 * 86_400] {
        world.after(again);
        assert_eq!(world.looks().await.len(), 2, "{again}");
    }
    let entry = &queue[0];
    assert_eq!(
        (&entry.reverse_path, entry.wishes.priority, entry.wishes.tls_optional),
        (&ReversePath::Null, -4, false)
    );
    assert_eq!(entry.recipients[0].recipient.notify, Some(Notify::default()), "nobody is told of it");
    let text = world.text(entry).await;
    assert_eq!(text.matches("DKIM-Signature: ").count(), 2, "{text}");
    for part in [
        "From: \"b.test\" <postmaster@b.test>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: application/gzip",
        "b.test!a.test!1795564800!1795651199!20261125mxbtest.xml.gz",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test]
async fn what_a_crash_keeps_from_being_noted_is_sent_again_under_its_name() {
    let world = World::new(Zone::default()).await.signing().await;
    world.sees("a.test", "mailto:d@a.test");
    world.after(DUE);
    world.looks().await;
    let plan = world.folder.path().join("plans/2026-11-25.json");
    std::fs::remove_file(&plan).unwrap();
    let queue = world.looks().await;
    assert_eq!(queue.len(), 2);
    let name = "b.test!a.test!1795564800!1795651199!20261125mxbtest.xml.gz";
    for entry in &queue {
        assert!(world.text(entry).await.contains(name));
    }
    // a plan that cannot be read is an operator's: nothing is sent twice for it
    std::fs::write(&plan, "{").unwrap();
    assert_eq!(world.looks().await.len(), 2);
}

#[tokio::test]
async fn what_dns_does_not_say_is_asked_again() {
    let mut world =
        World::new(Zone::default().text("a.test._report._dmarc.r.test", "TIMEOUT")).await.signing().await;
    world.sees("a.test", "mailto:d@a.test,mailto:x@r.test,mailto:y@victim.test");
    world.after(DUE);
    assert_eq!(recipients(&world.looks().await), ["d@a.test"]);
    world.zone = Zone::default().text("a.test._report._dmarc.r.test", "v=DMARC1");
    world.after(DUE + 15 * 60 - 1);
    assert_eq!(recipients(&world.looks().await), ["d@a.test"]);
    world.after(DUE + 15 * 60);
    assert_eq!(recipients(&world.looks().await), ["d@a.test", "x@r.test"]);
    world.after(86_400);
    assert_eq!(world.looks().await.len(), 2);
}

#[tokio::test]
async fn reports_are_bounded_in_size_and_number() {
    let mut world = World::new(Zone::default()).await.signing().await;
    world.config.push_str("[reports]\ndaily_max = 2\norganization = \"Example\"\nfrom = \"dmarc@b.test\"\n");
    world.sees("small.test", "mailto:d@small.test!100,mailto:e@small.test!1m");
    (0..3).for_each(|_| world.sees("much.test", "mailto:d@much.test"));
    (0..2).for_each(|_| world.sees("small.test", "mailto:d@small.test!100,mailto:e@small.test!1m"));
    world.sees("few.test", "mailto:d@few.test");
    world.after(DUE);
    let queue = world.looks().await;
    assert_eq!(recipients(&queue), ["d@much.test", "e@small.test"]);
    assert!(world.text(&queue[0]).await.contains("From: \"Example\" <dmarc@b.test>\r\n"));
}

#[tokio::test]
async fn without_keys_nothing_is_sent_until_there_are_some() {
    let world = World::new(Zone::default()).await;
    world.sees("a.test", "mailto:d@a.test");
    world.after(DUE);
    let said = world.reporter().send(&world.live(), Day::parse("2026-11-25").unwrap()).await.unwrap_err();
    assert!(said.contains("mail of b.test is not signed"), "{said}");
    assert!(world.reporter().obstacle(&world.live()).is_some());
    let world = world.signing().await;
    assert_eq!(world.reporter().obstacle(&world.live()), None);
    assert_eq!(world.looks().await.len(), 1);
}

#[tokio::test]
async fn an_administrator_sends_again() {
    let mut world = World::new(Zone::default()).await.signing().await;
    world.sees("a.test", "mailto:d@a.test,mailto:x@victim.test");
    let send =
        async |world: &World, day: &str| world.reporter().send(&world.live(), Day::parse(day).unwrap()).await;
    world.after(0);
    assert!(send(&world, "2026-11-26").await.unwrap_err().contains("has not ended"));
    assert!(send(&world, "2026-11-24").await.unwrap_err().contains("nothing is known"));
    let line = |to: &str, outcome: &str, why: Option<&str>| ReportLine {
        kind: Kind::Dmarc,
        domain: "a.test".into(),
        to: to.into(),
        outcome: outcome.into(),
        why: why.map(str::to_owned),
    };
    let expected = [
        line("mailto:x@victim.test", "refused", Some("its domain does not say that it wants these reports")),
        line("mailto:d@a.test", "sent", None),
    ];
    assert_eq!(send(&world, "2026-11-25").await.unwrap(), expected);
    assert_eq!(send(&world, "2026-11-25").await.unwrap(), expected);
    world.after(DUE);
    assert_eq!(world.looks().await.len(), 2, "it was sent before its time, and not again");
    world.config.push_str("[reports]\nsend = false\n");
    assert!(send(&world, "2026-11-25").await.unwrap_err().contains("send is false"));
}

#[tokio::test]
async fn reports_of_tls_go_by_mail_whatever_tls_does_and_by_https() {
    let authority = Authority::new();
    let host = PolicyHost::start(authority.issue("t.test").tls).await;
    let port = host.address.port();
    let zone = Zone::default().address("t.test", "127.0.0.1").text(
        "_smtp._tls.a.test",
        &format!("v=TLSRPTv1; rua=https://t.test:{port}/r,mailto:t@elsewhere.test"),
    );
    let mut world = World::new(zone).await.signing().await;
    world.had_tls("a.test");
    world.after(DUE);
    // a stranger names a host that is not on the Internet
    let lines = world.reporter().send(&world.live(), Day::parse("2026-11-25").unwrap()).await.unwrap();
    assert_eq!(lines[0].why.as_deref(), Some("t.test is not on the Internet"));
    assert!(host.asked().is_empty());
    let [entry] = &world.store.queue()[..] else { panic!("not one") };
    assert!(entry.wishes.tls_optional);
    let text = world.text(entry).await;
    for part in ["TLS-Report-Domain: a.test\r\n", "TLS-Required: No\r\n", "report-type=\"tlsrpt\""] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // in a network of its own it may
    let roots = authority.roots()[0].display().to_string();
    world.config.push_str(&format!("[outbound_tls]\nroots = [\"{roots}\"]\n"));
    std::fs::remove_dir_all(world.folder.path().join("plans")).unwrap();
    host.say("503 Busy", "text/plain", "later");
    assert_eq!(world.looks().await.len(), 2);
    host.say("201 Created", "text/plain", "thanks");
    world.after(DUE + 15 * 60);
    assert_eq!(world.looks().await.len(), 2, "who has it does not get it again");
    assert_eq!(host.asked(), vec![format!("POST /r HTTP/1.1 host: t.test:{port}"); 2]);
    let sent = host.sent.lock().unwrap().clone();
    assert!(
        sent.iter().all(
            |(media_type, octets)| media_type == "application/tlsrpt+gzip" && octets[..2] == [0x1f, 0x8b]
        )
    );
    assert_eq!(sent[0], sent[1]);
}
