//! The thread behind the writer: it writes footers of full segments and makes the next segment ahead.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{
    files::Files,
    footer,
    fresh::Tail,
    layout::SEGMENT_HEADER_BYTES,
    walk::{Areas, Step, Walk},
};
use crate::error::StoreError;

/// Most jobs that wait. A footer that finds no place is made at the next start.
const JOBS_MAX: usize = 1024;

enum Job {
    Seal(u64),
    Prepare { number: u64, bytes: u64, reply: SyncSender<Result<Tail, StoreError>> },
}

/// The thread; ends when it is dropped, after the jobs that wait.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(files: Arc<Files>) -> Result<Self, StoreError> {
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let thread = Builder::new().name("journal-keeper".into()).spawn(move || work(&files, &waiting))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has the footer of a full segment written.
    pub(super) fn seal(&self, number: u64) {
        self.submit(Job::Seal(number));
    }

    /// Has a segment made ahead. The receiver is closed without a word where that could not be begun.
    pub(super) fn prepare(&self, number: u64, bytes: u64) -> Receiver<Result<Tail, StoreError>> {
        let (reply, made) = sync_channel(1);
        self.submit(Job::Prepare { number, bytes, reply });
        made
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.try_send(job).is_err()
        {
            tracing::warn!(event = "journal_keeper_busy", "a job for the journal's keeper was dropped");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "journal_keeper_panicked", "the journal's keeper panicked");
        }
    }
}

fn work(files: &Files, jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Seal(number) => {
                if let Err(error) = files.seal(number) {
                    tracing::warn!(event = "footer_not_written", segment = number, %error);
                }
            }
            Job::Prepare { number, bytes, reply } => {
                if reply.send(files.create_segment(number, bytes)).is_err() {
                    tracing::debug!(event = "segment_not_wanted", segment = number);
                }
            }
        }
    }
}

impl Files {
    /// Writes the footer of a full segment. A segment with damage gets none, so that the damage is found at every start.
    fn seal(&self, number: u64) -> Result<(), StoreError> {
        let Some((segment, end)) = self.catalog().get(&number).map(|segment| (segment.id, segment.end))
        else {
            return Ok(());
        };
        let file = self.segment_file(number)?;
        let mut walk = Walk { file, segment, at: SEGMENT_HEADER_BYTES, end, areas: Areas::Skip };
        let mut records = Vec::new();
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(frame) => records.extend(frame.into_stored(number)),
                Step::Gap(gap) => {
                    self.note_gap(number, &gap);
                    return Ok(());
                }
            }
        }
        let octets = footer::encode(segment, end, &records);
        self.replace(&self.footer_path(number), |file| Ok(file.write_at(0, &octets)?))?;
        if let Some(segment) = self.catalog().get_mut(&number) {
            segment.index = None;
        }
        Ok(())
    }
}
