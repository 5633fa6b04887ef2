//! A mailbox of 100,000 messages.

use waypost_mail::{SystemFlags, Uid};
use waypost_storage::{FlagChange, FlagMode, MailboxState, Options, Store};

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

fn all_flags(state: &MailboxState) -> usize {
    state.rows().filter(|row| row.flags.contains(SystemFlags::SEEN)).count()
}
