//! A mailbox of 100,000 messages.

use std::path::Path;

use waypost_mail::{AccountId, SystemFlags, Uid};
use waypost_storage::{FlagChange, FlagMode, MailboxState, Options, Row, Store};

use crate::{
    accept::{acceptance, store, text},
    folder,
    measure::{median, timed},
};

const MESSAGES: usize = 100_000;
const AT_ONCE: usize = 250;

pub(crate) async fn run() {
    let place = folder();
    let (store, accounts) = store(place.path(), 1).await;
    let (account, text) = (accounts[0], text(600));
    for _ in 0..MESSAGES / AT_ONCE {
        let mut all = Vec::new();
        for _ in 0..AT_ONCE {
            all.push(acceptance(&store, &text, account).await);
        }
        store.accept_all(all).await.unwrap();
    }
    store.close().await;
    println!("\nA mailbox of {MESSAGES} messages, in milliseconds");
    let mut cold = Vec::new();
    for _ in 0..3 {
        let store = Store::open(Options::new(place.path())).await.unwrap();
        let (_, time) = timed(async {
            let opened = store.account(account).await.unwrap();
            let inbox = opened.state().inbox().unwrap().id;
            opened.select(inbox).await.unwrap().state().unwrap()
        })
        .await;
        cold.push(time);
        store.close().await;
    }
    println!("{:<60} {:>8.1}", "SELECT after a start (account and rows from the index)", median(cold));
    maildrop(place.path(), account).await;
    let options = Options { retention: std::time::Duration::ZERO, ..Options::new(place.path()) };
    let store = Store::open(options).await.unwrap();
    let opened = store.account(account).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    let _held = opened.select(inbox).await.unwrap();
    let (state, time) = timed(async { opened.select(inbox).await.unwrap().state().unwrap() }).await;
    println!("{:<60} {time:>8.3}", "SELECT with its rows in memory");
    let (seen, time) = timed(async { all_flags(&state) }).await;
    assert_eq!(seen, 0);
    println!("{:<60} {time:>8.3}", "the flags of all");
    let uids = |from: u32, to: u32| (from..=to).filter_map(Uid::new).collect::<Vec<_>>();
    let change = |mode| FlagChange { mode, flags: SystemFlags::SEEN.into(), unchanged_since: None };
    let (_, time) = timed(opened.change_flags(inbox, uids(1, 10_000), change(FlagMode::Add))).await;
    println!("{:<60} {time:>8.1}", "STORE on 10,000");
    opened.change_flags(inbox, uids(50_000, 50_100), change(FlagMode::Add)).await.unwrap();
    let state = opened.select(inbox).await.unwrap().state().unwrap();
    let since = state.highest_modseq.value() - 1;
    let (changed, time) =
        timed(async { state.rows().filter(|row| row.modseq.value() > since).count() }).await;
    assert_eq!(changed, 101);
    println!("{:<60} {time:>8.3}", "what changed since a MODSEQ (101 messages)");
    let (gone, time) = timed(opened.expunge(inbox, uids(1, 50_000))).await;
    assert_eq!(gone.unwrap().len(), 50_000);
    println!("{:<60} {time:>8.1}", "EXPUNGE of 50,000");
    store.close().await;
}

/// As POP3 has it: what is kept of each message, and single messages from the index.
async fn maildrop(place: &Path, account: AccountId) {
    let keep: fn(&mut Vec<(Uid, u64)>, &Row) = |kept, row| kept.push((row.uid, row.uidl.0));
    let (mut cold, mut warm, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let store = Store::open(Options::new(place)).await.unwrap();
        let (opened, time) = timed(async {
            let opened = store.account(account).await.unwrap();
            let inbox = opened.state().inbox().unwrap().id;
            assert_eq!(opened.gather(inbox, keep).await.unwrap().1.len(), MESSAGES);
            opened
        })
        .await;
        cold.push(time);
        let inbox = opened.state().inbox().unwrap().id;
        let (found, time) = timed(async {
            let mut found = 0;
            for uid in (1..=MESSAGES as u32).step_by(100).filter_map(Uid::new) {
                found += usize::from(
                    opened
                        .row(inbox, uid, &mut waypost_storage::RowsAhead::default())
                        .await
                        .unwrap()
                        .is_some(),
                );
            }
            found
        })
        .await;
        assert_eq!((found, opened.state().inbox().unwrap().partial), (MESSAGES / 100, true));
        rows.push(time / 1000.0);
        let _held = opened.select(inbox).await.unwrap();
        warm.push(timed(opened.gather(inbox, keep)).await.1);
        store.close().await;
    }
    println!("{:<60} {:>8.1}", "a maildrop after a start, no rows kept", median(cold));
    println!("{:<60} {:>8.3}", "a maildrop with its rows in memory", median(warm));
    println!("{:<60} {:>8.3}", "one message of it, from the index", median(rows));
}

fn all_flags(state: &MailboxState) -> usize {
    state.rows().filter(|row| row.flags.contains(SystemFlags::SEEN)).count()
}
