//! Disks that take nothing more: full, without inodes, read-only. `cargo test -p waypost-tests --test faults full`
//!
//! Mail is refused for the moment, reading goes on, and where there is room again mail is taken again by the same server.
//! A start on a full disk works, too.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use waypost_tests::{Process, program};

use crate::{
    block::{Mounted, not_run, say},
    client::Imap,
    found,
    kill::{begin, verify},
    load::Load,
};

pub(crate) const SMALL: &str = "segment=262144 checkpoint=200";
/// Messages after which a disk that is full must have shown it.
const MESSAGES_MAX: usize = 400;
/// What is left of a disk that is nearly full.
const REST_BYTES: u64 = 128 << 10;
const RECOVERED: Duration = Duration::from_secs(10);

/// A site whose state is on a file system of its own.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) load: Load,
    pub(crate) server: Option<Arc<Process>>,
    /// Behind the server, which is gone when it is unmounted.
    pub(crate) disk: Option<Mounted>,
}

impl Site {
    pub(crate) async fn start(disk: impl FnOnce(&Path) -> Result<Mounted, String>) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path())?;
        let load = Load::new(1).await;
        begin(&folder, &load, SMALL).await;
        let mut site = Self { folder, load, server: None, disk: Some(disk) };
        site.serve().await;
        Ok(site)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("waypost.toml")
    }

    pub(crate) async fn serve(&mut self) {
        self.serve_as(SMALL).await;
    }

    /// Starts it again, with what was in flight as it was.
    pub(crate) async fn serve_again(&mut self, under_test: &str) {
        let server = Process::try_serve(&program(), &self.config(), under_test).await;
        self.server = Some(Arc::new(server.unwrap_or_else(|said| panic!("it does not start: {said}"))));
        self.load.ledger.lock().unwrap().started();
    }

    pub(crate) async fn serve_as(&mut self, under_test: &str) {
        self.serve_again(under_test).await;
        self.load.ledger.lock().unwrap().start();
    }

    pub(crate) fn server(&self) -> &Arc<Process> {
        self.server.as_ref().unwrap()
    }

    pub(crate) async fn kill(&mut self) {
        Arc::into_inner(self.server.take().unwrap()).unwrap().kill().await;
    }

    pub(crate) async fn bring(&self) -> String {
        self.load.bring(self.server(), false).await
    }

    /// Brings messages until one is refused; how many were taken, and the refusal.
    pub(crate) async fn until_refused(&self) -> (usize, String) {
        for taken in 0..MESSAGES_MAX {
            let reply = self.bring().await;
            if !reply.starts_with("250") {
                return (taken, reply);
            }
        }
        panic!("{MESSAGES_MAX} messages were taken");
    }

    /// Brings messages until one is taken; how long that took.
    async fn recovers(&self) -> Duration {
        let began = Instant::now();
        loop {
            let reply = self.bring().await;
            if reply.starts_with("250") {
                return began.elapsed();
            }
            assert!(reply.starts_with('4') && began.elapsed() < RECOVERED, "{reply}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All that is there can be read by all protocols, and is what was acknowledged; how many rows there are.
    pub(crate) async fn reads(&self) -> usize {
        let load = &self.load;
        let found = found::by_protocols(self.server(), &self.state(), || load.taken(), &load.ledger).await;
        let found = found.expect("the server goes on");
        let problems = load.ledger.lock().unwrap().verify(&found);
        assert!(problems.is_empty(), "{problems:#?}");
        found.mailboxes.iter().map(|mailbox| mailbox.rows.len()).sum()
    }

    pub(crate) async fn append(&self) -> String {
        let mut imap = Imap::login(self.server(), "alice").await.unwrap();
        self.load.append(self.server(), &mut imap).await
    }

    /// The end: all is there, and the store agrees with itself.
    pub(crate) async fn finish(mut self) {
        self.kill().await;
        for by_protocols in [true, false] {
            assert_eq!(verify(&self.config(), &self.load, by_protocols).await, Vec::<String>::new());
        }
    }
}

/// What fills a disk, and makes room again.
#[derive(Clone, Copy)]
enum Filling {
    Octets,
    Inodes,
}

impl Filling {
    fn folder(site: &Site) -> PathBuf {
        site.state().join("ballast")
    }

    fn fill(self, site: &Site) {
        let folder = Self::folder(site);
        std::fs::create_dir_all(&folder).unwrap();
        match self {
            Self::Octets => {
                let mut file = File::create(folder.join("0")).unwrap();
                for size in [1 << 20, 64 << 10, 4 << 10, 512] {
                    while file.write_all(&vec![b'x'; size]).is_ok() {}
                }
                file.sync_all().unwrap();
            }
            Self::Inodes => {
                (0..)
                    .take_while(|number: &u32| File::create(folder.join(number.to_string())).is_ok())
                    .count();
            }
        }
    }

    fn empty(site: &Site) {
        std::fs::remove_dir_all(Self::folder(site)).unwrap();
    }
}

async fn no_room(filling: Filling, name: &str, mkfs: &[&str]) {
    let disk = |folder: &Path| Mounted::ext4(&folder.join("0.img"), 24, &folder.join("state"), mkfs);
    let mut site = match Site::start(disk).await {
        Ok(site) => site,
        Err(why) => return not_run(name, &why),
    };
    for _ in 0..20 {
        assert!(site.bring().await.starts_with("250"));
    }
    let mut counts = Vec::new();
    for round in 0..2 {
        filling.fill(&site);
        let (taken, refusal) = site.until_refused().await;
        assert!(refusal.starts_with("452") || refusal.starts_with("451"), "{refusal}");
        let mut append = site.append().await;
        for _ in 0..50 {
            // What is small may still find a place.
            if !append.starts_with("OK") {
                break;
            }
            append = site.append().await;
        }
        assert!(append.starts_with("NO"), "{append}");
        site.reads().await;
        let expunge = site.load.expunge_first(site.server()).await;
        assert!(expunge.starts_with("OK") || expunge.starts_with("NO"), "{expunge}");
        counts.push(format!("{taken} taken, then {refusal:?}, APPEND {append:?}, EXPUNGE {expunge:?}"));
        if round == 1 {
            site.kill().await;
            site.serve().await;
            site.reads().await;
        }
        Filling::empty(&site);
        let recovered = site.recovers().await;
        let append = site.append().await;
        assert!(append.starts_with("OK"), "{append}");
        counts.push(format!("recovered in {} ms", recovered.as_millis()));
    }
    site.finish().await;
    say(&format!("{name}: {}", counts.join("; ")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_for_the_moment_and_recovers_alone() {
    no_room(Filling::Octets, "full disk", &[]).await;
}

/// Between the two floors (a segment, and an eighth of it) no mail is taken, and what gives space back goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_but_for_a_rest_lets_users_clean_up() {
    let disk = |folder: &Path| Mounted::ext4(&folder.join("0.img"), 24, &folder.join("state"), &[]);
    let site = match Site::start(disk).await {
        Ok(site) => site,
        Err(why) => return not_run("nearly full disk", &why),
    };
    for _ in 0..20 {
        assert!(site.bring().await.starts_with("250"));
    }
    Filling::Octets.fill(&site);
    let ballast = File::options().write(true).open(Filling::folder(&site).join("0")).unwrap();
    ballast.set_len(ballast.metadata().unwrap().len() - REST_BYTES).unwrap();
    ballast.sync_all().unwrap();
    drop(ballast);
    let (taken, refusal) = site.until_refused().await;
    assert!(refusal.starts_with("452"), "{refusal}");
    for _ in 0..5 {
        assert_eq!(site.load.expunge_first(site.server()).await, "OK");
        let append = site.append().await;
        assert!(append.starts_with("NO"), "{append}");
    }
    site.reads().await;
    Filling::empty(&site);
    let recovered = site.recovers().await;
    site.finish().await;
    say(&format!(
        "nearly full disk: {taken} taken, then {refusal:?}; flags and EXPUNGE go on; recovered in {} ms",
        recovered.as_millis()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_of_inodes_refuses_for_the_moment_and_recovers_alone() {
    no_room(Filling::Inodes, "no inodes", &["-N", "128"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_stop_by_a_read_only_disk_goes_on_reading() {
    let disk = |folder: &Path| {
        Mounted::ext4(&folder.join("0.img"), 24, &folder.join("state"), &["-e", "remount-ro"])
    };
    let mut site = match Site::start(disk).await {
        Ok(site) => site,
        Err(why) => return not_run("read-only disk", &why),
    };
    for _ in 0..20 {
        assert!(site.bring().await.starts_with("250"));
    }
    if let Err(why) = site.disk.as_ref().unwrap().break_off() {
        return not_run("read-only disk", &why);
    }
    let (taken, refusal) = site.until_refused().await;
    assert!(refusal.starts_with("451") || refusal.starts_with("452"), "{refusal}");
    for _ in 0..5 {
        assert!(site.bring().await.starts_with('4'));
        assert!(site.append().await.starts_with("NO"));
    }
    site.reads().await;
    site.kill().await;
    site.disk = None;
    let image = site.folder.path().join("0.img");
    // The error that broke it off is noted in the file system.
    crate::block::check_file_system(&image).unwrap();
    site.disk = Some(Mounted::image(&image, &site.state()).unwrap());
    site.serve().await;
    assert!(site.bring().await.starts_with("250"));
    site.finish().await;
    say(&format!("read-only disk: {taken} taken, then {refusal:?}; all there after the restart"));
}
