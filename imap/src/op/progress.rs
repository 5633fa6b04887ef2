//! INPROGRESS (RFC 9585): a command that takes long says that it goes on.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Failure, Operation};
use crate::wire::{Language, Status, encode, spoken};

/// How often a client hears of a command that goes on (RFC 9585 section 4: every 10 to 15 seconds).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
const STILL_AT_WORK: &str = "still at work";

/// The command that runs.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None`: it cannot be named.
    tag: Option<String>,
    /// When the client hears of it next.
    due: std::time::Instant,
}

impl Progress {
    pub(crate) fn new(now: std::time::Instant) -> Self {
        Self { tag: None, due: now + PROGRESS_INTERVAL }
    }

    /// A command begins.
    pub(super) fn begin(&mut self, tag: &str, now: std::time::Instant) {
        // RFC 9585 section 4: a tag with `]` is not named.
        self.tag = Some(tag).filter(|tag| !tag.contains(']')).map(str::to_owned);
        self.due = now + PROGRESS_INTERVAL;
    }

    /// The response, if one is due now: with how many messages of how many are done, where that is known.
    fn report(
        &mut self,
        now: std::time::Instant,
        done: Option<(u32, u32)>,
        language: Language,
    ) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        self.due = now + PROGRESS_INTERVAL;
        let mut code = b"INPROGRESS (".to_vec();
        match &self.tag {
            Some(tag) => encode::string(&mut code, tag.as_bytes()),
            None => code.extend(b"NIL"),
        }
        match done {
            Some((done, goal)) if done < goal => code.extend(format!(" {done} {goal})").as_bytes()),
            _ => code.extend(b" NIL NIL)"),
        }
        let mut out = Vec::new();
        encode::untagged(
            &mut out,
            Status::Ok,
            Some(&String::from_utf8_lossy(&code)),
            &spoken(language, STILL_AT_WORK),
        );
        Some(out)
    }
}

impl Operation<'_, '_> {
    /// Says how far the command has come, if it is time to. What was gathered goes out with it.
    pub(super) async fn tell_progress(&mut self, done: u32, goal: u32) -> Result<(), Failure> {
        let language = self.user.enabled.language;
        if let Some(response) = self.progress.report(Instant::now().into_std(), Some((done, goal)), language)
        {
            self.output.write(&response).await?;
            self.output.flush().await?;
        }
        Ok(())
    }

    /// Waits for work that cannot say how far it has come.
    pub(super) async fn patiently<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Some(done) = done_before(work.as_mut(), self.progress.due).await {
                return Ok(done);
            }
            if let Some(response) =
                self.progress.report(Instant::now().into_std(), None, self.user.enabled.language)
            {
                self.output.write(&response).await?;
                self.output.flush().await?;
            }
        }
    }
}

/// What work gives, if it is done in time; else it goes on when it is asked again.
async fn done_before<T>(work: Pin<&mut impl Future<Output = T>>, due: std::time::Instant) -> Option<T> {
    timeout_at(due.into(), work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_the_client_hears_of_it() {
        let now = || Instant::now().into_std();
        let mut progress = Progress::new(now());
        let mut work = std::pin::pin!(async {
            tokio::time::sleep(PROGRESS_INTERVAL * 5 / 2).await;
            7
        });
        let mut said = 0;
        let done = loop {
            match done_before(work.as_mut(), progress.due).await {
                Some(done) => break done,
                None => said += usize::from(progress.report(now(), None, Language::Default).is_some()),
            }
        };
        assert_eq!((done, said), (7, 2));
    }

    #[test]
    fn a_client_hears_of_it_every_ten_seconds() {
        let start = std::time::Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start);
        progress.begin("A1", start);
        for (seconds, done, said) in [
            (0, Some((0, 9)), None),
            (9, Some((1, 9)), None),
            (10, Some((2, 9)), Some("(\"A1\" 2 9)")),
            (19, Some((3, 9)), None),
            (25, Some((4, 9)), Some("(\"A1\" 4 9)")),
            (34, Some((5, 9)), None),
            (35, Some((9, 9)), Some("(\"A1\" NIL NIL)")),
            (45, None, Some("(\"A1\" NIL NIL)")),
        ] {
            let response = progress
                .report(at(seconds), done, Language::Default)
                .map(|out| String::from_utf8(out).unwrap());
            let expected = said.map(|said| format!("* OK [INPROGRESS {said}] still at work\r\n"));
            assert_eq!(response, expected, "after {seconds} s");
        }
        progress.begin("a]", at(50));
        assert_eq!(progress.report(at(59), None, Language::Default), None);
        assert_eq!(
            progress.report(at(60), Some((1, 2)), Language::Default).unwrap(),
            b"* OK [INPROGRESS (NIL 1 2)] still at work\r\n"
        );
    }
}
