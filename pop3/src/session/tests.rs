//! Sessions over a transport in memory, with a store in memory, and a clock that stands still.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::{advance, timeout},
};
use waypost_auth::Directory;
use waypost_config::{ListenerRules, Service, TlsMode};
use waypost_mail::{AccountId, AccountSource, Address, ApopSecret, DateTime, Flags, Timestamp, Uid};
use waypost_storage::{
    Account, Delivery, NewAccount, Options, Retrieved,
    disk::{Disk, Simulated},
    retrieved::day,
};

use super::{retrieve::PIECE_BYTES, *};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const PLAIN: &str = "A: b\r\n\r\nbody\r\n";
/// Many times what a transport holds, and what is one sign of life.
const LARGE_LINES: usize = 100_000;

struct World {
    context: Context,
    account: AccountId,
}

struct Client {
    stream: DuplexStream,
    session: JoinHandle<()>,
}

fn connection(stream: DuplexStream) -> Connection {
    Connection::over(Box::new(stream), ([127, 0, 0, 1], 4000).into(), ([127, 0, 0, 1], 110).into())
}

fn listener() -> ListenerConfig {
    ListenerConfig {
        service: Service::Pop3,
        address: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        tls: TlsMode::None,
        auth_without_tls: true,
        rules: ListenerRules { apop: true, ..ListenerRules::default() },
    }
}

/// A server of one account, with lines of its domain.
async fn world(domain: &str) -> World {
    let disk: Arc<dyn Disk> = Arc::new(Simulated::alone(1));
    let options = Options { disk, clock: Arc::new(|| NOW), ..Options::new("/nowhere/waypost-pop3") };
    let store = Store::open(options).await.unwrap();
    let address = Address::parse("user@a.test").unwrap();
    let new = NewAccount {
        address,
        source: AccountSource::File,
        password_hash: None,
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    let account = store.create_account(new).await.unwrap();
    store.set_apop(account, Some(ApopSecret("shared secret".into()))).await.unwrap();
    let text = format!(
        "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[limits]\nerror_delay = \"0\"\n\
         [[listener]]\nservice = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [[domain]]\nname = \"a.test\"\n{domain}\n\
         [[account]]\naddress = \"user@a.test\"\npassword = \"secret\"\n"
    );
    let config = waypost_config::parse(Path::new("/nowhere/x.toml"), &text).unwrap();
    let records: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    let directory = Directory::new(&config, &records).unwrap();
    let live = watch::Sender::new(Arc::new(Live { config: Arc::new(config), directory }));
    World { context: Context::new(store, live.subscribe(), Authenticator::new(0)), account }
}

impl World {
    async fn deliver(&self, message: impl AsRef<[u8]>) {
        let store = &self.context.store;
        let mut writer = store.message_writer();
        writer.write(message.as_ref()).await.unwrap();
        let delivery = Delivery {
            account: self.account,
            mailbox: None,
            prefix: Vec::new(),
            flags: Flags::default(),
            internal_date: DateTime { seconds: 1_700_000_000, offset_minutes: 0 },
        };
        let acceptance = writer.finish().await.unwrap().for_mailbox(store, delivery);
        store.accept(acceptance).await.unwrap();
    }

    /// A session, and its greeting.
    async fn connect(&self) -> (Client, String) {
        let (ours, theirs) = duplex(4096);
        let session = tokio::spawn(serve(connection(theirs), self.context.clone(), &listener()));
        let mut client = Client { stream: ours, session };
        let greeting = client.line().await;
        (client, greeting)
    }

    /// A session that asks for the maildrop; what it was answered.
    async fn login(&self) -> (Client, String) {
        let (mut client, _) = self.connect().await;
        client.ask("USER user@a.test").await;
        let answer = client.ask("PASS secret").await;
        (client, answer)
    }

    async fn maildrop(&self) -> Client {
        let (client, answer) = self.login().await;
        assert!(answer.starts_with("+OK"), "{answer}");
        client
    }

    async fn opened(&self) -> Account {
        self.context.store.account(self.account).await.unwrap()
    }

    /// UIDs of the messages that are there, and what is known as retrieved.
    async fn inbox(&self) -> (Vec<u32>, Retrieved) {
        let inbox = self.opened().await.state().inbox().unwrap().clone();
        (inbox.rows().map(|row| row.uid.value()).collect(), (*inbox.retrieved).clone())
    }
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut octets = Vec::new();
        while !octets.ends_with(b"\r\n") {
            octets.push(timeout(Duration::from_secs(1), self.stream.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(octets).unwrap().trim_end().to_owned()
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.line().await
    }

    /// All lines of a reply.
    async fn all(&mut self, line: &str) -> Vec<String> {
        let mut lines = vec![self.ask(line).await];
        while lines[0].starts_with("+OK") && lines.last().is_some_and(|line| line != ".") {
            lines.push(self.line().await);
        }
        lines
    }

    /// The rest, when the session has ended.
    async fn rest(mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.unwrap();
        self.session.await.unwrap();
        rest
    }
}

/// Every open connection holds this much, whatever it does.
#[tokio::test(start_paused = true)]
async fn a_session_that_waits_holds_little_room() {
    let world = world("").await;
    let session = driven(connection(duplex(1).1), world.context.clone(), &listener());
    assert!(size_of_val(&*session) <= 1_800, "{} octets", size_of_val(&*session));
    let around = serve(connection(duplex(1).1), world.context.clone(), &listener());
    assert!(size_of_val(&around) <= 96, "{} octets around it", size_of_val(&around));
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_loses_its_maildrop_and_deletes_nothing() {
    let world = world("").await;
    world.deliver(PLAIN).await;
    let mut first = world.maildrop().await;
    assert!(first.ask("DELE 1").await.starts_with("+OK"));
    advance(Duration::from_secs(59)).await;
    assert!(world.login().await.1.starts_with("-ERR [IN-USE]"));
    // Each command is a sign of life.
    assert!(first.ask("NOOP").await.starts_with("+OK"));
    advance(Duration::from_secs(59)).await;
    assert!(world.login().await.1.starts_with("-ERR [IN-USE]"));
    advance(Duration::from_secs(1)).await;
    let mut second = world.maildrop().await;
    assert_eq!(second.ask("STAT").await, "+OK 1 14");
    assert_eq!(first.rest().await, "-ERR another session has taken the maildrop over\r\n");
    // The end of the first one does not give up what the second one has.
    assert!(world.login().await.1.starts_with("-ERR [IN-USE]"));
    assert!(second.ask("DELE 1").await.starts_with("+OK"));
    assert!(second.ask("QUIT").await.starts_with("+OK"));
    assert!(world.maildrop().await.ask("STAT").await.starts_with("+OK 0 "));
}

#[tokio::test(start_paused = true)]
async fn a_slow_download_lives_and_one_that_stands_still_does_not() {
    let world = world("").await;
    world.deliver(format!("A: b\r\n\r\n{}", ".234567890\r\n".repeat(LARGE_LINES))).await;
    let mut first = world.maildrop().await;
    first.send("RETR 1\r\n").await;
    let mut octets = vec![0; PIECE_BYTES];
    for _ in 0..8 {
        first.stream.read_exact(&mut octets).await.unwrap();
        // The session writes on before time passes.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        advance(Duration::from_secs(50)).await;
        let answer = world.login().await.1;
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    }
    advance(Duration::from_secs(10)).await;
    let mut second = world.maildrop().await;
    let lines = second.all("RETR 1").await;
    assert_eq!((lines.len(), lines.last().unwrap().as_str()), (LARGE_LINES + 4, "."));
    assert!(lines[3..lines.len() - 1].iter().all(|line| line == "..234567890"));
    let rest = first.rest().await;
    assert!(!rest.ends_with("\r\n.\r\n"), "what was cut does not look complete");
}

/// Mail of old programs has other charsets in its headers.
#[tokio::test(start_paused = true)]
async fn header_fields_that_are_no_utf8_go_out_as_they_are() {
    let world = world("").await;
    let message = b"Subject: Gr\xfc\xdfe\r\n\r\n\xc4\r\n";
    world.deliver(message).await;
    let mut client = world.maildrop().await;
    client.send("RETR 1\r\nQUIT\r\n").await;
    let mut said = Vec::new();
    client.stream.read_to_end(&mut said).await.unwrap();
    let expected = [b"+OK 21 octets\r\n".as_slice(), message, b".\r\n"].concat();
    assert!(said.starts_with(&expected), "{}", said.escape_ascii());
}

#[tokio::test(start_paused = true)]
async fn what_needs_utf8_is_refused_where_that_is_wanted() {
    let world = world("[pop3]\nwithout_utf8 = \"refuse\"").await;
    world.deliver("Subject: \u{fc}\r\n\r\n").await;
    world.deliver(b"Subject: \xfc\r\n\r\n").await;
    let mut client = world.maildrop().await;
    for command in ["RETR 1", "TOP 1 0"] {
        assert_eq!(client.ask(command).await, "-ERR [UTF8] this message needs UTF8");
    }
    client.send("RETR 2\r\n").await;
    assert_eq!(client.line().await, "+OK 14 octets");
}

/// The first octet above 127 comes when much was sent already; in the body it stays.
#[tokio::test(start_paused = true)]
async fn headers_of_late_parts_are_surrogates_too() {
    let world = world("").await;
    let begin = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n";
    let filler = "a line of many\r\n".repeat(20_000);
    let end = "--b\r\nContent-Type: text/plain; name=\"\u{e4}\"\r\n\r\n\u{e4}\r\n--b--\r\n";
    world.deliver([begin, &filler, end].concat()).await;
    let expected = end.replacen("; name=\"\u{e4}\"", ";\r\n name*=utf-8''%C3%A4", 1);
    for (first, end) in [("LANG en", expected.as_str()), ("UTF8", end)] {
        let (mut client, _) = world.connect().await;
        client.ask(first).await;
        client.ask("USER user@a.test").await;
        client.ask("PASS secret").await;
        let lines = client.all("RETR 1").await;
        let message = lines[1..lines.len() - 1].join("\r\n") + "\r\n";
        assert!(message == [begin, &filler, end].concat(), "{first}");
        client.ask("QUIT").await;
        client.rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn logins_wait_for_each_other_where_the_domain_wants_it() {
    let world = world("pop3_login_delay = \"5m\"").await;
    let mut first = world.maildrop().await;
    assert!(first.all("CAPA").await.iter().any(|line| line == "LOGIN-DELAY 300"));
    first.ask("QUIT").await;
    assert!(world.login().await.1.starts_with("-ERR [LOGIN-DELAY] "));
    let (mut other, _) = world.connect().await;
    other.ask("USER user@a.test").await;
    assert!(other.ask("PASS wrong").await.starts_with("-ERR [AUTH] "), "nobody else learns of it");
    advance(Duration::from_secs(299)).await;
    assert!(world.login().await.1.starts_with("-ERR [LOGIN-DELAY] "));
    advance(Duration::from_secs(1)).await;
    world.maildrop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_retrieved_is_known_as_such_and_expires() {
    let world = world("pop3_expire = \"7d\"").await;
    for _ in 0..4 {
        world.deliver(PLAIN).await;
    }
    let mut client = world.maildrop().await;
    assert!(client.all("CAPA").await.iter().any(|line| line == "EXPIRE 7"));
    for command in ["RETR 1", "TOP 2 10", "RETR 3"] {
        assert_eq!(client.all(command).await.last().map(String::as_str), Some("."));
    }
    client.ask("DELE 3").await;
    client.ask("QUIT").await;
    client.rest().await;
    let uid = |uid| Uid::new(uid).unwrap();
    let (uids, retrieved) = world.inbox().await;
    assert_eq!((uids, retrieved.day(uid(1))), (vec![1, 2, 4], Some(day(NOW))));
    assert_eq!((retrieved.day(uid(2)), retrieved.day(uid(4))), (None, None), "TOP is no retrieval");
    // A session that is lost has retrieved all the same.
    let mut client = world.maildrop().await;
    client.all("RETR 3").await;
    let Client { stream, session } = client;
    drop(stream);
    session.await.unwrap();
    assert_eq!(world.inbox().await.1.day(uid(4)), Some(day(NOW)));
    let store = &world.context.store;
    let directory = world.context.live.borrow().directory.clone();
    for (days_later, left) in [(7, vec![1, 2, 4]), (8, vec![2])] {
        crate::expiry::look(store, &directory, day(NOW) + days_later).await.unwrap();
        assert_eq!(world.inbox().await.0, left);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_retrieved_goes_at_quit_where_nothing_is_kept() {
    let world = world("pop3_expire = \"0\"").await;
    for _ in 0..3 {
        world.deliver(PLAIN).await;
    }
    let mut client = world.maildrop().await;
    client.all("RETR 1").await;
    let Client { stream, session } = client;
    drop(stream);
    session.await.unwrap();
    assert_eq!(world.inbox().await, (vec![1, 2, 3], Retrieved::default()), "without QUIT nothing goes");
    let mut client = world.maildrop().await;
    assert!(client.all("CAPA").await.iter().any(|line| line == "EXPIRE 0"));
    client.all("RETR 2").await;
    client.all("TOP 1 0").await;
    client.ask("DELE 2").await;
    client.ask("DELE 3").await;
    client.ask("QUIT").await;
    assert_eq!(world.inbox().await.0, [1]);
    assert_eq!(world.opened().await.retained().await.unwrap().len(), 2, "they can be brought back");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_noted_where_nothing_expires() {
    let world = world("").await;
    world.deliver(PLAIN).await;
    let seq = world.opened().await.state().seq;
    let mut client = world.maildrop().await;
    client.all("RETR 1").await;
    client.ask("QUIT").await;
    assert_eq!(world.opened().await.state().seq, seq);
}

#[tokio::test(start_paused = true)]
async fn apop_logs_in_by_the_timestamp_of_the_greeting() {
    let world = world("").await;
    world.deliver(PLAIN).await;
    let (mut client, greeting) = world.connect().await;
    let timestamp = &greeting[greeting.find('<').unwrap()..];
    let (_, other) = world.connect().await;
    assert!(!other.ends_with(timestamp), "each greeting has another one");
    let digest = |timestamp: &str| apop::digest(timestamp, "shared secret");
    let of_other = digest(&other[other.find('<').unwrap()..]);
    assert!(client.ask(&format!("APOP user@a.test {of_other}")).await.starts_with("-ERR [AUTH] "));
    let right = format!("APOP user@a.test {}", digest(timestamp));
    assert_eq!(client.ask(&right).await, "+OK 1 messages (14 octets)");
}
