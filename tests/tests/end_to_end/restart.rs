//! A server that ends with mail in its queue, in order or by kill -9: nothing is lost, each recipient is served once, each
//! failure is told once.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::watch;
use waypost_mail::{Address, ReversePath};
use waypost_net::HeldPort;
use waypost_server::agent::{Login, Submission, Tls, submit};
use waypost_storage::{Options, Store};
use waypost_tests::{Process, SiteBuilder, after_added_fields, program, sample, sink, site::PASSWORD};

const MESSAGES: u32 = 6;
/// So long a server surely needs to record what it just heard.
const RECORDED: Duration = Duration::from_secs(2);

/// A port where nobody listens, until the test does.
fn port() -> HeldPort {
    HeldPort::on(&[Ipv4Addr::LOCALHOST.into()]).unwrap()
}

fn route(domain: &str, port: u16) -> String {
    format!("[[route]]\ndomain = \"{domain}\"\nnext_hop = \"127.0.0.1:{port}\"")
}

/// Small ones ride in the journal, large ones have a file of their own.
fn message(number: u32) -> Vec<u8> {
    let mut message = sample("alice@a.test", "bob@b.test", number);
    if number.is_multiple_of(3) {
        message.extend(b".more of it\r\n".repeat(40_000));
    }
    message
}

async fn send(server: &Process, to: &[&str], message: &[u8]) {
    let from = ReversePath::Address(Address::parse("alice@a.test").unwrap());
    let to: Vec<_> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    // with STARTTLS, without TLS; implicit TLS has a name of its own
    let address = server.service("submission")[1];
    let login = Some(Login { user: "alice@a.test".to_owned(), password: PASSWORD.to_owned() });
    let submission = Submission { address, tls: Tls::None, login, from: &from, to: &to, message };
    submit(submission).await.unwrap();
}

/// What the store of a server that has ended holds: messages of alice, entries in the queue.
async fn left(folder: &TempDir) -> (Vec<String>, usize) {
    let store = Store::open(Options::new(folder.path().join("state"))).await.unwrap();
    assert_eq!(store.damage(), Vec::<String>::new());
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    let alice = accounts.iter().find(|account| account.address.to_string() == "alice@a.test").unwrap();
    let account = store.account(alice.id).await.unwrap();
    let inbox = account.state().inbox().unwrap().id;
    let state = account.select(inbox).await.unwrap().state().unwrap();
    let mut messages = Vec::new();
    for row in state.rows() {
        let octets = store.read(&row.content, 0, row.content.size()).await.unwrap();
        messages.push(String::from_utf8(octets.to_vec()).unwrap());
    }
    let queued = store.queue().len();
    store.close().await;
    (messages, queued)
}

async fn stop(server: Process) {
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
}

async fn serve(config: &Path) -> Process {
    Process::serve(&program(), config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_sent_after_kills_and_what_was_sent_is_not() {
    let (folder, held) = (tempfile::tempdir().unwrap(), port());
    let port = held.port();
    let b = SiteBuilder::new("b.test").start().await;
    let b_port = b.address(waypost_config::Service::Smtp, waypost_config::TlsMode::StartTls).port();
    let routes = format!("{}\n{}", route("b.test", b_port), route("c.test", port));
    let config = SiteBuilder::new("a.test").with(&routes).queue("retry = [\"1s\"]").write(folder.path());
    let server = serve(&config).await;
    for number in 0..MESSAGES {
        send(&server, &["bob@b.test", "bob@c.test", "alice@c.test"], &message(number)).await;
    }
    b.messages("bob", "INBOX", MESSAGES as usize).await;
    tokio::time::sleep(RECORDED).await;
    server.kill().await;
    // once more, before and while it tries again
    for wait in [0, 300] {
        let server = serve(&config).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        server.kill().await;
    }
    let c = SiteBuilder::new("c.test").at(IpAddr::V4(Ipv4Addr::LOCALHOST), port).start().await;
    let server = serve(&config).await;
    for (site, user) in [(&c, "bob"), (&c, "alice"), (&b, "bob")] {
        let mut found = site.messages(user, "INBOX", MESSAGES as usize).await;
        let mut sent: Vec<_> = (0..MESSAGES).map(message).collect();
        found.iter_mut().for_each(|stored| *stored = after_added_fields(stored).to_vec());
        found.sort();
        sent.sort();
        assert!(found == sent, "messages of {user}@{} are not as they were sent", site.domain);
    }
    tokio::time::sleep(RECORDED).await;
    stop(server).await;
    let (told, queued) = left(&folder).await;
    assert_eq!((told, queued), (Vec::new(), 0));
    b.finish().await;
    c.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_the_server_is_down_is_told_once() {
    let (folder, held) = (tempfile::tempdir().unwrap(), port());
    let port = held.port();
    let config = SiteBuilder::new("a.test")
        .with(&route("*", port))
        .queue("retry = [\"1h\"]\nlifetime = \"2s\"\nwarn_after = \"1s\"")
        .write(folder.path());
    let server = serve(&config).await;
    send(&server, &["x@far.test", "y@far.test"], &message(1)).await;
    server.kill().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..2 {
        let server = serve(&config).await;
        tokio::time::sleep(2 * RECORDED).await;
        stop(server).await;
        let (told, queued) = left(&folder).await;
        assert_eq!((told.len(), queued), (1, 0), "{told:?}");
        for expected in ["Action: failed", "; x@far.test", "; y@far.test", "Status: 5.4.7"] {
            assert!(told[0].contains(expected), "{expected} is not in\n{}", told[0]);
        }
    }
}

/// A next hop that says nothing to the end of the data until it may.
struct Sink {
    address: SocketAddr,
    may_answer: watch::Sender<bool>,
    /// Envelope recipients of each message that was whole.
    whole: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Sink {
    async fn start() -> Self {
        let (may_answer, may) = watch::channel(false);
        let whole = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let seen = Arc::clone(&whole);
        let address = sink(move |to| {
            seen.lock().unwrap().push(to);
            let mut may = may.clone();
            async move { may.wait_for(|may| *may).await.ok().map(|_| ()) }
        });
        Self { address: address.await, may_answer, whole }
    }

    async fn until_whole(&self, count: usize) {
        for _ in 0..400 {
            if self.whole.lock().unwrap().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{count} messages did not arrive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_a_kill_broke_off_is_made_again() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().await);
    let config = SiteBuilder::new("a.test").with(&route("*", sink.address.port())).write(folder.path());
    let server = serve(&config).await;
    send(&server, &["x@far.test", "y@far.test"], &message(0)).await;
    sink.until_whole(1).await;
    // the sink did not say yet that it took the message
    server.kill().await;
    sink.may_answer.send_replace(true);
    let server = serve(&config).await;
    sink.until_whole(2).await;
    tokio::time::sleep(RECORDED).await;
    stop(server).await;
    assert_eq!(sink.whole.lock().unwrap().clone(), vec![vec!["<x@far.test>", "<y@far.test>"]; 2]);
    assert_eq!(left(&folder).await, (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_under_way_is_finished_before_the_server_stops() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().await);
    let config = SiteBuilder::new("a.test").with(&route("*", sink.address.port())).write(folder.path());
    let server = serve(&config).await;
    send(&server, &["x@far.test"], &message(0)).await;
    sink.until_whole(1).await;
    server.signal("TERM").await;
    tokio::time::sleep(RECORDED).await;
    sink.may_answer.send_replace(true);
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(left(&folder).await, (Vec::new(), 0));
    let server = serve(&config).await;
    tokio::time::sleep(RECORDED).await;
    stop(server).await;
    assert_eq!(sink.whole.lock().unwrap().len(), 1, "it was sent again");
}
