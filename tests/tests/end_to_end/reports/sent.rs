//! A day ends, and other domains are told what was seen of their mail.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, Domain, ReversePath, Timestamp};
use waypost_mta::authenticity::keys::SigningKey;
use waypost_server::{
    admin::{
        Request, Response,
        queue::{QueueAnswer, QueueJob},
        socket,
    },
    agent::{Login, Submission, Tls, submit},
    demo::dns::Data,
    start::Clock,
};
use waypost_tests::{Client, Site, World, client, sample, site::PASSWORD};

/// Noon of today, by a clock that goes on from there, and may be set forward.
fn noon() -> (Clock, Arc<AtomicI64>) {
    let real = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let (start, day) = (real(), 86_400_000);
    let ahead = Arc::new(AtomicI64::new(start.div_euclid(day) * day + day / 2 - start));
    let clock = ahead.clone();
    (Clock(Arc::new(move || Timestamp(real() + clock.load(Ordering::Relaxed)))), ahead)
}

/// A key of `b.test` in a file, and its record.
fn key(folder: &Path) -> (String, String) {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let file = folder.join("dkim.pem");
    fs::write(&file, &pem).unwrap();
    let key = SigningKey::of_pem(Domain::new("b.test").unwrap(), "s".to_owned(), &pem).unwrap();
    (file.display().to_string(), key.record())
}

async fn send(site: &Site, login: Option<&str>, from: &str, to: &str) -> String {
    let (service, tls) = match login {
        Some(_) => (Service::Submission, TlsMode::None),
        None => (Service::Smtp, TlsMode::StartTls),
    };
    let path = ReversePath::Address(Address::parse(from).unwrap());
    let submission = Submission {
        address: site.address(service, tls),
        tls: Tls::None,
        login: login.map(|user| Login { user: user.to_owned(), password: PASSWORD.to_owned() }),
        from: &path,
        to: &[Address::parse(to).unwrap()],
        message: &sample(from, to, 1),
    };
    submit(submission).await.unwrap_or_else(|error| error.to_string())
}

/// How many connections a server has to others.
async fn connections(state: &Path) -> u64 {
    let request = Request::Queue { job: QueueJob::Destinations };
    let answer = socket::ask(state, &request, &mut drop).await.unwrap().unwrap();
    let Response::Queue(QueueAnswer::Destinations(lines)) = answer else { panic!("{answer:?}") };
    lines.iter().filter_map(|line| line.connections).sum()
}

/// What another program reads of reports.
async fn read(home: &Path, messages: &[Vec<u8>]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/read_report.py");
    let mut args = vec![script.display().to_string()];
    for (number, message) in messages.iter().enumerate() {
        let file = home.join(format!("report{number}"));
        fs::write(&file, message).unwrap();
        args.push(file.display().to_string());
    }
    let printed = Client::new(client::python().to_str().unwrap(), home).args(args).run().await;
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_are_told_of_mail_in_their_name_and_of_tls_towards_them() {
    let home = tempfile::tempdir().unwrap();
    let (file, record) = key(home.path());
    let text = |text: &str| Data::Text(text.to_owned());
    let records = [
        ("a.test", text("v=spf1 mx -all")),
        ("_dmarc.a.test", text("v=DMARC1; p=quarantine; rua=mailto:alice@a.test")),
        ("_smtp._tls.a.test", text("v=TLSRPTv1; rua=mailto:alice@a.test")),
        ("_dmarc.d.test", text("v=DMARC1; p=reject; rua=mailto:alice@a.test,mailto:bob@b.test")),
        ("d.test._report._dmarc.a.test", text("v=DMARC1")),
        ("_dmarc.b.test", text("v=DMARC1; p=reject; rua=mailto:bob@b.test")),
        ("s._domainkey.b.test", text(&record)),
    ];
    let (clock, ahead) = noon();
    let world = World::start(&records, |site| {
        let signing = match site.is("b.test") {
            true => format!("[[dkim.key]]\ndomain = \"b.test\"\nselector = \"s\"\nfile = \"{file}\"\n"),
            false => String::new(),
        };
        site.clock(clock.clone()).with(&format!("[authenticity]\nexempt = []\n{signing}"))
    })
    .await;

    // a day of mail
    for _ in 0..2 {
        let said = send(&world.a, Some("alice@a.test"), "alice@a.test", "bob@b.test").await;
        assert!(said.ends_with(" accepted"), "{said}");
    }
    world.a.drain_queue().await;
    let said = send(&world.b, None, "x@d.test", "bob@b.test").await;
    assert!(said.contains("550 5.7.1 "), "{said}");
    let said = send(&world.b, Some("bob@b.test"), "bob@b.test", "alice@a.test").await;
    assert!(said.ends_with(" accepted"), "{said}");
    world.b.drain_queue().await;
    world.a.messages("alice", "INBOX", 1).await;

    // it ends; what came of TLS is known when a connection has ended
    let state = world.b.folder.path().join("state");
    while connections(&state).await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let day = world.b.store().now().to_string()[..10].to_owned();
    let reports = || async {
        socket::ask(&state, &Request::ReportsSend { day: day.clone() }, &mut drop).await.unwrap().unwrap()
    };
    assert!(matches!(reports().await, Response::Failed(why) if why.contains("has not ended")));
    ahead.fetch_add(86_400_000, Ordering::Relaxed);
    let Response::ReportsSent(lines) = reports().await else { panic!("not sent") };
    let mut said: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {} {}", line.kind.name(), line.domain, line.to, line.outcome))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "DMARC a.test mailto:alice@a.test sent",
            "DMARC d.test mailto:alice@a.test sent",
            "DMARC d.test mailto:bob@b.test refused",
            "TLS a.test mailto:alice@a.test sent",
        ]
    );
    world.b.drain_queue().await;
    let mut inbox = world.a.messages("alice", "INBOX", 4).await;
    inbox.remove(0);
    let mut told = read(home.path(), &inbox).await;
    for report in &mut told {
        let results = report["results"].take();
        let results = results.as_str().unwrap();
        assert!(
            results.contains("dkim=pass") && results.contains("dmarc=pass header.from=b.test"),
            "{results}"
        );
    }
    told.sort_by_key(|report| format!("{} {}", report["kind"], report["domain"]));
    let row = |count: u64, disposition: &str, spf: &str, from: &str| {
        json!({
            "source": "127.0.0.1", "count": count, "disposition": disposition, "dkim": "fail", "spf": spf, "from": from,
        })
    };
    assert_eq!(
        told,
        [
            json!({
                "kind": "dmarc", "domain": "a.test", "by": "b.test", "results": null,
                "records": [row(2, "pass", "pass", "a.test")],
            }),
            json!({
                "kind": "dmarc", "domain": "d.test", "by": "b.test", "results": null,
                "records": [row(1, "reject", "fail", "d.test")],
            }),
            json!({
                "kind": "tls", "domain": "a.test", "by": "b.test", "results": null,
                "policies": [["no-policy-found", 1, 0]],
            }),
        ]
    );

    // reports are not told of: what a saw of b.test was one message of that day
    let World { a, b, .. } = world;
    b.finish().await;
    assert!(a.running.drain().await);
    let counts = a.folder.path().join("state/reports/outgoing/dmarc");
    let days: Vec<_> = fs::read_dir(&counts).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(days, [format!("{day}.json").as_str()]);
    let counted: Value = serde_json::from_slice(&fs::read(counts.join(&days[0])).unwrap()).unwrap();
    assert_eq!(counted["b.test"]["messages"], 1);
}
