//! kill -9 between QUIT and its answer: `WAYPOST_QUIT_KILLS=N cargo test -p waypost-tests --test faults quit`, with N kills after which
//! no answer was heard. Then the maildrop holds all that was marked as deleted, or nothing of it, and all else; after an answer nothing of it.

use std::time::Duration;

use waypost_storage::{Options, Store};
use waypost_tests::{Process, SiteBuilder, program};

use crate::{
    block::say,
    client::{Imap, Pop3},
    content::message,
    count, end,
    load::Random,
    seed,
};

/// Messages in the maildrop before each QUIT.
const MESSAGES: usize = 24;
/// Of so many one is kept.
const KEPT_OF: u64 = 3;

/// A message: its unique-id, and its name.
type Found = (String, String);

/// What became of the messages that were marked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Kept,
    Gone,
}

/// Holds what is there after a kill against what was there before. `is_marked` is by index.
fn outcome(before: &[Found], is_marked: &[bool], after: &[Found]) -> Result<Outcome, String> {
    let kept = before.iter().zip(is_marked).filter(|(_, marked)| !**marked).map(|(found, _)| found);
    if after == before {
        Ok(Outcome::Kept)
    } else if after.iter().eq(kept) {
        Ok(Outcome::Gone)
    } else {
        Err(format!("of {before:?} with the marks {is_marked:?} there is {after:?}"))
    }
}

/// All of alice's maildrop.
async fn read(server: &Process) -> Vec<Found> {
    let found = Pop3::login(server, "alice").await.unwrap().read().await.unwrap();
    found.into_iter().map(|(unique, name)| (unique, name.unwrap())).collect()
}

/// Fills alice's maildrop up; `number` makes new names.
async fn fill(server: &Process, there: usize, number: &mut u32) {
    let mut imap = Imap::login(server, "alice").await.unwrap();
    for _ in there..MESSAGES {
        *number += 1;
        let answer = imap.append("INBOX", "", &message(&format!("q{number:05}"))).await.unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
}

/// A session that has marked messages, and has to say QUIT.
async fn mark(server: &Process, is_marked: &[bool]) -> Pop3 {
    let mut pop3 = Pop3::login(server, "alice").await.unwrap();
    for (index, _) in is_marked.iter().enumerate().filter(|(_, marked)| **marked) {
        let reply = pop3.command(&format!("DELE {}", index + 1)).await.unwrap();
        assert!(reply.starts_with("+OK"), "{reply}");
    }
    pop3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_behind_quit_deletes_all_or_nothing() {
    let (kills, mut random) = (count("WAYPOST_QUIT_KILLS", 6), Random::new(seed()));
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let mut server = Process::serve(&program(), &config).await;
    let (mut there, mut number, mut longest) = (Vec::new(), 0, Duration::from_millis(4));
    let (mut kept, mut gone, mut answered) = (0, 0, 0);
    while kept + gone < kills {
        assert!(answered < 20 + 4 * kills, "{answered} QUITs were answered, {kept} and {gone} were not");
        fill(&server, there.len(), &mut number).await;
        let before = read(&server).await;
        assert_eq!(before.len(), MESSAGES);
        let is_marked: Vec<bool> = before.iter().map(|_| random.below(KEPT_OF) > 0).collect();
        let mut pop3 = mark(&server, &is_marked).await;
        pop3.send("QUIT").await.unwrap();
        // Not a moment of the runtime, which counts milliseconds.
        std::thread::sleep(Duration::from_nanos(random.below(longest.as_nanos() as u64)));
        server.kill().await;
        let answer = pop3.status().await;
        server = Process::serve(&program(), &config).await;
        there = read(&server).await;
        let outcome =
            outcome(&before, &is_marked, &there).unwrap_or_else(|wrong| panic!("{answer:?}: {wrong}"));
        // The moments of the kills follow what the machine needs for a QUIT.
        match (outcome, answer) {
            (_, Some(answer)) => {
                assert!(answer.starts_with("+OK"), "{answer}");
                assert_eq!(outcome, Outcome::Gone, "QUIT was answered");
                answered += 1;
                longest = longest * 3 / 4;
            }
            (Outcome::Kept, None) => {
                kept += 1;
                longest = longest * 5 / 4;
            }
            (Outcome::Gone, None) => gone += 1,
        }
    }
    end(server).await;
    let store = Store::open(Options::new(folder.path().join("state"))).await.unwrap();
    assert_eq!((store.damage(), store.check().await.unwrap()), (Vec::new(), Vec::new()));
    store.close().await;
    say(&format!(
        "quit: {answered} answered; not answered: {gone} with all gone, {kept} with all kept, 0 problems"
    ));
}

/// The control: what is not all or nothing is found.
#[test]
fn half_a_quit_is_noticed() {
    let found = |numbers: &[u32]| -> Vec<Found> {
        numbers.iter().map(|number| (format!("1.{number}"), format!("q{number}"))).collect()
    };
    let (before, is_marked) = (found(&[1, 2, 3, 4]), [true, false, true, false]);
    assert_eq!(outcome(&before, &is_marked, &found(&[1, 2, 3, 4])), Ok(Outcome::Kept));
    assert_eq!(outcome(&before, &is_marked, &found(&[2, 4])), Ok(Outcome::Gone));
    for wrong in [&[2, 3, 4][..], &[4], &[2, 4, 5], &[4, 2], &[]] {
        assert!(outcome(&before, &is_marked, &found(wrong)).is_err(), "{wrong:?}");
    }
}
