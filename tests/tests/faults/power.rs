//! Power cuts of a real file system: `WAYPOST_POWER_CUTS=N cargo test -p waypost-tests --test faults power`, with N cuts
//! that hit something: a command in flight, and one acknowledged since the last checkpoint.
//!
//! The server works on an ext4 on a loop device. In the middle of the load it is frozen, the device is copied as it is,
//! without what only the page cache knows, and the next server starts on the copy. At about every second cut some files, chosen
//! by chance, are synced before: the kernel may write what it likes at any time, in any order. Behind about every third cut the next start is cut, too.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use waypost_tests::{Process, process::UNDER_TEST, program};

use crate::{
    block::{Mounted, not_run, run, say},
    count, give_up,
    kill::{COMPACTED, begin, checkpoint, verify},
    ledger::Acknowledged,
    load::{Load, Random},
    seed, until,
};

/// Longest time until a start is cut, in milliseconds.
const START_MAX: u64 = 150;
const IMAGE_MIB: u64 = 320;
/// Cuts of one store; then a new one is begun, as each verification reads all of it.
const CUTS_PER_STORE: u64 = 9;
/// Longest load of a cut in milliseconds, behind its first acknowledged command.
const LOAD_MAX: u64 = 400;
/// So long clients may read what was answered before the server was frozen.
const READ: Duration = Duration::from_millis(20);

/// A store on a device of its own.
struct Site {
    folder: TempDir,
    load: Load,
    /// `None` only while the device is exchanged.
    disk: Option<Mounted>,
    images: u64,
    /// Starts that were cut.
    starts: u64,
}

impl Site {
    async fn new(seed: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Mounted::ext4(&folder.path().join("0.img"), IMAGE_MIB, &folder.path().join("state"), &[])?;
        let load = Load::new(seed).await;
        begin(&folder, &load, load.parts(0)).await;
        Ok(Self { folder, load, disk: Some(disk), images: 0, starts: 0 })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("waypost.toml")
    }

    /// One server, one cut: whether it counts, what is wrong after it.
    async fn cut(
        &mut self,
        under_test: &str,
        random: &mut Random,
        by_protocols: bool,
    ) -> (bool, Vec<String>) {
        let server = match Process::try_serve(&program(), &self.config(), under_test).await {
            Ok(server) => Arc::new(server),
            Err(said) => return (false, vec![format!("the server does not start: {said}")]),
        };
        self.load.ledger.lock().unwrap().start();
        let tasks = self.load.begin(&server, self.state());
        until("a command is acknowledged", async || {
            self.load.ledger.lock().unwrap().acknowledged_since(None) > 0
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.below(LOAD_MAX))).await;
        freeze(&server).await;
        tokio::time::sleep(READ).await;
        give_up(tasks).await;
        let checkpoint = checkpoint(&self.state());
        let counts = {
            let ledger = self.load.ledger.lock().unwrap();
            ledger.in_flight() > 0 && ledger.acknowledged_since(checkpoint) > 0
        };
        if random.below(2) == 0 && !under_test.contains("sync=") {
            sync_some(&self.state(), random);
        }
        self.load.ledger.lock().unwrap().note("compacted", server.count(COMPACTED));
        let new = self.copy();
        Arc::into_inner(server).unwrap().kill().await;
        self.exchange(&new);
        if !under_test.contains("sync=") && random.below(3) == 0 {
            self.cut_a_start(random).await;
        }
        (counts, verify(&self.config(), &self.load, by_protocols).await)
    }

    /// What the device has now, in a file of its own.
    fn copy(&mut self) -> PathBuf {
        self.images += 1;
        let new = self.folder.path().join(format!("{}.img", self.images));
        self.disk.as_ref().unwrap().cut(&new);
        new
    }

    /// Goes on with a copy. The server is gone.
    fn exchange(&mut self, new: &Path) {
        self.disk = None;
        std::fs::remove_file(self.folder.path().join(format!("{}.img", self.images - 1))).unwrap();
        self.disk = Some(Mounted::image(new, &self.state()).unwrap());
    }

    /// The power goes off once more, while the next server starts.
    async fn cut_a_start(&mut self, random: &mut Random) {
        let mut command = tokio::process::Command::new(program());
        command.args(["serve", "--config"]).arg(self.config()).env(UNDER_TEST, "segment=131072");
        let mut server = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.below(START_MAX))).await;
        let id = server.id().unwrap();
        run("kill", &["-STOP", &id.to_string()]).unwrap();
        stopped(id).await;
        let new = self.copy();
        server.kill().await.unwrap();
        self.exchange(&new);
        // It may have delivered what waits.
        self.load.ledger.lock().unwrap().started();
        self.starts += 1;
    }
}

/// Stops all threads.
pub(crate) async fn freeze(server: &Process) {
    server.signal("STOP").await;
    stopped(server.id()).await;
}

/// Waits until all threads are stopped; those in a system call end it first.
async fn stopped(id: u32) {
    let tasks = format!("/proc/{id}/task");
    let stopped = |entry: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(entry.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    while !std::fs::read_dir(&tasks).unwrap().all(stopped) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Has the kernel write some files, as it may at any time.
fn sync_some(folder: &Path, random: &mut Random) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            sync_some(&path, random);
        } else if path.is_file() && random.below(2) == 0 {
            run("sync", &[path.to_str().unwrap()]).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_and_double_nothing() {
    let (cuts, seed) = (count("WAYPOST_POWER_CUTS", 6), seed());
    let (mut done, mut counted, mut starts, mut acknowledged) = (0, 0, 0, Acknowledged::new());
    while counted < cuts {
        let mut site = match Site::new(seed + done).await {
            Ok(site) => site,
            Err(why) => return not_run("power cuts", &why),
        };
        for _ in 0..CUTS_PER_STORE {
            if counted == cuts {
                break;
            }
            assert!(done < cuts * 3, "only {counted} of {done} cuts hit something");
            let mut random = Random::new(seed * 7919 + done);
            let (counts, problems) =
                site.cut(site.load.parts(done), &mut random, done.is_multiple_of(2)).await;
            assert!(problems.is_empty(), "cut {done} of seed {seed}: {problems:#?}");
            counted += u64::from(counts);
            done += 1;
        }
        site.load.ledger.lock().unwrap().add_to(&mut acknowledged);
        starts += site.starts;
    }
    say(&format!(
        "power: seed {seed}, {done} cuts, {counted} counted, {starts} more in the start behind them, done {acknowledged:?}, 0 problems"
    ));
}

/// Cuts a server that lies until that is noticed: at which cut, and what.
async fn caught(under_test: &str) -> Option<(u64, Vec<String>)> {
    let mut site = match Site::new(seed()).await {
        Ok(site) => site,
        Err(why) => {
            not_run("the controls of power cuts", &why);
            return None;
        }
    };
    for cut in 1..=10 {
        let (_, problems) = site.cut(under_test, &mut Random::new(cut), false).await;
        if !problems.is_empty() {
            return Some((cut, problems));
        }
    }
    panic!("ten cuts did not show that {under_test} loses what was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_control_without_syncs_it_is_noticed() {
    if let Some((cut, problems)) = caught("sync=never").await {
        say(&format!(
            "control: no sync, caught at cut {cut} with {} problems: {}",
            problems.len(),
            problems[0]
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_control_an_answer_before_the_sync_is_noticed() {
    if let Some((cut, problems)) = caught("sync=late").await {
        say(&format!(
            "control: answer before the sync, caught at cut {cut} with {} problems: {}",
            problems.len(),
            problems[0]
        ));
    }
}
