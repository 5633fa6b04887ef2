//! Whole sessions over an in-memory transport, with a real directory and a real store in a temporary folder.

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use waypost_auth::{Directory, Srs};
use waypost_mail::{AccountId, AccountSource, Address, BodyType, ReturnContent};
use waypost_net::TlsInfo;
use waypost_storage::{NewAccount, Options, QueueEntry};

use super::*;
use crate::authenticity::testing::Zone;

mod reports;
mod signing;
mod suspicion;

const CONFIG: &str = r#"
hostname = "mx.a.test"
state_dir = "state"
[[listener]]
service = "smtp"
address = "127.0.0.1:0"
tls = "none"
[[listener]]
service = "submission"
address = "127.0.0.1:0"
tls = "none"
auth_without_tls = true
vrfy = true
[[domain]]
name = "a.test"
[[domain]]
name = "backup.test"
relay_to = "192.0.2.9:25"
[[alias]]
from = "team@a.test"
to = ["anna@a.test", "bert@a.test", "carl@b.test"]
[[alias]]
from = "postmaster@a.test"
to = ["anna@a.test"]
[[trust]]
networks = ["192.0.2.16/28"]
[authenticity]
enabled = false
[limits]
message_size = "300 KiB"
error_delay = "0s"
tarpit = "1s"
"#;

/// "\0anna@a.test\0secret"
const LOGIN: &str = "EHLO ua\r\nAUTH PLAIN AGFubmFAYS50ZXN0AHNlY3JldA==\r\n";
const STRANGER: &str = "198.51.100.7:40000";
const PARTNER: &str = "192.0.2.17:40000";

struct Site {
    context: Context,
    live: watch::Sender<Arc<Live>>,
    anna: AccountId,
    bert: AccountId,
    /// So many octets are on their way at most.
    transport_bytes: usize,
    /// TLS that sessions have.
    tls: Option<TlsInfo>,
    _state: TempDir,
}

impl Site {
    async fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(state.path())).await.unwrap();
        let account = |name: &str, quota_bytes| NewAccount {
            address: Address::parse(name).unwrap(),
            source: AccountSource::Store,
            password_hash: Some(waypost_auth::hash_password("secret").unwrap()),
            scram_verifiers: Vec::new(),
            quota_bytes,
        };
        let anna = store.create_account(account("anna@a.test", None)).await.unwrap();
        let bert = store.create_account(account("bert@a.test", Some(2_000))).await.unwrap();
        let config = waypost_config::parse(&state.path().join("waypost.toml"), CONFIG).unwrap();
        let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
        let directory = Directory::new(&config, &accounts).unwrap();
        let (live, receiver) = watch::channel(Arc::new(Live { config: Arc::new(config), directory }));
        let context = Context {
            store,
            live: receiver,
            authenticator: Authenticator::new(0),
            guard: Guard::default(),
            srs: Srs::new(&[7; 32]),
            random: Random::default(),
            resolver: Resolver::answered_by(Zone::default()),
            signers: Signers::default(),
            counts: Counts::default(),
            reports: Default::default(),
        };
        Self { context, live, anna, bert, transport_bytes: 1 << 16, tls: None, _state: state }
    }

    /// One session whose client sends this and is gone, without reading.
    async fn hang_up_after(&self, input: &[u8]) {
        let (mut client, server) = duplex(1 << 20);
        let listeners = self.live.borrow().config.listeners.clone();
        let session = tokio::spawn(serve(connection(server, STRANGER), self.context.clone(), &listeners[0]));
        greeted(&mut client).await;
        client.write_all(input).await.unwrap();
        client.shutdown().await.unwrap();
        session.await.unwrap();
    }

    /// Files below a folder of the state.
    fn files(&self, folder: &str) -> Vec<std::path::PathBuf> {
        let mut folders = vec![self._state.path().join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// One session: all is sent at once; gives what came back, line by line, without greeting and EHLO.
    async fn talk(&self, service: Service, peer: &str, input: &str) -> Vec<String> {
        let (client, server) = duplex(self.transport_bytes);
        let (mut reader, mut writer) = split(client);
        let listeners = self.live.borrow().config.listeners.clone();
        let listener = listeners.into_iter().find(|listener| listener.service == service).unwrap();
        let connection = Connection { tls: self.tls.clone(), ..connection(server, peer) };
        let session = tokio::spawn(serve(connection, self.context.clone(), &listener));
        let input = format!("{input}QUIT\r\n");
        greeted(&mut reader).await;
        let mut output = String::new();
        let (sent, received) =
            tokio::join!(writer.write_all(input.as_bytes()), reader.read_to_string(&mut output));
        sent.and(received.map(drop)).unwrap();
        drop((reader, writer));
        session.await.unwrap();
        let boring =
            |line: &&str| !line.starts_with("220 ") && !line.starts_with("221 ") && !line.starts_with("250-");
        let shown = output.lines().filter(boring).filter(|line| !line.starts_with("250 LIMITS"));
        shown.filter(|line| !line.starts_with("250 AUTH")).map(without_session).collect()
    }

    async fn relay(&self, input: &str) -> Vec<String> {
        self.talk(Service::Smtp, STRANGER, &format!("EHLO c.test\r\n{input}")).await
    }

    /// Serves on with another configuration.
    fn change(&self, from: &str, to: &str) {
        assert!(CONFIG.contains(from));
        let text = CONFIG.replace(from, to);
        let config = waypost_config::parse(&self._state.path().join("waypost.toml"), &text).unwrap();
        let accounts: Vec<_> = self.context.store.directory().borrow().accounts.values().cloned().collect();
        let directory = Directory::new(&config, &accounts).unwrap();
        self.live.send_replace(Arc::new(Live { config: Arc::new(config), directory }));
    }

    async fn submit(&self, input: &str) -> Vec<String> {
        let mut replies = self.talk(Service::Submission, "127.0.0.1:40000", &format!("{LOGIN}{input}")).await;
        assert_eq!(replies.remove(0), "235 2.7.0 Authentication succeeded");
        replies
    }

    /// The messages in an account's INBOX, as they are read.
    async fn inbox(&self, account: AccountId) -> Vec<String> {
        let account = self.context.store.account(account).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let state = account.select(inbox).await.unwrap().state().unwrap();
        let mut messages = Vec::new();
        for row in state.rows() {
            let octets = self.context.store.read(&row.content, 0, row.content.size()).await.unwrap();
            messages.push(String::from_utf8(octets.to_vec()).unwrap());
        }
        messages
    }

    async fn queued(&self) -> Vec<(QueueEntry, String)> {
        let mut entries = Vec::new();
        for entry in self.context.store.queue() {
            let octets = self.context.store.read(&entry.content, 0, entry.content.size()).await.unwrap();
            entries.push((entry, String::from_utf8(octets.to_vec()).unwrap()));
        }
        entries
    }
}

fn connection(stream: DuplexStream, peer: &str) -> Connection {
    Connection::over(Box::new(stream), peer.parse().unwrap(), "127.0.0.1:25".parse().unwrap())
}

/// Waits for the greeting, as a client must.
async fn greeted(client: &mut (impl tokio::io::AsyncRead + Unpin)) {
    while client.read_u8().await.unwrap() != b'\n' {}
}

fn message(from: &str, to: &[&str], data: &str) -> String {
    let recipients: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    format!("MAIL FROM:<{from}>\r\n{recipients}DATA\r\n{data}.\r\n")
}

/// A reply without the id of the session, with which each refusal ends.
fn without_session(line: &str) -> String {
    if !line.starts_with(['4', '5']) {
        return line.to_owned();
    }
    let (reply, session) = line.rsplit_once(" (session ").unwrap_or_else(|| panic!("{line}"));
    session.strip_suffix(')').unwrap().parse::<EntryId>().unwrap();
    reply.to_owned()
}

/// The id in the last reply.
fn accepted(replies: &[String]) -> &str {
    let last = replies.last().unwrap();
    last.strip_prefix("250 2.0.0 ")
        .and_then(|rest| rest.strip_suffix(" accepted"))
        .unwrap_or_else(|| panic!("{last}"))
}

/// Text with dates replaced, which are all that differs from run to run.
fn undated(message: &str) -> String {
    let is_date = |line: &str| line.ends_with(" +0000") && line.contains(':');
    let shown = |line: &str| match line.rsplit_once(", ") {
        Some((before, _)) if is_date(line) => format!("{}DATE\r\n", &before[..before.len() - 3]),
        _ => format!("{line}\r\n"),
    };
    message.split_terminator("\r\n").map(shown).collect()
}

/// Every open connection holds this much, whatever it does. What is not in it: the stream, the task with its permit, the log's span.
#[tokio::test]
async fn a_session_that_waits_holds_little_room() {
    let site = Site::new().await;
    let listener = site.live.borrow().config.listeners[0].clone();
    let (id, context) = (site.context.store.new_entry_id(), || site.context.clone());
    let session = driven(id, connection(duplex(1).1, STRANGER), context(), &listener);
    assert!(size_of_val(&*session) <= 1_536, "{} octets", size_of_val(&*session));
    let around = serve(connection(duplex(1).1, STRANGER), context(), &listener);
    assert!(size_of_val(&around) <= 96, "{} octets around it", size_of_val(&around));
}

#[tokio::test]
async fn mail_from_another_server_is_delivered() {
    let mut site = Site::new().await;
    for (transport_bytes, before) in [(1, 0), (3, 1), (4096, 2)] {
        site.transport_bytes = transport_bytes;
        let data = "Return-Path: <forged@x.test>\r\nSubject: hello\r\nBcc: kept\r\n\r\n..body\r\n";
        let replies = site.relay(&message("s@c.test", &["anna+lists@a.test"], data)).await;
        let id = accepted(&replies);
        let expected = format!(
            "Return-Path: <s@c.test>\r\nDelivered-To: anna+lists@a.test\r\n\
             Received: from c.test ([198.51.100.7])\r\n\tby mx.a.test with ESMTP\r\n\tid {id} for <anna+lists@a.test>;\r\n\tDATE\r\n\
             Subject: hello\r\nBcc: kept\r\n\r\n.body\r\n"
        );
        assert_eq!(
            site.inbox(site.anna).await[before..].iter().map(|text| undated(text)).collect::<Vec<_>>(),
            [expected]
        );
    }
    assert!(site.queued().await.is_empty());
}

/// What the client said, not what it may not say, folded where a line would be too long (RFC 3865 section 2.6).
#[tokio::test]
async fn received_tells_what_a_message_solicits_for() {
    let site = Site::new().await;
    site.change("[limits]\n", "[limits]\nno_soliciting = [\"net.example:ADV\"]\n");
    let (one, two) = ("org.example:ADV", "org.example:ADV:ADLT");
    let longest = "a".repeat(1000);
    let many = vec!["a".repeat(199); 5].join(",");
    let folded = vec!["a".repeat(199); 5].join(",\r\n\t ");
    for (said, told) in [
        (one.to_owned(), format!("\r\n\t(SOLICIT={one})")),
        (format!("{one},{two}"), format!("\r\n\t(SOLICIT={one},{two})")),
        (many, format!("\r\n\t(SOLICIT={folded})")),
        (longest, String::new()),
    ] {
        let input = format!(
            "MAIL FROM:<s@c.test> SOLICIT={said}\r\nRCPT TO:<anna@a.test>\r\nDATA\r\nA: b\r\n\r\n.\r\n"
        );
        accepted(&site.relay(&input).await);
        let stored = site.inbox(site.anna).await.pop().unwrap();
        assert!(stored.contains(&format!("by mx.a.test with ESMTP{told}\r\n\tid ")), "{stored}");
        assert!(stored.lines().all(|line| line.len() <= 998));
    }
}

#[tokio::test]
async fn recipients_are_decided_by_the_directory() {
    let site = Site::new().await;
    let rcpt = |to: &str| format!("MAIL FROM:<s@c.test>\r\nRCPT TO:<{to}>\r\nRSET\r\n");
    let ok = "250 2.1.5 Recipient ok";
    for (to, stranger, partner) in [
        ("anna@a.test", ok, ok),
        ("ANNA@A.test", ok, ok),
        ("postmaster", ok, ok),
        ("x@backup.test", ok, ok),
        ("nobody@a.test", "550 5.1.1 <nobody@a.test>: there is no such user here", ""),
        ("x@else.test", "550 5.7.1 <x@else.test>: Relaying denied, log in first", ok),
        ("x@[192.0.2.1]", "550 5.7.1 <x@[192.0.2.1]>: Relaying denied, log in first", ok),
    ] {
        assert_eq!(site.relay(&rcpt(to)).await[1], stranger, "{to}");
        let trusted = site.talk(Service::Smtp, PARTNER, &format!("EHLO c\r\n{}", rcpt(to))).await;
        assert_eq!(trusted[1], if partner.is_empty() { stranger } else { partner }, "{to}");
    }
}

/// RFC 5321 section 4.1.3: the address of the listener stands for the first domain.
#[tokio::test]
async fn the_address_of_the_server_is_one_of_its_domains() {
    let site = Site::new().await;
    for (to, expected) in [
        ("postmaster@[127.0.0.1]", "250 2.1.5 Recipient ok"),
        ("Anna@[127.0.0.1]", "250 2.1.5 Recipient ok"),
        ("abuse@[127.0.0.1]", "250 2.1.5 Recipient ok"),
        ("nobody@[127.0.0.1]", "550 5.1.1 <nobody@a.test>: there is no such user here"),
        ("anna@[127.0.0.2]", "550 5.7.1 <anna@[127.0.0.2]>: Relaying denied, log in first"),
    ] {
        let said = site.relay(&format!("MAIL FROM:<s@c.test>\r\nRCPT TO:<{to}>\r\n")).await.pop().unwrap();
        assert_eq!(said, expected, "{to}");
    }
    accepted(&site.relay(&message("s@c.test", &["anna@[127.0.0.1]", "anna@a.test"], "A: b\r\n\r\n")).await);
    assert_eq!(site.inbox(site.anna).await.len(), 1);
}

/// RFC 6531 section 3.7.4: UTF-8 only to who said SMTPUTF8.
#[tokio::test]
async fn replies_are_in_ascii_unless_the_transaction_is_not() {
    let mut site = Site::new().await;
    let account = NewAccount {
        address: Address::parse("j\u{f6}rg@a.test").unwrap(),
        source: AccountSource::Store,
        password_hash: Some(waypost_auth::hash_password("secret").unwrap()),
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    site.context.store.create_account(account).await.unwrap();
    site.change(
        "[limits]\n",
        "[limits]\nrecipients_per_hour_per_account = 1\nover_send_limit = \"refuse\"\n",
    );
    // "\0j\u{f6}rg@a.test\0secret"
    let login = "EHLO ua\r\nAUTH PLAIN AGrDtnJnQGEudGVzdABzZWNyZXQ=\r\n";
    let (plain, utf8) = ("j\\x{F6}rg@a.test", "j\u{f6}rg@a.test");
    let foreign = "From: x@y.test\r\n\r\n";
    for (transport_bytes, input, reply) in [
        (
            4096,
            "MAIL FROM:<x@y.test>\r\n".to_owned(),
            format!("553 5.7.1 <x@y.test>: not an address of {plain}"),
        ),
        (
            1,
            "MAIL FROM:<x@y.test> SMTPUTF8\r\n".to_owned(),
            format!("553 5.7.1 <x@y.test>: not an address of {utf8}"),
        ),
        (
            4096,
            message("", &["bert@a.test"], foreign),
            format!("550 5.7.1 <x@y.test> in From or Sender is not an address of {plain}"),
        ),
        (
            4096,
            "MAIL FROM:<>\r\nRCPT TO:<anna@a.test>\r\nRCPT TO:<bert@a.test>\r\n".to_owned(),
            format!("452 4.7.0 <{plain}> may send to 1 recipients an hour, try again later"),
        ),
        (
            4096,
            "MAIL FROM:<> SMTPUTF8\r\nRSET\r\nMAIL FROM:<x@y.test>\r\n".to_owned(),
            format!("553 5.7.1 <x@y.test>: not an address of {plain}"),
        ),
    ] {
        site.transport_bytes = transport_bytes;
        let said = site.talk(Service::Submission, "127.0.0.1:40000", &format!("{login}{input}")).await;
        assert_eq!(said.last().unwrap(), &reply, "{input}");
    }
}

/// RFC 5321 section 4.2.5: what was accepted and cannot be delivered comes back.
#[tokio::test]
async fn an_address_behind_an_alias_that_nobody_has_goes_to_the_queue_to_fail() {
    let site = Site::new().await;
    site.change("\"carl@b.test\"]", "\"typo@a.test\"]");
    let rcpt = "RCPT TO:<team@a.test> NOTIFY=SUCCESS,FAILURE\r\n";
    accepted(&site.relay(&format!("MAIL FROM:<s@c.test>\r\n{rcpt}DATA\r\nA: b\r\n\r\n.\r\n")).await);
    for account in [site.anna, site.bert] {
        assert_eq!(site.inbox(account).await.len(), 1);
    }
    let queued = site.queued().await;
    let of_message: Vec<_> =
        queued.iter().filter(|(entry, _)| entry.reverse_path.address().is_some()).collect();
    let [(entry, _)] = of_message[..] else { panic!("{queued:?}") };
    let recipients: Vec<_> = entry.recipients.iter().map(|queued| &queued.recipient).collect();
    let [recipient] = recipients[..] else { panic!("{recipients:?}") };
    assert_eq!(recipient.address.to_string(), "typo@a.test");
    assert_eq!(recipient.original.as_ref().unwrap().to_string(), "team@a.test");
    let notify = recipient.notify.unwrap();
    assert!(notify.failure && !notify.success, "that it was expanded was the answer to SUCCESS");
    assert!(entry.held.is_none());
}

#[tokio::test]
async fn aliases_reach_accounts_once_and_the_queue() {
    let site = Site::new().await;
    let replies =
        site.relay(&message("s@c.test", &["team@a.test", "anna@a.test"], "Subject: x\r\n\r\n")).await;
    accepted(&replies);
    for account in [site.anna, site.bert] {
        let inbox = site.inbox(account).await;
        assert_eq!(inbox.len(), 1);
        assert!(
            inbox[0].starts_with("Return-Path: <s@c.test>\r\nDelivered-To: team@a.test\r\nReceived: "),
            "{}",
            inbox[0]
        );
        assert!(!inbox[0].contains(" for <"), "other recipients are not told");
    }
    let queued = site.queued().await;
    assert_eq!(queued.len(), 1);
    let (entry, text) = &queued[0];
    assert_eq!(entry.recipients.len(), 1);
    assert_eq!(entry.recipients[0].recipient.address.to_string(), "carl@b.test");
    assert_eq!(entry.recipients[0].recipient.original, Some(Address::parse("team@a.test").unwrap()));
    assert!(text.starts_with("Received: "), "what is relayed has no prefix: {text}");
}

#[tokio::test]
async fn submission_completes_and_checks_a_message() {
    let site = Site::new().await;
    let data = "Subject: x\r\nBcc: secret@x.test\r\n folded\r\nRESENT-BCC:\r\n\tmore@x.test\r\nbcc : third@x.test\r\n\r\nbody\r\n";
    let replies = site.submit(&message("anna@a.test", &["dora@else.test", "anna@a.test"], data)).await;
    let id = accepted(&replies);
    let stored = format!(
        "Received: from ua ([127.0.0.1])\r\n\tby mx.a.test with ESMTPA\r\n\tid {id};\r\n\tDATE\r\nSubject: x\r\n\
         From: <anna@a.test>\r\nDate: DATE\r\nMessage-ID: <{id}@mx.a.test>\r\n\r\nbody\r\n"
    );
    let queued = site.queued().await;
    assert_eq!(undated(&queued[0].1), stored);
    let prefix = "Return-Path: <anna@a.test>\r\nDelivered-To: anna@a.test\r\n";
    assert_eq!(undated(&site.inbox(site.anna).await[0]), format!("{prefix}{stored}"));

    let whole =
        "From: Anna <anna+x@a.test>\r\nDate: Sat, 21 Nov 2026 04:05:06 +0000\r\nMessage-ID: <1@ua>\r\n\r\n";
    accepted(&site.submit(&message("", &["dora@else.test"], whole)).await);
    assert!(site.queued().await[1].1.ends_with(whole), "nothing is added that is there");

    for (from, fields, expected) in [
        (
            "anna@a.test",
            "From: bert@a.test\r\n",
            "550 5.7.1 <bert@a.test> in From or Sender is not an address of anna@a.test",
        ),
        (
            "anna@a.test",
            "From: \"anna@a.test\" <x@y.test>\r\n",
            "550 5.7.1 <x@y.test> in From or Sender is not an address of anna@a.test",
        ),
        (
            "anna@a.test",
            "From: anna@a.test\r\nSender: x@y.test\r\n",
            "550 5.7.1 <x@y.test> in From or Sender is not an address of anna@a.test",
        ),
        (
            "anna@a.test",
            "From: anna@a.test\r\nFrom: x@y.test\r\n",
            "554 5.6.0 The message has more than one From field",
        ),
        ("anna@a.test", "From: \r\n", "554 5.6.0 The From field of the message holds no address"),
    ] {
        let replies = site.submit(&message(from, &["dora@else.test"], &format!("{fields}\r\n"))).await;
        assert_eq!(replies.last().unwrap(), expected, "{fields}");
    }
    let replies = site.submit("MAIL FROM:<bert@a.test>\r\n").await;
    assert_eq!(replies, ["553 5.7.1 <bert@a.test>: not an address of anna@a.test"]);
    assert_eq!(site.queued().await.len(), 2);
}

#[tokio::test]
async fn sender_tells_who_sends_for_others() {
    let site = Site::new().await;
    let refused =
        |named: &str| format!("550 5.7.1 <{named}> in From or Sender is not an address of anna@a.test");
    let team = "From: team@a.test\r\n\r\n";
    let replies = site.submit(&message("anna@a.test", &["dora@else.test"], team)).await;
    assert_eq!(replies.last().unwrap(), &refused("team@a.test"), "it is the team's, not hers");
    let replies = site.submit("MAIL FROM:<team@a.test>\r\n").await;
    assert_eq!(replies, ["553 5.7.1 <team@a.test>: not an address of anna@a.test"]);
    site.change(
        "[limits]",
        "[[send_as]]\naccounts = [\"anna@a.test\"]\naddresses = [\"team@a.test\", \"@lists.test\"]\n\
         [[send_as]]\naccounts = [\"anna@a.test\"]\naddresses = [\"press@a.test\"]\nadd_sender = false\n[limits]",
    );
    let sender = "Sender: <anna@a.test>\r\n";
    for (from, fields, added) in [
        ("anna@a.test", "From: anna@a.test\r\n", ""),
        ("anna@a.test", "From: postmaster@a.test\r\n", ""),
        ("anna@a.test", "From: team@a.test\r\n", sender),
        ("team@a.test", "From: team+x@a.test\r\n", sender),
        ("anna@a.test", "From: x@lists.test\r\n", sender),
        ("anna@a.test", "From: press@a.test\r\n", ""),
        ("anna@a.test", "From: anna@a.test, anna+x@a.test\r\n", sender),
        ("team@a.test", "", sender),
        ("anna@a.test", "From: team@a.test\r\nSender: anna+x@a.test\r\n", ""),
    ] {
        accepted(&site.submit(&message(from, &["dora@else.test"], &format!("{fields}\r\n"))).await);
        let text = site.queued().await.pop().unwrap().1;
        assert_eq!(text.contains(sender), !added.is_empty(), "{fields}: {text}");
        assert_eq!(
            text.matches("Sender: ").count(),
            usize::from(fields.contains("Sender") || !added.is_empty())
        );
    }
    for other in ["bert@a.test", "x@more.lists.test", "press@b.test"] {
        let data = format!("From: {other}\r\n\r\n");
        let replies = site.submit(&message("anna@a.test", &["dora@else.test"], &data)).await;
        assert_eq!(replies.last().unwrap(), &refused(other));
    }
}

#[tokio::test]
async fn the_protocol_in_received_is_a_registered_one() {
    let site = Site::new().await;
    for (helo, protocol) in [("HELO ua\r\n", "SMTP"), ("", "ESMTPA"), ("EHLO ua\r\n", "ESMTPA")] {
        let mail = message("anna@a.test", &["anna@a.test"], "Subject: x\r\n\r\n");
        accepted(&site.talk(Service::Submission, "127.0.0.1:40000", &format!("{LOGIN}{helo}{mail}")).await);
        let stored = site.inbox(site.anna).await.pop().unwrap();
        assert!(stored.contains(&format!(" with {protocol}\r\n")), "{helo}: {stored}");
    }
}

#[tokio::test]
async fn a_return_path_goes_only_at_the_final_delivery() {
    let site = Site::new().await;
    let data = "Return-Path: <old@x.test>\r\nSubject: x\r\n\r\n";
    for (to, kept) in [
        (&["anna@a.test"][..], false),
        (&["anna@a.test", "bert@a.test"], false),
        (&["x@backup.test"], true),
        (&["anna@a.test", "x@backup.test"], true),
        (&["team@a.test"], true),
    ] {
        accepted(&site.relay(&message("s@c.test", to, data)).await);
        let stored = match to {
            ["x@backup.test"] => site.queued().await.pop().unwrap().1,
            _ => site.inbox(site.anna).await.pop().unwrap(),
        };
        assert_eq!(stored.contains("Return-Path: <old@x.test>\r\n"), kept, "{to:?}: {stored}");
    }
    accepted(&site.submit(&message("anna@a.test", &["dora@else.test"], data)).await);
    let (_, relayed) = site.queued().await.pop().unwrap();
    assert!(!relayed.contains("Return-Path"), "a message begins here: {relayed}");
}

#[tokio::test]
async fn a_message_does_not_go_on_with_our_field() {
    let site = Site::new().await;
    let refused = "554 5.6.0 The first line of the message begins with white space, as if it went on with a field before it";
    for start in [" by evil.test", "\tby evil.test", " ", " Subject: x"] {
        let data = format!("{start}\r\nSubject: x\r\n\r\nbody\r\n");
        let replies = site.relay(&message("s@c.test", &["anna@a.test"], &data)).await;
        assert_eq!(replies.last().unwrap(), refused, "{start:?}");
        let replies = site.submit(&message("anna@a.test", &["anna@a.test"], &data)).await;
        assert_eq!(replies.last().unwrap(), refused, "{start:?}");
    }
    accepted(&site.relay(&message("s@c.test", &["anna@a.test"], "\r\n body\r\n")).await);
}

#[tokio::test]
async fn logins_are_checked() {
    let site = Site::new().await;
    // "\0anna@a.test\0wrong", "bert@a.test\0anna@a.test\0secret"
    for (login, refusal) in [
        ("AGFubmFAYS50ZXN0AHdyb25n", "535 5.7.8 Wrong user name or password"),
        ("YmVydEBhLnRlc3QAYW5uYUBhLnRlc3QAc2VjcmV0", "535 5.7.8 Acting as another user is not possible"),
    ] {
        let input = format!("EHLO ua\r\nAUTH PLAIN {login}\r\nMAIL FROM:<anna@a.test>\r\n");
        let replies = site.talk(Service::Submission, "127.0.0.1:40000", &input).await;
        assert_eq!(replies, [refusal, "530 5.7.0 Authentication required"]);
    }
}

#[tokio::test]
async fn a_listener_for_servers_may_be_without_logins() {
    let mut site = Site::new().await;
    site.tls = Some(TlsInfo { version: "TLSv1.3".into(), cipher: "AES".into(), ..TlsInfo::default() });
    let login = "AUTH PLAIN AGFubmFAYS50ZXN0AHNlY3JldA==\r\n";
    assert_eq!(site.relay(login).await, ["235 2.7.0 Authentication succeeded"]);
    site.change("service = \"smtp\"\n", "service = \"smtp\"\nauth = false\n");
    // EHLO ends with what comes before AUTH elsewhere.
    assert_eq!(site.relay(login).await, ["250 REQUIRETLS", "502 5.5.1 Login is not possible here"]);
    assert_eq!(site.submit("").await, [""; 0]);
}

#[tokio::test]
async fn octets_above_127_are_declared_to_the_next_server() {
    let mut site = Site::new().await;
    let (seven, eight) = (BodyType::SevenBit, BodyType::EightBitMime);
    let cases = [
        ("", "Subject: x\r\n\r\nbody\r\n", seven),
        ("", "Subject: x\r\n\r\nbödy\r\n", eight),
        (" BODY=7BIT", "Subject: x\r\n\r\nbödy\r\n", eight),
        ("", "Subject: ö\r\n\r\nbody\r\n", eight),
        ("", "Subject: only a header, ö\r\n", eight),
        (" BODY=8BITMIME", "Subject: x\r\n\r\nbody\r\n", eight),
    ];
    for transport_bytes in [1, 4096] {
        site.transport_bytes = transport_bytes;
        for (parameters, data, expected) in cases {
            let mail = message("s@c.test", &["x@backup.test"], data);
            let mail = mail.replacen("test>\r\n", &format!("test>{parameters}\r\n"), 1);
            accepted(&site.relay(&mail).await);
            let (entry, _) = site.queued().await.pop().unwrap();
            assert_eq!((entry.body, entry.smtputf8), (expected, false), "{parameters} {data:?}");
        }
    }
}

#[tokio::test]
async fn what_is_declared_binary_and_is_text_goes_on_as_text() {
    let mut site = Site::new().await;
    let binary = "Subject: x\r\n\r\n\0\n.\r";
    for transport_bytes in [1, 4096] {
        site.transport_bytes = transport_bytes;
        for (data, expected) in [
            ("Subject: x\r\n\r\nbody\r\n", BodyType::SevenBit),
            ("Subject: x\r\n\r\nbödy", BodyType::EightBitMime),
            (binary, BodyType::BinaryMime),
        ] {
            let mail = format!(
                "EHLO c\r\nMAIL FROM:<s@c.test> BODY=BINARYMIME\r\nRCPT TO:<x@backup.test>\r\nBDAT {} LAST\r\n{data}",
                data.len()
            );
            accepted(&site.relay(&mail).await);
            let (entry, stored) = site.queued().await.pop().unwrap();
            assert_eq!(entry.body, expected, "{data:?}");
            assert!(stored.ends_with(data), "{stored:?}");
        }
    }
}

#[tokio::test]
async fn a_message_may_say_that_it_can_go_without_tls() {
    let mut site = Site::new().await;
    let tls = TlsInfo { version: "TLSv1.3".into(), cipher: "AES".into(), ..TlsInfo::default() };
    for (parameters, fields, expected) in [
        ("", "TLS-Required: No\r\n", (true, false)),
        ("", "tls-required:\r\n no\r\n", (true, false)),
        ("", "Subject: x\r\n", (false, false)),
        ("", "TLS-Required: Yes\r\n", (false, false)),
        ("", "TLS-Required:\r\n", (false, false)),
        ("", "TLS-Required: No\r\nTLS-Required: No\r\n", (false, false)),
        ("", "Subject: x\r\n\r\nTLS-Required: No\r\n", (false, false)),
        (" REQUIRETLS", "TLS-Required: No\r\n", (false, true)),
    ] {
        site.tls = (!parameters.is_empty()).then(|| tls.clone());
        let mail = message("s@c.test", &["x@backup.test"], &format!("{fields}\r\n"));
        let mail = mail.replacen("test>\r\n", &format!("test>{parameters}\r\n"), 1);
        accepted(&site.relay(&mail).await);
        let (entry, stored) = site.queued().await.pop().unwrap();
        assert!(stored.contains(fields), "{stored}");
        let wishes = &entry.wishes;
        assert_eq!((wishes.tls_optional, wishes.require_tls), expected, "{parameters} {fields:?}");
    }
}

#[tokio::test]
async fn nobody_is_more_urgent_than_he_may_be() {
    let site = Site::new().await;
    for (peer, login, asked, kept) in [
        (STRANGER, false, None, 0),
        (STRANGER, false, Some(9), 0),
        (STRANGER, false, Some(1), 0),
        (STRANGER, false, Some(0), 0),
        (STRANGER, false, Some(-9), -9),
        (PARTNER, false, Some(9), 9),
        (STRANGER, true, Some(9), 4),
        (STRANGER, true, Some(4), 4),
        (STRANGER, true, Some(-1), -1),
    ] {
        let (from, service) =
            if login { ("anna@a.test", Service::Submission) } else { ("s@c.test", Service::Smtp) };
        let mail = message(from, &["x@backup.test"], "From: anna@a.test\r\n\r\n");
        let parameter = asked.map(|asked: i8| format!(" MT-PRIORITY={asked}")).unwrap_or_default();
        let mail = mail.replacen("test>\r\n", &format!("test>{parameter}\r\n"), 1);
        let hello = if login { LOGIN } else { "EHLO c.test\r\n" };
        let replies = site.talk(service, peer, &format!("{hello}{mail}")).await;
        let (entry, _) = site.queued().await.pop().unwrap();
        assert_eq!(entry.wishes.priority, kept, "{peer} {login} {asked:?}");
        let expected = match asked.unwrap_or(0) == kept {
            true => format!("250 2.0.0 {} accepted", entry.id),
            false => format!("250 2.3.6 {kept} is the new priority of the message, {} accepted", entry.id),
        };
        assert_eq!(replies.last(), Some(&expected));
    }
}

#[tokio::test]
async fn users_may_ask_who_there_is() {
    let site = Site::new().await;
    let asked = "VRFY anna@a.test\r\nVRFY Anna+x@a.test\r\nVRFY team@a.test\r\nVRFY nobody@a.test\r\nVRFY x@backup.test\r\nVRFY x@far.test\r\n";
    let cannot = "252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery";
    assert_eq!(
        site.submit(asked).await,
        [
            "250 2.1.5 <anna@a.test>",
            "250 2.1.5 <Anna+x@a.test>",
            "250 2.1.5 <team@a.test>",
            "550 5.1.1 <nobody@a.test>: there is no such user here",
            cannot,
            cannot,
        ]
    );
    assert_eq!(site.relay(asked).await, [cannot; 6]);
}

#[tokio::test]
async fn circles_are_cut() {
    let site = Site::new().await;
    let hops = |count: usize| format!("{}\r\n", "Received: from x by y\r\n".repeat(count));
    let from = |data: &str| message("s@c.test", &["anna@a.test"], data);
    accepted(&site.relay(&from(&hops(header::RECEIVED_FIELDS_MAX))).await);
    let replies = site.relay(&from(&hops(header::RECEIVED_FIELDS_MAX + 1))).await;
    assert_eq!(replies.last().unwrap(), "554 5.4.6 Too many hops: the message goes in a circle");
    accepted(&site.relay(&from("Delivered-To: bert@a.test\r\n\r\n")).await);
    let replies = site.relay(&from("Delivered-To: ANNA@a.test\r\n\r\n")).await;
    let again = "554 5.4.6 <anna@a.test>: the message was delivered to it before, it goes in a circle";
    assert_eq!(replies.last().unwrap(), again);
}

#[tokio::test]
async fn circles_are_found_among_many_recipients() {
    let site = Site::new().await;
    let to: Vec<String> = (0..900).map(|detail| format!("anna+{detail}@a.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let before: String = (0..7_000).map(|other| format!("Delivered-To: x{other}@a.test\r\n")).collect();
    accepted(&site.relay(&message("s@c.test", &to, &format!("{before}\r\n"))).await);
    let replies = site
        .relay(&message("s@c.test", &to, &format!("{before}Delivered-To: Anna+899@a.test\r\n\r\n")))
        .await;
    let again = "554 5.4.6 <anna+899@a.test>: the message was delivered to it before, it goes in a circle";
    assert_eq!(replies.last().unwrap(), again);
}

#[tokio::test]
async fn bounds_are_kept_and_the_session_goes_on() {
    let site = Site::new().await;
    let line = format!("{}\r\n", "x".repeat(98));
    let good = message("s@c.test", &["anna@a.test"], "Subject: x\r\n\r\n");
    // A header that does not end, a message over the bound, a body that goes to a file, one without an empty line.
    let endless = message("s@c.test", &["anna@a.test"], &line.repeat(2_700));
    let replies = site.relay(&format!("{endless}{good}")).await;
    assert_eq!(replies[3], "552 5.3.4 The header of the message is too large");
    accepted(&replies);
    let large = message("s@c.test", &["anna@a.test"], &format!("\r\n{}", line.repeat(3_072)));
    let replies = site.relay(&format!("{large}{good}")).await;
    assert_eq!(replies[3], "552 5.3.4 The message is larger than this server takes");
    accepted(&replies);
    let filed = line.repeat(2_900);
    accepted(&site.relay(&message("s@c.test", &["anna@a.test"], &format!("A: b\r\n\r\n{filed}"))).await);
    accepted(&site.relay(&message("s@c.test", &["anna@a.test"], "Subject: only a header\r\n")).await);
    let inbox = site.inbox(site.anna).await;
    assert_eq!(inbox.len(), 4);
    assert!(inbox[2].ends_with(&format!("A: b\r\n\r\n{filed}")));
    assert!(inbox[3].ends_with("\r\nSubject: only a header\r\n"));
}

#[tokio::test]
async fn a_full_mailbox_is_refused_for_now() {
    let site = Site::new().await;
    let (ok, full) =
        ("250 2.1.5 Recipient ok", "452 4.2.2 <bert@a.test>: the mailbox is full, try again later");
    let rcpt = |size: &str| format!("MAIL FROM:<s@c.test>{size}\r\nRCPT TO:<bert@a.test>\r\n");
    // bert has 2,000 octets, and our fields need some
    let replies = site.relay(&format!("{}RCPT TO:<anna@a.test>\r\n", rcpt(" SIZE=977"))).await;
    assert_eq!(replies[1..], [full, ok]);
    assert_eq!(site.relay(&rcpt(" SIZE=976")).await[1], ok);
    let most = format!("\r\n{}\r\n", "x".repeat(1_700));
    accepted(&site.relay(&message("s@c.test", &["bert@a.test"], &most)).await);
    assert_eq!(site.relay(&rcpt(" SIZE=1")).await[1], full);
    assert_eq!(site.relay(&rcpt("")).await[1], ok, "it may be a small one");
}

#[tokio::test]
async fn a_mailbox_that_is_nearly_full_keeps_nobody_from_the_message() {
    let site = Site::new().await;
    let large = format!("\r\n{}\r\n", "x".repeat(5_000));
    accepted(&site.relay(&message("s@c.test", &["anna@a.test", "bert@a.test"], &large)).await);
    assert_eq!((site.inbox(site.anna).await.len(), site.inbox(site.bert).await.len()), (1, 1));
    // it went beyond the quota once; now there is no room, nor through an alias
    let replies =
        site.relay("MAIL FROM:<s@c.test>\r\nRCPT TO:<bert@a.test>\r\nRCPT TO:<team@a.test>\r\n").await;
    assert_eq!(
        replies[1..],
        [
            "452 4.2.2 <bert@a.test>: the mailbox is full, try again later",
            "452 4.2.2 <team@a.test>: the mailbox is full, try again later"
        ]
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_nothing_behind() {
    let site = Site::new().await;
    let small = message("x@c.test", &["anna@a.test", "carl@backup.test"], "Subject: x\r\n\r\n..body\r\n");
    let session = format!("EHLO c.test\r\n{small}");
    for cut in 0..session.len() {
        site.hang_up_after(&session.as_bytes()[..cut]).await;
        assert!(site.inbox(site.anna).await.is_empty(), "after {cut} octets");
    }
    // the body has a file of its own by then
    let large = format!("A: b\r\n\r\n{}", "a line of it\r\n".repeat(21_000));
    let session_large = format!("EHLO c.test\r\n{}", message("x@c.test", &["anna@a.test"], &large));
    for missing in [1, 3, 20_000] {
        site.hang_up_after(&session_large.as_bytes()[..session_large.len() - missing]).await;
        assert_eq!(site.files("bodies"), Vec::<std::path::PathBuf>::new());
    }
    assert!(site.inbox(site.anna).await.is_empty() && site.queued().await.is_empty());
    // who is gone before the answer has still sent a whole message
    site.hang_up_after(session.as_bytes()).await;
    assert_eq!((site.inbox(site.anna).await.len(), site.queued().await.len()), (1, 1));
}

#[tokio::test]
async fn a_second_sender_field_hides_nobody() {
    let site = Site::new().await;
    let data = "From: anna@a.test\r\nSender: anna@a.test\r\nSender: x@y.test\r\n\r\n";
    let replies = site.submit(&message("anna@a.test", &["anna@a.test"], data)).await;
    assert!(replies.last().unwrap().starts_with("55"), "{replies:?}");
}

#[tokio::test]
async fn a_large_field_hides_no_author() {
    let site = Site::new().await;
    // nearly all of what header block and structure may hold
    let filler = "x".repeat(262_075);
    let data = format!("Subject: {filler}\r\nFrom: anna@a.test, victim@a-longer-name-of.it.y.test\r\n\r\n");
    let replies = site.submit(&message("anna@a.test", &["anna@a.test"], &data)).await;
    assert!(
        replies.last().unwrap().starts_with("550 5.7.1 <victim@a-longer-name-of.it.y.test>"),
        "{replies:?}"
    );
}

/// Anna asks to be told of all that becomes of her mail.
#[tokio::test]
async fn senders_are_told_of_deliveries_that_they_ask_for() {
    let site = Site::new().await;
    let rcpt = |to: &str, notify: &str| format!("RCPT TO:<{to}> NOTIFY={notify} ORCPT=rfc822;{to}\r\n");
    let input = [
        "MAIL FROM:<anna@a.test> RET=FULL ENVID=Q1\r\n".to_owned(),
        rcpt("bert@a.test", "SUCCESS,FAILURE"),
        rcpt("team@a.test", "SUCCESS,DELAY"),
        rcpt("x@elsewhere.test", "SUCCESS"),
        rcpt("y@elsewhere.test", "NEVER"),
        "DATA\r\nFrom: anna@a.test\r\nSubject: x\r\n\r\ntext\r\n.\r\n".to_owned(),
    ];
    accepted(&site.submit(&input.concat()).await);
    let [told, message] = &site.inbox(site.anna).await[..] else { panic!("a notification and the message") };
    let (told, message) = if told.contains("delivery-status") { (told, message) } else { (message, told) };
    assert!(message.contains("Subject: x\r\n"));
    for lines in [
        "Return-Path: <>\r\n",
        "Original-Envelope-Id: Q1\r\n",
        "Original-Recipient: rfc822; bert@a.test\r\nFinal-Recipient: rfc822; bert@a.test\r\nAction: delivered\r\nStatus: 2.1.5\r\n",
        "Original-Recipient: rfc822; team@a.test\r\nFinal-Recipient: rfc822; team@a.test\r\nAction: expanded\r\nStatus: 2.1.5\r\n",
        "Subject: x\r\n",
    ] {
        assert!(told.contains(lines), "{lines:?} is not in {told}");
    }
    assert!(!told.contains("elsewhere.test") && !told.contains("text\r\n\r\n"));
    let [(entry, _)] = &site.queued().await[..] else { panic!("one entry") };
    assert_eq!(entry.wishes.return_content, Some(ReturnContent::Full));
    let shown = |queued: &waypost_storage::QueuedRecipient| {
        let recipient = &queued.recipient;
        let orcpt = recipient.orcpt.as_ref().map_or("", |orcpt| orcpt.as_str());
        format!("{} {} {orcpt}", recipient.address, recipient.notify.unwrap())
    };
    assert_eq!(
        entry.recipients.iter().map(shown).collect::<Vec<_>>(),
        [
            "carl@b.test DELAY rfc822;team@a.test",
            "x@elsewhere.test SUCCESS rfc822;x@elsewhere.test",
            "y@elsewhere.test NEVER rfc822;y@elsewhere.test",
        ]
    );
    // Nobody is told of mail without a sender.
    let null = "MAIL FROM:<>\r\nRCPT TO:<bert@a.test> NOTIFY=SUCCESS\r\nDATA\r\nSubject: y\r\n\r\n.\r\n";
    accepted(&site.relay(null).await);
    assert_eq!((site.inbox(site.anna).await.len(), site.queued().await.len()), (2, 1));
}

impl Site {
    /// The configuration from now on.
    fn reconfigure(&self, change: impl FnOnce(&mut waypost_config::Config)) {
        let mut config = waypost_config::Config::clone(&self.live.borrow().config);
        change(&mut config);
        let directory = self.live.borrow().directory.clone();
        self.live.send_replace(Arc::new(Live { config: Arc::new(config), directory }));
    }

    /// A session over port 25 of a peer.
    async fn from(&self, peer: &str, input: &str) -> Vec<String> {
        self.talk(Service::Smtp, peer, &format!("EHLO c.test\r\n{input}")).await
    }
}

#[tokio::test]
async fn an_address_sends_so_many_messages_and_recipients_in_a_minute() {
    let site = Site::new().await;
    site.reconfigure(|config| {
        config.limits.rates.messages_per_minute = 2;
        config.limits.rates.recipients_per_minute = 3;
    });
    let mail = "MAIL FROM:<x@far.test>\r\nRSET\r\n";
    let too_many = "450 4.7.0 Too many messages from your address, try again later";
    assert_eq!(site.from(STRANGER, &mail.repeat(2)).await, ["250 2.1.0 Sender ok", "250 2.0.0 Ok"].repeat(2));
    assert_eq!(site.from(STRANGER, mail).await, [too_many, "250 2.0.0 Ok"]);
    // A program that gives mail by LMTP speaks for many, and is the operator's own.
    site.reconfigure(|config| {
        let listener = config.listeners[0].clone();
        config.listeners.push(ListenerConfig { service: Service::Lmtp, ..listener });
    });
    let replies = site.talk(Service::Lmtp, STRANGER, &format!("LHLO c\r\n{}", mail.repeat(9))).await;
    assert_eq!(replies, ["250 2.1.0 Sender ok", "250 2.0.0 Ok"].repeat(9));
    // Another address, a partner, loopback.
    for (peer, sent) in [("203.0.113.1:1", 2), (PARTNER, 9), ("127.0.0.1:1", 9)] {
        let replies = site.from(peer, &mail.repeat(9)).await;
        assert_eq!(replies.iter().filter(|reply| *reply == "250 2.1.0 Sender ok").count(), sent, "{peer}");
    }
    let recipients = ["anna", "bert", "team", "postmaster"].map(|to| format!("RCPT TO:<{to}@a.test>\r\n"));
    let recipients = format!("MAIL FROM:<x@far.test>\r\n{}", recipients.concat());
    let replies = site.from("203.0.113.2:1", &recipients).await;
    assert_eq!(
        replies[3..],
        ["250 2.1.5 Recipient ok", "450 4.7.0 Too many recipients from your address, try again later"]
    );
}

#[tokio::test]
async fn who_tries_out_recipients_waits_and_is_sent_away() {
    let site = Site::new().await;
    site.reconfigure(|config| config.limits.rates.unknown_recipients = 2);
    let try_out = |number: usize| format!("MAIL FROM:<x@far.test>\r\nRCPT TO:<nobody{number}@a.test>\r\n");
    for (number, slow) in [false, true, true].into_iter().enumerate() {
        let begun = tokio::time::Instant::now();
        let replies = site.from(STRANGER, &try_out(number)).await;
        assert!(replies[1].starts_with("550 5.1.1 "), "{replies:?}");
        assert_eq!(begun.elapsed() >= Duration::from_secs(1), slow, "{number}");
    }
    site.from(STRANGER, &try_out(3)).await;
    // Also for who exists: the address learns nothing more.
    let replies = site.from(STRANGER, "MAIL FROM:<x@far.test>\r\nRCPT TO:<anna@a.test>\r\nNOOP\r\n").await;
    let away = "421 4.7.0 Too many unknown recipients from your address, try again later";
    assert_eq!(replies, ["250 2.1.0 Sender ok", away]);
    assert!(site.from(PARTNER, &try_out(5)).await[1].starts_with("550 5.1.1 "));
    assert!(site.from("203.0.113.1:1", &try_out(6)).await[1].starts_with("550 5.1.1 "));
}

#[tokio::test]
async fn an_account_sends_to_so_many_recipients_in_a_day() {
    let site = Site::new().await;
    site.reconfigure(|config| {
        config.limits.rates.recipients_per_day_per_account = 3;
        config.limits.rates.holds_over_limit = false;
    });
    let recipients = |count: usize| -> String {
        (0..count).map(|number| format!("RCPT TO:<x{number}@far.test>\r\n")).collect()
    };
    let open = |count| format!("MAIL FROM:<anna@a.test>\r\n{}", recipients(count));
    let over = "452 4.7.0 <anna@a.test> may send to 3 recipients a day, try again later";
    let good = "250 2.1.5 Recipient ok";
    // What is not sent does not count.
    for _ in 0..3 {
        let replies = site.submit(&format!("{}RSET\r\n", open(3))).await;
        assert_eq!(replies[1..4], [good, good, good]);
    }
    let sent = site.submit(&format!("{}DATA\r\nSubject: s\r\n\r\n.\r\n", open(2))).await;
    accepted(&sent);
    let replies = site.submit(&open(3)).await;
    assert_eq!(replies[1..], [good, over, over]);
    // Anna gets mail all the same.
    accepted(&site.relay(&message("x@far.test", &["anna@a.test"], "Subject: s\r\n\r\n")).await);
}

#[tokio::test]
async fn what_is_beyond_the_send_limit_is_held_up_to_as_much_again() {
    let site = Site::new().await;
    site.reconfigure(|config| {
        config.limits.rates.recipients_per_day_per_account = 2;
        config.limits.rates.holds_over_limit = true;
    });
    let to = |names: &[&str]| -> String {
        let recipients: String = names.iter().map(|name| format!("RCPT TO:<{name}>\r\n")).collect();
        format!("MAIL FROM:<anna@a.test>\r\n{recipients}DATA\r\nSubject: s\r\n\r\n.\r\n")
    };
    accepted(&site.submit(&to(&["x@far.test", "y@far.test"])).await);
    // the third one is beyond it: all of the message waits, for the mailbox here, too
    accepted(&site.submit(&to(&["bert@a.test", "z@far.test"])).await);
    let replies = site.submit(&to(&["x@far.test"])).await;
    assert_eq!(replies[1], "452 4.7.0 <anna@a.test> may send to 2 recipients a day, try again later");
    let queued = site.queued().await;
    let [(sent, _), (held, _)] = &queued[..] else { panic!("{queued:?}") };
    assert!(sent.held.is_none());
    let recipients: Vec<_> = held.recipients.iter().map(|to| to.recipient.address.to_string()).collect();
    assert_eq!(recipients, ["z@far.test", "bert@a.test"]);
    assert_eq!(held.held.as_ref().unwrap().why, "<anna@a.test> has sent to 2 recipients within a day");
    assert!(site.inbox(site.bert).await.is_empty());
}

#[tokio::test]
async fn held_mail_that_comes_to_nothing_does_not_count() {
    let site = Site::new().await;
    site.reconfigure(|config| {
        config.limits.rates.recipients_per_day_per_account = 2;
        config.limits.rates.holds_over_limit = true;
        config.limits.message_size = 64 * 1024;
    });
    let open = |names: &[&str]| -> String {
        let recipients: String = names.iter().map(|name| format!("RCPT TO:<{name}>\r\n")).collect();
        format!("MAIL FROM:<anna@a.test>\r\n{recipients}")
    };
    let text = "DATA\r\nSubject: s\r\n\r\n.\r\n";
    let two = ["x@far.test", "y@far.test"];
    accepted(&site.submit(&format!("{}{text}", open(&two))).await);
    // all that is sent now is beyond the limit: taken back, hung up on, refused when it has come
    let good = "250 2.1.5 Recipient ok";
    let too_long = format!("DATA\r\n{}.\r\n", "x\r\n".repeat(30_000));
    for end in ["RSET\r\n", "", &too_long] {
        let replies = site.submit(&format!("{}{end}", open(&two))).await;
        assert_eq!(replies[1..3], [good, good], "{replies:?}");
        assert!(!replies.iter().any(|reply| reply.contains(" accepted")), "{replies:?}");
    }
    accepted(&site.submit(&format!("{}RSET\r\n{}{text}", open(&two), open(&two))).await);
    let replies = site.submit(&open(&two)).await;
    let over = "452 4.7.0 <anna@a.test> may send to 2 recipients a day, try again later";
    assert_eq!(replies[1..], [over, over]);
}

#[tokio::test]
async fn a_recipient_that_is_refused_does_not_count() {
    let site = Site::new().await;
    site.reconfigure(|config| {
        config.limits.rates.recipients_per_day_per_account = 1;
        config.limits.rates.holds_over_limit = true;
    });
    // bert has no room for it
    let envelope = "MAIL FROM:<anna@a.test> SIZE=5000\r\nRCPT TO:<bert@a.test>\r\nRCPT TO:<x@far.test>\r\n";
    let replies = site.submit(&format!("{envelope}DATA\r\nSubject: s\r\n\r\n.\r\n")).await;
    assert!(replies[1].starts_with("452 4.2.2 "), "{replies:?}");
    accepted(&replies);
    let queued = site.queued().await;
    let [(entry, _)] = &queued[..] else { panic!("{queued:?}") };
    assert!(entry.held.is_none(), "{:?}", entry.held);
}

#[tokio::test]
async fn a_user_can_have_a_message_sent_later() {
    let site = Site::new().await;
    site.reconfigure(|config| config.limits.future_release = Duration::from_secs(3600));
    let mail = |release: &str| {
        format!(
            "MAIL FROM:<anna@a.test> {release}\r\nRCPT TO:<bert@a.test> NOTIFY=SUCCESS\r\nRCPT TO:<x@far.test>\r\n\
             DATA\r\nSubject: s\r\n\r\n.\r\n"
        )
    };
    let most = "501 5.5.4 messages are held for 1 hours at most, and this one asks for more";
    for late in ["HOLDFOR=3700", "HOLDFOR=999999999", "HOLDUNTIL=2099-01-01T00:00:00Z"] {
        assert_eq!(site.submit(&mail(late)).await[0], most, "{late}");
    }
    let before = site.context.store.now();
    accepted(&site.submit(&mail("HOLDFOR=1800")).await);
    let queued = site.queued().await;
    let [(entry, _)] = &queued[..] else { panic!("{queued:?}") };
    let wait = entry.next_attempt().unwrap().0 - before.0;
    assert!((1_800_000..1_830_000).contains(&wait), "{wait}");
    assert_eq!(
        (entry.begun(), entry.recipients.len(), &entry.held),
        (entry.next_attempt().unwrap(), 2, &None)
    );
    assert!(site.inbox(site.bert).await.is_empty() && site.inbox(site.anna).await.is_empty());
    // what is over is now
    accepted(&site.submit(&mail("HOLDUNTIL=2001-01-01T00:00:00Z")).await);
    assert_eq!(site.inbox(site.bert).await.len(), 1);
}

#[tokio::test]
async fn who_speaks_before_the_greeting_sends_nothing() {
    let site = Site::new().await;
    site.reconfigure(|config| config.listeners[0].rules.greeting_delay = Duration::from_millis(300));
    for early in [true, false] {
        let (mut client, server) = duplex(1 << 16);
        let listener = site.live.borrow().config.listeners[0].clone();
        let session = tokio::spawn(serve(connection(server, STRANGER), site.context.clone(), &listener));
        if !early {
            greeted(&mut client).await;
        }
        let sent = message("x@far.test", &["anna@a.test"], "Subject: s\r\n\r\n");
        client.write_all(format!("EHLO c.test\r\n{sent}QUIT\r\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.starts_with("421 4.5.1 You spoke before the greeting"), early, "{said}");
        session.await.unwrap();
    }
    assert_eq!(site.inbox(site.anna).await.len(), 1);
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_session_it_is() {
    let site = Site::new().await;
    let mail = message("x@far.test", &["anna@a.test"], "Subject: s\r\n\r\n");
    let sent = format!("XCLIENT ADDR=198.51.100.99 HELO=c.far.test\r\n{mail}");
    assert_eq!(site.from(PARTNER, &sent).await[0], "550 5.7.0 XCLIENT is not for you");
    site.reconfigure(|config| {
        let proxies = config.trust.clone();
        config.listeners.iter_mut().for_each(|listener| listener.rules.xclient = proxies.clone());
    });
    accepted(&site.from(PARTNER, &sent).await);
    let stored = site.inbox(site.anna).await.pop().unwrap();
    assert!(stored.contains("Received: from c.far.test ([198.51.100.99])"), "{stored}");
    // The client is none of those who may relay, although the proxy is.
    let relayed = "XCLIENT ADDR=198.51.100.99 HELO=c\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<y@far.test>\r\n";
    assert!(site.from(PARTNER, relayed).await.pop().unwrap().starts_with("550 5.7.1 "));
    assert!(site.from(STRANGER, relayed).await[0].starts_with("550 5.7.0 "));
    // Nor is one whom the proxy does not know, whoever was there before.
    for unknown in ["[UNAVAILABLE]", "[TEMPUNAVAIL]"] {
        for before in ["", "XCLIENT ADDR=192.0.2.18\r\n"] {
            let relayed = relayed.replace("198.51.100.99", unknown);
            let said = site.from(PARTNER, &format!("{before}{relayed}")).await.pop().unwrap();
            assert!(said.starts_with("550 5.7.1 "), "{before}{unknown}: {said}");
        }
    }
    accepted(&site.from(PARTNER, &sent.replace("198.51.100.99", "[UNAVAILABLE]")).await);
    let stored = site.inbox(site.anna).await.pop().unwrap();
    assert!(stored.contains("Received: from c.far.test\r\n\tby mx.a.test"), "{stored}");
    for (login, expected) in
        [("bert@a.test", "250 2.1.0 Sender ok"), ("nobody@a.test", "530 5.7.0 Authentication required")]
    {
        let input = format!("EHLO c\r\nXCLIENT LOGIN={login}\r\nEHLO c\r\nMAIL FROM:<bert@a.test>\r\n");
        let replies = site.talk(Service::Submission, PARTNER, &input).await;
        assert_eq!(replies.last().unwrap(), expected, "{replies:?}");
        let refusal = "550 5.7.8 LOGIN: there is no such account".to_owned();
        assert_eq!(replies.contains(&refusal), login == "nobody@a.test", "{replies:?}");
    }
}

#[tokio::test]
async fn what_comes_back_to_a_return_path_goes_to_the_sender() {
    let site = Site::new().await;
    let today = waypost_auth::srs::day(site.context.store.now());
    let path = |sender: &str, day| {
        let (sender, ours) = (Address::parse(sender).unwrap(), "a.test".parse().unwrap());
        site.context.srs.forward(&sender, &ours, day).unwrap().to_string()
    };
    let good = path("Far.Sender@far.test", today);
    let old = path("far.sender@far.test", today - 22);
    let refused = |path: &str| format!("550 5.1.1 <{path}>: no return path of this server, or too old a one");
    let rcpt = |from: &str, to: &str| format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\n");
    for (from, to, expected) in [
        ("", &good, "250 2.1.5 Recipient ok".to_owned()),
        ("", &good.to_lowercase(), "250 2.1.5 Recipient ok".to_owned()),
        ("x@far.test", &good, refused(&good)),
        ("", &old, refused(&old)),
        ("", &good.replace("far.test", "evil.test"), refused(&good.replace("far.test", "evil.test"))),
        // A stranger's return path is a stranger's address.
        ("", &good.replace("@a.test", "@b.test"), String::new()),
        (
            "",
            &path("nobody@a.test", today),
            "550 5.1.1 <nobody@a.test>: there is no such user here".to_owned(),
        ),
    ] {
        let said = site.relay(&rcpt(from, to)).await.pop().unwrap();
        let expected = if expected.is_empty() {
            format!("550 5.7.1 <{}>: Relaying denied, log in first", to)
        } else {
            expected
        };
        assert_eq!(said, expected, "{from} {to}");
    }
    accepted(&site.relay(&message("", &[&good], "Subject: returned\r\n\r\n")).await);
    let (entry, _) = site.queued().await.pop().unwrap();
    assert_eq!(entry.recipients[0].recipient.address.to_string(), "Far.Sender@far.test");
    assert_eq!(entry.reverse_path, waypost_mail::ReversePath::Null);
    // Who is local by now gets it here.
    accepted(&site.relay(&message("", &[&path("anna@a.test", today)], "Subject: s\r\n\r\n")).await);
    assert_eq!(site.inbox(site.anna).await.len(), 1);
    site.reconfigure(|config| config.srs.enabled = false);
    let said = site.relay(&rcpt("", &good)).await.pop().unwrap();
    assert_eq!(said, format!("550 5.1.1 <{good}>: there is no such user here"));
}
