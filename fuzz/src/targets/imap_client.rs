//! The IMAP client with a hostile server.

use waypost_imap::client::{Answer, Client, Encryption, Heard, Login, Order, Question, Settings, windows};

use super::{
    play::{PIECES, Played, assert_lines, play},
    settings,
};

/// Whatever a server says, wherever it is cut: the same commands, which are lines; each message is told once, and only if it was
/// asked for.
pub(crate) fn session(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let [first, other, whole] = PIECES.map(|piece| read(settings, octets, piece));
    // Where TLS begins, it matters what arrived together with the answer to STARTTLS.
    if settings & 3 != 1 {
        assert!(first == whole && other == whole, "cut elsewhere: {first:?} {other:?} {whole:?}");
    }
    for (played, heard) in [first, other, whole] {
        assert_lines(&played.output);
        assert!(played.output.len() <= 4096 + 64 * octets.len());
        assert!(heard.octets <= octets.len(), "{} octets of messages", heard.octets);
    }
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Read {
    told: Vec<String>,
    octets: usize,
    brought: Vec<u32>,
    fault: Option<String>,
}

fn read(bits: u8, octets: &[u8], piece: usize) -> (Played, Read) {
    let encryption = match bits & 3 {
        0 => Encryption::None,
        1 => Encryption::StartTls,
        _ => Encryption::Implicit,
    };
    let login = Login { user: "u".into(), password: if bits & 4 == 0 { "p" } else { "\"ü\"" }.into() };
    let nonce = if bits & 8 == 0 { "nonce" } else { "" }.into();
    let mut client = Client::new(Settings { encryption, login, nonce });
    let uids: Vec<(u32, u64)> = [1, 2, 3, 7].map(|uid| (uid, 1)).to_vec();
    let mut orders = [
        Order::List,
        Order::Examine(b"a b".to_vec()),
        Order::Survey(vec![1..=5, 7..=u32::MAX]),
        Order::Bring(windows(&uids).into_iter().chain([vec![9]]).collect()),
        Order::Examine(b"\xff".to_vec()),
    ]
    .into_iter()
    .skip(usize::from(bits >> 6));
    let mut read = Read::default();
    let played = play(&mut client, octets, piece, |question| {
        match question {
            Question::Next(done) => {
                read.told.extend(done.map(|done| format!("{done:?}")));
                return Answer::Order(orders.next().unwrap_or(Order::LogOut));
            }
            Question::Heard(Heard::Octets(octets)) => read.octets += octets.len(),
            Question::Heard(Heard::Message(message)) => {
                assert!([1, 2, 3, 7, 9].contains(&message.uid), "{message:?} was not asked for");
                assert!(!read.brought.contains(&message.uid), "{message:?} was told before");
                read.brought.push(message.uid);
            }
            Question::Heard(heard) => read.told.push(format!("{heard:?}")),
        }
        Answer::GoOn
    });
    read.fault = client.fault().map(ToString::to_string);
    (played, read)
}
