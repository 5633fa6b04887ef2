//! What others sign and seal, we verify; what we seal, others do; and SPF comes to the same there and here.

use std::{fmt::Write, net::IpAddr};

use waypost_config::DnsConfig;
use waypost_mail::Domain;
use waypost_message::HeaderCollector;
use waypost_mta::{
    authenticity::{
        Check, Sender, Verdict,
        dkim::DkimResult,
        spf::{Client as SpfClient, check},
    },
    dns::Resolver,
};
use waypost_server::demo::{
    dns::{Data, Dns},
    world::DkimKeys,
};
use waypost_tests::World;

use super::{
    signatures::{opendkim_program, traps},
    *,
};

/// A folder with keys of a.test and signed messages, and DNS that has their records.
struct Desk {
    home: TempDir,
    keys: DkimKeys,
    resolver: Resolver,
    _dns: Dns,
}

impl Desk {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys = DkimKeys::new(home.path(), "a.test").unwrap();
        let (dns, resolver) = resolver(&keys.records).await;
        fs::create_dir(home.path().join("out")).unwrap();
        Self { home, keys, resolver, _dns: dns }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn python(&self, script: &str) -> Client {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        Client::new(&waypost_tests::client::python().display().to_string(), self.home.path()).args([script])
    }

    /// Puts messages into files; their paths.
    fn files(&self, messages: &[Vec<u8>]) -> Vec<String> {
        let file = |(number, message): (usize, &Vec<u8>)| {
            let path = self.path(&format!("{number:02}"));
            fs::write(&path, message).unwrap();
            path
        };
        messages.iter().enumerate().map(file).collect()
    }

    /// What was made, by name.
    fn made(&self) -> Vec<(String, Vec<u8>)> {
        let mut made: Vec<_> = fs::read_dir(self.path("out"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        made.sort();
        made
    }

    async fn verdict(&self, message: &[u8]) -> Verdict {
        verdict(&self.resolver, message).await
    }

    /// The results of DKIM, with why.
    async fn dkim(&self, message: &[u8]) -> Vec<(DkimResult, Option<String>)> {
        self.verdict(message).await.dkim.into_iter().map(|outcome| (outcome.result, outcome.reason)).collect()
    }
}

async fn resolver(records: &[(String, Data)]) -> (Dns, Resolver) {
    let records: Vec<_> = records.iter().map(|(name, data)| (name.as_str(), data.clone())).collect();
    let dns = Dns::start(&records).await.unwrap();
    let config = DnsConfig { servers: vec![dns.address()], ..DnsConfig::default() };
    (dns, Resolver::new(&config).unwrap())
}

async fn verdict(resolver: &Resolver, message: &[u8]) -> Verdict {
    let mut collector = HeaderCollector::default();
    let (header, used) = match collector.feed(message).unwrap() {
        Some(both) => both,
        None => (collector.finish(), message.len()),
    };
    let mut check = Check::begin(&header, 0);
    message[used..].chunks(1000).for_each(|octets| check.feed(octets));
    let receiver = Domain::new("mx.b.test").unwrap();
    let sender = Sender {
        peer: IpAddr::from([127, 0, 0, 1]),
        helo: "mx.a.test",
        reverse_path: &ReversePath::Null,
        receiver: &receiver,
        now: 0,
    };
    check.finish(resolver, sender).await
}

/// More traps, which cannot come by SMTP: without a last line end, or all header.
fn unfinished() -> Vec<Vec<u8>> {
    let header = "From: alice@a.test\r\nSubject: x\r\n\r\n";
    let of = |body: &str| format!("{header}{body}").into_bytes();
    vec![of("text"), of("text\r\nmore"), of("\r\n\r\ntext"), of("a\tb  c")]
}

#[tokio::test]
async fn what_dkimpy_signs_stands() {
    let desk = Desk::new().await;
    let messages = [traps(), unfinished()].concat();
    let count = messages.len();
    desk.python("dkim_sign.py")
        .args([desk.home.path().display().to_string(), desk.path("out")])
        .args(desk.files(&messages))
        .run()
        .await;
    let made = desk.made();
    // two kinds of key, four pairs of forms, with and without l=
    assert_eq!(made.len(), count * 2 * 4 * 2);
    for (name, message) in &made {
        assert_eq!(desk.dkim(message).await, [(DkimResult::Pass, None)], "{name}");
        let text = String::from_utf8_lossy(message);
        if name.ends_with("-length") {
            let longer = [message.as_slice(), b"more\r\n"].concat();
            let cut = (DkimResult::Policy, Some("l= is not the length of the body".to_owned()));
            // without a last line end the end of what was signed is no end of a line: the next word is behind it
            if text.ends_with("\r\n") && !text.ends_with("\r\n\r\n") {
                assert_eq!(desk.dkim(&longer).await, [cut], "{name}");
            }
        } else {
            let longer = [message.as_slice(), b"more\r\n"].concat();
            assert_eq!(desk.dkim(&longer).await[0].0, DkimResult::Fail, "{name}");
        }
        let changed = text.replacen("alice@a.test", "alicf@a.test", 1);
        assert_eq!(desk.dkim(changed.as_bytes()).await[0].0, DkimResult::Fail, "{name}");
    }
}

/// By RSA: its signatures by Ed25519 (2.11.0~beta2) stand neither by dkimpy nor by itself.
#[tokio::test]
async fn what_opendkim_signs_stands() {
    let desk = Desk::new().await;
    let (program, libraries) = opendkim_program();
    let messages = traps();
    let paths = desk.files(&messages);
    for form in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
        let (socket, config) = (desk.path("socket"), desk.path("opendkim.conf"));
        let key = desk.path("dkim-rsa.pem");
        let text = format!(
            "Mode s\nSocket local:{socket}\nDomain a.test\nSelector rsa\nKeyFile {key}\nSignatureAlgorithm rsa-sha256\n\
             Canonicalization {form}\nRequireSafeKeys no\nOversignHeaders From\nBackground no\nSyslog no\n"
        );
        fs::write(&config, text).unwrap();
        let script = desk.python("opendkim_sign.py").env("LD_LIBRARY_PATH", &libraries);
        script.args([&program, &config, &socket, &desk.path("out")]).args(&paths).run().await;
        let made = desk.made();
        assert_eq!(made.len(), messages.len());
        for (name, message) in made {
            assert_eq!(desk.dkim(&message).await, [(DkimResult::Pass, None)], "{name} {form}");
        }
    }
}

#[tokio::test]
async fn what_authheaders_seals_stands_and_is_gone_on_from() {
    let desk = Desk::new().await;
    let mut messages = traps();
    for hop in 1..=3_usize {
        let args = ["seal".to_owned(), desk.path("dkim-rsa.pem"), "rsa".to_owned(), "a.test".to_owned()];
        let args = args.into_iter().chain(["mx.a.test".to_owned(), desk.path("out")]);
        // it asks for what was found, in a field of the server that it seals for
        let chain = if hop == 1 { "none" } else { "pass" };
        let found =
            format!("Authentication-Results: mx.a.test; arc={chain}; dmarc=pass header.from=a.test\r\n");
        let checked: Vec<_> = messages.iter().map(|message| [found.as_bytes(), message].concat()).collect();
        desk.python("arc.py").args(args).args(desk.files(&checked)).run().await;
        let sealed = desk.made().into_iter().zip(&messages).map(|((_, sealed), message)| {
            let set = sealed.strip_suffix([found.as_bytes(), message].concat().as_slice()).unwrap();
            [set, message].concat()
        });
        messages = sealed.collect();
        for message in &messages {
            let arc = desk.verdict(message).await.arc;
            assert!(arc.sealers.iter().all(|sealer| sealer.saw_dmarc_pass));
            let found = (arc.result.name(), arc.sealers.len(), arc.reason);
            assert_eq!(
                found,
                ("pass", hop, None),
                "{}",
                String::from_utf8_lossy(&message[..message.len().min(4000)])
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dkimpy_verifies_our_seals_after_one_hop_and_after_two() {
    let desk = Desk::new().await;
    let b = DkimKeys::new(&desk.home.path().join("b"), "b.test").unwrap();
    let all: Vec<_> = desk.keys.records.iter().chain(&b.records).cloned().collect();
    let records: Vec<_> = all.iter().map(|(name, data)| (name.as_str(), data.clone())).collect();
    // one@a.test goes to Bob, two@a.test by b.test back to Alice
    let world = World::start(&records, |site| {
        let (keys, aliases) = match site.is("a.test") {
            true => (&desk.keys, [("one@a.test", "bob@b.test"), ("two@a.test", "three@b.test")].as_slice()),
            false => (&b, [("three@b.test", "alice@a.test")].as_slice()),
        };
        let alias = |(from, to): &(&str, &str)| format!("[[alias]]\nfrom = \"{from}\"\nto = [\"{to}\"]\n");
        let aliases: String = aliases.iter().map(alias).collect();
        site.with(&format!("{aliases}[authenticity]\nexempt = []\ndmarc = \"observe\"\n{}", keys.config))
    })
    .await;
    let sent = traps();
    let (from, to) = (Address::parse("x@c.test").unwrap(), ["one@a.test", "two@a.test"]);
    for message in &sent {
        let submission = Submission {
            address: world.a.address(Service::Smtp, TlsMode::StartTls),
            tls: Tls::None,
            login: None,
            from: &ReversePath::Address(from.clone()),
            to: &to.map(|to| Address::parse(to).unwrap()),
            message,
        };
        submit(submission).await.unwrap();
    }
    let once = world.b.messages("bob", "INBOX", sent.len()).await;
    let twice = world.a.messages("alice", "INBOX", sent.len()).await;
    let text = |data: &Data| if let Data::Text(text) = data { text.clone() } else { String::new() };
    let known: String = all.iter().fold(String::new(), |mut known, (name, data)| {
        writeln!(known, "{name} {}", text(data)).unwrap();
        known
    });
    fs::write(desk.path("records"), known).unwrap();
    for (messages, expected) in [(&once, "pass a.test"), (&twice, "pass b.test a.test")] {
        let args = ["verify".to_owned(), desk.path("records")];
        let printed = desk.python("arc.py").args(args).args(desk.files(messages)).run().await;
        let chains: Vec<_> =
            printed.lines().filter(|line| line.starts_with("pass") || line.starts_with("fail")).collect();
        assert_eq!(chains, vec![expected; sent.len()], "{printed}");
    }
    world.finish().await;
}

/// Zones in which each mechanism and modifier stands, rightly and wrongly, and clients of them.
#[tokio::test]
async fn pyspf_comes_to_the_same() {
    let text = |text: &str| Data::Text(text.to_owned());
    let address = |address: &str| Data::Address(address.parse().unwrap());
    let mut zone: Vec<(String, Data)> = [
        ("a.test", text("v=spf1 a mx -all")),
        ("a.test", address("192.0.2.1")),
        ("a.test", Data::Mx(10, "mx.a.test".to_owned())),
        ("mx.a.test", address("192.0.2.2")),
        ("mx.a.test", address("2001:db8::2")),
        ("none.test", address("192.0.2.1")),
        ("two.test", text("v=spf1 -all")),
        ("two.test", text("v=spf1 +all")),
        ("upper.test", text("V=sPf1 IP4:192.0.2.0/29 ?ALL")),
        ("include.test", text("v=spf1 include:a.test ~all")),
        ("includes-none.test", text("v=spf1 include:none.test -all")),
        ("redirect.test", text("v=spf1 redirect=a.test")),
        ("redirect-none.test", text("v=spf1 redirect=none.test")),
        ("both.test", text("v=spf1 ?all redirect=a.test")),
        ("loop.test", text("v=spf1 include:loop.test -all")),
        ("wrong.test", text("v=spf1 ip4:192.0.2.300 -all")),
        ("unknown.test", text("v=spf1 nonsense -all")),
        ("modifier.test", text("v=spf1 nonsense=1 ip4:192.0.2.1 -all")),
        ("macro.test", text("v=spf1 exists:%{ir}.%{l1r-}.%{d2}.list.test -all")),
        ("1.2.0.192.alice.macro.test.list.test", address("127.0.0.2")),
        ("mask.test", text("v=spf1 a:a.test/30//64 -all")),
        ("six.test", text("v=spf1 ip6:2001:db8::/32 -all")),
        ("alias.test", text("v=spf1 a:www.test -all")),
        ("www.test", Data::Alias("a.test".to_owned())),
        ("voids.test", text("v=spf1 a:x1.test a:x2.test a:x3.test ip4:192.0.2.1 -all")),
        ("space.test", text("v=spf1  ip4:192.0.2.1   -all ")),
        ("glued.test", text("v=spf10 -all")),
        ("exp.test", text("v=spf1 exp=why.test -all")),
        ("why.test", text("%{i} may not")),
        ("late.test", text("v=spf1 -all ip4:192.0.2.1")),
        ("empty.test", text("v=spf1")),
        ("helo.test", text("v=spf1 exists:%{h}.list.test -all")),
        ("mx.a.test.list.test", address("127.0.0.2")),
    ]
    .into_iter()
    .map(|(name, data)| (name.to_owned(), data))
    .collect();
    let many: String = (0..11).map(|at| format!(" a:h{at}.many.test")).collect();
    zone.push(("many.test".to_owned(), text(&format!("v=spf1{many} -all"))));
    zone.extend((0..11).map(|at| (format!("h{at}.many.test"), address("198.51.100.1"))));
    let domains: std::collections::BTreeSet<String> = zone.iter().map(|(name, _)| name.clone()).collect();
    let mut clients = Vec::new();
    for domain in domains.iter().filter(|name| name.split('.').count() == 2) {
        for client in ["192.0.2.1", "192.0.2.2", "198.51.100.9", "2001:db8::2"] {
            clients.push((client, format!("alice@{domain}"), "mx.a.test"));
            clients.push((client, "<>".to_owned(), domain.as_str()));
        }
    }

    let home = tempfile::tempdir().unwrap();
    let mut json = serde_json::Map::new();
    for (name, data) in &zone {
        let data = match data {
            Data::Address(ip @ IpAddr::V4(_)) => serde_json::json!(["A", ip.to_string()]),
            Data::Address(ip) => serde_json::json!(["AAAA", ip.to_string()]),
            Data::Mx(preference, host) => serde_json::json!(["MX", [preference, host]]),
            Data::Alias(target) => serde_json::json!(["CNAME", target]),
            Data::Text(text) => serde_json::json!(["TXT", [text]]),
        };
        json.entry(name).or_insert_with(|| serde_json::json!([])).as_array_mut().unwrap().push(data);
    }
    let file = home.path().join("zone.json");
    fs::write(&file, serde_json::to_vec(&json).unwrap()).unwrap();
    let lines: String = clients.iter().fold(String::new(), |mut lines, (client, sender, helo)| {
        let sender = if sender == "<>" { format!("postmaster@{helo}") } else { sender.clone() };
        writeln!(lines, "{client} {sender} {helo}").unwrap();
        lines
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/spf_check.py");
    let python = Client::new(&waypost_tests::client::python().display().to_string(), home.path());
    let printed = python.args([&script, &file]).input(lines.as_bytes()).run().await;
    let theirs: Vec<&str> = printed.lines().collect();
    assert_eq!(theirs.len(), clients.len(), "{printed}");

    let (_dns, resolver) = resolver(&zone).await;
    for ((client, sender, helo), theirs) in clients.iter().zip(theirs) {
        let (local, domain) = sender.split_once('@').unwrap_or(("", helo));
        let asked =
            SpfClient { ip: client.parse().unwrap(), helo, local, domain, receiver: "receiver.test", now: 0 };
        let ours = check(&resolver, asked).await;
        assert_eq!(ours.result.name(), theirs, "{client} {sender} {helo}: {ours:?}");
    }
}
