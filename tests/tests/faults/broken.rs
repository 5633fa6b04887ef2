//! Syncs that fail: `WAYPOST_BROKEN_ROUNDS=N cargo test -p waypost-tests --test faults broken`
//!
//! The device promises more than it has: its file lies on a tmpfs that gets full, so what the kernel writes back fails.
//! From the first sync that failed nothing is acknowledged, and reading goes on. Then the server is started again on the same
//! file system, whose page cache may show what the device never got; and what is shown then must stand a power cut.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    block::{Mounted, check_file_system, not_run, say},
    count,
    full::{SMALL, Site},
    kill::verify,
    load::Random,
    power::freeze,
    seed,
};

const BACKING_MIB: u64 = 28;
const DEVICE_MIB: u64 = 64;
/// What the device can still take when the load begins, at most, in KiB.
const LEFT_KIB_MAX: u64 = 600;
/// What it gets where not even a segment could be begun: less than one.
const LEFT_KIB_MORE: u64 = 100;
/// So often names are synced before, so that the journal of the file system has all its octets: it goes on.
const NAMES: u32 = 500;
const MESSAGES_MAX: usize = 400;
const SETTLED: Duration = Duration::from_millis(50);

/// A site on such a device.
struct Broken {
    /// Before the tmpfs that its device lies on.
    site: Site,
    backing: PathBuf,
    _tmpfs: Mounted,
}

impl Broken {
    async fn start() -> Result<Self, String> {
        let mut tmpfs = None;
        let site = Site::start(|folder| {
            let backing = folder.join("backing");
            tmpfs = Some(Mounted::tmpfs(&backing, &format!("size={BACKING_MIB}m"))?);
            let image = backing.join("0.img");
            let disk =
                Mounted::ext4(&image, DEVICE_MIB, &folder.join("state"), &["-b", "4096", "-J", "size=4"])?;
            disk.page_by_page()?;
            use_journal(&folder.join("state"));
            Ok(disk)
        });
        let site = site.await?;
        let backing = site.folder.path().join("backing");
        Ok(Self { backing, site, _tmpfs: tmpfs.expect("it was mounted") })
    }

    fn ballast(&self) -> PathBuf {
        self.backing.join("ballast")
    }

    /// Takes the device's room away, but for a rest.
    fn take_room(&self, left_kib: u64) {
        let mut file = File::create(self.ballast()).unwrap();
        while file.write_all(&[b'x'; 4096]).is_ok() {}
        self.leave_room(left_kib);
    }

    /// Leaves so much more.
    fn leave_room(&self, kib: u64) {
        let file = OpenOptions::new().write(true).open(self.ballast()).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(kib << 10)).unwrap();
    }

    fn give_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    async fn bring(&self) -> String {
        self.site.load.bring(self.site.server(), true).await
    }

    /// Mounts it again where an error made it read-only. Whether it had to.
    fn mend(&mut self) -> bool {
        if self.site.disk.as_ref().unwrap().is_writable() {
            return false;
        }
        self.site.disk = None;
        let image = self.backing.join("0.img");
        check_file_system(&image).unwrap();
        self.site.disk = Some(Mounted::image(&image, &self.site.state()).unwrap());
        true
    }

    /// The power goes off: what only the page cache knows is gone.
    async fn cut(&mut self) {
        if let Some(server) = &self.site.server {
            freeze(server).await;
        }
        let copy = self.site.folder.path().join("copy.img");
        self.site.disk.as_ref().unwrap().cut(&copy);
        if self.site.server.is_some() {
            self.site.kill().await;
        }
        self.site.disk = None;
        self.site.disk = Some(Mounted::image(&copy, &self.site.state()).unwrap());
    }
}

/// Has the journal of the file system come round.
fn use_journal(state: &Path) {
    let path = state.join("names");
    for number in 0..NAMES {
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let other = state.join(format!("names-{}", number % 7));
        std::fs::rename(&path, &other).unwrap();
        File::open(&other).unwrap().sync_all().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_syncs_are_never_answered_with_yes() {
    let (rounds, seed) = (count("WAYPOST_BROKEN_ROUNDS", 2), seed());
    let (mut taken_in_all, mut unbegun_in_all, mut mended, mut turned_up) = (0, 0, 0, 0);
    for round in 0..rounds {
        let mut broken = match Broken::start().await {
            Ok(broken) => broken,
            Err(why) => return not_run("failed syncs", &why),
        };
        for _ in 0..10 {
            assert!(broken.bring().await.starts_with("250"));
        }
        broken.take_room(Random::new(seed * 7919 + round).below(LEFT_KIB_MAX));
        let (mut taken, mut unbegun) = (0, 0);
        let refusal = loop {
            let reply = broken.bring().await;
            match reply.get(..3) {
                Some("250") => taken += 1,
                // The next segment could not be begun: nothing was written that counts. With a little more room it can.
                Some("452") => {
                    unbegun += 1;
                    broken.leave_room(LEFT_KIB_MORE);
                }
                _ => break reply,
            }
            assert!(taken + unbegun < MESSAGES_MAX, "{taken} messages were taken");
        };
        assert!(refusal.starts_with("451"), "{refusal}");
        // Also with room again: only a start may prove what is there.
        for pause in 0..2 {
            for _ in 0..5 {
                let reply = broken.bring().await;
                assert!(reply.starts_with("451"), "after a failed sync: {reply}");
                let append = broken.site.append().await;
                assert!(append.starts_with("NO"), "after a failed sync: {append}");
            }
            let expunge = broken.site.load.expunge_first(broken.site.server()).await;
            assert!(expunge.starts_with("NO"), "after a failed sync: {expunge}");
            if pause == 0 {
                broken.give_room();
                tokio::time::sleep(SETTLED).await;
            }
        }
        let before = broken.site.reads().await;
        broken.site.kill().await;
        mended += u32::from(broken.mend());
        broken.site.load.ledger.lock().unwrap().reconsider_refused();
        broken.site.serve_again(SMALL).await;
        turned_up += broken.site.reads().await - before;
        broken.cut().await;
        for by_protocols in [false, true] {
            let problems = verify(&broken.site.config(), &broken.site.load, by_protocols).await;
            assert!(problems.is_empty(), "round {round} of seed {seed}: {problems:#?}");
        }
        taken_in_all += taken;
        unbegun_in_all += unbegun;
    }
    say(&format!(
        "broken: seed {seed}, {rounds} rounds, {taken_in_all} taken before the failed sync, none after it; {unbegun_in_all} times a segment could not be begun; {mended} times the file system had become read-only, {turned_up} rows of refused messages were there after the restart; all that was shown then survived a cut"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_syncs_control_a_start_that_proves_nothing_is_noticed() {
    let mut broken = match Broken::start().await {
        Ok(broken) => broken,
        Err(why) => return not_run("the control of failed syncs", &why),
    };
    broken.take_room(100);
    while broken.bring().await.starts_with("250") {}
    broken.give_room();
    broken.site.kill().await;
    broken.mend();
    broken.site.load.ledger.lock().unwrap().reconsider_refused();
    broken.site.serve_again(&format!("{SMALL} sync=never")).await;
    broken.site.reads().await;
    broken.cut().await;
    let problems = verify(&broken.site.config(), &broken.site.load, false).await;
    assert!(!problems.is_empty(), "a start that syncs nothing went unnoticed");
    say(&format!(
        "control: a start that proves nothing, caught with {} problems: {}",
        problems.len(),
        problems[0]
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_syncs_control_a_server_that_does_not_listen_is_noticed() {
    let mut broken = match Broken::start().await {
        Ok(broken) => broken,
        Err(why) => return not_run("the control of failed syncs", &why),
    };
    broken.site.kill().await;
    broken.site.serve_as(&format!("{SMALL} sync=deaf")).await;
    broken.take_room(20);
    // The device has taken the zeros ahead in the segment that was begun: the next one finds no room.
    for _ in 0..MESSAGES_MAX {
        if !broken.bring().await.starts_with("250") {
            break;
        }
    }
    broken.give_room();
    broken.cut().await;
    let problems = verify(&broken.site.config(), &broken.site.load, false).await;
    assert!(problems.iter().any(|problem| problem.contains("is lost")), "{problems:#?}");
    say(&format!(
        "control: errors of syncs not heard, caught with {} problems: {}",
        problems.len(),
        problems[0]
    ));
}
