//! `waypost queue`: looking at the queue and giving it orders, with a running server and without one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use waypost_mail::{Address, EnhancedStatus, Reply, ReversePath};
use waypost_message::Splitter;
use waypost_storage::{
    Acceptance, Attempt, Dialogue, DialogueTls, Outcome, RecipientOutcome, Relay, RelayRecipient,
};
use waypost_tests::{Client, Process, Site, SiteBuilder, client::Output, program, site::PASSWORD};

/// An id that no message has.
const UNKNOWN: &str = "0000000000000";

/// A next hop that answers RCPT as it is told to.
struct Hop {
    name: String,
    rcpt: Arc<Mutex<&'static str>>,
}

impl Hop {
    async fn start(rcpt: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hop = Self { name: listener.local_addr().unwrap().to_string(), rcpt: Arc::new(Mutex::new(rcpt)) };
        let rcpt = hop.rcpt.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, rcpt.clone()));
            }
        });
        hop
    }

    fn says(&self, rcpt: &'static str) {
        *self.rcpt.lock().unwrap() = rcpt;
    }
}

async fn take(stream: TcpStream, rcpt: Arc<Mutex<&'static str>>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 hop\r\n").await.ok()?;
    let mut in_data = false;
    while let Some(line) = lines.next_line().await.ok()? {
        let reply = match (in_data, line.as_str()) {
            (true, ".") => "250 2.0.0 mine",
            (true, _) => continue,
            (false, "DATA") => "354 go",
            (false, "QUIT") => "221 bye",
            (false, line) if line.starts_with("RCPT") => *rcpt.lock().unwrap(),
            (false, _) => "250 ok",
        };
        in_data = reply.starts_with("354");
        write.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
    Some(())
}

/// A home folder with a configuration that sends everything to one next hop.
struct Home {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Home {
    fn new(next_hop: &str) -> Self {
        Self::with(next_hop, "")
    }

    /// With further keys of `[queue]`.
    fn with(next_hop: &str, queue: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{next_hop}\"");
        let config = SiteBuilder::new("a.test")
            .with(&route)
            .queue(&format!("retry = [\"1h\"]\n{queue}"))
            .write(folder.path());
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self { folder, config }
    }

    async fn serve(&self) -> Process {
        Process::serve(&program(), &self.config).await
    }

    async fn stop(&self, server: Process) {
        server.signal("TERM").await;
        let (code, log) = server.end().await;
        assert_eq!(code, Some(0), "{log}");
    }

    fn waypost(&self, args: &[&str]) -> Client {
        Client::new(program().to_str().unwrap(), self.folder.path()).args(args)
    }

    fn command(&self, args: &[&str]) -> Client {
        self.waypost(&["queue"]).args(args).args(["-c", self.config.to_str().unwrap()])
    }

    /// What `waypost queue` prints.
    async fn queue(&self, args: &[&str]) -> String {
        self.command(args).run().await
    }

    /// What it says when it fails.
    async fn refused(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().await;
        assert_ne!(output.code, 0, "{args:?}: {}", output.text);
        output
    }

    /// Sends a message; its id.
    async fn send(&self, server: &Process, to: &str) -> String {
        let submission = server.service("submission")[0].to_string().replace("127.0.0.1", "localhost");
        let args = ["send", "--server", &submission, "--from", "alice@a.test", "--to", to];
        let more = ["--user", "alice@a.test", "--password-file", "password", "--ca", "ca.pem"];
        let sent = self.waypost(&args).args(more).input(b"x").run().await;
        sent.split(' ').nth(1).unwrap().to_owned()
    }

    /// Waits until what is printed holds a text.
    async fn until(&self, args: &[&str], text: &str) -> String {
        let mut printed = String::new();
        for _ in 0..200 {
            printed = self.queue(args).await;
            if printed.contains(text) {
                return printed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{text:?} is not in {printed}");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// One object in each line.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

fn holds(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_message_is_shown_held_released_retried_and_sent_back() {
    let hop = Hop::start("451-4.7.1 come back\r\n451 4.7.1 later").await;
    let home = Home::new(&hop.name);
    let server = home.serve().await;
    let id = home.send(&server, "x@far.test").await;
    home.until(&["list"], "tried 1×").await;

    let shown = home.queue(&["show", &id]).await;
    let by = "<x@far.test>  deferred by 127.0.0.1 [127.0.0.1]";
    let replies = "\n          451-4.7.1 come back\n          451 4.7.1 later\n";
    let state = format!("<x@far.test>  waiting, by {}, tried 1×, due ", hop.name);
    holds(&shown, &[&id, "from <alice@a.test>", &state, "queued, due ", "tried, next try ", by, replies]);
    holds(&shown, &[&format!("{}  1 waiting, 0 due, ", hop.name)]);
    let shown = json(&home.queue(&["show", &id, "--json"]).await);
    let (message, history) = (&shown["message"], &shown["history"]);
    assert_eq!(message["recipients"][0]["state"], "waiting");
    assert_eq!(
        (&message["attempts"], &message["due"], &message["held"]),
        (&1.into(), &false.into(), &Value::Null)
    );
    assert_eq!((&history[0]["event"], &history[1]["event"]), (&"queued".into(), &"attempted".into()));
    assert_eq!(
        history[1]["outcomes"][0]["reply"],
        serde_json::json!(["451-4.7.1 come back", "451 4.7.1 later"])
    );
    assert_eq!(history[1]["next_attempt"], message["next_attempt"]);
    assert_eq!(shown["destinations"][0]["destination"], hop.name);

    assert_eq!(home.queue(&["hold", &id, "--why", "asked by the lawyer"]).await, "1 message held\n");
    let held = home.queue(&["list", "--held"]).await;
    holds(&held, &[&id, "tried 1×, held since ", ": asked by the lawyer"]);
    let held = json(&home.queue(&["list", "--json"]).await);
    assert_eq!(held["held"]["why"], "asked by the lawyer");
    holds(&home.queue(&["show", &id]).await, &["held since ", "  held: asked by the lawyer"]);
    let refused = home.refused(&["retry", &id]).await;
    assert_eq!(refused.code, 1);
    holds(&refused.text, &[&format!("{id} is held: `waypost queue release`"), "1 message not due now"]);
    assert_eq!(home.queue(&["retry", "--all"]).await, "0 messages due now\n", "what is held is left alone");
    assert_eq!(home.queue(&["release", "--from", "ALICE@a.test"]).await, "1 message released\n");
    assert_eq!(home.queue(&["list", "--held"]).await, "the queue holds no such message\n");
    let refused = home.refused(&["release", &id]).await;
    holds(&refused.text, &[&format!("{id} is not held")]);

    home.until(&["list"], "next ").await;
    assert_eq!(home.queue(&["retry", &id]).await, "1 message due now\n");
    home.until(&["list"], "tried 2×").await;
    let history = json(&home.queue(&["show", &id, "--json"]).await)["history"].clone();
    let events: Vec<&str> =
        history.as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["queued", "attempted", "held", "released", "rescheduled", "attempted"]);

    assert_eq!(home.queue(&["bounce", &id, "--why", "he died in 1912"]).await, "1 message sent back\n");
    assert_eq!(home.queue(&["list"]).await, "the queue is empty\n");
    let shown = home.queue(&["show", &id]).await;
    holds(&shown, &["has left the queue", "<x@far.test>  failed", "554 5.3.0 he died in 1912", "settled"]);
    let accounts =
        home.waypost(&["account", "list", "--json", "-c", home.config.to_str().unwrap()]).run().await;
    let accounts = json(&accounts);
    let alice = accounts.as_array().unwrap().iter().find(|line| line["address"] == "alice@a.test").unwrap();
    assert_eq!(alice["messages"], 1, "it came back to her");

    // what is taken later goes at once when it is told to
    let other = home.send(&server, "y@far.test").await;
    home.until(&["list"], "tried 1×").await;
    hop.says("250 ok");
    assert_eq!(home.queue(&["retry", "--to", "FAR.test"]).await, "1 message due now\n");
    home.until(&["list"], "the queue is empty").await;
    holds(&home.queue(&["show", &other]).await, &["delivered by", "250 2.0.0 mine"]);
    home.stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_is_paused_and_resumed() {
    let hop = Hop::start("250 ok").await;
    let home = Home::new(&hop.name);
    let server = home.serve().await;
    assert_eq!(home.queue(&["destinations"]).await, "nothing is on its way\n");
    for (name, problem) in [
        ("far.test", format!("mail for far.test goes to another destination: pause {}", hop.name)),
        ("a.test", "mail for a.test goes to another destination: pause here".to_owned()),
        ("127.0.0.1:1", "there is no destination 127.0.0.1:1".to_owned()),
        ("not a name", "there is no destination not a name".to_owned()),
    ] {
        let refused = home.refused(&["pause", name]).await;
        assert!(refused.code == 1 && refused.text.contains(&problem), "{}", refused.text);
    }
    holds(&home.refused(&["resume", &hop.name]).await.text, &["is not paused"]);
    holds(&home.queue(&["pause", &hop.name]).await, &["nothing is sent to ", "waypost queue resume "]);
    let id = home.send(&server, "x@far.test").await;
    let listed = home.until(&["list"], &id).await;
    holds(&listed, &[&format!("not tried yet; {} is paused", hop.name)]);
    let line = json(&home.until(&["destinations", "--json"], "\"waiting\":1").await);
    assert_eq!((&line["destination"], &line["paused"]), (&hop.name.as_str().into(), &true.into()));
    home.stop(server).await;

    // it is remembered; without a server, too
    holds(&home.queue(&["destinations"]).await, &[&format!("{}  1 waiting, 1 due, paused", hop.name)]);
    let server = home.serve().await;
    home.until(&["destinations"], "paused").await;
    assert!(home.queue(&["list"]).await.contains("is paused"));
    home.stop(server).await;
    home.queue(&["resume", &hop.name]).await;
    let server = home.serve().await;
    home.until(&["list"], "the queue is empty").await;
    home.stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_work_on_the_store_where_no_server_runs() {
    let hop = Hop::start("451 4.7.1 later").await;
    let home = Home::new(&hop.name);
    assert_eq!(home.queue(&["list"]).await, "the queue is empty\n");
    assert_eq!(home.queue(&["list", "--json"]).await, "");
    let server = home.serve().await;
    let first = home.send(&server, "x@far.test").await;
    let second = home.send(&server, "y@far.test").await;
    let third = home.send(&server, "z@other.test").await;
    for id in [&first, &second, &third] {
        home.until(&["show", id], "tried, next try").await;
    }
    home.stop(server).await;

    let listed = json_lines(&home.queue(&["list", "--json", "--to", "far.test"]).await);
    assert_eq!(listed.iter().map(|line| &line["id"]).collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(listed[0]["recipients"][0]["last_reply"], "127.0.0.1 [127.0.0.1]: 451 4.7.1 later");
    holds(&home.queue(&["show", &second]).await, &["451 4.7.1 later", "history:"]);
    assert_eq!(home.queue(&["hold", "--to", "far.test"]).await, "2 messages held\n");
    assert_eq!(json_lines(&home.queue(&["list", "--held", "--json"]).await).len(), 2);
    assert_eq!(home.queue(&["release", &second]).await, "1 message released\n");
    assert_eq!(home.queue(&["remove", &third]).await, "1 message removed\n");
    holds(&home.queue(&["show", &third]).await, &["has left the queue", "removed by hand"]);
    let refused = home.refused(&["bounce", &second]).await;
    assert!(
        refused.code == 1 && refused.text.contains("sent back by the running server"),
        "{}",
        refused.text
    );
    assert_eq!(home.queue(&["retry", &second]).await, "1 message due now\n");
    assert_eq!(
        json(&home.queue(&["list", "--json", "--from", "alice@a.test", "--limit", "1"]).await)["id"],
        first
    );

    // the hold holds, the retry is made
    hop.says("250 ok");
    let server = home.serve().await;
    home.until(&["show", &second], "has left the queue").await;
    holds(&home.queue(&["list"]).await, &[&first, "held since", "held by hand"]);
    home.stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_destination_rests_says_so_though_it_was_not_tried() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let home = Home::new(&closed);
    let server = home.serve().await;
    home.send(&server, "x@far.test").await;
    home.until(&["destinations"], "rests until").await;
    let second = home.send(&server, "y@far.test").await;
    let line = json(home.until(&["list", "--json", "--limit", "9"], &second).await.lines().nth(1).unwrap());
    let resting = &line["recipients"][0]["resting"];
    assert_eq!((&line["attempts"], &line["due"], &resting["failures"]), (&0.into(), &true.into(), &1.into()));
    assert!(resting["last_reply"].as_str().unwrap().contains("refused"), "{resting}");
    let said = format!("not tried yet; {closed} rests until ");
    holds(
        &home.queue(&["list"]).await,
        &[&said, "tried in vain 1×: 127.0.0.1 [127.0.0.1], as noted here: 451 4.4.1 "],
    );
    holds(&home.queue(&["show", &second]).await, &[&format!("{closed}  2 waiting, "), "rests until "]);
    assert_eq!(home.queue(&["list", "--limit", "1"]).await.lines().count(), 2);
    assert_eq!(home.queue(&["list", "--limit", "0"]).await, "");
    // one is tried now, which stands for both
    assert_eq!(home.queue(&["retry", &second]).await, "1 message due now\n");
    home.until(&["destinations"], "tried in vain 2×").await;
    home.stop(server).await;
    assert!(!home.queue(&["list"]).await.contains("rests"), "rests are not remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said() {
    let hop = Hop::start("250 ok").await;
    let home = Home::new(&hop.name);
    for with_server in [false, true] {
        let server = if with_server { Some(home.serve().await) } else { None };
        for order in ["hold", "release", "remove", "retry", "bounce"] {
            let refused = home.refused(&[order, UNKNOWN]).await;
            let expected = match (order, with_server) {
                ("bounce", false) => "none runs".to_owned(),
                _ => format!("waypost: {UNKNOWN} is not in the queue\nwaypost: 1 message not "),
            };
            assert!(refused.code == 1 && refused.text.contains(&expected), "{order}: {}", refused.text);
        }
        let refused = home.refused(&["cat", UNKNOWN]).await;
        let expected = format!("waypost: {UNKNOWN} is not in the queue\n");
        assert_eq!((refused.code, refused.text), (1, expected));
        let refused = home.refused(&["show", UNKNOWN]).await;
        assert!(refused.code == 1 && refused.text.contains("nothing is known"), "{}", refused.text);
        let refused = home.refused(&["hold", UNKNOWN, "--why", "two\nlines"]).await;
        assert!(refused.code == 1 && refused.text.contains("a reason is one line"), "{}", refused.text);
        if let Some(server) = server {
            home.stop(server).await;
        }
    }
    for wrong in [
        &["show"][..],
        &["show", "no-id"],
        &["cat"],
        &["cat", "no-id"],
        &["retry"],
        &["hold"],
        &["hold", UNKNOWN, "--to", "b.test"],
        &["retry", "--all", "--to", "b.test"],
        &["remove", "--all"],
        &["bounce", "--to", "b.test"],
        &["list", "--to", "not a domain"],
        &["list", "--from", "nobody"],
        &["list", "--limit", "-1"],
        &["pause"],
    ] {
        assert_eq!(home.refused(wrong).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_message_is_printed_as_it_would_be_sent() {
    let site = SiteBuilder::new("a.test").start().await;
    let (store, folder) = (site.running.store().clone(), site.folder.path().to_owned());
    let forwarded = |to: &str| RelayRecipient {
        original: Some(Address::parse("alias@a.test").unwrap()),
        ..RelayRecipient::new(Address::parse(to).unwrap())
    };
    let usual = RelayRecipient::new(Address::parse("x@far.test").unwrap());
    let long = format!("Subject: gr\u{fc}\u{df}e\r\n\r\n.\r\n{}", "0123456789\r\n".repeat(60_000));
    for (recipients, text, is_prefixed) in [
        (vec![usual.clone()], long.as_str(), false),
        (vec![usual, forwarded("y@far.test")], "Subject: x\r\n\r\n\x1b[2J\r\n", false),
        (vec![forwarded("y@far.test")], "Subject: x\r\n\r\nx", true),
    ] {
        let mut body = store.body_writer();
        body.write(text.as_bytes()).await.unwrap();
        let (held, prefix) = (Some("a test".to_owned()), b"ARC-Seal: i=1\r\n".to_vec());
        let relay = Relay { held, prefix, ..Relay::new(ReversePath::Null, recipients) };
        let acceptance = Acceptance {
            id: store.new_entry_id(),
            header: Bytes::new(),
            body: body.finish().await.unwrap(),
            structure: Splitter::split(text.as_bytes()),
            local: Vec::new(),
            relay: Some(relay),
        };
        let id = store.accept(acceptance).await.unwrap().id.to_string();
        let printed = run(&folder, &["cat", &id]).await;
        let prefix = if is_prefixed { "ARC-Seal: i=1\r\n" } else { "" };
        assert!(printed == format!("{prefix}{text}"), "{} octets", printed.len());
    }
    site.finish().await;
}

/// Queues messages that are held.
async fn fill(site: &Site, from: &str, to: &str, count: usize) {
    let store = site.running.store();
    let mut acceptances = Vec::new();
    for _ in 0..count {
        let message = b"Subject: x\r\n\r\nx\r\n";
        let mut body = store.body_writer();
        body.write(message).await.unwrap();
        let to = vec![RelayRecipient::new(Address::parse(to).unwrap())];
        let from = ReversePath::Address(Address::parse(from).unwrap());
        acceptances.push(Acceptance {
            id: store.new_entry_id(),
            header: Bytes::new(),
            body: body.finish().await.unwrap(),
            structure: Splitter::split(message),
            local: Vec::new(),
            relay: Some(Relay { held: Some("a test".to_owned()), ..Relay::new(from, to) }),
        });
    }
    store.accept_all(acceptances).await.unwrap();
}

async fn run(folder: &Path, args: &[&str]) -> String {
    let config = folder.join("waypost.toml");
    let client = Client::new(program().to_str().unwrap(), folder).args(["queue"]).args(args);
    client.args(["-c", config.to_str().unwrap()]).run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_is_listed_in_pages_and_ordered_about_as_a_whole() {
    let hop = Hop::start("451 4.7.1 later").await;
    let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{}\"", hop.name);
    let site = SiteBuilder::new("a.test").with(&route).start().await;
    let folder = site.folder.path().to_owned();
    for (from, to, count) in [
        ("one@x.test", "a@far.test", 230),
        ("two@x.test", "b@near.test", 300),
        ("one@x.test", "c@near.test", 7),
    ] {
        fill(&site, from, to, count).await;
    }
    let all = json_lines(&run(&folder, &["list", "--json"]).await);
    let ids: Vec<&str> = all.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 537 && ids.is_sorted_by(|a, b| a < b));
    for (args, count) in [
        (&["--from", "one@x.test"][..], 237),
        (&["--to", "near.test"], 307),
        (&["--to", "near.test", "--from", "one@x.test"], 7),
        (&["--to", "nowhere.test"], 0),
        (&["--limit", "230"], 230),
        (&["--to", "near.test", "--limit", "250"], 250),
        (&["--held"], 537),
        (&["--from", "<>"], 0),
    ] {
        let listed = run(&folder, &[&["list", "--json"], args].concat()).await;
        assert_eq!(listed.lines().count(), count, "{args:?}");
    }
    assert_eq!(run(&folder, &["remove", "--from", "two@x.test", "--yes"]).await, "300 messages removed\n");
    assert_eq!(run(&folder, &["release", "--to", "far.test"]).await, "230 messages released\n");
    assert_eq!(run(&folder, &["release", "--all"]).await, "7 messages released\n");
    assert_eq!(run(&folder, &["hold", "--from", "one@x.test"]).await, "237 messages held\n");
    assert_eq!(run(&folder, &["hold", "--from", "one@x.test"]).await, "0 messages held\n");
    let all: Vec<&str> = ids.iter().copied().filter(|id| !ids[230..530].contains(id)).collect();
    assert_eq!(run(&folder, &[&["remove"], &all[..]].concat()).await, "237 messages removed\n");
    assert_eq!(run(&folder, &["list"]).await, "the queue is empty\n");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_at_a_failed_try_is_shown() {
    let site = SiteBuilder::new("a.test").start().await;
    fill(&site, "one@x.test", "a@far.test", 1).await;
    let (store, folder) = (site.running.store(), site.folder.path());
    let entry = store.queue().remove(0);
    let reply = Reply::new(451, EnhancedStatus(4, 7, 5), "no certificate that would do");
    let outcome = Outcome::Deferred { peer: "mx.far.test [192.0.2.1]".to_owned(), reply };
    let tls = DialogueTls {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        verified: false,
    };
    let dialogue = Dialogue {
        at: entry.accepted,
        peer: "mx.far.test [192.0.2.1]".to_owned(),
        tls: Some(tls),
        policy: "TLS is required by a route".to_owned(),
        lines: vec!["S: 220 mx.far.test".to_owned(), "C: STARTTLS".to_owned()],
    };
    let attempt = Attempt {
        id: entry.id,
        at: entry.accepted,
        outcomes: vec![RecipientOutcome { recipient: 0, outcome }],
        next_attempt: entry.accepted,
        warned: true,
        dialogues: vec![dialogue],
    };
    store.settle(attempt, None).await.unwrap();
    let id = entry.id.to_string();
    let shown = run(folder, &["show", &id]).await;
    let said = format!("what was said with mx.far.test [192.0.2.1] at {}; TLSv1.3 ", entry.accepted);
    let tls = "TLS_AES_128_GCM_SHA256, certificate not verified; TLS is required by a route\n";
    let lines = "          S: 220 mx.far.test\n          C: STARTTLS\n";
    holds(&shown, &[&said, tls, lines, "its sender was told that it is late", "451 4.7.5 no certificate"]);
    let shown = json(&run(folder, &["show", &id, "--json"]).await);
    let dialogue = &shown["history"][1]["dialogues"][0];
    assert_eq!(dialogue["tls"], "TLSv1.3 TLS_AES_128_GCM_SHA256, certificate not verified");
    assert_eq!(dialogue["lines"][1], "C: STARTTLS");
    assert_eq!(shown["message"]["held"]["why"], "a test");
    site.finish().await;
}

/// `script` gives it a terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_it_asks_before_it_removes() {
    let site = SiteBuilder::new("a.test").start().await;
    let folder = site.folder.path().to_owned();
    fill(&site, "one@x.test", "a@far.test", 2).await;
    let remove = async |answer: &str, more: &str| {
        let program = program();
        let command =
            format!("{} queue remove --to far.test -c waypost.toml {more}", program.to_str().unwrap());
        let script = Client::new("script", &folder).args(["-qec", &command, "/dev/null"]);
        script.input(answer.as_bytes()).output().await
    };
    let refused = remove("n\n", "").await;
    assert_ne!(refused.code, 0, "{}", refused.text);
    holds(&refused.text, &["Take all messages to far.test out of the queue", "[y/N]", "nothing was removed"]);
    assert_eq!(site.running.store().queue_len(), 2);
    let done = remove("y\n", "").await;
    assert!(done.code == 0 && done.text.contains("2 messages removed"), "{}", done.text);
    fill(&site, "one@x.test", "a@far.test", 1).await;
    let done = remove("", "--yes").await;
    assert!(done.code == 0 && !done.text.contains("[y/N]"), "{}", done.text);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_bounced_is_suppressed_shown_and_let_go_across_a_restart() {
    let hop = Hop::start("550 5.1.1 nobody here").await;
    let home = Home::with(&hop.name, "suppression = { enabled = true, bounces = 1 }");
    let config = home.config.to_str().unwrap();
    let list = |args: &[&str]| home.waypost(&["suppression"]).args(args).args(["-c", config]);
    let server = home.serve().await;
    let first = home.send(&server, "x@far.test").await;
    let shown = home.until(&["show", &first], "has left the queue").await;
    for line in [
        &format!("{first}  from <alice@a.test>  has left the queue"),
        "  <x@far.test>  failed, tried 1×",
        "550 5.1.1 nobody here",
        "    <x@far.test>  failed by ",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    home.stop(server).await;
    // without a server, and after a restart
    let listed = list(&["list"]).run().await;
    assert!(listed.starts_with("x@far.test  suppressed until "), "{listed}");
    assert!(listed.contains(", bounce 1×, last ") && listed.contains("550 5.1.1 nobody here"), "{listed}");
    list(&["add", "y@far.test", "--why", "asked for it", "--expires", "2d"]).run().await;
    let server = home.serve().await;
    hop.says("250 ok");
    for (to, why) in
        [("X@far.test", "mail to it came back once"), ("y@far.test", "the postmaster says: asked for it")]
    {
        let id = home.send(&server, to).await;
        let shown = home.until(&["show", &id], "has left the queue").await;
        assert!(shown.contains(&format!("<{to}>  failed without asking a server")), "{shown}");
        assert!(shown.contains("is on the suppression list here until 20") && shown.contains(why), "{shown}");
    }
    let route = home.waypost(&["route", "alice@a.test", "x@far.test", "-c", config]).run().await;
    assert!(
        route.contains("    on the suppression list, comes back at once: 550 5.1.1 not tried: x@far.test"),
        "{route}"
    );
    let line = json(list(&["list", "--json"]).run().await.lines().next().unwrap());
    assert_eq!(
        (&line["address"], &line["cause"], &line["suppressed"]),
        (&"x@far.test".into(), &"bounce".into(), &true.into())
    );
    list(&["remove", "x@far.test"]).run().await;
    assert_eq!(list(&["remove", "x@far.test"]).output().await.code, 1);
    assert_eq!(list(&["add", "z@far.test", "--expires", "soon"]).output().await.code, 2);
    let id = home.send(&server, "x@far.test").await;
    let shown = home.until(&["show", &id], "has left the queue").await;
    assert!(shown.contains("  <x@far.test>  delivered, tried 1×"), "{shown}");
    home.stop(server).await;
}
