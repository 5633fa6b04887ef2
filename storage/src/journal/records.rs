//! Reading all records in the order in which they were written, past whatever is damaged.

use std::{collections::VecDeque, io, sync::Arc};

use super::{
    Position, Stored,
    files::Files,
    layout::SEGMENT_HEADER_BYTES,
    walk::{Areas, Gap, Step, Walk},
};
use crate::error::StoreError;

impl Files {
    /// All records of all streams from a position on, in order.
    pub(crate) fn records_from(self: &Arc<Self>, from: Position) -> Records {
        let catalog = self.catalog();
        let segments =
            catalog.range(from.segment..).map(|(number, segment)| (*number, segment.end)).collect();
        Records { files: Arc::clone(self), from, segments, walk: None, ready: VecDeque::new() }
    }
}

/// Records in the order in which they were written.
#[derive(Debug)]
pub(crate) struct Records {
    files: Arc<Files>,
    from: Position,
    /// Segments with their ends when the reading began.
    segments: VecDeque<(u64, u64)>,
    walk: Option<Walk>,
    ready: VecDeque<Stored>,
}

impl Iterator for Records {
    type Item = Result<Stored, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                return Some(Ok(stored));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    (self.walk, self.segments) = (None, VecDeque::new());
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records {
    /// Goes on by one frame or to the next segment; `false` at the end.
    fn advance(&mut self) -> Result<bool, StoreError> {
        let Some(walk) = &mut self.walk else { return self.next_segment() };
        let number = walk.segment.number;
        match walk.step()? {
            Some(Step::Frame(frame)) if frame.placement(number).at < self.from => {}
            Some(Step::Frame(frame)) => self.ready.extend(frame.into_stored(number)),
            Some(Step::Gap(gap)) => self.mend(number, &gap)?,
            None => self.walk = None,
        }
        Ok(true)
    }

    fn next_segment(&mut self) -> Result<bool, StoreError> {
        let Some((number, last_end)) = self.segments.pop_front() else { return Ok(false) };
        let begins = if number == self.from.segment { self.from.offset } else { 0 };
        let begins = begins.max(SEGMENT_HEADER_BYTES);
        match self.files.segment(number, |segment| (segment.end, segment.compacted)) {
            // Its frames are not where they were written.
            Ok((opened, (end, true))) => {
                self.walk = Some(opened.walk(SEGMENT_HEADER_BYTES, end, Areas::Skip));
            }
            // What was added since the reading began is not part of it.
            Ok((opened, (_, false))) => self.walk = Some(opened.walk(begins, last_end, Areas::Skip)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.mend(number, &Gap { from: begins, to: last_end, entry: None, blank: false })?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Takes the records of damaged frames from the footer.
    fn mend(&mut self, segment: u64, gap: &Gap) -> Result<(), StoreError> {
        let sealed = self.files.sealed(segment);
        let footer = if sealed.is_some() { self.files.footer(segment)? } else { None };
        let records = match footer {
            Some(footer) => footer.range(gap.from..gap.to)?,
            None => None,
        };
        match records {
            Some(records) => {
                let Gap { from, to, .. } = gap;
                let sentence =
                    "are damaged; the records were mended from the footer, the texts there are lost";
                self.files.note_damage(format!("segment {segment}: offsets {from} to {to} {sentence}"));
                self.ready.extend(records);
            }
            None => self.files.note_gap(segment, gap),
        }
        Ok(())
    }
}
