//! Routes over a DNS server in this process that answers as a table says.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, CNAME, MX},
    },
};
use tokio::net::UdpSocket;
use waypost_config::DnsConfig;

use super::*;
use crate::{
    dns::{DnsError, Resolver},
    tls_policy::Wish,
};

/// What is answered to `name TYPE`; what is not in the table does not exist.
type Table = HashMap<String, Answer>;

#[derive(Clone, Debug)]
enum Answer {
    Records(Vec<Record>),
    Code(ResponseCode),
}

/// `b.test MX 10 mx.b.test`, `mx.b.test A 198.51.100.1`, `b.test MX -` (no such record), `b.test MX SERVFAIL`
fn table(lines: &str) -> Table {
    let mut table = Table::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let (key, owner) = (format!("{} {}", words[0], words[1]), name(words[0]));
        let data = match words[1..] {
            ["MX", "-"] | ["A", "-"] | ["AAAA", "-"] => {
                table.insert(key, Answer::Records(Vec::new()));
                continue;
            }
            [_, "SERVFAIL"] => {
                table.insert(key, Answer::Code(ResponseCode::ServFail));
                continue;
            }
            // The record that was asked for stands behind its alias.
            ["MX" | "A" | "AAAA", "CNAME", target] => RData::CNAME(CNAME(name(target))),
            ["MX", preference, host] => RData::MX(MX::new(preference.parse().unwrap(), name(host))),
            ["A", address] => RData::A(A(address.parse().unwrap())),
            ["AAAA", address] => RData::AAAA(AAAA(address.parse().unwrap())),
            _ => panic!("{line}"),
        };
        let record = Record::from_rdata(owner, 60, data);
        match table.entry(key).or_insert_with(|| Answer::Records(Vec::new())) {
            Answer::Records(records) => records.push(record),
            Answer::Code(code) => panic!("{line}: {code}"),
        }
    }
    table
}

fn name(text: &str) -> Name {
    Name::from_str(&format!("{}.", text.trim_end_matches('.'))).unwrap()
}

fn answer(table: &Table, query: &Message) -> Message {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.clone());
    let asked = &query.queries[0];
    let (mut owner, kind) = (asked.name().to_string(), asked.query_type());
    // A resolver that recurses gives the alias with what is behind it.
    loop {
        let key = format!("{} {kind}", owner.trim_end_matches('.').to_ascii_lowercase());
        match table.get(&key) {
            Some(Answer::Records(records)) => message.add_answers(records.clone()),
            Some(Answer::Code(code)) => {
                message.metadata.response_code = *code;
                break message;
            }
            None => {
                message.metadata.response_code = ResponseCode::NXDomain;
                break message;
            }
        };
        match message.answers.last().map(|record| &record.data) {
            Some(RData::CNAME(CNAME(target))) => owner = target.to_string(),
            _ => break message,
        }
    }
}

async fn resolver(lines: &str) -> Resolver {
    let (table, socket) = (table(lines), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut octets).await {
            let query = Message::from_vec(&octets[..length]).unwrap();
            let reply = answer(&table, &query).to_vec().unwrap();
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    Resolver::new(&DnsConfig { servers: vec![server], ..DnsConfig::default() }).unwrap()
}

/// The plan for b.test in one line.
async fn plan(lines: &str, config: &Config) -> String {
    let resolver = resolver(lines).await;
    let destination = destination(config, None, &Domain::new("b.test").unwrap());
    match resolve(&resolver, config, &destination, Wish::Usual, 1).await {
        RoutePlan::Fail(refusal) => format!("{} {}", refusal.code, refusal.status),
        RoutePlan::Send(route) => {
            let line = |target: &Target| match target.preference {
                Some(preference) => format!("{preference} {target}"),
                None => target.to_string(),
            };
            route.targets.iter().map(line).collect::<Vec<_>>().join(", ")
        }
    }
}

fn config(more: &str) -> Config {
    let text = format!(
        "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\naddress = \"0.0.0.0:25\"\ntls = \"none\"\n{more}"
    );
    waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap()
}

#[tokio::test]
async fn what_dns_answers_is_told_apart() {
    let config = config("");
    for (lines, expected) in [
        ("", "550 5.1.2"),
        ("b.test MX SERVFAIL", "451 4.4.3"),
        ("b.test MX 0 .", "556 5.1.10"),
        // The implicit MX.
        ("b.test MX -\nb.test A 198.51.100.1\nb.test AAAA -", "0 b.test [198.51.100.1]"),
        ("b.test MX -\nb.test A -\nb.test AAAA -", "550 5.4.4"),
        ("b.test MX -\nb.test A SERVFAIL\nb.test AAAA -", "451 4.4.3"),
        // One family that fails does not hide the other.
        (
            "b.test MX 5 mx.b.test\nmx.b.test A 198.51.100.1\nmx.b.test AAAA SERVFAIL",
            "5 mx.b.test [198.51.100.1]",
        ),
        ("b.test MX 5 mx.b.test\nmx.b.test A -\nmx.b.test AAAA SERVFAIL", "451 4.4.3"),
        ("b.test MX 5 mx.b.test", "550 5.4.4"),
        (
            "b.test MX 5 gone.b.test\nb.test MX 9 mx.b.test\nmx.b.test A 198.51.100.1\nmx.b.test AAAA -",
            "9 mx.b.test [198.51.100.1]",
        ),
        // The families take turns within a host, hosts do not.
        (
            "b.test MX 5 one.b.test\nb.test MX 9 two.b.test\n\
             one.b.test A 198.51.100.1\none.b.test A 198.51.100.2\none.b.test AAAA 2001:db8::1\none.b.test AAAA 2001:db8::2\n\
             two.b.test A 198.51.100.3\ntwo.b.test AAAA -",
            "5 one.b.test [2001:db8::1], 5 one.b.test [198.51.100.1], 5 one.b.test [2001:db8::2], 5 one.b.test [198.51.100.2], \
             9 two.b.test [198.51.100.3]",
        ),
        // Aliases: of the domain, and of its host.
        (
            "b.test MX CNAME c.test\nc.test MX 5 mx.c.test\nmx.c.test A CNAME host.test\nhost.test A 198.51.100.1\n\
             mx.c.test AAAA -",
            "5 mx.c.test [198.51.100.1]",
        ),
        // We are one of them: by name, and by an address of this machine.
        (
            "b.test MX 5 mx.b.test\nb.test MX 9 mx.a.test\nb.test MX 12 third.test\nmx.b.test A 198.51.100.1\nmx.b.test AAAA -",
            "5 mx.b.test [198.51.100.1]",
        ),
        ("b.test MX 5 mx.a.test", "554 5.4.6"),
        ("b.test MX 5 other.test\nother.test A 127.0.0.53\nother.test AAAA -", "554 5.4.6"),
        (
            "b.test MX 5 mx.b.test\nb.test MX 9 other.test\nother.test A 127.0.0.53\nother.test AAAA -\n\
             mx.b.test A 198.51.100.1\nmx.b.test AAAA -",
            "5 mx.b.test [198.51.100.1]",
        ),
    ] {
        // Answers that have no order come in any.
        let plan = plan(lines, &config).await;
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split(", ").map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(sorted(&plan), sorted(expected), "{lines}");
        let family = |text: &str| text.split(", ").map(|part| part.contains("[2001")).collect::<Vec<_>>();
        assert_eq!(family(&plan), family(expected), "{lines}");
    }
}

/// A backup MX behind NAT: neither its name nor its address is this machine's.
#[tokio::test]
async fn we_are_known_by_other_names_and_addresses_too() {
    let primary = "b.test MX 5 mx.b.test\nmx.b.test A 198.51.100.1\nmx.b.test AAAA -\n";
    let backup = "backup.b.test A 203.0.113.9\nbackup.b.test AAAA -\n";
    let worse = "third.test A 198.51.100.3\nthird.test AAAA -\n";
    let records = "b.test MX 9 backup.b.test\nb.test MX 9 third.test\n";
    let all = format!("{primary}{records}{backup}{worse}");
    let without_primary = format!("{records}{backup}{worse}");
    for (more, zone, expected) in [
        ("own_names = [\"Backup.b.test\"]", &all, "5 mx.b.test [198.51.100.1]"),
        ("own_addresses = [\"203.0.113.9\"]", &all, "5 mx.b.test [198.51.100.1]"),
        ("own_names = [\"backup.b.test\"]", &without_primary, "554 5.4.6"),
        ("own_addresses = [\"203.0.113.9\"]", &without_primary, "554 5.4.6"),
    ] {
        assert_eq!(plan(zone, &config(&format!("[queue]\n{more}"))).await, expected, "{more}");
    }
}

#[tokio::test]
async fn next_hops_that_are_not_found_wait_and_others_are_tried() {
    let to = |hops: &str| {
        config(&format!(
            "[queue]\nsource_addresses = [\"203.0.113.9\"]\n[[route]]\ndomain = \"b.test\"\nnext_hop = {hops}"
        ))
    };
    let zone = "one.test A 198.51.100.1\none.test AAAA -\none.test MX 5 elsewhere.test\nbusy.test A SERVFAIL\nbusy.test AAAA SERVFAIL";
    for (hops, expected) in [
        ("\"one.test\"", "one.test [198.51.100.1]"),
        ("\"gone.test\"", "451 4.4.4"),
        ("\"busy.test\"", "451 4.4.4"),
        ("[\"gone.test\", \"one.test\", \"unix:/run/out\"]", "one.test [198.51.100.1], unix:/run/out"),
        (
            "[\"198.51.100.5\", \"busy.test\", \"one.test\"]",
            "198.51.100.5 [198.51.100.5], one.test [198.51.100.1]",
        ),
    ] {
        assert_eq!(plan(zone, &to(hops)).await, expected, "{hops}");
    }
    let config = to("[\"198.51.100.5\", \"[2001:db8::5]:25\"]");
    let destination = destination(&config, None, &Domain::new("b.test").unwrap());
    let RoutePlan::Send(route) = resolve(&resolver("").await, &config, &destination, Wish::Usual, 1).await
    else {
        panic!()
    };
    let sources: Vec<Option<IpAddr>> = route.targets.iter().map(|target| target.source).collect();
    assert_eq!(sources, [Some("203.0.113.9".parse().unwrap()), None]);
    assert_eq!(route.targets[0].place, Place::Tcp(SocketAddr::from(([198, 51, 100, 5], 25))));
}

/// Exchangers with these numbers, of which only some have an address.
fn numbered(numbers: std::ops::Range<usize>, with_address: &[usize]) -> String {
    let line = |number: usize| {
        let address = if with_address.contains(&number) {
            format!("mx{number}.b.test A 198.51.100.{number}\nmx{number}.b.test AAAA -\n")
        } else {
            String::new()
        };
        format!("b.test MX {number} mx{number}.b.test\n{address}")
    };
    numbers.map(line).collect()
}

#[tokio::test]
async fn exchangers_behind_many_that_have_no_address_are_found() {
    let config = config("");
    for (zone, expected) in [
        (numbered(1..12, &[11]), "11 mx11.b.test [198.51.100.11]"),
        (numbered(1..EXCHANGERS_MAX + 1, &[EXCHANGERS_MAX]), "50 mx50.b.test [198.51.100.50]"),
        (numbered(1..EXCHANGERS_MAX + 1, &[]), "550 5.4.4"),
        // who knows
        (numbered(1..EXCHANGERS_MAX + 2, &[EXCHANGERS_MAX + 1]), "451 4.4.4"),
    ] {
        assert_eq!(plan(&zone, &config).await, expected);
    }
}

#[tokio::test]
async fn the_exchangers_of_another_domain_are_a_next_hop() {
    let to = |more: &str| {
        config(&format!("[queue]\nmx_port = 2525\n[[route]]\ndomain = \"b.test\"\nnext_hop = {more}"))
    };
    let zone = "r.test MX 5 one.test\nr.test MX 9 two.test\none.test A 198.51.100.1\none.test AAAA -\n\
                two.test A 198.51.100.2\ntwo.test AAAA -\nus.test MX 5 mx.a.test\nbusy.test MX SERVFAIL";
    let both = "5 one.test [198.51.100.1], 9 two.test [198.51.100.2]";
    for (hops, expected) in [
        ("\"mx:r.test\"", both),
        (
            "[\"mx:busy.test\", \"198.51.100.9\", \"mx:r.test\"]",
            &format!("198.51.100.9 [198.51.100.9], {both}"),
        ),
        // the operator's to mend, so that mail waits
        ("\"mx:gone.test\"", "451 4.4.4"),
        ("\"mx:us.test\"", "451 4.4.4"),
        ("\"mx:busy.test\"", "451 4.4.4"),
    ] {
        assert_eq!(plan(zone, &to(hops)).await, expected, "{hops}");
    }
    let config = to("\"mx:r.test:587\"\ntls = \"required\"");
    let destination = destination(&config, None, &Domain::new("b.test").unwrap());
    assert_eq!(destination.to_string(), "mx:r.test:587");
    let plan = resolve(&resolver(zone).await, &config, &destination, Wish::Usual, 1).await;
    let RoutePlan::Send(route) = plan else { panic!("{plan:?}") };
    assert_eq!(route.targets[0].place, Place::Tcp("198.51.100.1:587".parse().unwrap()));
    // what DNS says of its name is not signed
    let word = Word { level: TlsLevel::Verify, names: vec!["r.test".into()] };
    assert_eq!(route.targets[0].word, Some(word));
}

#[tokio::test]
async fn a_fallback_relay_stands_behind_the_exchangers_of_others() {
    let with = |more: &str| config(&format!("[queue]\nfallback_relay = {more}"));
    let relay = "relay.test A 198.51.100.9\nrelay.test AAAA -\n";
    let exchanger = "b.test MX 5 mx.b.test\nmx.b.test A 198.51.100.1\nmx.b.test AAAA -\n";
    let both = "5 mx.b.test [198.51.100.1], relay.test [198.51.100.9]";
    for (zone, expected) in [
        (format!("{exchanger}{relay}"), both),
        (format!("b.test MX SERVFAIL\n{relay}"), "relay.test [198.51.100.9]"),
        // it would fail there, too
        (relay.to_owned(), "550 5.1.2"),
        (format!("b.test MX 0 .\n{relay}"), "556 5.1.10"),
        // it would come back
        (format!("{exchanger}b.test MX 9 mx.a.test\n{relay}"), "5 mx.b.test [198.51.100.1]"),
        (
            format!("{exchanger}b.test MX 9 us.test\nus.test A 127.0.0.53\nus.test AAAA -\n{relay}"),
            "5 mx.b.test [198.51.100.1]",
        ),
        // without one all is as it was
        (exchanger.to_owned(), "5 mx.b.test [198.51.100.1]"),
        ("b.test MX SERVFAIL".to_owned(), "451 4.4.3"),
    ] {
        assert_eq!(plan(&zone, &with("\"relay.test\"")).await, expected, "{zone}");
    }
    let config = with("[\"relay.test:587\"]\nfallback_tls = \"opportunistic\"");
    let destination = Destination::Exchangers(Domain::new("b.test").unwrap());
    let resolver = resolver(&format!("{exchanger}{relay}")).await;
    let plan = resolve(&resolver, &config, &destination, Wish::Usual, 1).await;
    let RoutePlan::Send(route) = plan else { panic!("{plan:?}") };
    let is_fallback: Vec<bool> = route.targets.iter().map(|target| target.is_fallback).collect();
    assert_eq!(is_fallback, [false, true]);
    let word = Word { level: TlsLevel::Opportunistic, names: vec!["relay.test".into()] };
    assert_eq!((&route.targets[0].word, &route.targets[1].word), (&None, &Some(word)));
}

#[test]
fn a_route_for_the_sender_is_preferred() {
    let config = config(
        "[[route]]\ndomain = \"*\"\nnext_hop = \"198.51.100.1\"\n\
         [[route]]\ndomain = \"*\"\nsender = \"s.test\"\nnext_hop = \"198.51.100.2\"\n\
         [[route]]\ndomain = \"b.test\"\nsender = \"s.test\"\nnext_hop = \"198.51.100.3\"",
    );
    let domain = |text: &str| Domain::new(text).unwrap();
    for (sender, to, expected) in [
        (Some("s.test"), "b.test", "198.51.100.3:25"),
        (Some("s.test"), "c.test", "198.51.100.2:25"),
        (Some("other.test"), "b.test", "198.51.100.1:25"),
        (None, "b.test", "198.51.100.1:25"),
    ] {
        let sender = sender.map(domain);
        let (reason, Destination::NextHops(hops)) = decide(&config, sender.as_ref(), &domain(to)) else {
            panic!("by DNS")
        };
        assert_eq!(hops.next_hops[0].to_string(), expected, "{sender:?} {to}");
        assert_eq!(reason.to_string().contains("sender"), sender == Some(domain("s.test")));
    }
}

/// Hosts that take a second each to be found, and have one address.
#[derive(Default)]
struct Slow {
    now: std::sync::atomic::AtomicUsize,
    most: std::sync::atomic::AtomicUsize,
}

impl crate::dns::Answers for std::sync::Arc<Slow> {
    fn mx<'a>(&'a self, _: &'a str) -> crate::dns::Answering<'a, (u16, String)> {
        let records = (0..12).rev().map(|n| (n, format!("mx{n}.b.test"))).collect();
        Box::pin(async move { Ok(records) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> crate::dns::Answering<'a, IpAddr> {
        use std::sync::atomic::Ordering::SeqCst;
        Box::pin(async move {
            let number: u8 = host.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
            // the later ones are found earlier
            let wait = std::time::Duration::from_millis(1000 - 10 * u64::from(number));
            tokio::time::sleep(wait).await;
            self.now.fetch_sub(1, SeqCst);
            match number {
                2 => Err(DnsError::NoSuchDomain(host.to_owned())),
                number => Ok(vec![IpAddr::from([192, 0, 2, number])]),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn exchangers_are_looked_up_some_at_a_time_and_stay_in_their_order() {
    let slow = std::sync::Arc::new(Slow::default());
    let resolver = Resolver::answered_by(slow.clone());
    let config = config("");
    let begun = tokio::time::Instant::now();
    let destination = Destination::Exchangers(Domain::new("b.test").unwrap());
    let RoutePlan::Send(route) = resolve(&resolver, &config, &destination, Wish::Usual, 7).await else {
        panic!()
    };
    let last: Vec<String> =
        route.targets.iter().map(|target| target.ip().unwrap().to_string().replace("192.0.2.", "")).collect();
    assert_eq!(last.join(" "), "0 1 3 4 5 6 7 8 9 10");
    assert_eq!(slow.most.load(std::sync::atomic::Ordering::SeqCst), crate::dns::HOSTS_MAX);
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_millis(3000), "three rounds, not twelve: {took:?}");
}
