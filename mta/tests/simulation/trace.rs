//! What happened, as one number: two runs of a seed have the same. `WAYPOST_SIM_TRACE=1` prints it all.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// The trace. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    begun: Instant,
    is_shown: bool,
    sum: Arc<Mutex<u64>>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let is_shown = std::env::var_os("WAYPOST_SIM_TRACE").is_some();
        Self { begun: Instant::now(), is_shown, sum: Arc::new(Mutex::new(0xcbf2_9ce4_8422_2325)) }
    }

    /// Something happened now.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        let what = what();
        self.add(what.as_bytes());
        if self.is_shown {
            eprintln!("{:>12.3} {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    /// Octets were sent.
    pub(crate) fn octets(&self, link: u64, side: usize, octets: &[u8]) {
        self.add(octets);
        if self.is_shown {
            let arrow = if side == 0 { "C:" } else { "S:" };
            for line in String::from_utf8_lossy(octets).lines() {
                eprintln!("{:>12.3} {link} {arrow} {line}", self.begun.elapsed().as_secs_f64());
            }
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        *self.sum.lock().unwrap()
    }

    /// FNV-1a over time and octets.
    fn add(&self, octets: &[u8]) {
        let mut sum = self.sum.lock().unwrap();
        let time = self.begun.elapsed().as_millis() as u64;
        for octet in time.to_le_bytes().iter().chain(octets) {
            *sum = (*sum ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
