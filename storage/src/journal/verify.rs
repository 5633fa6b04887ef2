//! Checking the whole journal against its checks: frames, areas, footers and the body files that entries name.

use std::io;

use super::{
    body_file,
    files::Files,
    walk::{Areas, Frame, Step},
};
use crate::{disk::DiskFile, error::StoreError, progress::Progress};

impl Files {
    /// Reads everything and notes what is damaged. Blocks for as long as that takes.
    pub(crate) fn verify(&self, report: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), StoreError> {
        let segments: Vec<u64> = self.catalog().keys().copied().collect();
        let total = segments.len() as u64;
        for (done, number) in (0..).zip(segments) {
            report(Progress { step: "segments of the journal", done, total });
            self.verify_footer(number)?;
            self.verify_frames(number)?;
        }
        report(Progress { step: "segments of the journal", done: total, total });
        Ok(())
    }

    fn verify_footer(&self, number: u64) -> Result<(), StoreError> {
        let Some(id) = self.sealed(number) else { return Ok(()) };
        let records = match self.footer(number)? {
            Some(footer) => footer.range(0..u64::MAX)?,
            None => None,
        };
        // One that was compacted meanwhile gets a footer of its own.
        if records.is_none() && self.sealed(number) == Some(id) {
            self.note_damage(format!("segment {number}: its footer is damaged; its frames are read instead"));
        }
        Ok(())
    }

    fn verify_frames(&self, number: u64) -> Result<(), StoreError> {
        let mut walk = match self.walk(number, Areas::Verify) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note_damage(format!("segment {number} is missing"));
                return Ok(());
            }
            other => other?,
        };
        while let Some(step) = walk.step()? {
            match step {
                Step::Gap(gap) => self.note_gap(number, &gap),
                Step::Frame(frame) => self.verify_frame(number, &frame)?,
            }
        }
        Ok(())
    }

    /// Reads the frames of one segment with their areas and notes what is damaged.
    pub(crate) fn verify_segment(&self, number: u64) -> Result<(), StoreError> {
        let mut walk = self.walk(number, Areas::Verify)?;
        while let Some(step) = walk.step()? {
            match step {
                Step::Gap(gap) => self.note_gap(number, &gap),
                Step::Frame(frame) if !frame.area_intact => {
                    self.note_area(number, frame.at, frame.header.entry);
                }
                Step::Frame(_) => {}
            }
        }
        Ok(())
    }

    /// Reads a body and notes whether it is damaged.
    pub(crate) fn verify_body(
        &self,
        segment: u64,
        number: u64,
        file: &dyn DiskFile,
    ) -> Result<(), StoreError> {
        if !body_file::run(file.length()?).is_intact(file)? {
            self.note_damage(format!("body {number} of segment {segment} is damaged"));
        }
        Ok(())
    }

    fn verify_frame(&self, number: u64, frame: &Frame) -> Result<(), StoreError> {
        if !frame.area_intact {
            self.note_area(number, frame.at, frame.header.entry);
        }
        for &(segment, body) in &frame.block.body_files {
            // A body that was released is gone for good reason.
            let file = match self.body_file(segment, body) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            self.verify_body(segment, body, &*file)?;
        }
        Ok(())
    }
}
