//! Sessions over a transport in memory, with a real store.

use std::time::Duration;

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::timeout,
};
use waypost_auth::Directory;
use waypost_config::{
    AccountConfig, Config, DnsConfig, DomainConfig, LimitsConfig, Password, QueueConfig, Service,
    StorageConfig, TlsMode,
};
use waypost_mail::{AccountId, Address, Domain};

use super::*;
use crate::testing;

mod append;
mod limits;
mod model;
mod preview;
mod race;
mod resync;
mod sharing;
mod urlauth;

/// A server with one account.
struct World {
    directory: TempDir,
    context: Context,
    live: watch::Sender<Arc<Live>>,
    account: AccountId,
}

fn config() -> Config {
    let domain = Domain::new("a.test").unwrap();
    Config {
        imap: Default::default(),
        pop3: Default::default(),
        oauth: None,
        outbound_tls: Default::default(),
        hostname: Domain::new("mx.a.test").unwrap(),
        state_dir: "/nowhere".into(),
        storage: StorageConfig { retention: Duration::ZERO },
        tls: None,
        listeners: Vec::new(),
        domains: vec![DomainConfig {
            name: domain,
            catch_all: None,
            separator: Some('+'),
            relay_to: None,
            dkim: false,
            mta_sts: Default::default(),
            pop3: Default::default(),
        }],
        accounts: vec![AccountConfig {
            address: Address::parse(testing::USER).unwrap(),
            password: Password::Plain("secret".to_owned()),
            quota_bytes: None,
            certificates: Vec::new(),
        }],
        send_as: Vec::new(),
        aliases: Vec::new(),
        routes: Vec::new(),
        trust: Vec::new(),
        dns: DnsConfig::default(),
        queue: QueueConfig::default(),
        limits: LimitsConfig {
            message_size: 1_000_000,
            recipients: 10,
            connections: 10,
            connections_per_address: 0,
            auth_failures_per_minute: 0,
            error_delay: Duration::ZERO,
            priority: 4,
            future_release: Duration::ZERO,
            no_soliciting: None,
            rates: Default::default(),
        },
        srs: Default::default(),
        authenticity: Default::default(),
        dkim: Default::default(),
        reports: Default::default(),
    }
}

fn live(config: Config, store: &Store) -> Arc<Live> {
    let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    let directory = Directory::new(&config, &accounts).unwrap();
    Arc::new(Live { config: Arc::new(config), directory })
}

async fn world() -> World {
    let (directory, store, account) = testing::store().await;
    let (sender, receiver) = watch::channel(live(config(), &store));
    let context = Context::new(store, receiver, Authenticator::new(0));
    World { directory, context, live: sender, account }
}

struct Client {
    stream: DuplexStream,
    session: JoinHandle<()>,
    tags: u32,
}

fn connection(stream: DuplexStream) -> Connection {
    Connection::over(Box::new(stream), ([127, 0, 0, 1], 4000).into(), ([127, 0, 0, 1], 143).into())
}

fn listener() -> ListenerConfig {
    ListenerConfig {
        service: Service::Imap,
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        tls: TlsMode::None,
        auth_without_tls: true,
        rules: Default::default(),
    }
}

/// Every open connection holds this much, whatever it does.
#[tokio::test]
async fn a_session_that_waits_holds_little_room() {
    let world = world().await;
    let session = driven(connection(duplex(1).1), world.context.clone(), &listener());
    assert!(size_of_val(&*session) <= 2_640, "{} octets", size_of_val(&*session));
    let around = serve(connection(duplex(1).1), world.context.clone(), &listener());
    assert!(size_of_val(&around) <= 96, "{} octets around it", size_of_val(&around));
}

impl World {
    async fn connect(&self) -> Client {
        self.connect_to(&listener()).await
    }

    async fn connect_to(&self, listener: &ListenerConfig) -> Client {
        let (ours, theirs) = duplex(4096);
        let session = tokio::spawn(serve(connection(theirs), self.context.clone(), listener));
        let mut client = Client { stream: ours, session, tags: 0 };
        assert!(client.until("\r\n").await.starts_with("* OK"));
        client
    }

    async fn login(&self) -> Client {
        let mut client = self.connect().await;
        client.ok("LOGIN user@a.test secret").await;
        client
    }

    async fn inbox(&self) -> Client {
        let mut client = self.login().await;
        client.ok("SELECT INBOX").await;
        client
    }

    async fn deliver(&self, messages: &[&str]) {
        testing::deliver(&self.context.store, self.account, PREFIX, messages).await;
    }
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What arrives, up to and including a text.
    async fn until(&mut self, end: &str) -> String {
        let mut octets = Vec::new();
        while !octets.ends_with(end.as_bytes()) {
            let octet = timeout(Duration::from_secs(5), self.stream.read_u8()).await;
            match octet {
                Ok(Ok(octet)) => octets.push(octet),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&octets)),
            }
        }
        String::from_utf8(octets).unwrap()
    }

    /// Untagged responses of a command, and its tagged one without the tag.
    async fn command(&mut self, text: &str) -> (String, String) {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(&format!("{tag} {text}\r\n")).await;
        let mut untagged = String::new();
        loop {
            let line = self.until("\r\n").await;
            if let Some(tagged) = line.strip_prefix(&format!("{tag} ")) {
                return (untagged, tagged.trim_end().to_owned());
            }
            untagged.push_str(&line);
        }
    }

    async fn ok(&mut self, text: &str) -> String {
        let (untagged, tagged) = self.command(text).await;
        assert!(tagged.starts_with("OK"), "{text}: {tagged}");
        untagged
    }

    async fn refused(&mut self, text: &str) -> String {
        let (_, tagged) = self.command(text).await;
        assert!(!tagged.starts_with("OK"), "{text}: {tagged}");
        tagged
    }

    async fn append(&mut self, mailbox: &str, options: &str, message: &str) -> String {
        let (_, tagged) =
            self.command(&format!("APPEND {mailbox} {options}{{{}+}}\r\n{message}", message.len())).await;
        tagged
    }
}

const PREFIX: &str = "Return-Path: <b@b.test>\r\n";
const PLAIN: &str = "From: B <b@b.test>\r\nTo: user@a.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Sat, 21 Nov 2026 04:05:06 +0100\r\nMessage-ID: <1@b.test>\r\n\r\nHello World\r\n";
const MIXED: &str = "From: c@c.test\r\nSubject: mixed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nZ2VoZWltbmlz\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--x--\r\n";

#[tokio::test]
async fn login_and_select() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED]).await;
    let mut client = world.connect().await;
    assert!(client.refused("LOGIN user@a.test wrong").await.starts_with("NO [AUTHENTICATIONFAILED]"));
    assert!(client.refused("SELECT INBOX").await.starts_with("BAD"));
    client.ok("LOGIN user@a.test secret").await;
    let (untagged, tagged) = client.command("SELECT inbox").await;
    assert!(tagged.starts_with("OK [READ-WRITE]"), "{tagged}");
    for line in [
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n",
        "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]",
        "* 2 EXISTS\r\n",
        "* 2 RECENT\r\n",
        "* OK [UNSEEN 1]",
        "* OK [UIDNEXT 3]",
        "* OK [UIDVALIDITY ",
    ] {
        assert!(untagged.contains(line), "{line} in {untagged}");
    }
    let (untagged, tagged) = client.command("EXAMINE INBOX").await;
    assert!(tagged.starts_with("OK [READ-ONLY]") && untagged.contains("[CLOSED]"), "{untagged}{tagged}");
    assert!(untagged.contains("* 0 RECENT") && untagged.contains("[PERMANENTFLAGS ()]"), "{untagged}");
    assert!(client.refused("STORE 1 FLAGS (\\Seen)").await.starts_with("NO [READ-ONLY]"));
    assert!(client.refused("SELECT nowhere").await.starts_with("NO [NONEXISTENT]"));
    assert!(client.refused("FETCH 1 FLAGS").await.starts_with("BAD"));
}

#[tokio::test]
async fn every_item_is_fetched() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED]).await;
    let mut client = world.inbox().await;
    let size = PREFIX.len() + PLAIN.len();
    let whole = format!("{PREFIX}{PLAIN}");
    let (header, text) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 4);
    let fetched = client.ok("FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)").await;
    let date = "\"21-Nov-2026 04:05:06 +0100\"";
    assert_eq!(
        fetched,
        format!("* 1 FETCH (UID 1 FLAGS (\\Recent) INTERNALDATE {date} RFC822.SIZE {size})\r\n")
    );
    for (item, expected) in [
        ("BODY.PEEK[]", format!("BODY[] {{{size}}}\r\n{whole}")),
        ("BODY.PEEK[HEADER]", format!("BODY[HEADER] {{{}}}\r\n{header}", header.len())),
        ("RFC822.HEADER", format!("RFC822.HEADER {{{}}}\r\n{header}", header.len())),
        ("BODY.PEEK[TEXT]", format!("BODY[TEXT] {{{}}}\r\n{text}", text.len())),
        ("BODY.PEEK[1]", format!("BODY[1] {{{}}}\r\n{text}", text.len())),
        ("BODY.PEEK[2]", "BODY[2] NIL".to_owned()),
        ("BODY.PEEK[TEXT]<2.3>", "BODY[TEXT]<2> {3}\r\nllo".to_owned()),
        ("BODY.PEEK[TEXT]<99.3>", "BODY[TEXT]<99> {0}\r\n".to_owned()),
        (
            "BODY.PEEK[HEADER.FIELDS (TO Return-Path)]",
            format!("BODY[HEADER.FIELDS (TO Return-Path)] {{44}}\r\n{PREFIX}To: user@a.test\r\n\r\n"),
        ),
    ] {
        assert_eq!(
            client.ok(&format!("FETCH 1 {item}")).await,
            format!("* 1 FETCH ({expected})\r\n"),
            "{item}"
        );
    }
    let from = "((\"B\" NIL \"b\" \"b.test\"))";
    let envelope = format!(
        "(\"Sat, 21 Nov 2026 04:05:06 +0100\" \"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" {from} {from} {from} ((NIL NIL \"user\" \"a.test\")) NIL NIL NIL \"<1@b.test>\")"
    );
    assert_eq!(client.ok("FETCH 1 ENVELOPE").await, format!("* 1 FETCH (ENVELOPE {envelope})\r\n"));
    let body = "\"text\" \"plain\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7bit\" 13 1";
    let shown = client.ok("FETCH 1 (BODY BODYSTRUCTURE)").await.to_lowercase();
    let expected = format!("* 1 fetch (body ({body}) bodystructure ({body} nil nil nil nil))\r\n");
    assert_eq!(shown, expected.to_lowercase());
}

#[tokio::test]
async fn parts_are_fetched() {
    let world = world().await;
    world.deliver(&[MIXED]).await;
    let mut client = world.inbox().await;
    for (item, expected) in [
        ("BODY.PEEK[1]", "BODY[1] {12}\r\nZ2VoZWltbmlz"),
        ("BODY.PEEK[1]<2.4>", "BODY[1]<2> {4}\r\nVoZW"),
        ("BODY.PEEK[2]", "BODY[2] {24}\r\nSubject: inner\r\n\r\ninside"),
        ("BODY.PEEK[2.HEADER]", "BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
        ("BODY.PEEK[2.TEXT]", "BODY[2.TEXT] {6}\r\ninside"),
        ("BODY.PEEK[2.1]", "BODY[2.1] {6}\r\ninside"),
        ("BODY.PEEK[2.MIME]", "BODY[2.MIME] {32}\r\nContent-Type: message/rfc822\r\n\r\n"),
        ("BODY.PEEK[2.HEADER.FIELDS.NOT (Subject)]", "BODY[2.HEADER.FIELDS.NOT (Subject)] {2}\r\n\r\n"),
        ("BODY.PEEK[3]", "BODY[3] NIL"),
        ("BODY.PEEK[1.HEADER]", "BODY[1.HEADER] NIL"),
    ] {
        assert_eq!(
            client.ok(&format!("FETCH 1 {item}")).await,
            format!("* 1 FETCH ({expected})\r\n"),
            "{item}"
        );
    }
}

#[tokio::test]
async fn reading_sets_seen_and_store_says_flags() {
    let world = world().await;
    world.deliver(&[PLAIN, PLAIN, PLAIN]).await;
    let mut client = world.inbox().await;
    let mut other = world.inbox().await;
    assert_eq!(
        client.ok("FETCH 1 BODY[TEXT]<0.1>").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT]<0> {1}\r\nH)\r\n"
    );
    assert_eq!(client.ok("NOOP").await, "");
    assert_eq!(other.ok("NOOP").await, "* 1 FETCH (FLAGS (\\Seen))\r\n");
    let said = client.ok("STORE 2:3 +FLAGS ($work \\Flagged)").await;
    assert_eq!(
        said,
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $work)\r\n\
         * 2 FETCH (FLAGS (\\Flagged $work \\Recent))\r\n* 3 FETCH (FLAGS (\\Flagged $work \\Recent))\r\n"
    );
    assert_eq!(client.ok("UID STORE 3 FLAGS.SILENT (\\Draft)").await, "");
    assert_eq!(
        client.ok("UID STORE 3,9 -FLAGS (\\Seen)").await,
        "* 3 FETCH (UID 3 FLAGS (\\Draft \\Recent))\r\n"
    );
    assert!(client.refused("STORE 4 FLAGS ()").await.starts_with("BAD"));
    let heard = other.ok("NOOP").await;
    assert!(
        heard.contains("* 2 FETCH (FLAGS (\\Flagged $work))\r\n* 3 FETCH (FLAGS (\\Draft))\r\n"),
        "{heard}"
    );
    assert_eq!(client.ok("SEARCH UNSEEN NOT DRAFT KEYWORD $work").await, "* SEARCH 2\r\n");
}

#[tokio::test]
async fn expunged_messages_keep_their_numbers_until_it_may_be_said() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED, PLAIN, PLAIN]).await;
    let mut client = world.inbox().await;
    let mut other = world.inbox().await;
    client.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.ok("UID EXPUNGE 1:2").await, "* 2 EXPUNGE\r\n* 3 RECENT\r\n");
    assert_eq!(client.ok("EXPUNGE").await, "* 3 EXPUNGE\r\n* 2 RECENT\r\n");
    assert_eq!(client.ok("EXPUNGE").await, "");
    // The other session still has four messages.
    assert!(other.ok("FETCH 4 UID").await.contains("* 4 FETCH (UID 4)"));
    assert!(other.ok("FETCH 2 BODY.PEEK[1]").await.contains("{12}\r\nZ2VoZWltbmlz"));
    assert!(other.refused("STORE 2:3 +FLAGS (\\Seen)").await.starts_with("NO [EXPUNGEISSUED]"));
    assert!(other.refused("COPY 2 Trash").await.starts_with("NO [EXPUNGEISSUED]"));
    // COPY may say EXPUNGE.
    assert!(other.ok("NOOP").await.is_empty());
    assert_eq!(other.ok("SEARCH SEEN").await, "* SEARCH 2\r\n");
}

#[tokio::test]
async fn copy_move_and_append() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED, PLAIN]).await;
    let mut client = world.inbox().await;
    assert!(client.refused("COPY 1 nowhere").await.starts_with("NO [TRYCREATE]"));
    let (_, tagged) = client.command("COPY 1:2 Trash").await;
    assert!(tagged.starts_with("OK [COPYUID ") && tagged.contains(" 1:2 1:2]"), "{tagged}");
    let (untagged, tagged) = client.command("UID MOVE 2:3 Archive").await;
    assert!(tagged.starts_with("OK"), "{tagged}");
    assert!(untagged.starts_with("* OK [COPYUID ") && untagged.contains(" 2:3 1:2] "), "{untagged}");
    assert!(untagged.ends_with("* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n* 1 RECENT\r\n"), "{untagged}");
    assert!(client.append("nowhere", "", PLAIN).await.starts_with("NO [TRYCREATE]"));
    let tagged = client.append("INBOX", "(\\Seen $x) \"01-Jan-2020 00:00:00 +0000\" ", PLAIN).await;
    assert!(tagged.starts_with("OK [APPENDUID ") && tagged.contains(" 4]"), "{tagged}");
    let fetched = client.ok("FETCH 2 (FLAGS INTERNALDATE BODY.PEEK[])").await;
    let expected = format!(
        "* 2 FETCH (FLAGS (\\Seen $x \\Recent) INTERNALDATE \"01-Jan-2020 00:00:00 +0000\" BODY[] {{{}}}\r\n{PLAIN})\r\n",
        PLAIN.len()
    );
    assert_eq!(fetched, expected);
    let big = "a".repeat(1_000_001);
    assert!(client.append("INBOX", "", &big).await.starts_with("NO [TOOBIG]"));
    let large = format!("Subject: large\r\n\r\n{}\r\n", "0123456789".repeat(40_000));
    assert!(client.append("INBOX", "", &large).await.starts_with("OK [APPENDUID"));
    let fetched = client.ok("UID FETCH 5 BODY.PEEK[]").await;
    assert_eq!(fetched, format!("* 3 FETCH (UID 5 BODY[] {{{}}}\r\n{large})\r\n", large.len()));
    let status = client.ok("STATUS Archive (MESSAGES UIDNEXT UNSEEN RECENT SIZE)").await;
    let size = 2 * PREFIX.len() + PLAIN.len() + MIXED.len();
    assert_eq!(status, format!("* STATUS Archive (MESSAGES 2 UIDNEXT 3 UNSEEN 2 RECENT 2 SIZE {size})\r\n"));
}

#[tokio::test]
async fn copies_and_moves_into_the_selected_mailbox() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED]).await;
    let mut client = world.inbox().await;
    let copied = client.ok("COPY 1 INBOX").await;
    assert_eq!(copied, "* 3 EXISTS\r\n* 3 RECENT\r\n");
    let moved = client.ok("MOVE 1 INBOX").await;
    assert!(moved.ends_with("* 1 EXPUNGE\r\n* 3 EXISTS\r\n"), "{moved}");
    assert_eq!(client.ok("UID SEARCH ALL").await, "* SEARCH 2 3 4\r\n");
    let renamed = client.ok("RENAME INBOX old").await;
    assert_eq!(renamed, "* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n* 0 RECENT\r\n");
    let status = client.ok("LIST \"\" (old) RETURN (STATUS (MESSAGES DELETED))").await;
    assert_eq!(status, "* LIST (\\HasNoChildren) \"/\" old\r\n* STATUS old (MESSAGES 3 DELETED 0)\r\n");
}

#[tokio::test]
async fn news_ride_with_fetch_but_expunge_waits() {
    let world = world().await;
    world.deliver(&[PLAIN, PLAIN]).await;
    let mut client = world.inbox().await;
    let mut other = world.inbox().await;
    world.deliver(&[PLAIN]).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("CLOSE").await;
    assert!(other.refused("FETCH 1 UID").await.starts_with("BAD"));
    // The third message is already recent in the other session.
    assert_eq!(client.ok("FETCH 2 UID").await, "* 2 FETCH (UID 2)\r\n* 3 EXISTS\r\n");
    assert_eq!(client.ok("FETCH 1 UID").await, "* 1 FETCH (UID 1)\r\n");
    assert_eq!(client.ok("UID FETCH 2 UID").await, "* 2 FETCH (UID 2)\r\n* 1 EXPUNGE\r\n* 1 RECENT\r\n");
    assert_eq!(client.ok("UID FETCH 9:* UID").await, "* 2 FETCH (UID 3)\r\n");
    assert_eq!(client.ok("UID FETCH 9 UID").await, "");
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("UNSELECT").await;
    assert!(client.ok("STATUS INBOX (MESSAGES)").await.contains("MESSAGES 2"));
    assert_eq!(client.ok("ENABLE X-NONE").await, "* ENABLED\r\n");
}

#[tokio::test]
async fn idle_hears_of_other_sessions() {
    let world = world().await;
    world.deliver(&[PLAIN]).await;
    let mut client = world.inbox().await;
    client.send("i IDLE\r\n").await;
    assert!(client.until("\r\n").await.starts_with("+ "));
    world.deliver(&[PLAIN]).await;
    assert_eq!(client.until("RECENT\r\n").await, "* 2 EXISTS\r\n* 2 RECENT\r\n");
    let mut other = world.inbox().await;
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.until("\r\n").await, "* 1 FETCH (FLAGS (\\Deleted \\Recent))\r\n");
    other.ok("CLOSE").await;
    assert_eq!(client.until("RECENT\r\n").await, "* 1 EXPUNGE\r\n* 1 RECENT\r\n");
    client.send("DONE\r\n").await;
    assert!(client.until("\r\n").await.starts_with("i OK"));
}

#[tokio::test]
async fn mailboxes_are_made_listed_and_removed() {
    let world = world().await;
    let mut client = world.login().await;
    client.ok("CREATE a/b/").await;
    assert!(client.refused("CREATE a/b").await.starts_with("NO [ALREADYEXISTS]"));
    client.ok("CREATE \"Gr&APwA3w-e\"").await;
    assert!(client.ok("LIST \"\" Gr*").await.ends_with("\"/\" Gr&APwA3w-e\r\n"));
    assert_eq!(client.ok("LIST \"\" \"\"").await, "* LIST (\\Noselect) \"/\" \"\"\r\n");
    client.ok("SUBSCRIBE a/b").await;
    assert_eq!(client.ok("LSUB \"\" a/*").await, "* LSUB () \"/\" a/b\r\n");
    client.ok("RENAME a c").await;
    assert!(client.ok("LIST \"\" c/*").await.contains("\"/\" c/b\r\n"));
    assert!(client.refused("RENAME nowhere x").await.starts_with("NO [NONEXISTENT]"));
    assert!(client.refused("DELETE INBOX").await.starts_with("NO [CANNOT]"));
    assert_eq!(client.ok("NAMESPACE").await, "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL\r\n");
    let mut other = world.login().await;
    other.ok("SELECT c/b").await;
    client.ok("SELECT c/b").await;
    client.ok("DELETE c/b").await;
    assert!(client.refused("FETCH 1 FLAGS").await.starts_with("BAD"));
    other.send("x NOOP\r\n").await;
    assert!(other.until("\r\n").await.starts_with("* BYE"));
}

#[tokio::test]
async fn search_finds_by_every_kind_of_key() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED]).await;
    let mut client = world.inbox().await;
    for (keys, expected) in [
        ("ALL", " 1 2"),
        ("2:*", " 2"),
        ("UID 1", " 1"),
        ("NEW", " 1 2"),
        ("SUBJECT mixed", " 2"),
        ("FROM B.TEST", " 1"),
        ("HEADER Message-ID \"\"", " 1"),
        ("CHARSET UTF-8 SUBJECT {6+}\r\ngrüß", " 1"),
        ("BODY geheimnis", " 2"),
        ("BODY world", " 1"),
        ("BODY inner", " 2"),
        ("TEXT message-id", " 1"),
        ("TEXT return-path", " 1 2"),
        ("NOT TEXT hello", " 2"),
        ("OR BODY hello BODY geheimnis", " 1 2"),
        ("ON 21-Nov-2026", " 1 2"),
        ("BEFORE 21-Nov-2026", ""),
        ("SENTSINCE 21-Nov-2026", " 1"),
        ("LARGER 200", " 2"),
        ("SMALLER 200 SUBJECT mixed", ""),
        ("KEYWORD unheard", ""),
        ("UNKEYWORD unheard UNSEEN", " 1 2"),
        ("(SEEN) OR ALL ALL", ""),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {keys}")).await, format!("* SEARCH{expected}\r\n"), "{keys}");
    }
    assert!(client.refused("SEARCH CHARSET klingon ALL").await.starts_with("NO [BADCHARSET"));
}

/// Messages in INBOX, and two sessions that have it selected.
async fn two_sessions(messages: &[&str]) -> (World, Client, Client) {
    let world = world().await;
    world.deliver(messages).await;
    let (client, other) = (world.inbox().await, world.inbox().await);
    (world, client, other)
}

#[tokio::test]
async fn a_copy_by_number_copies_nothing_where_a_message_is_gone() {
    for command in ["COPY", "MOVE"] {
        let (_world, mut client, mut other) = two_sessions(&[PLAIN, MIXED, PLAIN]).await;
        other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
        other.ok("EXPUNGE").await;
        let (untagged, tagged) = client.command(&format!("{command} 1:3 Trash")).await;
        assert!(tagged.starts_with("NO [EXPUNGEISSUED]"), "{tagged}");
        assert!(untagged.starts_with("* 2 EXPUNGE\r\n"), "{untagged}");
        assert!(client.ok("STATUS Trash (MESSAGES)").await.contains("MESSAGES 0"));
        client.ok(&format!("UID {command} 1:3 Trash")).await;
        assert!(client.ok("STATUS Trash (MESSAGES)").await.contains("MESSAGES 2"));
    }
}

#[tokio::test]
async fn close_and_expunge_remove_what_another_session_marked() {
    for command in ["CLOSE", "EXPUNGE"] {
        let (_world, mut client, mut other) = two_sessions(&[PLAIN, PLAIN]).await;
        other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
        client.ok(command).await;
        assert_eq!(other.ok("NOOP").await, "* 2 EXPUNGE\r\n", "{command}");
    }
}

#[tokio::test]
async fn reading_sets_seen_that_another_session_took_away() {
    let (_world, mut client, mut other) = two_sessions(&[PLAIN]).await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    other.ok("STORE 1 -FLAGS.SILENT (\\Seen)").await;
    client.ok("FETCH 1 BODY[]").await;
    assert_eq!(client.ok("SEARCH SEEN").await, "* SEARCH 1\r\n");
}

/// RFC 9051 section 6.4.6: .SILENT or not, what others changed is told.
#[tokio::test]
async fn a_silent_store_does_not_hide_what_others_changed() {
    let (_world, mut client, mut other) = two_sessions(&[PLAIN, PLAIN]).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    let said = client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(said, "* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))\r\n");
    assert_eq!(client.ok("NOOP").await, "");
}

#[tokio::test]
async fn numbers_mean_what_the_client_was_told() {
    let (world, mut client, mut other) = two_sessions(&[PLAIN, PLAIN]).await;
    world.deliver(&[PLAIN]).await;
    assert_eq!(
        other.ok("SEARCH RETURN (COUNT) 1:*").await.lines().next(),
        Some("* ESEARCH (TAG \"t3\") COUNT 2")
    );
    let said = client.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)").await;
    assert!(said.contains("* 3 EXISTS"), "{said}");
    assert_eq!(client.ok("SEARCH UNDELETED").await, "* SEARCH 3\r\n");
}

#[tokio::test]
async fn an_ok_says_that_expunges_are_held_back() {
    let (_world, mut client, mut other) = two_sessions(&[PLAIN, PLAIN]).await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    for command in ["FETCH 1 UID", "SEARCH ALL", "STORE 1 +FLAGS (\\Seen)"] {
        let (_, tagged) = client.command(command).await;
        assert!(tagged.starts_with("OK [EXPUNGEISSUED]"), "{command}: {tagged}");
    }
    let (_, tagged) = client.command("NOOP").await;
    assert!(tagged.starts_with("OK done"), "{tagged}");
}

#[tokio::test]
async fn names_below_inbox_have_it_in_any_case() {
    let world = world().await;
    let mut client = world.login().await;
    client.ok("CREATE Inbox/x").await;
    client.ok("SELECT iNbox/x").await;
    assert!(client.append("Inbox/x", "", PLAIN).await.starts_with("OK [APPENDUID"));
    client.ok("RENAME inbox/x inBOX/y").await;
    assert!(client.ok("LIST \"\" *x/y").await.ends_with("\"/\" INBOX/y\r\n"));
    client.ok("ENABLE IMAP4rev2").await;
    let created = client.ok("CREATE Inbox/z/").await;
    assert_eq!(created, "* LIST (\\HasNoChildren) \"/\" INBOX/z (\"OLDNAME\" (Inbox/z))\r\n");
    assert_eq!(client.ok("CREATE a/b/").await, "");
}

#[tokio::test]
async fn a_destination_that_vanishes_is_to_be_made() {
    let world = world().await;
    let (mut client, mut other) = (world.login().await, world.login().await);
    client.ok("CREATE box").await;
    client.send(&format!("a APPEND box {{{}}}\r\n", PLAIN.len())).await;
    client.until("\r\n").await;
    other.ok("DELETE box").await;
    client.send(&format!("{PLAIN}\r\n")).await;
    assert!(client.until("\r\n").await.starts_with("a NO [TRYCREATE]"));
}

#[tokio::test]
async fn a_level_with_mailboxes_below_it_cannot_be_deleted() {
    let world = world().await;
    let mut client = world.login().await;
    client.ok("CREATE a/b").await;
    client.ok("DELETE a").await;
    assert!(client.refused("DELETE a").await.starts_with("NO [HASCHILDREN]"));
    assert!(client.refused("DELETE z").await.starts_with("NO [NONEXISTENT]"));
    client.ok("RENAME a/b a").await;
    client.ok("DELETE a").await;
}

#[tokio::test]
async fn the_last_keyword_is_announced_to_all() {
    let (_world, mut client, mut other) = two_sessions(&[PLAIN]).await;
    let keywords = |range: Range<u32>| range.map(|number| format!("k{number}")).collect::<Vec<_>>().join(" ");
    let said = client.ok(&format!("STORE 1 +FLAGS.SILENT ({})", keywords(0..63))).await;
    assert!(!said.contains("PERMANENTFLAGS"), "{said}");
    other.ok("NOOP").await;
    for said in [client.ok("STORE 1 +FLAGS.SILENT (k63)").await, other.ok("NOOP").await] {
        let permanent = said.lines().find(|line| line.starts_with("* OK [PERMANENTFLAGS (")).unwrap();
        assert!(permanent.contains(" k63 ") && !permanent.contains("\\*"), "{permanent}");
    }
    assert!(client.refused("STORE 1 +FLAGS (k64)").await.starts_with("NO [LIMIT]"));
    assert!(client.ok("STORE 1 +FLAGS (K63)").await.contains("k63"));
}

#[tokio::test]
async fn silence_for_half_an_hour_ends_a_session() {
    for idle in [false, true] {
        let world = world().await;
        let mut client = world.inbox().await;
        if idle {
            client.send("i IDLE\r\n").await;
            client.until("\r\n").await;
        }
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let mut said = String::new();
        // The time runs by itself while everyone waits; the stream ends after the BYE.
        client.stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "* BYE autologout; idle for too long\r\n");
        let waited = begun.elapsed();
        assert!(waited.abs_diff(Duration::from_secs(30 * 60)) < Duration::from_secs(10), "{waited:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn searches_and_patterns_are_bounded() {
    let world = world().await;
    world.deliver(&[PLAIN]).await;
    let mut client = world.inbox().await;
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    let keys = |key: &str, count: usize| format!("SEARCH {}", vec![key; count].join(" "));
    for (within, beyond) in [
        (keys("$", 1000), format!("SEARCH (ALL) {}", keys("$", 999).trim_start_matches("SEARCH "))),
        (keys("SUBJECT g", 100), keys("SUBJECT g", 101)),
        (keys("TEXT hello", 100), keys("NOT BODY hello", 101)),
        (format!("LIST \"\" {}", "%".repeat(9000)), format!("LIST \"\" {}", "a".repeat(5000))),
        (format!("LSUB \"\" {}", "*".repeat(9000)), format!("LSUB \"\" {}", "a".repeat(5000))),
    ] {
        client.ok(&within).await;
        assert!(client.refused(&beyond).await.starts_with("NO [LIMIT]"), "{}", &beyond[..20]);
    }
}

#[tokio::test]
async fn what_stands_twice_is_told_once() {
    let world = world().await;
    world.deliver(&[PLAIN]).await;
    let mut client = world.inbox().await;
    assert_eq!(client.ok("FETCH 1 (UID RFC822.SIZE UID)").await.matches("UID").count(), 1);
    let status = client.ok("LIST \"\" INBOX RETURN (STATUS (UNSEEN UNSEEN) STATUS (UIDNEXT))").await;
    assert!(status.ends_with("* STATUS INBOX (UNSEEN 1)\r\n"), "{status}");
}

#[tokio::test]
async fn what_cannot_be_matches_nothing_or_is_ignored() {
    let world = world().await;
    world.deliver(&[PLAIN]).await;
    let mut client = world.inbox().await;
    let long = "k".repeat(200);
    for (keys, expected) in [
        (format!("KEYWORD {long}"), ""),
        (format!("UNKEYWORD {long}"), " 1"),
        ("HEADER \"no name\" \"\"".to_owned(), ""),
        ("BEFORE 31-Dec-9999".to_owned(), " 1"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {keys}")).await, format!("* SEARCH{expected}\r\n"), "{keys}");
    }
    assert!(client.refused("SEARCH CHARSET ISO-2022-KR ALL").await.starts_with("NO [BADCHARSET"));
    assert_eq!(
        client.ok("STORE 1 FLAGS (\\Important \\Seen)").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"
    );
    assert!(client.append("INBOX", "(\\Important) ", PLAIN).await.starts_with("OK"));
}

#[tokio::test]
async fn message_global_is_a_message_to_those_who_know_it() {
    let world = world().await;
    let global = MIXED.replace("message/rfc822", "message/global");
    world.deliver(&[&global]).await;
    let mut client = world.inbox().await;
    let before = client.ok("FETCH 1 BODY").await;
    assert!(before.contains("(\"message\" \"global\" NIL NIL NIL \"7BIT\" 24)"), "{before}");
    client.ok("ENABLE IMAP4rev2").await;
    let after = client.ok("FETCH 1 BODY").await;
    assert!(after.contains("\"global\" NIL NIL NIL \"7BIT\" 24 (NIL \"inner\""), "{after}");
}

#[tokio::test]
async fn a_removed_account_ends_its_sessions() {
    let world = world().await;
    let mut client = world.inbox().await;
    let without = Config { accounts: Vec::new(), ..config() };
    world.context.store.remove_account(world.account).await.unwrap();
    world.live.send(live(without, &world.context.store)).unwrap();
    client.send("x NOOP\r\n").await;
    assert!(client.until("\r\n").await.starts_with("* BYE"));
}
