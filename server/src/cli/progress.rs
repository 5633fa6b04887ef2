//! How far long work is: a bar on a terminal, else a line from time to time; on standard error.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{cli::terminal, port::Progress};

/// Cells of the bar.
const CELLS: u64 = 24;
/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress.
#[derive(Debug)]
pub struct Bar {
    done: &'static str,
    is_terminal: bool,
    told: Instant,
    /// What the first event said: a rate counts from there.
    first: Option<(Instant, Progress)>,
    is_shown: bool,
}

impl Bar {
    /// `done`: what is said of messages that are behind us.
    pub fn new(done: &'static str) -> Self {
        let now = Instant::now();
        let is_terminal = terminal::stderr_is_terminal();
        Self { done, is_terminal, told: now, first: None, is_shown: false }
    }

    /// Shows how far it is.
    pub fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        let (since, first) = self.first.get_or_insert_with(|| (now, progress.clone()));
        let text = line(progress, first, now - *since, self.done);
        if self.is_terminal {
            // Where nobody reads it there is nobody to tell.
            drop(write!(io::stderr(), "\r\x1b[K{text}"));
            self.is_shown = true;
        } else if now - self.told >= LINE_INTERVAL {
            terminal::complain(&text);
            self.told = now;
        }
    }

    /// Writes a line that stays.
    pub fn above(&mut self, text: &str) {
        self.clear();
        terminal::complain(text);
    }

    /// Removes the bar.
    pub fn finish(mut self) {
        self.clear();
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

/// `[#####     ]  21%  1234 of 5678 imported, 456/s, 10 s left`
fn line(now: &Progress, first: &Progress, passed: Duration, done: &str) -> String {
    let rate = |now: u64, first: u64| (now - first.min(now)) as f64 / passed.as_secs_f64().max(0.001);
    let messages = now.messages;
    let per_second = rate(messages, first.messages);
    let (at, total, speed) = match (now.messages_total, now.octets_total) {
        (Some(total), _) => (messages, total, per_second),
        (None, Some(total)) => (now.octets, total, rate(now.octets, first.octets)),
        (None, None) => return format!("{messages} {done}, {per_second:.0}/s"),
    };
    let at = at.min(total);
    let share =
        |of: u64| if total == 0 { of } else { (u128::from(at) * u128::from(of) / u128::from(total)) as u64 };
    let of = now.messages_total.map_or_else(String::new, |total| format!(" of {total}"));
    let left =
        if speed > 0.0 { format!(", {} left", duration((total - at) as f64 / speed)) } else { String::new() };
    let bar = "#".repeat(share(CELLS) as usize);
    format!(
        "[{bar:<width$}] {:>3}%  {messages}{of} {done}, {per_second:.0}/s{left}",
        share(100),
        width = CELLS as usize
    )
}

fn duration(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is() {
        let progress = |messages, octets, messages_total, octets_total| Progress {
            messages,
            messages_total,
            octets,
            octets_total,
        };
        let first = progress(0, 0, None, None);
        for (now, said) in [
            (
                progress(50, 1, Some(200), None),
                "[######                  ]  25%  50 of 200 imported, 5/s, 30 s left",
            ),
            (
                progress(50, 500, None, Some(1000)),
                "[############            ]  50%  50 imported, 5/s, 10 s left",
            ),
            (progress(50, 0, None, None), "50 imported, 5/s"),
            (progress(0, 0, Some(0), None), "[########################] 100%  0 of 0 imported, 0/s"),
            (
                progress(9, 0, Some(3), None),
                "[########################] 100%  9 of 3 imported, 1/s, 0 s left",
            ),
        ] {
            assert_eq!(line(&now, &first, Duration::from_secs(10), "imported"), said);
        }
        assert_eq!([119.0, 120.0, 7200.0].map(duration), ["119 s", "2 min", "2 h"]);
    }
}
