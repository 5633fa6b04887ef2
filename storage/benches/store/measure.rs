//! Measuring: times of single operations, processor time, octets written.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Times of operations that were done at once by several tasks.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) each: Vec<Duration>,
    pub(crate) whole: Duration,
}

impl Times {
    /// What tasks measured that were begun then.
    pub(crate) async fn of(begun: Instant, tasks: Vec<JoinHandle<Vec<Duration>>>) -> Self {
        let mut each = Vec::new();
        for task in tasks {
            each.extend(task.await.unwrap());
        }
        Self { each, whole: begun.elapsed() }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.each.len() as f64 / self.whole.as_secs_f64()
    }

    /// In milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut each = self.each.clone();
        each.sort_unstable();
        each[(each.len() * percent / 100).min(each.len() - 1)].as_secs_f64() * 1000.0
    }
}

/// What the process used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    processor: Duration,
    written: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // Behind the name in parentheses: utime and stime are the 12th and 13th field, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        Self { processor: Duration::from_millis(ticks * 10), written: written.parse().unwrap() }
    }

    /// Microseconds of processor time for each of `count` operations since.
    pub(crate) fn processor_each(&self, count: usize) -> f64 {
        (Self::now().processor - self.processor).as_secs_f64() * 1e6 / count as f64
    }

    /// Octets written since.
    pub(crate) fn written(&self) -> u64 {
        Self::now().written - self.written
    }
}

/// How long something took, in milliseconds.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, f64) {
    let begun = Instant::now();
    let done = work.await;
    (done, begun.elapsed().as_secs_f64() * 1000.0)
}

/// The middle of three or more.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Anonymous memory of the process in MiB.
pub(crate) fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// Octets that the files of a folder take on the disk.
pub(crate) fn disk_bytes(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { folders.push(entry.path()) } else { bytes += metadata.blocks() * 512 }
        }
    }
    bytes
}
