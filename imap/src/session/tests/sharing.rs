//! Mailboxes of others: what each right allows, and what those see who have none (RFC 4314).

use std::collections::BTreeSet;

use waypost_config::ImapConfig;
use waypost_mail::{AccountSource, Flags};
use waypost_storage::{AclKey, Identifier, NewAccount, Rights, RightsChange, Sign};

use super::*;

/// Whose mailboxes are looked at.
const OWNER: &str = "owner@a.test";

/// A server with two accounts: `user`, who looks, and `owner`, who has mail in `Box` and nothing in `Box/below`.
struct Shared {
    world: World,
    owner: AccountId,
}

fn account(address: &str) -> AccountConfig {
    AccountConfig {
        address: Address::parse(address).unwrap(),
        password: Password::Plain("secret".to_owned()),
        quota_bytes: None,
        certificates: Vec::new(),
    }
}

impl Shared {
    async fn new(imap: ImapConfig) -> Self {
        let world = world().await;
        let store = &world.context.store;
        let new = NewAccount {
            address: Address::parse(OWNER).unwrap(),
            source: AccountSource::File,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        let owner = store.create_account(new).await.unwrap();
        let config = Config { accounts: vec![account(testing::USER), account(OWNER)], imap, ..config() };
        world.live.send_replace(live(config, store));
        let shared = Self { world, owner };
        let mut owner = shared.login(OWNER).await;
        owner.ok("CREATE Box/below").await;
        for flags in ["(\\Seen)", "(\\Deleted)", "()"] {
            assert!(owner.append("Box", &format!("{flags} "), PLAIN).await.starts_with("OK"));
        }
        shared
    }

    async fn login(&self, address: &str) -> Client {
        let mut client = self.world.connect().await;
        client.ok(&format!("LOGIN {address} secret")).await;
        client
    }

    /// Gives rights on `Box`, and on nothing else.
    async fn give(&self, key: AclKey, letters: &str) {
        let account = self.world.context.store.account(self.owner).await.unwrap();
        let mailbox = account.state().by_name("Box").unwrap().id;
        let rights = RightsChange::Replace(Rights::parse(letters).unwrap());
        account.set_acl(mailbox, key, rights).await.unwrap();
    }

    async fn give_user(&self, letters: &str) {
        self.give((Identifier::Account(self.world.account), Sign::Given), letters).await;
    }
}

/// What stands in the answer to one command, by the rights that one has.
type Expected = &'static [(&'static str, &'static str)];

const GONE: &str = "NO [NONEXISTENT]";
const TRY: &str = "NO [TRYCREATE]";
const NOPERM: &str = "NO [NOPERM]";
const BADURL: &str = "NO [BADURL";
const NOT_YOURS: &str = "BAD a URL names no mailbox of yours";
/// OK, and nothing is said.
const SILENT: &str = "silence";
/// OK, and there is no data.
const NIL: &str = "NIL";

/// Commands at `BOX`, each with what enough rights, and with others, give. The first line that is there holds; `*`: for all others.
const COMMANDS: &[(&str, Expected)] = &[
    (
        "SELECT BOX",
        &[
            ("r", "OK [READ-ONLY]"),
            ("lrs", "OK [READ-ONLY]"),
            ("lri", "OK [READ-WRITE]"),
            ("rt", "OK [READ-WRITE]"),
            ("l", NOPERM),
            ("lswipkxtea", NOPERM),
            ("*", GONE),
        ],
    ),
    (
        "EXAMINE BOX",
        &[("r", "OK [READ-ONLY]"), ("lrswipkxtea", "OK [READ-ONLY]"), ("l", NOPERM), ("*", GONE)],
    ),
    (
        "STATUS BOX (MESSAGES)",
        &[("r", "OK"), ("lr", "OK"), ("l", NOPERM), ("lswipkxtea", NOPERM), ("*", GONE)],
    ),
    ("CREATE BOX/new", &[("k", "OK"), ("lk", "OK"), ("lrswipxtea", NOPERM), ("*", NOPERM)]),
    ("DELETE BOX", &[("x", "OK"), ("lx", "OK"), ("lrswipktea", NOPERM), ("l", NOPERM), ("*", GONE)]),
    ("RENAME BOX/below BOX/other", &[("k", GONE), ("*", GONE)]),
    (
        "RENAME BOX \"Other Users/owner@a.test/Top\"",
        &[("x", NOPERM), ("lrswipkxtea", NOPERM), ("l", NOPERM), ("*", GONE)],
    ),
    ("RENAME BOX Mine", &[("x", "NO [CANNOT]"), ("l", NOPERM), ("*", GONE)]),
    ("GETACL BOX", &[("a", "OK"), ("lrswipkxte", NOPERM), ("l", NOPERM), ("*", GONE)]),
    ("SETACL BOX anyone l", &[("a", "OK"), ("lrswipkxte", NOPERM), ("l", NOPERM), ("*", GONE)]),
    ("DELETEACL BOX anyone", &[("a", "OK"), ("lrswipkxte", NOPERM), ("l", NOPERM), ("*", GONE)]),
    ("LISTRIGHTS BOX anyone", &[("a", "OK"), ("lrswipkxte", NOPERM), ("l", NOPERM), ("*", GONE)]),
    (
        "MYRIGHTS BOX",
        &[
            ("l", "OK"),
            ("r", "OK"),
            ("i", "OK"),
            ("k", "OK"),
            ("x", "OK"),
            ("a", "OK"),
            ("swpte", GONE),
            ("*", GONE),
        ],
    ),
    ("GETQUOTAROOT BOX", &[("r", "OK"), ("l", NOPERM), ("*", GONE)]),
    ("GETQUOTA owner@a.test", &[("r", "OK"), ("*", GONE)]),
    (
        "GETMETADATA BOX /shared/comment",
        &[("lr", "OK"), ("lp", "OK"), ("l", NOPERM), ("r", GONE), ("*", GONE)],
    ),
    (
        "SETMETADATA BOX (/private/comment \"x\")",
        &[("lr", "OK"), ("lp", "OK"), ("l", NOPERM), ("r", GONE), ("*", GONE)],
    ),
    (
        "SETMETADATA BOX (/shared/comment \"x\")",
        &[("lw", "OK"), ("lr", NOPERM), ("l", NOPERM), ("r", GONE), ("*", GONE)],
    ),
    ("SUBSCRIBE BOX", &[("", "OK"), ("l", "OK"), ("r", "OK")]),
    ("UNSUBSCRIBE BOX", &[("", "OK"), ("l", "OK")]),
    ("LSUB \"\" BOX", &[("", "OK"), ("l", "OK")]),
    (
        "COPY 1 BOX",
        &[("i", "OK [COPYUID"), ("li", "OK [COPYUID"), ("lrswpkxtea", NOPERM), ("l", NOPERM), ("*", TRY)],
    ),
    ("MOVE 1 BOX", &[("i", "OK"), ("l", NOPERM), ("*", TRY)]),
    ("APPEND BOX LITERAL", &[("i", "OK [APPENDUID"), ("l", NOPERM), ("lrswpkxtea", NOPERM), ("*", TRY)]),
    ("REPLACE 1 BOX LITERAL", &[("i", "OK"), ("l", NOPERM), ("lrswpkxtea", NOPERM), ("*", TRY)]),
    (
        "APPEND INBOX CATENATE (URL \"/PATH/;UID=1\")",
        &[("r", "OK [APPENDUID"), ("l", BADURL), ("lswipkxtea", BADURL), ("*", BADURL)],
    ),
    ("LIST \"\" BOX", &[("l", "* LIST "), ("rswipkxtea", SILENT), ("*", SILENT)]),
    (
        "LIST \"\" BOX RETURN (MYRIGHTS STATUS (MESSAGES) METADATA (/shared/comment))",
        &[("l", "* LIST "), ("rswipkxtea", SILENT), ("*", SILENT)],
    ),
    ("SETQUOTA owner@a.test (STORAGE 1)", &[("lrswipkxtea", NOPERM), ("*", NOPERM)]),
    // Of URLs and their keys nothing is shared.
    ("RESETKEY BOX", &[("lrswipkxtea", GONE), ("*", GONE)]),
    ("GENURLAUTH \"URLAUTH\" INTERNAL", &[("lrswipkxtea", NOT_YOURS), ("*", NOT_YOURS)]),
    ("URLFETCH \"URLAUTH:INTERNAL:00112233445566778899aabbccddeeff\"", &[("lrswipkxtea", NIL), ("*", NIL)]),
];

/// Commands at `Box` when it is selected, as far as it can be; each with what more rights than to read give.
const SELECTED: &[(&str, Expected)] = &[
    ("FETCH 1 BODY[]", &[("r", "OK"), ("rs", "OK")]),
    ("UID FETCH 1 FLAGS", &[("r", "OK")]),
    ("SEARCH ALL", &[("r", "OK")]),
    ("UIDBATCHES 500", &[("r", "OK")]),
    ("CHECK", &[("r", "OK")]),
    ("NOOP", &[("r", "OK")]),
    ("UNSELECT", &[("r", "OK")]),
    ("CLOSE", &[("r", "OK"), ("lrswipkxta", "OK"), ("re", "OK")]),
    ("EXPUNGE", &[("r", NOPERM), ("lrswipkxta", NOPERM), ("re", "OK")]),
    ("UID EXPUNGE 1:*", &[("r", NOPERM), ("lrswipkxta", NOPERM), ("re", "OK")]),
    ("STORE 1 +FLAGS (\\Seen)", &[("r", NOPERM), ("lrwipkxtea", NOPERM), ("rs", "OK")]),
    ("STORE 1 +FLAGS (\\Deleted)", &[("r", NOPERM), ("lrswipkxea", NOPERM), ("rt", "OK")]),
    ("STORE 1 +FLAGS (\\Flagged word)", &[("r", NOPERM), ("lrsipkxtea", NOPERM), ("rw", "OK")]),
    ("STORE 1 FLAGS ()", &[("r", NOPERM), ("lripkxea", NOPERM), ("rw", "OK")]),
    ("COPY 1 INBOX", &[("r", "OK [COPYUID")]),
    ("MOVE 1 INBOX", &[("r", NOPERM), ("lrswipkxta", NOPERM), ("lrswipkxea", NOPERM), ("rte", "OK")]),
    (
        "REPLACE 1 INBOX LITERAL",
        &[("r", NOPERM), ("lrswipkxta", NOPERM), ("lrswipkxea", NOPERM), ("rte", "OK")],
    ),
];

/// Commands that say nothing of any mailbox.
const NO_MAILBOX: &[&str] = &[
    "AUTHENTICATE",
    "CAPABILITY",
    "COMPARATOR",
    "COMPRESS",
    "ENABLE",
    "ID",
    // Waits for others: what it tells is tested below.
    "IDLE",
    "LANGUAGE",
    "LOGIN",
    "LOGOUT",
    // Tells of namespaces, which all have.
    "NAMESPACE",
    "STARTTLS",
    "UID",
    "UNAUTHENTICATE",
];

/// A command that is new has a row, or is named among those that need none.
#[test]
fn no_command_is_left_out() {
    let name = |command: &'static str| command.trim_start_matches("UID ").split(' ').next().unwrap();
    let tested = COMMANDS.iter().chain(SELECTED).map(|(command, _)| name(command));
    let named: BTreeSet<&str> = tested.chain(NO_MAILBOX.iter().copied()).collect();
    assert_eq!(named, testing::commands());
}

/// Rights with which every command is tried that has no line of its own for them.
const OTHERS: &[&str] = &["", "s", "w", "p", "e", "t"];

/// A command as one says it who means a mailbox of the owner.
fn written(command: &str, mailbox: &str) -> String {
    command.split("INBOX").map(|part| with_names(part, mailbox)).collect::<Vec<_>>().join("INBOX")
}

fn with_names(command: &str, mailbox: &str) -> String {
    let name = |below: &str| format!("\"Other Users/owner@a.test/{mailbox}{below}\"");
    let url = format!("imap://owner%40a.test@mx.a.test/{mailbox}/;UID=1;URLAUTH=authuser");
    command
        .replace("BOX/new", &name("/new"))
        .replace("BOX/below", &name("/below"))
        .replace("BOX/other", &name("/other"))
        .replace("BOX", &name(""))
        .replace("PATH", &format!("Other%20Users/owner@a.test/{mailbox}"))
        .replace("\"URLAUTH", &format!("\"{url}"))
        .replace("LITERAL", &format!("{{{}+}}\r\n{PLAIN}", PLAIN.len()))
}

/// Whether responses are those that were expected.
fn fits(expected: &str, untagged: &str, tagged: &str) -> bool {
    match expected {
        SILENT => untagged.is_empty() && tagged.starts_with("OK"),
        NIL => untagged.ends_with(" NIL\r\n") && tagged.starts_with("OK"),
        data if data.starts_with('*') => untagged.starts_with(data) && tagged.starts_with("OK"),
        answer => tagged.starts_with(answer),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_asks_for_its_right() {
    for (command, expected) in COMMANDS {
        let rest = expected.iter().find(|(letters, _)| *letters == "*").map(|(_, answer)| *answer);
        let named = expected.iter().filter(|(letters, _)| *letters != "*").copied();
        let others = OTHERS.iter().filter_map(|letters| Some((*letters, rest?)));
        for (letters, answer) in named.chain(others) {
            let shared = Shared::new(ImapConfig::default()).await;
            shared.world.deliver(&[PLAIN]).await;
            shared.give_user(letters).await;
            let mut client = shared.world.inbox().await;
            let (untagged, tagged) = client.command(&written(command, "Box")).await;
            assert!(fits(answer, &untagged, &tagged), "{command} with {letters:?}: {untagged}{tagged}");
            if ![GONE, TRY, SILENT, NIL, BADURL, NOT_YOURS].contains(&answer) {
                continue;
            }
            // Nothing tells a mailbox that is there from one that is not, nor a user.
            let command = written(command, "Nix");
            let absent = if command.contains("Nix") { command } else { command.replace("owner@", "nobody@") };
            let (none, refused) = shared.world.inbox().await.command(&absent).await;
            let as_if = |text: &str| text.replace("Nix", "Box");
            assert_eq!((untagged, tagged), (as_if(&none), as_if(&refused)), "{absent} with {letters:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_in_a_selected_mailbox_asks_for_its_right() {
    for (command, expected) in SELECTED {
        for (letters, answer) in *expected {
            let shared = Shared::new(ImapConfig::default()).await;
            shared.give_user(letters).await;
            let mut owner = shared.login(OWNER).await;
            let mut shown = async || {
                owner.ok("EXAMINE Box").await;
                owner.ok("FETCH 1:* (UID FLAGS)").await
            };
            let before = shown().await;
            let mut client = shared.login(testing::USER).await;
            client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
            let (untagged, tagged) = client.command(&written(command, "Box")).await;
            assert!(fits(answer, &untagged, &tagged), "{command} with {letters:?}: {untagged}{tagged}");
            // CLOSE without the right removes nothing, and is no error.
            if *answer == NOPERM || *letters == "r" || *command == "CLOSE" && !letters.contains('e') {
                assert_eq!(shown().await, before, "{command} with {letters:?}");
            }
        }
    }
}

/// A URL relative to a selected mailbox means that mailbox, whosever it is.
#[tokio::test]
async fn catenate_takes_from_the_mailbox_that_is_selected() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("r").await;
    let mut client = shared.login(testing::USER).await;
    client.ok("CREATE Box").await;
    client.append("Box", "", "Subject: my own\r\n\r\n").await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    client.ok("APPEND INBOX CATENATE (URL ;UID=1)").await;
    client.ok("SELECT INBOX").await;
    let fetched = client.ok("FETCH 1 BODY.PEEK[]").await;
    assert!(fetched.contains(PLAIN), "{fetched}");
}

#[tokio::test]
async fn lists_show_what_one_may_look_up() {
    let shared = Shared::new(ImapConfig::default()).await;
    let mut client = shared.login(testing::USER).await;
    let own = client.ok("LIST \"\" *").await;
    for letters in ["", "r", "swipkxtea"] {
        shared.give_user(letters).await;
        assert_eq!(client.ok("LIST \"\" *").await, own, "{letters}");
        assert_eq!(client.ok("LIST \"\" \"Other Users/%\"").await, "");
    }
    shared.give_user("l").await;
    let line = "* LIST (\\HasNoChildren) \"/\" \"Other Users/owner@a.test/Box\"\r\n";
    assert_eq!(client.ok("LIST \"\" \"Other*\"").await, line);
    let level = "* LIST (\\Noselect \\HasChildren) \"/\" \"Other Users\"\r\n";
    assert_eq!(client.ok("LIST \"\" %").await.replace(level, ""), own);
    assert_eq!(client.ok("LIST \"\" O%").await, level);
    // STATUS only of what may be read, MYRIGHTS of all.
    let options = "RETURN (MYRIGHTS STATUS (MESSAGES) METADATA (/shared/comment))";
    assert_eq!(
        client.ok(&format!("LIST \"\" \"Other Users/*\" {options}")).await,
        format!("{line}* MYRIGHTS \"Other Users/owner@a.test/Box\" l\r\n")
    );
    shared.give_user("lr").await;
    assert_eq!(
        client.ok(&format!("LIST \"\" \"Other Users/*\" {options}")).await,
        format!(
            "{line}* MYRIGHTS \"Other Users/owner@a.test/Box\" lr\r\n\
             * METADATA \"Other Users/owner@a.test/Box\" (/shared/comment NIL)\r\n\
             * STATUS \"Other Users/owner@a.test/Box\" (MESSAGES 3)\r\n"
        )
    );
    // What is given to all, and taken from one.
    shared.give_user("").await;
    shared.give((Identifier::Anyone, Sign::Given), "lr").await;
    assert_eq!(client.ok("LIST \"\" \"Other*\"").await, line);
    shared.give((Identifier::Account(shared.world.account), Sign::Taken), "l").await;
    assert_eq!(client.ok("LIST \"\" \"Other*\"").await, "");
    // A new account of the same address is another one.
    shared.give((Identifier::Anyone, Sign::Given), "").await;
    let store = &shared.world.context.store;
    assert!(store.directory().borrow().shared_with(shared.world.account).next().is_none());
}

/// With IMAP4rev2 SELECT answers with LIST, whether the mailbox is seen in lists or not.
#[tokio::test]
async fn what_is_open_is_listed_though_lists_do_not_show_it() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("r").await;
    let mut client = shared.login(testing::USER).await;
    client.ok("ENABLE IMAP4rev2").await;
    let opened = client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    assert!(
        opened.contains("* LIST (\\HasNoChildren) \"/\" \"Other Users/owner@a.test/Box\"\r\n"),
        "{opened}"
    );
}

#[tokio::test]
async fn the_shared_account_has_a_namespace_of_its_own() {
    let imap = ImapConfig { shared: Some(Address::parse(OWNER).unwrap()), ..ImapConfig::default() };
    let shared = Shared::new(imap).await;
    shared.give((Identifier::Anyone, Sign::Given), "lr").await;
    let mut client = shared.login(testing::USER).await;
    assert_eq!(
        client.ok("NAMESPACE").await,
        "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) ((\"Shared Folders/\" \"/\"))\r\n"
    );
    assert_eq!(
        client.ok("LIST \"\" \"S*/*\"").await,
        "* LIST (\\HasNoChildren) \"/\" \"Shared Folders/Box\"\r\n"
    );
    assert!(client.ok("SELECT \"Shared Folders/Box\"").await.contains("* 3 EXISTS\r\n"));
    assert!(client.refused("SELECT \"Other Users/owner@a.test/Box\"").await.starts_with(GONE));
    assert!(client.refused("CREATE \"Shared Folders\"").await.starts_with(NOPERM));
    let mut owner = shared.login(OWNER).await;
    owner.ok("SELECT Box").await;
    assert!(owner.refused("SELECT \"Shared Folders/Box\"").await.starts_with(GONE));
}

#[tokio::test]
async fn each_reader_has_a_seen_of_their_own() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("lrsw").await;
    let mut owner = shared.login(OWNER).await;
    owner.ok("SELECT Box").await;
    let mut client = shared.login(testing::USER).await;
    let opened = client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    assert!(
        opened.contains("[PERMANENTFLAGS (\\Answered \\Flagged \\Seen \\Draft \\*)]")
            && opened.contains("* OK [UNSEEN 1]")
            && opened.contains("* 0 RECENT"),
        "{opened}"
    );
    // Reading marks for the reader alone; the owner is told that something changed, and of nothing new.
    assert!(client.ok("FETCH 1 BODY[]").await.contains("FLAGS (\\Seen)"));
    let told = client.ok("STORE 2:3 +FLAGS (\\Seen \\Deleted \\Flagged)").await;
    assert_eq!(
        told,
        "* 2 FETCH (FLAGS (\\Flagged \\Deleted \\Seen))\r\n* 3 FETCH (FLAGS (\\Flagged \\Seen))\r\n"
    );
    assert!(client.refused("STORE 1 +FLAGS (\\Deleted)").await.starts_with(NOPERM));
    client.ok("STORE 1 FLAGS ()").await;
    assert_eq!(client.ok("SEARCH UNSEEN").await, "* SEARCH 1\r\n");
    let told = owner.ok("NOOP").await;
    assert!(told.contains("* 1 FETCH (FLAGS (\\Seen \\Recent))"), "{told}");
    assert!(told.contains("* 2 FETCH (FLAGS (\\Flagged \\Deleted \\Recent))"), "{told}");
    assert_eq!(owner.ok("SEARCH UNSEEN").await, "* SEARCH 2 3\r\n");
    let status = client.ok("STATUS \"Other Users/owner@a.test/Box\" (UNSEEN MESSAGES)").await;
    assert!(status.ends_with("(UNSEEN 1 MESSAGES 3)\r\n"), "{status}");
    assert!(owner.ok("STATUS Box (UNSEEN)").await.ends_with("(UNSEEN 2)\r\n"));
    // No right to remove: CLOSE leaves everything.
    assert!(client.refused("EXPUNGE").await.starts_with(NOPERM));
    client.ok("CLOSE").await;
    assert!(owner.ok("STATUS Box (MESSAGES)").await.ends_with("(MESSAGES 3)\r\n"));
    shared.give_user("lr").await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    client.ok("FETCH 1 BODY[]").await;
    assert_eq!(client.ok("SEARCH UNSEEN").await, "* SEARCH 1\r\n");
    assert!(client.refused("STORE 1 FLAGS (\\Seen)").await.starts_with(NOPERM));
    assert_eq!(shared.world.context.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn messages_go_from_account_to_account() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("lrsite").await;
    let mut client = shared.login(testing::USER).await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    // Their ids are told from one's own.
    let ids = client.ok("FETCH 1 (EMAILID THREADID)").await;
    assert!(ids.contains(&format!("EMAILID (M{}-", shared.owner)), "{ids}");
    assert!(ids.contains(&format!("THREADID (T{}-", shared.owner)), "{ids}");
    let email = ids.split("EMAILID (").nth(1).unwrap().split(')').next().unwrap();
    assert_eq!(client.ok(&format!("SEARCH EMAILID {email}")).await, "* SEARCH 1\r\n");
    let bare = email.split('-').nth(1).unwrap();
    assert_eq!(client.ok(&format!("SEARCH EMAILID M{bare}")).await, "* SEARCH\r\n");
    client.ok("STORE 3 +FLAGS (\\Seen)").await;
    let (_, said) = client.command("COPY 1:3 INBOX").await;
    assert!(said.starts_with("OK [COPYUID ") && said.contains(" 1:3 1:3]"), "{said}");
    assert!(client.ok("MOVE 1 Archive").await.contains("* 1 EXPUNGE"));
    // And there without what may not be set.
    client.ok("SELECT INBOX").await;
    let flags = client.ok("FETCH 1:* FLAGS").await;
    assert_eq!(
        flags,
        "* 1 FETCH (FLAGS (\\Recent))\r\n* 2 FETCH (FLAGS (\\Deleted \\Recent))\r\n* 3 FETCH (FLAGS (\\Seen \\Recent))\r\n"
    );
    client.ok("STORE 3 +FLAGS (\\Flagged mine)").await;
    shared.give_user("li").await;
    client.ok("COPY 1:3 \"Other Users/owner@a.test/Box\"").await;
    client.append("\"Other Users/owner@a.test/Box\"", "(\\Seen \\Flagged) ", PLAIN).await;
    let mut owner = shared.login(OWNER).await;
    owner.ok("SELECT Box").await;
    assert_eq!(
        owner.ok("FETCH 3:* FLAGS").await,
        "* 3 FETCH (FLAGS (\\Recent))\r\n* 4 FETCH (FLAGS (\\Recent))\r\n* 5 FETCH (FLAGS (\\Recent))\r\n* 6 FETCH (FLAGS (\\Recent))\r\n"
    );
    assert!(owner.ok("FETCH 5 BODY.PEEK[]").await.contains("Hello World"));
    // Structures came along.
    assert!(owner.ok("FETCH 5 BODYSTRUCTURE").await.contains("BODYSTRUCTURE (\"text\" \"plain\""));
    // The owner's quota counts.
    let store = &shared.world.context.store;
    store.set_quota(shared.owner, Some(1)).await.unwrap();
    assert!(client.refused("COPY 1 \"Other Users/owner@a.test/Box\"").await.starts_with("NO [OVERQUOTA]"));
    assert!(client.append("\"Other Users/owner@a.test/Box\"", "", PLAIN).await.starts_with("NO [OVERQUOTA]"));
    // What was moved away can be had back.
    let account = store.account(shared.owner).await.unwrap();
    let gone: Vec<String> = account.retained().await.unwrap().into_iter().map(|gone| gone.mailbox).collect();
    assert_eq!(gone, ["Box"]);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn idle_tells_what_others_do_and_ends_with_the_right() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("lrs").await;
    let mut client = shared.login(testing::USER).await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    client.send("i IDLE\r\n").await;
    client.until("+ idling\r\n").await;
    let mut owner = shared.login(OWNER).await;
    owner.append("Box", "", PLAIN).await;
    assert_eq!(client.until("\r\n").await, "* 4 EXISTS\r\n");
    owner.ok("SELECT Box").await;
    owner.ok("STORE 4 +FLAGS (\\Answered \\Seen)").await;
    assert_eq!(client.until("\r\n").await, "* 4 FETCH (FLAGS (\\Answered))\r\n");
    shared.give_user("lrsw").await;
    let told = client.until("stored\r\n").await;
    assert!(told.contains("PERMANENTFLAGS (\\Answered \\Flagged \\Seen \\Draft \\*)"), "{told}");
    shared.give_user("l").await;
    assert_eq!(client.until("\r\n").await, format!("* BYE {}\r\n", op::RIGHT_GONE));
}

#[tokio::test]
async fn what_an_account_shared_ends_with_it() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("lr").await;
    let mut client = shared.login(testing::USER).await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    let store = &shared.world.context.store;
    store.remove_account(shared.owner).await.unwrap();
    client.send("x NOOP\r\n").await;
    assert_eq!(client.until("\r\n").await, format!("* BYE {}\r\n", op::MAILBOX_GONE));
    let mut client = shared.login(testing::USER).await;
    assert_eq!(client.ok("LIST \"\" \"Other*\"").await, "");
    assert!(client.refused("STATUS \"Other Users/owner@a.test/Box\" (MESSAGES)").await.starts_with(GONE));
    assert!(store.directory().borrow().grants.is_empty());
}

/// Flags of a store that is not one's own are never those of its owner.
#[tokio::test]
async fn a_message_that_one_puts_there_is_seen_by_that_one() {
    let shared = Shared::new(ImapConfig::default()).await;
    shared.give_user("lrsi").await;
    let mut client = shared.login(testing::USER).await;
    let literal = format!("{{{}+}}\r\n{PLAIN}", PLAIN.len());
    client.ok(&format!("APPEND \"Other Users/owner@a.test/Box\" {literal} (\\Seen) {literal}")).await;
    client.ok("SELECT \"Other Users/owner@a.test/Box\"").await;
    assert_eq!(client.ok("FETCH 4 FLAGS").await, "* 4 FETCH (FLAGS ())\r\n");
    assert_eq!(client.ok("FETCH 5 FLAGS").await, "* 5 FETCH (FLAGS (\\Seen))\r\n");
    // Without the rights to remove, the message stays.
    assert!(client.refused(&format!("REPLACE 5 INBOX {literal}")).await.starts_with(NOPERM));
    let account = shared.world.context.store.account(shared.owner).await.unwrap();
    let mailbox = account.state().by_name("Box").unwrap().id;
    let state = account.select(mailbox).await.unwrap().state().unwrap();
    assert_eq!(state.rows().last().map(|row| state.flags(row)), Some(Flags::default()));
}
