//! Names of mailboxes that are no names, and names at their bounds.

use super::{Protocol, Target, Way, case};

const USER: Protocol = Protocol {
    service: "imap",
    prelude: &[("", "* OK "), ("p LOGIN alice@a.test \"secret word\"\r\n", "p OK ")],
    alive: ("alive NOOP\r\n", "alive OK "),
};

/// What no mailbox can be called, and how it is refused: `BAD` where the command breaks the grammar (octets that may not stand in a
/// string), `NO` where no mailbox may have the name, as it is no modified UTF-7 or for another reason.
const BAD_NAMES: [(&[u8], &str); 20] = [
    (b"&Jjo", "NO [CANNOT] "),
    (b"&", "NO [CANNOT] "),
    (b"&&&", "NO [CANNOT] "),
    (b"&Jjo!-", "NO [CANNOT] "),
    (b"&2D3eCg", "NO [CANNOT] "),
    (b"&2D0-", "NO [CANNOT] "),
    (b"&3gk-", "NO [CANNOT] "),
    (b"&AGE-", "NO [CANNOT] "),
    (b"&U,BTFw-&ZeVnLIqe", "NO [CANNOT] "),
    (b"\xc3\x28", "BAD "),
    (b"\xff\xfe", "BAD "),
    (b"\xed\xa0\x80", "BAD "),
    (b"\xc0\xaf", "BAD "),
    (b"&AAA-", "NO [CANNOT] "),
    (b"a\x01b", "NO [CANNOT] "),
    (b"a\x7fb", "NO [CANNOT] "),
    (b"//", "NO [CANNOT] "),
    (b"/a", "NO [CANNOT] "),
    (b"a//b", "NO [CANNOT] "),
    (b"", "NO [CANNOT] "),
];

fn bad_names() -> Vec<(Vec<u8>, &'static str)> {
    let long = ["x".repeat(300), "x/".repeat(2_000) + "x"];
    let long = long.into_iter().map(|name| (name.into_bytes(), "NO [CANNOT] "));
    BAD_NAMES.iter().map(|(name, expected)| (name.to_vec(), *expected)).chain(long).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_names() {
    let mut target = Target::start().await;
    let mut cases = Vec::new();
    for (name, expected) in bad_names() {
        for command in [&b"CREATE \""[..], b"RENAME INBOX \""] {
            let sent = [b"a ", command, &name[..], b"\"\r\n"].concat();
            let shown = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
            cases.push(case(&shown, sent, &format!("a {expected}")));
        }
    }
    target.run(&USER, &[Way::Plain], &cases).await;
    let mut peer = target.connect("imap", Way::Plain).await;
    peer.send(format!("{}a LIST \"\" *\r\n", USER.prelude[1].0).as_bytes()).await;
    let listed = peer.until("a OK ", "the names").await;
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_once("\"/\" ")).map(|(_, name)| name).collect();
    assert_eq!(names, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    drop(peer);
    target.finish().await.finish().await;
}
