//! Routes: what `waypost route` tells is what is done; smarthosts, LMTP sockets, source addresses, several next hops; and servers that
//! want fewer recipients, or fewer messages, at a time.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{Login, Submission, Tls, submit},
    demo::dns::Data,
};
use waypost_tests::{
    Act, Client, Manners, ScriptedSink, Site, SiteBuilder, Stage, World, after_added_fields, program, sample,
    site::PASSWORD,
};

async fn send(site: &Site, user: &str, to: &[&str], message: &[u8]) {
    let from = ReversePath::Address(Address::parse(&site.user(user)).unwrap());
    let to: Vec<Address> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    let submission = Submission {
        address: site.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: site.user(user), password: PASSWORD.to_owned() }),
        from: &from,
        to: &to,
        message,
    };
    submit(submission).await.unwrap();
}

/// `waypost route`, as JSON.
pub(super) async fn route(folder: &Path, from: &str, to: &str) -> Value {
    let config = folder.join("waypost.toml").display().to_string();
    let home = tempfile::tempdir().unwrap();
    let text = Client::new(program().to_str().unwrap(), home.path())
        .args(["route", from, to, "--json", "-c", &config])
        .run()
        .await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_a_message_is_told_before_it_goes() {
    let records = [
        ("b.test", Data::Mx(20, "second.b.test".to_owned())),
        ("second.b.test", Data::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))),
        ("second.b.test", Data::Address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)))),
        ("null.test", Data::Mx(0, ".".to_owned())),
    ];
    let alias = "[[alias]]\nfrom = \"team@a.test\"\nto = [\"alice@a.test\", \"bob@b.test\"]";
    let world = World::start(&records, |site| if site.is("a.test") { site.with(alias) } else { site }).await;
    let folder = world.a.folder.path().to_owned();
    let port = world.b.address(Service::Smtp, TlsMode::StartTls).port();
    let told = route(&folder, "alice@a.test", "bob@b.test").await;
    let relayed = &told["relayed"][0];
    let targets: Vec<String> = relayed["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| {
            format!("{} {} {}", target["preference"], target["host"], target["address"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        targets,
        [
            format!("10 mx.b.test 127.0.0.2:{port}"),
            format!("20 second.b.test [::1]:{port}"),
            format!("20 second.b.test 127.0.0.9:{port}"),
        ]
    );
    for target in relayed["targets"].as_array().unwrap() {
        let tls = &target["tls"];
        assert_eq!((&tls["demand"], &tls["failure"]), (&"offered".into(), &"without".into()), "{tls}");
        assert!(tls["text"].as_str().unwrap().starts_with("TLS where offered"), "{tls}");
    }
    assert_eq!((&relayed["reason"], &relayed["protocol"]), (&"no [[route]]: by DNS".into(), &"smtp".into()));
    assert!(told["refused"].is_null() && told["sender"].as_str().unwrap().starts_with("alice@a.test"));
    send(&world.a, "alice", &["bob@b.test"], &sample("alice@a.test", "bob@b.test", 1)).await;
    world.b.messages("bob", "INBOX", 1).await;

    let told = route(&folder, "x@far.test", "team@a.test").await;
    assert_eq!(told["mailboxes"], serde_json::json!(["alice@a.test"]));
    assert!(told["relayed"][0]["reverse_path"].as_str().unwrap().starts_with("SRS0="), "{told}");
    assert_eq!(told["relayed"][0]["alias"], "team@a.test");
    for (from, to, place, expected) in [
        ("x@far.test", "bob@b.test", "refused", "550 5.7.1"),
        ("x@far.test", "nobody@a.test", "refused", "550 5.1.1"),
        ("alice@a.test", "x@null.test", "failure", "556 5.1.10"),
        ("alice@a.test", "x@missing.test", "failure", "550 5.1.2"),
        // No zone of the server that is asked.
        ("alice@a.test", "x@elsewhere.example", "failure", "451 4.4.3"),
    ] {
        let told = route(&folder, from, to).await;
        let text = if place == "refused" { &told["refused"] } else { &told["relayed"][0]["failure"] };
        assert!(text.as_str().is_some_and(|text| text.starts_with(expected)), "{from} to {to}: {told}");
    }
    // Without a server the command finds out by itself.
    let World { a, b, dns } = world;
    let before = route(&folder, "alice@a.test", "alice@a.test").await;
    let Site { folder: _kept, running, .. } = a;
    assert!(running.drain().await);
    assert_eq!(route(&folder, "alice@a.test", "alice@a.test").await, before);
    assert_eq!(
        route(&folder, "alice@a.test", "bob@b.test").await["relayed"][0]["targets"][0]["host"],
        "mx.b.test"
    );
    b.finish().await;
    drop(dns);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smarthost_with_login_gets_all_mail() {
    // Its user may send as alice@a.test, because what is sent there comes to her.
    let more = "[[domain]]\nname = \"a.test\"\n[[alias]]\nfrom = \"alice@a.test\"\nto = [\"alice@b.test\"]";
    let b = SiteBuilder::new("b.test").with(more).start().await;
    let hop = b.address(Service::Submission, TlsMode::StartTls);
    let route = format!(
        "[[route]]\ndomain = \"*\"\nnext_hop = [\"127.0.0.1:1\", \"{hop}\"]\ntls = \"opportunistic\"\nusername = \"alice@b.test\"\n\
         password = \"{PASSWORD}\"\nsource_addresses = [\"127.0.0.7\"]"
    );
    let a = SiteBuilder::new("a.test").with(&route).start().await;
    let message = sample("alice@a.test", "bob@b.test", 1);
    send(&a, "alice", &["bob@b.test"], &message).await;
    let stored = b.messages("bob", "INBOX", 1).await.remove(0);
    let text = String::from_utf8_lossy(&stored).into_owned();
    assert!(text.contains("with ESMTPSA") && text.contains("127.0.0.7"), "{text}");
    assert_eq!(after_added_fields(&stored), after_added_fields(&message));
    a.drain_queue().await;
    a.finish().await;
    b.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_on_this_machine_gets_mail_by_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let manners = Manners { lmtp: true, ..Manners::default() }.offering(&["PIPELINING", "CHUNKING"]);
    let sink = ScriptedSink::on_socket(&path, [manners]);
    let route = format!("[[route]]\ndomain = \"lists.test\"\nnext_hop = \"unix:{}\"", path.display());
    let a = SiteBuilder::new("a.test").with(&route).start().await;
    let message = sample("alice@a.test", "x@lists.test", 1);
    send(&a, "alice", &["x@lists.test", "y@lists.test"], &message).await;
    a.drain_queue().await;
    let seen = sink.seen();
    assert_eq!((seen.messages.len(), seen.accepted), (1, 2));
    assert!(seen.commands.iter().any(|command| command.starts_with("BDAT ")), "{:?}", seen.commands);
    assert!(seen.messages[0].ends_with(&message[message.len() - 20..]));
    a.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_server_cost_no_retry() {
    for offer in ["LIMITS RCPTMAX=2", "LIMITS RCPTMAX=2 MAILMAX=1", "LIMITS RCPTDOMAINMAX=1"] {
        let sink = ScriptedSink::start([Manners::default().offering(&["PIPELINING", offer])]).await;
        let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{}\"", sink.address);
        let a = SiteBuilder::new("a.test").with(&route).queue("retry = [\"1h\"]").start().await;
        let to = ["1@x.test", "2@y.test", "3@x.test", "4@z.test", "5@x.test"];
        send(&a, "alice", &to, &sample("alice@a.test", "all", 1)).await;
        a.drain_queue().await;
        let seen = sink.seen();
        let count = |verb: &str| seen.commands.iter().filter(|command| command.starts_with(verb)).count();
        assert_eq!((count("RCPT"), count("MAIL"), seen.accepted), (5, 3, 3), "{offer}: {seen:?}");
        assert_eq!(seen.connections == 3, offer.contains("MAILMAX"), "{offer}: {seen:?}");
        a.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_250_was_lost_is_sent_once_more() {
    let lost = Manners::at(Stage::End, Act::HangUp);
    let sink = ScriptedSink::start([lost, Manners::default()]).await;
    let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{}\"", sink.address);
    let a = SiteBuilder::new("a.test").with(&route).queue("retry = [\"1s\"]").start().await;
    send(&a, "alice", &["x@far.test"], &sample("alice@a.test", "x@far.test", 1)).await;
    a.drain_queue().await;
    // No more than once: nothing comes behind it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let seen = sink.seen();
    assert_eq!((seen.connections, seen.messages.len(), seen.accepted), (2, 2, 1), "{:?}", seen.commands);
    assert_eq!(seen.messages[0], seen.messages[1]);
    a.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_up_after_some_messages_costs_no_retry() {
    // The first connection takes one message and then says 421 to whatever is next; so do the others.
    let sink = ScriptedSink::start([Manners { mails_max: Some(1), ..Manners::default() }]).await;
    let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{}\"", sink.address);
    let a = SiteBuilder::new("a.test").with(&route).queue("retry = [\"1h\"]").start().await;
    for number in 0..8 {
        send(&a, "alice", &["x@far.test"], &sample("alice@a.test", "x@far.test", number)).await;
    }
    a.drain_queue().await;
    assert_eq!(sink.seen().accepted, 8);
    a.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchangers_of_another_domain_and_a_fallback_relay_are_told_and_used() {
    let sink = ScriptedSink::start([Manners::default()]).await;
    let (here, port) = (sink.address.ip(), sink.address.port());
    let records = [
        ("hops.test", Data::Mx(7, "sink.test".to_owned())),
        ("sink.test", Data::Address(here)),
        // nobody listens there
        ("down.test", Data::Address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 250)))),
    ];
    let queue = format!("fallback_relay = \"sink.test:{port}\"\nfallback_tls = \"none\"");
    let more =
        format!("[[route]]\ndomain = \"via.test\"\nnext_hop = \"mx:hops.test:{port}\"\ntls = \"none\"");
    let world =
        World::start(&records, |site| if site.is("a.test") { site.queue(&queue).with(&more) } else { site })
            .await;
    let folder = world.a.folder.path().to_owned();
    for (to, expected) in [
        ("x@via.test", vec![format!("7 sink.test {} false none", sink.address)]),
        (
            "x@down.test",
            vec![
                "0 down.test 127.0.0.250 false offered".to_owned(),
                format!("null sink.test {} true none", sink.address),
            ],
        ),
    ] {
        let told = route(&folder, "alice@a.test", to).await;
        let targets = told["relayed"][0]["targets"].as_array().unwrap();
        assert_eq!(targets.len(), expected.len(), "{told}");
        for (target, expected) in targets.iter().zip(expected) {
            let text = |key: &str| target[key].as_str().unwrap().to_owned();
            let address = text("address");
            let address =
                if text("host") == "down.test" { address.split(':').next().unwrap() } else { &address };
            let (preference, fallback) = (&target["preference"], &target["fallback"]);
            let demand = target["tls"]["demand"].as_str().unwrap();
            assert_eq!(format!("{preference} {} {address} {fallback} {demand}", text("host")), expected);
        }
        send(&world.a, "alice", &[to], &sample("alice@a.test", to, 1)).await;
    }
    world.a.drain_queue().await;
    assert_eq!(sink.seen().accepted, 2, "{:?}", sink.seen().commands);
    world.finish().await;
}
