//! Small file systems of their own: ext4 on a loop device, tmpfs. They need root; what cannot be made is said plainly.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub(crate) use waypost_tests::say;

/// A mounted file system; unmounted when it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: PathBuf,
    /// Backing file, for ext4.
    image: Option<PathBuf>,
}

/// Runs a program. Error: what it said.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {}", args.join(" "), said())) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a harness needs and this machine does not give. `WAYPOST_FAULTS=required` makes it a failure.
pub(crate) fn not_run(harness: &str, why: &str) {
    waypost_tests::not_run(harness, "root, mount and loop devices", why);
}

/// Repairs the ext4 in a file.
pub(crate) fn check_file_system(image: &Path) -> Result<(), String> {
    let output =
        Command::new("e2fsck").args(["-fy", text(image)]).output().map_err(|error| error.to_string())?;
    // 1: it was repaired.
    match output.status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

impl Mounted {
    /// A new ext4 in a file.
    pub(crate) fn ext4(image: &Path, mib: u64, at: &Path, mkfs: &[&str]) -> Result<Self, String> {
        let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(mib << 20).map_err(|error| error.to_string())?;
        // Nothing is left to be done in the background.
        let mut args = vec!["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
        args.extend(mkfs);
        args.push(text(image));
        run("mkfs.ext4", &args)?;
        Self::image(image, at)
    }

    /// The ext4 in a file.
    pub(crate) fn image(image: &Path, at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        // Another test may take the same free loop device.
        let mount = || run("mount", &["-t", "ext4", "-o", "loop,noatime,nodiscard", text(image), text(at)]);
        mount().or_else(|_| {
            std::thread::sleep(Duration::from_millis(300));
            mount()
        })?;
        Ok(Self { at: at.to_owned(), image: Some(image.to_owned()) })
    }

    /// A tmpfs.
    pub(crate) fn tmpfs(at: &Path, options: &str) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", text(at)])?;
        Ok(Self { at: at.to_owned(), image: None })
    }

    /// Has the file system find an error, which makes it read-only at once where it was made so.
    pub(crate) fn break_off(&self) -> Result<(), String> {
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device());
        std::fs::write(&trigger, "test").map_err(|error| format!("{trigger}: {error}"))
    }

    /// Has the device take one page at a time. A loop device whose file takes only the first part of a write says that all
    /// is written; of a page there is no part.
    pub(crate) fn page_by_page(&self) -> Result<(), String> {
        let limit = format!("/sys/block/{}/queue/max_sectors_kb", self.device());
        std::fs::write(&limit, "4").map_err(|error| format!("{limit}: {error}"))
    }

    /// Whether it takes writes.
    pub(crate) fn is_writable(&self) -> bool {
        let options = self.mounts_line().split(' ').nth(3).unwrap_or("").to_owned();
        options.split(',').any(|option| option == "rw")
    }

    fn device(&self) -> String {
        self.mounts_line().split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }

    fn mounts_line(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.lines().find(|line| line.split(' ').nth(1) == Some(text(&self.at))).unwrap().to_owned()
    }

    /// How many writes the device has done, once none is under way.
    fn writes(&self) -> String {
        let device = self.device();
        loop {
            let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
            let fields: Vec<&str> = stat.split_whitespace().collect();
            if fields[8] == "0" {
                return format!("{} {}", fields[4], fields[6]);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Copies what the device has now: not what only the page cache of its file system knows. A copy during which the
    /// device was written is thrown away, as it would be of no single moment.
    pub(crate) fn cut(&self, copy: &Path) {
        let image = self.image.as_deref().unwrap();
        loop {
            let before = self.writes();
            run("cp", &["--sparse=always", text(image), text(copy)]).unwrap();
            if self.writes() == before {
                return;
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..50 {
            if run("umount", &[text(&self.at)]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Err(error) = run("umount", &["--lazy", text(&self.at)]) {
            say(&error);
        }
    }
}
