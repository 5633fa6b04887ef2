//! The thread behind the writer: it writes footers of full segments and makes the next segment ahead. On a disk in memory it does so
//! at once, without a thread.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{
    files::{Files, Moves, OpenSegment},
    fresh::Tail,
    layout::SEGMENT_HEADER_BYTES,
    sealing::{KEPT_BYTES_MAX, Outline},
    walk::{Areas, Frame, Step},
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
    files: Arc<Files>,
    jobs: Option<SyncSender<Job>>,
    /// `None` where the disk is in memory.
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(files: Arc<Files>) -> Result<Self, StoreError> {
        if files.is_memory() {
            return Ok(Self { files, jobs: None, thread: None });
        }
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let at_work = Arc::clone(&files);
        let thread = Builder::new().name("journal-keeper".into()).spawn(move || {
            for job in waiting {
                work(&at_work, job);
            }
        })?;
        Ok(Self { files, jobs: Some(jobs), thread: Some(thread) })
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
        let Some(jobs) = &self.jobs else { return work(&self.files, job) };
        if jobs.try_send(job).is_err() {
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

fn work(files: &Files, job: Job) {
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

impl Files {
    /// Writes the footer of a full segment. A segment with damage gets none, so that the damage is found at every start.
    pub(super) fn seal(&self, number: u64) -> Result<(), StoreError> {
        let (opened, end) = match self.segment(number, |segment| segment.end) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (mut outline, mut moves) = (Outline::new(KEPT_BYTES_MAX), Moves::new());
        let sound = self.pass(&opened, end, |frame| {
            if frame.home.is_some() && frame.header.area_bytes > 0 {
                moves.insert(frame.home().area_at, frame.header.area_at(frame.at));
            }
            frame.into_stored(number).for_each(|stored| outline.add(&stored));
            Ok(())
        })?;
        if !sound {
            return Ok(());
        }
        self.replace(&self.footer_path(number), |file| {
            outline.write(file, (opened.id, end), opened.compacted.then_some(&moves), |take| {
                let again = self.pass(&opened, end, |frame| {
                    frame.into_stored(number).try_for_each(|stored| take(&stored))
                })?;
                again.then_some(()).ok_or_else(|| StoreError::Damaged(format!("segment {number} changed")))
            })
        })?;
        // One that was compacted meanwhile gets a footer of its own.
        if let Some(segment) = self.catalog().get_mut(&number).filter(|segment| segment.id == opened.id) {
            segment.index = None;
        }
        Ok(())
    }

    /// Gives all frames of a segment in order; `false` where there is damage.
    fn pass(
        &self,
        opened: &OpenSegment,
        end: u64,
        mut take: impl FnMut(Frame) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let mut walk = opened.walk(SEGMENT_HEADER_BYTES, end, Areas::Skip);
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(frame) => take(frame)?,
                Step::Gap(gap) => {
                    self.note_gap(opened.id.number, &gap);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
