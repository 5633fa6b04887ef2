//! Many messages over many mailboxes: starting, rebuilding, memory.

use waypost_storage::{Options, Store, progress};

use crate::{
    accept::{acceptance, store, text},
    folder,
    measure::{disk_bytes, memory_mib, timed},
};

const ACCOUNTS: usize = 1_000;
const AT_ONCE: usize = 200;

pub(crate) async fn run(messages: u32) {
    let place = folder();
    let (store, accounts) = store(place.path(), ACCOUNTS).await;
    let text = text(600);
    let ((), time) = timed(async {
        for number in 0..messages as usize / AT_ONCE {
            let account = accounts[number % ACCOUNTS];
            let mut all = Vec::new();
            for _ in 0..AT_ONCE {
                all.push(acceptance(&store, &text, account).await);
            }
            store.accept_all(all).await.unwrap();
        }
    })
    .await;
    println!(
        "\n{messages} messages of {} octets over {ACCOUNTS} accounts, {AT_ONCE} in an entry",
        text.len()
    );
    let line = |what: &str, value: String| println!("{what:<60} {value:>14}");
    line("taken", format!("{:.0}/s", f64::from(messages) / time * 1000.0));
    line("memory", format!("{} MiB", memory_mib()));
    line("on the disk", format!("{} MiB", disk_bytes(place.path()) / 1024 / 1024));
    store.close().await;
    drop(store);
    let (store, time) = timed(Store::open(Options::new(place.path()))).await;
    line("start", format!("{time:.0} ms"));
    let ((), time) = timed(async {
        for account in &accounts {
            store.as_ref().unwrap().account(*account).await.unwrap();
        }
    })
    .await;
    line("all accounts loaded (without rows)", format!("{time:.0} ms"));
    let store = store.unwrap();
    let (found, time) = timed(store.rebuild(progress::silent())).await;
    assert_eq!(found.unwrap(), u64::from(messages) / AT_ONCE as u64 * AT_ONCE as u64);
    line("rebuilt from footers", format!("{:.0}/s", f64::from(messages) / time * 1000.0));
    line("memory", format!("{} MiB", memory_mib()));
    store.close().await;
    drop(store);
    for entry in std::fs::read_dir(place.path().join("journal")).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "footer") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::fs::remove_dir_all(place.path().join("index")).unwrap();
    std::fs::remove_file(place.path().join("heads")).unwrap();
    let (done, time) = timed(async {
        let store = Store::open(Options::new(place.path())).await.unwrap();
        for account in &accounts {
            store.account(*account).await.unwrap();
        }
        store
    })
    .await;
    line(
        "rebuilt by reading everything, with the start",
        format!("{:.0}/s", f64::from(messages) / time * 1000.0),
    );
    done.close().await;
}
