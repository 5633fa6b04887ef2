//! kill -9 in the middle of load: every acknowledged message is there exactly once, with its octets.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use waypost_storage::{Options, Store};
use waypost_tests::{Process, SiteBuilder, after_added_fields, program};

const CYCLES: u64 = 20;
const SESSIONS: usize = 8;

/// What the senders know of each message: whether it was acknowledged.
type Sent = Arc<Mutex<BTreeMap<String, bool>>>;

fn body(id: &str) -> String {
    // Every third message is large, so that bodies inside and outside the journal are both there.
    let number = id.bytes().map(usize::from).sum::<usize>();
    let lines = if number % 3 == 0 { 6_000 } else { number % 40 };
    let text = format!("{id} {}\r\n", "y".repeat(60)).repeat(lines);
    format!(
        "From: <x@far.test>\r\nSubject: {id}\r\nMessage-ID: <{id}@far.test>\r\nDate: Sat, 21 Nov 2026 04:05:06 +0000\r\n\r\n{text}"
    )
}

async fn command(stream: &mut BufReader<TcpStream>, line: &str, code: &str) -> Option<()> {
    stream.get_mut().write_all(line.as_bytes()).await.ok()?;
    let mut reply = String::new();
    loop {
        reply.clear();
        if stream.read_line(&mut reply).await.ok()? == 0 {
            return None;
        }
        if reply.as_bytes().get(3) != Some(&b'-') {
            break;
        }
    }
    reply.starts_with(code).then_some(())
}

/// Sends message after message until the server is gone.
async fn sender(address: SocketAddr, name: String, sent: Sent) -> Option<()> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    command(&mut stream, "", "220").await?;
    command(&mut stream, "EHLO far.test\r\n", "250").await?;
    for number in 0.. {
        let id = format!("{name}.{number}");
        command(&mut stream, "MAIL FROM:<x@far.test>\r\n", "250").await?;
        command(&mut stream, "RCPT TO:<alice@a.test>\r\n", "250").await?;
        command(&mut stream, "RCPT TO:<bob@a.test>\r\n", "250").await?;
        command(&mut stream, "DATA\r\n", "354").await?;
        sent.lock().unwrap().insert(id.clone(), false);
        command(&mut stream, &format!("{}.\r\n", body(&id)), "250 2.0.0").await?;
        sent.lock().unwrap().insert(id, true);
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let sent = Sent::default();
    for cycle in 0..CYCLES {
        let server = Process::serve(&program(), &config).await;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), server.service("smtp")[0].port());
        let before = sent.lock().unwrap().values().filter(|acknowledged| **acknowledged).count();
        let senders: Vec<_> = (0..SESSIONS)
            .map(|session| tokio::spawn(sender(address, format!("m{cycle}.{session}"), sent.clone())))
            .collect();
        // The moment differs from cycle to cycle, but never comes before something was acknowledged.
        while sent.lock().unwrap().values().filter(|acknowledged| **acknowledged).count() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(cycle * 7919 % 150)).await;
        server.kill().await;
        for sender in senders {
            sender.await.unwrap();
        }
    }
    let sent = sent.lock().unwrap().clone();
    verify(&folder.path().join("state"), &sent).await;
}

async fn verify(state: &std::path::Path, sent: &BTreeMap<String, bool>) {
    let acknowledged = sent.values().filter(|acknowledged| **acknowledged).count();
    let unknown = sent.len() - acknowledged;
    assert!(
        acknowledged as u64 >= CYCLES && unknown > 0,
        "{acknowledged} acknowledged, {unknown} in flight: no test of a crash"
    );
    let store = Store::open(Options::new(state)).await.unwrap();
    assert_eq!(store.damage(), Vec::<String>::new());
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let ids: Vec<_> = store.directory().borrow().accounts.keys().copied().collect();
    assert_eq!(ids.len(), 2);
    for id in ids {
        let account = store.account(id).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let state = account.select(inbox).await.unwrap().state().unwrap();
        let mut found: BTreeMap<String, u32> = BTreeMap::new();
        for row in state.rows() {
            let stored = store.read(&row.content, 0, row.content.size()).await.unwrap();
            let message = String::from_utf8(after_added_fields(&stored).to_vec()).unwrap();
            let id = message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            assert_eq!(message, body(&id));
            *found.entry(id).or_default() += 1;
        }
        for (id, acknowledged) in sent {
            let count = found.get(id).copied().unwrap_or(0);
            assert!(count <= 1, "{id} is there {count} times");
            assert!(count == 1 || !acknowledged, "{id} was acknowledged and is lost");
        }
        assert!(found.keys().all(|id| sent.contains_key(id)), "a message is there that nobody sent");
    }
    store.close().await;
}
