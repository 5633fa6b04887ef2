//! Mail moves in from another server: Dovecot, Waypost itself, and one that does not keep to IMAP.

mod dovecot;
mod evil;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use tokio::process::Command;
use waypost_config::{Service, TlsMode};
use waypost_mail::DateTime;
use waypost_server::demo::dns::{Data, Dns};
use waypost_storage::SpecialUse;
use waypost_tests::{Process, SiteBuilder, client::Output, process::memory_kib, program, site::PASSWORD};

use super::{Message, Place, date, fill, resume::import_killed_again_and_again};
use dovecot::{Dovecot, HOST};
use evil::{Evil, Manners, Says, UIDS, message};

/// Most anonymous memory of an import, with a build for tests.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

/// A place that finds the other server by DNS, and has a file with the password there.
struct Here {
    place: Place,
    _dns: Dns,
}

impl Here {
    async fn new(password: &str) -> Self {
        let loopback = [127, 0, 0, 1].into();
        let hosts = [HOST, "mx.a.test", "mx.b.test"].map(|host| (host, Data::Address(loopback)));
        let dns = Dns::start(&hosts).await.unwrap();
        let builder = SiteBuilder::new("a.test").users(&["alice"]).dns(dns.address(), 25);
        let place = Place::of(&builder).await;
        fs::write(place.path("password"), format!("{password}\n")).unwrap();
        Self { place, _dns: dns }
    }

    fn arguments(&self, server: &str, more: &[&str]) -> Vec<String> {
        let password = self.place.path("password").display().to_string();
        let fixed = ["--imap", server, "--user", "alice", "--password-file", &password];
        fixed.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    /// `store import` from there.
    async fn moves(&self, server: &str, more: &[&str]) -> Output {
        let arguments = self.arguments(server, more);
        self.place.moves("import", "alice", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// The same; it must be done.
    async fn moved(&self, server: &str, more: &[&str]) -> String {
        let Output { code, text } = self.moves(server, more).await;
        assert_eq!(code, 0, "{text}");
        text
    }
}

/// Messages of the source by folder.
type Source = BTreeMap<String, Vec<Message>>;

fn small(number: u64) -> Vec<u8> {
    let lines = "Grüße, und eine Zeile.\r\n".repeat(number as usize % 20);
    format!("Subject: m{number}\r\nMessage-ID: <{number}@far.test>\r\n\r\n{lines}").into_bytes()
}

/// 2,000 messages in 30 folders; one is of 20 MiB.
fn fill_dovecot(dovecot: &Dovecot) -> Source {
    let mut names: Vec<String> = (0..26).map(|number| format!("Projekte/Größe {number}/日本")).collect();
    names.extend(["INBOX", "Gesendete Objekte", "Entwürfe & mehr", "Archiv/2026"].map(str::to_owned));
    let mut source = Source::new();
    for number in 0..2000_u64 {
        let name = &names[number as usize % names.len()];
        let (letters, flags) = [
            ("", ""),
            ("S", "\\Seen"),
            ("FRSa", "\\Answered \\Flagged \\Seen $Forwarded"),
            ("DTb", "\\Deleted \\Draft wichtig"),
        ][number as usize % 4];
        let octets = if number == 777 { large() } else { small(number) };
        let seconds = 1_000_000_000 + number * 100_003;
        dovecot.put(name, number, &octets, letters, seconds);
        let date = DateTime { seconds: seconds as i64, offset_minutes: 0 };
        source.entry(name.clone()).or_default().push((octets, flags.to_owned(), date));
    }
    dovecot.subscribe(&["INBOX", "Archiv/2026", "Projekte/Größe 3/日本"]);
    source
}

fn large() -> Vec<u8> {
    let head = b"Subject: large\r\nMessage-ID: <large@far.test>\r\n\r\n";
    let line = [b"0123456789".repeat(7), b"\r\n".to_vec()].concat();
    [head.to_vec(), line.repeat(20 * 1024 * 1024 / line.len())].concat()
}

/// The account holds what the source holds, each message once; `Gesendete Objekte` is what is sent.
async fn is_complete(here: &Here, source: &Source) {
    let (found, _) = here.place.account("alice").await;
    let mut found: BTreeMap<String, Vec<Message>> = found.into_iter().collect();
    for (name, messages) in source {
        let name = if name == "Gesendete Objekte" { "Sent" } else { name };
        let mut found = found.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let mut messages = messages.clone();
        let key = |message: &Message| (message.0.len(), message.0.clone());
        found.sort_by_cached_key(key);
        messages.sort_by_cached_key(key);
        assert_eq!(found.len(), messages.len(), "messages in {name}");
        for (is, wanted) in found.iter().zip(&messages) {
            let shown = String::from_utf8_lossy(&wanted.0[..wanted.0.len().min(60)]).into_owned();
            assert!(is.0 == wanted.0, "octets of {shown} in {name}");
            assert_eq!((&is.1, is.2), (&wanted.1, wanted.2), "{shown} in {name}");
        }
    }
    let others: Vec<_> = found.iter().filter(|(_, messages)| !messages.is_empty()).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dovecot_is_moved_though_killed_again_and_again() {
    let Some(dovecot) = Dovecot::start().await else { return };
    let mut source = fill_dovecot(&dovecot);
    dovecot.own().await;
    let here = Here::new(dovecot::PASSWORD).await;
    let (server, authority) = (dovecot.implicit(), dovecot.authority().display().to_string());
    let ca = ["--ca", authority.as_str()];
    let arguments = here.arguments(&server, &ca);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let killed = import_killed_again_and_again(&here.place, "alice", &arguments).await;
    assert!(killed > 3, "only {killed} imports were killed");
    assert!(dovecot.log().contains("method=SCRAM-SHA-256"), "{}", dovecot.log());
    is_complete(&here, &source).await;
    let (mailboxes, subscriptions) = here.place.account("alice").await;
    for name in ["INBOX", "Archiv/2026", "Projekte/Größe 3/日本"] {
        assert!(subscriptions.iter().any(|subscribed| subscribed == name), "{name} of {subscriptions:?}");
    }
    assert!(!subscriptions.iter().any(|name| name == "Projekte/Größe 4/日本"));
    assert!(!mailboxes.iter().any(|(name, _)| name == "Gesendete Objekte"));

    let said = here.moved(&server, &ca).await;
    assert!(
        said.contains("imported 0 messages") && said.contains("2000 messages had been imported earlier"),
        "{said}"
    );
    // New mail, and messages that were read since.
    for (number, name) in [(5000, "INBOX"), (5001, "Neu")] {
        dovecot.put(name, number, &small(number), "S", 1_700_000_000);
        let message =
            (small(number), "\\Seen".to_owned(), DateTime { seconds: 1_700_000_000, offset_minutes: 0 });
        source.entry(name.to_owned()).or_default().push(message);
    }
    dovecot.own().await;
    let said = here.moved(&server, &ca).await;
    assert!(said.contains("imported 2 messages"), "{said}");
    is_complete(&here, &source).await;

    // All UIDs are others.
    dovecot.forget_uids("INBOX");
    let count = source["INBOX"].len();
    let said = here.moved(&server, &ca).await;
    assert!(
        said.contains("imported 0 messages") && said.contains("INBOX: the server numbered its messages anew"),
        "{said}"
    );
    is_complete(&here, &source).await;
    dovecot.put("INBOX", 6000, &small(6000), "S", 1_700_000_000);
    dovecot.own().await;
    let said = here.moved(&server, &ca).await;
    assert!(said.contains("imported 1 messages") && !said.contains("numbered"), "{said}");
    assert_eq!(here.place.mailbox("alice", "INBOX").await.len(), count + 1);
    dovecot.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dovecot_is_moved_by_starttls_into_a_server_that_runs() {
    let Some(dovecot) = Dovecot::start().await else { return };
    for (number, name) in [(1, "INBOX"), (2, "A/B"), (3, "A/C"), (4, "D")] {
        dovecot.put(name, number, &small(number), "S", 1_700_000_000);
    }
    dovecot.own().await;
    let here = Here::new(dovecot::PASSWORD).await;
    let server = format!("{HOST}:{}", dovecot.starttls().port());
    let authority = dovecot.authority().display().to_string();
    let ca = ["--tls", "starttls", "--ca", &authority];
    let running = Process::serve(&program(), &here.place.config()).await;
    let said = here.moved(&server, &[&ca[..], &["--folder", "A", "--exclude", "A/C"]].concat()).await;
    assert!(said.contains("imported 1 messages"), "{said}");
    let said = here.moved(&server, &[&ca[..], &["--exclude", "D", "--json"]].concat()).await;
    assert!(said.contains("\"messages\": 2") && said.contains("\"earlier\": 1"), "{said}");
    // By another name it is somebody else; and without an authority nobody is who it says.
    let other = format!("mx.b.test:{}", dovecot.starttls().port());
    for (server, more) in [(&other, &ca[..]), (&server, &["--tls", "starttls"])] {
        let Output { code, text } = here.moves(server, more).await;
        assert!(code == 1 && text.contains("TLS: ") && text.contains("certificate"), "{text}");
        assert!(!text.contains("goes on"), "{text}");
    }
    // Dovecot takes passwords without TLS from its own machine.
    let said = here.moved(&server, &["--tls", "none"]).await;
    assert!(said.contains("imported 1 messages") && said.contains("who listens has the password"), "{said}");
    let Output { code, text } = here.moves(&server, &[&ca[..], &["--folder", "Nowhere"]].concat()).await;
    assert!(code == 1 && text.contains("no folder Nowhere"), "{text}");
    fs::write(here.place.path("password"), "wrong\n").unwrap();
    let Output { code, text } = here.moves(&server, &ca).await;
    assert!(code == 1 && text.contains("refuses the login") && !text.contains("goes on"), "{text}");
    running.signal("TERM").await;
    let (code, log) = running.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(dovecot::PASSWORD), "{log}");
    let (mailboxes, _) = here.place.account("alice").await;
    let counts = mailboxes.iter().filter(|(_, messages)| !messages.is_empty());
    assert_eq!(counts.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["A/B", "A/C", "D", "INBOX"]);
    dovecot.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waypost_is_moved_to_the_octet() {
    let far = SiteBuilder::new("b.test").users(&["alice"]).start().await;
    let account = far.store().account(far.account_id("alice")).await.unwrap();
    // What holds NUL a server shows otherwise.
    let corpus: Vec<_> = super::corpus().into_iter().filter(|octets| !octets.contains(&0)).collect();
    let zones = ["+0000", "-0330", "+1245"];
    let flags = ["", "\\Seen", "\\Flagged \\Deleted $x y"];
    let message = |(number, octets): (usize, &Vec<u8>)| {
        let date = date(&format!("{:02}-Feb-2024 21:52:25 {}", number % 28 + 1, zones[number % 3]));
        (octets.clone(), flags[number % 3].to_owned(), date)
    };
    let messages: Vec<Message> = corpus.iter().enumerate().map(message).collect();
    let (first, second) = messages.split_at(100);
    fill(far.store(), &account, "Sent", first).await;
    fill(far.store(), &account, "Büro/a \"b\" & \\c", second).await;
    account.create_mailbox("Quarantäne", Some(SpecialUse::Junk)).await.unwrap();
    account.create_mailbox("Leer/leer", None).await.unwrap();
    account.subscribe("Leer/leer", true).await.unwrap();

    let here = Here::new(PASSWORD).await;
    let server = format!("mx.b.test:{}", far.address(Service::Imap, TlsMode::Implicit).port());
    let authority = far.authority().display().to_string();
    let user = ["--user", "alice@b.test", "--ca", &authority];
    let mut arguments = here.arguments(&server, &[]);
    arguments.splice(2..4, user.map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = here.place.moved("import", "alice", &arguments).await;
    assert!(said.contains(&format!("imported {} messages", messages.len())), "{said}");
    let said = here.place.moved("import", "alice", &arguments).await;
    assert!(said.contains("imported 0 messages"), "{said}");
    assert!(here.place.mailbox("alice", "Sent").await == first);
    assert!(here.place.mailbox("alice", "Büro/a \"b\" & \\c").await == second);
    let (mailboxes, subscriptions) = here.place.account("alice").await;
    assert!(subscriptions.contains(&"Leer/leer".to_owned()), "{subscriptions:?}");
    assert!(mailboxes.iter().any(|(name, _)| name == "Leer/leer"));
    // Nothing was changed there.
    let state = account.state();
    let sent = account.select(state.by_name("Sent").unwrap().id).await.unwrap().state().unwrap();
    let seen = sent.rows().map(|row| sent.flags(row).to_string()).collect::<Vec<_>>();
    assert_eq!(seen, first.iter().map(|(_, flags, _)| flags.clone()).collect::<Vec<_>>());
    // All of it once more, on demand.
    let said = here
        .place
        .moved("import", "alice", &[&arguments[..], &["--again", "--folder", "Sent"]].concat())
        .await;
    assert!(said.contains("imported 100 messages"), "{said}");
    far.finish().await;
}

/// An account without room takes what fits; with more room the same command goes on, and with NUL beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_over_its_quota_goes_on_once_there_is_room() {
    let far = SiteBuilder::new("b.test").users(&["alice"]).start().await;
    let account = far.store().account(far.account_id("alice")).await.unwrap();
    let day = date("21-Nov-2026 04:05:06 +0100");
    let message = |number: usize| {
        let text = format!("Subject: m{number}\r\n\r\n{}", "0123456789abcdef\r\n".repeat(56));
        (text.into_bytes(), ["", "\\Seen"][number % 2].to_owned(), day)
    };
    let messages: Vec<Message> = (0..200).map(message).collect();
    let (first, second) = messages.split_at(150);
    fill(far.store(), &account, "INBOX", first).await;
    fill(far.store(), &account, "Sent", second).await;
    fill(far.store(), &account, "Sent", &[(b"Subject: nul\r\n\r\na\0b\r\n".to_vec(), String::new(), day)])
        .await;
    let here = Here::new(PASSWORD).await;
    here.place.waypost(&["account", "add", "full@a.test", "--quota", "50 KiB"]).input(b"x\n").run().await;
    let server = format!("mx.b.test:{}", far.address(Service::Imap, TlsMode::Implicit).port());
    let authority = far.authority().display().to_string();
    let mut arguments = here.arguments(&server, &[]);
    arguments.splice(2..4, ["--user", "alice@b.test", "--ca", &authority].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut before = 0;
    for quota in ["50 KiB", "120 KiB", "170 KiB"] {
        here.place.waypost(&["account", "quota", "full@a.test", quota]).run().await;
        // And once more, without more room.
        for _ in 0..2 {
            let full = here.place.moves("import", "full", &arguments).await;
            assert!(full.code == 1 && full.text.contains("over its quota"), "{}", full.text);
            assert!(full.text.contains("goes on"), "{}", full.text);
        }
        let (mailboxes, _) = here.place.account("full").await;
        let octets: usize =
            mailboxes.iter().flat_map(|(_, messages)| messages).map(|(octets, ..)| octets.len()).sum();
        let most = 1024 * quota.split(' ').next().unwrap().parse::<usize>().unwrap();
        assert!(octets <= most && octets >= before, "{octets} of {most} octets, {before} before");
        before = octets;
    }
    assert!(before > 0, "nothing came while there was room");
    here.place.waypost(&["account", "quota", "full@a.test", "none"]).run().await;
    here.place.moved("import", "full", &arguments).await;
    let said = here.place.moved("import", "full", &arguments).await;
    assert!(said.contains("imported 0 messages"), "{said}");
    assert!(here.place.mailbox("full", "INBOX").await == first);
    let (nul, sent) = here
        .place
        .mailbox("full", "Sent")
        .await
        .split_last()
        .map(|(nul, sent)| (nul.clone(), sent.to_vec()))
        .unwrap();
    assert!(sent == second);
    assert_eq!(nul.0, b"Subject: nul\r\n\r\na\x80b\r\n");
    far.finish().await;
}

/// Imports from a server with bad manners: what was said, and the UIDs in INBOX.
async fn imports(manners: Manners, more: &[&str]) -> (Output, Vec<u32>, Evil) {
    let evil = Evil::start(manners).await;
    let here = Here::new("x").await;
    let output = here.moves(&evil.address.to_string(), &[&["--tls", "none"], more].concat()).await;
    (output, uids(&here).await, evil)
}

async fn uids(here: &Here) -> Vec<u32> {
    let messages = here.place.mailbox("alice", "INBOX").await;
    let uid = |(octets, _, _): &Message| UIDS.into_iter().find(|uid| message(*uid).as_bytes() == octets);
    messages.iter().map(|message| uid(message).unwrap_or(0)).collect()
}

fn octets(text: &str) -> Option<Says> {
    Some(Says::Octets(text.as_bytes().to_vec()))
}

fn last(text: &str) -> Option<Says> {
    Some(Says::Last(text.as_bytes().to_vec()))
}

fn brings(command: &str) -> bool {
    command.contains("BODY.PEEK[]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_good_manners_is_moved() {
    let (output, uids, evil) = imports(|_, _| None, &[]).await;
    assert_eq!((output.code, uids.as_slice()), (0, &UIDS[..]), "{}", output.text);
    assert!(output.text.contains("without TLS, who listens has the password"), "{}", output.text);
    let commands = evil.commands();
    assert!(commands.iter().any(|command| command == "EXAMINE INBOX"), "{commands:?}");
    assert!(commands.iter().all(|command| !command.starts_with("SELECT") && !command.contains("BODY[]")));
    assert_eq!(commands.last().map(String::as_str), Some("LOGOUT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_refused_is_named_and_the_others_come() {
    let refuse: Manners = |_, command| {
        (brings(command) && command.contains('4') || command.starts_with("UID FETCH 2,4:5"))
            .then(|| Says::Octets(b"{tag} NO [SERVERBUG] cannot read it\r\n".to_vec()))
    };
    let (output, uids, _) = imports(refuse, &[]).await;
    assert_eq!((output.code, uids), (1, vec![2, 5]), "{}", output.text);
    assert!(
        output.text.contains("INBOX, message with UID 4 (cannot read it): the server does not give it"),
        "{}",
        output.text
    );
    let (output, uids, _) = imports(refuse, &["--strict"]).await;
    assert!(output.code == 1 && output.text.contains("nothing after it was imported"), "{}", output.text);
    assert_eq!(uids, [2]);
    // One that is said to be there, and does not come.
    let silent: Manners = |_, command| {
        (brings(command) && command.contains('4')).then(|| Says::Octets(b"{tag} OK done\r\n".to_vec()))
    };
    let (output, uids, _) = imports(silent, &[]).await;
    assert_eq!((output.code, uids), (1, vec![2, 5]), "{}", output.text);
    // A header that is larger than is kept.
    let large: Manners = |_, command| {
        let header = format!("Subject: {}\r\n\r\n", "x".repeat(300_000));
        let said =
            format!("* 1 FETCH (UID 4 BODY[] {{{}}}\r\n{header})\r\n{{tag}} OK done\r\n", header.len());
        (brings(command) && command.contains('4')).then(|| Says::Octets(said.into_bytes()))
    };
    let (output, uids, _) = imports(large, &[]).await;
    assert_eq!((output.code, uids), (1, vec![2, 5]), "{}", output.text);
    assert!(output.text.contains("1 not imported: "), "{}", output.text);
    // NUL, where no server may send it, is kept.
    let nul: Manners = |_, command| {
        let head = "* 1 FETCH (UID 4 BODY[] {2}\r\na\0)\r\n{tag} OK done\r\n";
        (brings(command) && command.contains('4')).then(|| Says::Octets(head.as_bytes().to_vec()))
    };
    let (output, uids, _) = imports(nul, &[]).await;
    assert_eq!((output.code, uids.len()), (0, 3), "{}", output.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_that_are_wrong_do_not_matter() {
    let wrong: Manners = |_, command| {
        let is_survey = command.starts_with("UID FETCH") && !brings(command);
        is_survey.then(|| {
            let rows =
                UIDS.map(|uid| format!("* 1 FETCH (UID {uid} RFC822.SIZE {})\r\n", uid * 1000)).concat();
            Says::Octets(format!("{rows}{{tag}} OK done\r\n").into_bytes())
        })
    };
    let (output, uids, _) = imports(wrong, &[]).await;
    assert_eq!((output.code, uids.as_slice()), (0, &UIDS[..]), "{}", output.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_taken_up_again() {
    // In the middle of the second message, twice.
    let breaks: Manners = |number, command| {
        let text = evil::fetch("UID FETCH 2 (BODY)") + "* 2 FETCH (UID 4 BODY[] {50}\r\nSubject: m4\r\n";
        (number < 2 && brings(command)).then(|| Says::Last(text.into_bytes()))
    };
    let (output, uids, _) = imports(breaks, &[]).await;
    assert_eq!((output.code, uids.as_slice()), (0, &UIDS[..]), "{}", output.text);
    assert!(
        output.text.contains("note: the connection broke 2 times, and was taken up again"),
        "{}",
        output.text
    );
    // BYE in the middle.
    let bye: Manners = |number, command| {
        (number == 0 && brings(command)).then(|| {
            Says::Last(
                (evil::fetch("UID FETCH 2 (BODY)") + "* BYE [UNAVAILABLE] maintenance\r\n").into_bytes(),
            )
        })
    };
    let (output, uids, _) = imports(bye, &[]).await;
    assert_eq!((output.code, uids.as_slice()), (0, &UIDS[..]), "{}", output.text);
    assert!(output.text.contains("maintenance"), "{}", output.text);
    // Always at the same message: a literal that is too large for any.
    let huge: Manners = |_, command| {
        (brings(command) && command.contains('4'))
            .then(|| Says::Octets(b"* 2 FETCH (UID 4 BODY[] {99999999999}\r\n".to_vec()))
    };
    let (output, uids, _) = imports(huge, &[]).await;
    assert_eq!((output.code, uids), (1, vec![2, 5]), "{}", output.text);
    assert!(
        output.text.contains("1 not imported: the connection breaks at it")
            && output.text.contains("more than 4 GiB"),
        "{}",
        output.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_always_ends_the_import() {
    let cases: [(Manners, &str); 4] = [
        (
            |_, command| command.starts_with("LIST").then_some(Says::Endlessly(vec![b'x'; 8192])),
            "more than 262144 octets",
        ),
        (
            |_, command| {
                command.starts_with("EXAMINE").then_some(()).and_then(|()| octets("w99 OK done\r\n"))
            },
            "a command that was not sent",
        ),
        (
            |_, command| {
                command.starts_with("LIST").then_some(Says::Endlessly(b"* OK still here\r\n".to_vec()))
            },
            "without end",
        ),
        (
            |_, command| command.is_empty().then_some(()).and_then(|()| last("* BYE go away\r\n")),
            "refuses the connection: go away",
        ),
    ];
    let running = cases.map(|(manners, said)| async move {
        let (output, uids, evil) = imports(manners, &[]).await;
        assert!(output.code == 1 && uids.is_empty(), "{}", output.text);
        assert!(
            output.text.contains(said) && output.text.contains("goes on where it ended"),
            "{}",
            output.text
        );
        // Five connections, and no more.
        assert!(evil.commands().iter().filter(|command| command.starts_with("LOGIN")).count() <= 5);
    });
    let [first, second, third, fourth] = running;
    tokio::join!(first, second, third, fourth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_not_sent_where_it_must_not_be() {
    let stripped = Evil::start(|_, _| None).await;
    let here = Here::new("x").await;
    let Output { code, text } = here.moves(&stripped.address.to_string(), &["--tls", "starttls"]).await;
    assert!(code == 1 && text.contains("does not offer STARTTLS, so the password was not sent"), "{text}");
    assert_eq!(stripped.commands(), Vec::<String>::new());
    let (output, _, evil) = imports(
        |_, command| {
            command
                .is_empty()
                .then_some(())
                .and_then(|()| octets("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n"))
        },
        &[],
    )
    .await;
    assert!(output.code == 1 && output.text.contains("offers no way to log in"), "{}", output.text);
    assert_eq!(evil.commands(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_whatever_comes() {
    // A message of 64 MiB.
    let large: Manners = |_, command| {
        (brings(command) && command.starts_with("UID FETCH 2,4:5")).then(|| {
            let mut octets = format!("* 2 FETCH (UID 4 BODY[] {{{}}}\r\n", 64 << 20).into_bytes();
            octets.extend(b"Subject: x\r\n\r\n");
            octets.resize(octets.len() + (64 << 20) - 14, b'x');
            octets.extend(b")\r\n");
            octets.extend(evil::fetch("UID FETCH 2,5 (BODY)").bytes());
            octets.extend(b"w6 OK done\r\n");
            Says::Octets(octets)
        })
    };
    let evil = Evil::start(large).await;
    let here = Here::new("x").await;
    let (output, peak) = watched(&here, evil.address).await;
    assert!(output.contains("imported 3 messages"), "{output}");
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
}

/// Runs an import and looks at its memory: what it said, and the peak.
async fn watched(here: &Here, address: SocketAddr) -> (String, u64) {
    let log: PathBuf = here.place.path("log");
    let file = fs::File::create(&log).unwrap();
    let mut import = Command::new(program())
        .args(["store", "import", "alice@a.test"])
        .args(here.arguments(&address.to_string(), &["--tls", "none"]))
        .env("WAYPOST_CONFIG", here.place.config())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut peak = 0;
    while import.try_wait().unwrap().is_none() {
        peak = peak.max(import.id().and_then(memory_kib).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (fs::read_to_string(&log).unwrap(), peak)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_does_not_wait_for_another_that_is_silent() {
    let evil = Evil::start(|_, command| command.starts_with("LIST").then(|| Says::Octets(Vec::new()))).await;
    let here = Here::new("x").await;
    let server = Process::serve(&program(), &here.place.config()).await;
    let address = evil.address.to_string();
    let import = here.moves(&address, &["--tls", "none"]);
    let stop = async {
        while !evil.commands().iter().any(|command| command.starts_with("LIST")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = std::time::Instant::now();
        server.signal("TERM").await;
        let (code, log) = server.end().await;
        assert_eq!(code, Some(0), "{log}");
        begun.elapsed()
    };
    let (import, took) = tokio::join!(import, stop);
    assert!(import.code == 1 && import.text.contains("it was stopped"), "{}", import.text);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
