//! Opening a journal: which segments there are, what is damaged, and what must be proven before anyone sees it.
//!
//! Nothing in the page cache is trusted: after a failed sync it may show what is gone at the next boot. So whatever lies
//! behind the last proof is copied to a new file and synced before the journal opens.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Position,
    files::{Files, Segment},
    footer::FooterHeader,
    fresh::{TEMPORARY_SUFFIX, Tail},
    layout::{FrameHeader, MARK_BYTES, SEGMENT_HEADER_BYTES},
    scan::{Inspected, Scan, identify},
    walk::Areas,
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets copied at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// Largest number that a segment can have; more than can ever be written.
const SEGMENT_NUMBER_MAX: u64 = u64::MAX / 2;

/// A journal that can be written to again.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tail: Tail,
    /// Made ahead by an earlier run.
    pub(super) next: Option<Tail>,
    /// Full segments that need a footer.
    pub(super) unsealed: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Listing {
    segments: BTreeSet<u64>,
    footers: BTreeSet<u64>,
}

/// What stands at the end of the journal.
#[derive(Debug, Default)]
struct End {
    /// The last segment with frames, unless it is sealed.
    last: Option<Scan>,
    /// Made ahead, lowest number.
    blank: Option<Tail>,
    /// Highest number that is taken for ever.
    highest: u64,
}

impl Files {
    /// Finds and proves what the journal holds.
    pub(super) fn recover(&self, segment_bytes: u64) -> Result<Recovered, StoreError> {
        self.disk.create_directory(self.journal_directory())?;
        self.disk.create_directory(self.bodies_directory())?;
        let mut listing = self.listing()?;
        // An earlier run may have been killed between a rename and its sync: the names are proven as well.
        self.disk.sync_directory(self.journal_directory())?;
        let mut end = self.find_end(&mut listing)?;
        let mut unsealed = self.catalog_sealed(&listing, end.last.as_ref())?;
        self.note_missing(&listing, &end);
        let tail = match end.last.take() {
            Some(scan) => {
                let tail = self.prove(scan, segment_bytes, &mut end.blank)?;
                if tail.id.number == end.highest {
                    Some(tail)
                } else {
                    unsealed.push(tail.id.number);
                    None
                }
            }
            None => None,
        };
        let tail = match (tail, end.blank.take()) {
            (Some(tail), blank) => {
                end.blank = blank;
                tail
            }
            (None, Some(blank)) if blank.id.number == end.highest + 1 => blank,
            (None, blank) => {
                end.blank = blank;
                self.create_segment(end.highest + 1, segment_bytes)?
            }
        };
        let next = end.blank.filter(|blank| blank.id.number == tail.id.number + 1);
        self.begin_bodies(tail.id.number)?;
        Ok(Recovered { tail, next, unsealed })
    }

    /// The names in the journal's directory; those of incomplete files are removed.
    pub(super) fn listing(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for path in self.disk.list(self.journal_directory())? {
            match (number(&path, ".segment"), number(&path, ".footer")) {
                (Some(segment), _) => drop(listing.segments.insert(segment)),
                (_, Some(footer)) => drop(listing.footers.insert(footer)),
                _ if path.to_string_lossy().ends_with(TEMPORARY_SUFFIX) => self.disk.remove(&path)?,
                _ => tracing::warn!(event = "unknown_file", path = %path.display()),
            }
        }
        Ok(listing)
    }

    /// Looks from the highest number down for the last segment with frames. Segments that never took a whole frame go.
    fn find_end(&self, listing: &mut Listing) -> Result<End, StoreError> {
        let mut end = End { highest: listing.footers.last().copied().unwrap_or(0), ..End::default() };
        for number in listing.segments.clone().into_iter().rev() {
            if listing.footers.contains(&number) {
                break;
            }
            match self.inspect(number, Areas::Verify)? {
                Inspected::Used(scan) => {
                    end.highest = end.highest.max(number);
                    end.last = Some(scan);
                    break;
                }
                Inspected::Blank(tail) => {
                    listing.segments.remove(&number);
                    if let Some(unused) = end.blank.replace(tail) {
                        self.disk.remove(&self.segment_path(unused.id.number))?;
                    }
                }
                Inspected::Torn => {
                    listing.segments.remove(&number);
                    self.disk.remove(&self.segment_path(number))?;
                }
                Inspected::Unreadable => end.highest = end.highest.max(number),
            }
        }
        Ok(end)
    }

    /// Enters all segments but the last into the catalog; gives those without a footer that need one.
    pub(super) fn catalog_sealed(
        &self,
        listing: &Listing,
        last: Option<&Scan>,
    ) -> Result<Vec<u64>, StoreError> {
        let last = last.map(|scan| scan.id.number);
        let mut unsealed = Vec::new();
        for &number in listing.segments.union(&listing.footers).filter(|number| Some(**number) != last) {
            if listing.footers.contains(&number)
                && let Some(header) =
                    FooterHeader::read(&*self.disk.open(&self.footer_path(number))?, number)?
                && self.speaks_for(&header, listing.segments.contains(&number))?
            {
                if !listing.segments.contains(&number) {
                    let sentence =
                        "is missing; its records were mended from its footer, the texts in it are lost";
                    self.note_damage(format!("segment {number} {sentence}"));
                }
                let compacted = header.is_compacted();
                let segment = Segment { id: header.segment, end: header.end, index: None, compacted };
                self.catalog().insert(number, segment);
            } else if listing.segments.contains(&number) {
                self.catalog_frames(number, &mut unsealed)?;
            } else {
                self.note_damage(format!(
                    "segment {number} is missing and its footer is damaged; its entries are lost"
                ));
            }
        }
        Ok(unsealed)
    }

    /// Whether a footer is that of the segment that is there: a compaction may have been cut short between the two.
    fn speaks_for(&self, header: &FooterHeader, exists: bool) -> Result<bool, StoreError> {
        let number = header.segment.number;
        if !exists {
            return Ok(true);
        }
        let found = identify(&*self.disk.open(&self.segment_path(number))?, number)?;
        Ok(found.is_none_or(|(id, _)| id == header.segment))
    }

    /// Enters a full segment without a footer into the catalog.
    fn catalog_frames(&self, number: u64, unsealed: &mut Vec<u64>) -> Result<(), StoreError> {
        let Inspected::Used(scan) = self.inspect(number, Areas::Skip)? else {
            self.note_damage(format!("segment {number} is unreadable; the entries in it are lost"));
            return Ok(());
        };
        if !scan.note_damage(self, u64::MAX) {
            unsealed.push(number);
        }
        let (end, compacted) = (scan.end(), scan.compacted);
        self.catalog().insert(number, Segment { id: scan.id, end, index: Some(scan.index), compacted });
        Ok(())
    }

    /// Notes numbers that are missing between segments, and behind a sealed one: a footer is written when the next segment
    /// has taken entries.
    fn note_missing(&self, listing: &Listing, end: &End) {
        let mut expected = 1;
        let follower = match end.last {
            None if end.highest > 0 && listing.footers.contains(&end.highest) => Some(end.highest + 2),
            _ => None,
        };
        for number in listing.segments.union(&listing.footers).copied().chain(follower) {
            match number - expected {
                0 => {}
                1 => self.note_damage(format!("segment {expected} is missing; the entries in it are lost")),
                _ => self.note_damage(format!(
                    "segments {expected} to {} are missing; the entries in them are lost",
                    number - 1
                )),
            }
            expected = number + 1;
        }
    }

    /// Makes the last segment durable beyond doubt, cuts its torn end, and enters it into the catalog.
    fn prove(
        &self,
        mut scan: Scan,
        segment_bytes: u64,
        blank: &mut Option<Tail>,
    ) -> Result<Tail, StoreError> {
        let cut = scan.cut();
        scan.note_damage(self, cut);
        let mark = scan.clean_mark();
        scan.truncate(cut);
        let tail = match mark {
            Some(at) => self.renew_mark(&scan, at)?,
            None => self.prove_tail(&scan, cut, segment_bytes, blank)?,
        };
        self.catalog().insert(
            scan.id.number,
            Segment { id: scan.id, end: tail.end, index: Some(scan.index), compacted: false },
        );
        Ok(tail)
    }

    /// Copies the unproven end, or, where the disk has no room for a copy, writes it again where it is.
    fn prove_tail(
        &self,
        scan: &Scan,
        cut: u64,
        segment_bytes: u64,
        blank: &mut Option<Tail>,
    ) -> Result<Tail, StoreError> {
        let copied = self.copy(scan, cut, segment_bytes);
        let Err(StoreError::Full) = copied else { return copied };
        let copied = match blank.take() {
            // The segment made ahead gives its room to what was accepted already.
            Some(unused) => {
                self.disk.remove(&self.segment_path(unused.id.number))?;
                self.copy(scan, cut, segment_bytes)
            }
            None => copied,
        };
        let Err(StoreError::Full) = copied else { return copied };
        self.write_again(scan, cut)
    }

    /// Writes what is shown behind the last proof to where it is, so that it is dirty again and a sync reaches the disk; it
    /// takes no room. What is torn is cleared before the mark says that all was whole: a crash in between leaves as much to
    /// prove as there was.
    fn write_again(&self, scan: &Scan, cut: u64) -> Result<Tail, StoreError> {
        for (segment, number) in scan.unproven_bodies() {
            if let Some(file) = self.open_body(segment, number)? {
                let length = file.length()?;
                copy_octets(&*file, &*file, 0, length)?;
                file.sync()?;
            }
        }
        tracing::info!(event = "journal_end_written_again", segment = scan.id.number, end = cut);
        let file = &*scan.file;
        copy_octets(file, file, scan.proven().min(cut), cut)?;
        file.write_zeros(cut, scan.length)?;
        file.sync()?;
        write_mark(file, scan, cut)?;
        file.sync()?;
        Ok(Tail {
            id: scan.id,
            file: Arc::clone(&scan.file),
            capacity: scan.length,
            end: cut + MARK_BYTES,
            written: scan.length,
        })
    }

    /// A clean end: only the mark itself is not proven, so it is written again.
    fn renew_mark(&self, scan: &Scan, at: u64) -> Result<Tail, StoreError> {
        write_mark(&*scan.file, scan, at)?;
        scan.file.sync()?;
        Ok(Tail {
            id: scan.id,
            file: Arc::clone(&scan.file),
            capacity: scan.length,
            end: at + MARK_BYTES,
            written: at,
        })
    }

    /// Copies what is shown, with the bodies that the unproven part names, to new files with the same names. All positions stay.
    fn copy(&self, scan: &Scan, cut: u64, segment_bytes: u64) -> Result<Tail, StoreError> {
        for (segment, number) in scan.unproven_bodies() {
            self.copy_body(segment, number)?;
        }
        tracing::info!(
            event = "journal_end_copied",
            segment = scan.id.number,
            end = cut,
            torn = cut < scan.end()
        );
        let capacity = segment_bytes.max(cut + MARK_BYTES);
        let file = self.replace(&self.segment_path(scan.id.number), |file| {
            file.allocate(capacity)?;
            file.write_at(0, &scan.id.encode())?;
            copy_octets(&*scan.file, file, SEGMENT_HEADER_BYTES, cut)?;
            write_mark(file, scan, cut)
        })?;
        Ok(Tail { id: scan.id, file, capacity, end: cut + MARK_BYTES, written: cut })
    }

    fn copy_body(&self, segment: u64, number: u64) -> Result<(), StoreError> {
        let Some(file) = self.open_body(segment, number)? else { return Ok(()) };
        let length = file.length()?;
        let path = self.body_path(segment, number);
        self.replace(&path, |copy| copy_octets(&*file, copy, 0, length)).map(drop)
    }

    fn open_body(&self, segment: u64, number: u64) -> Result<Option<Arc<dyn DiskFile>>, StoreError> {
        match self.disk.open(&self.body_path(segment, number)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.note_damage(format!("body {number} of segment {segment} is missing"));
                Ok(None)
            }
            other => Ok(Some(other?)),
        }
    }

    /// Bodies that arrive now get numbers above all that are in their directory.
    fn begin_bodies(&self, segment: u64) -> Result<(), StoreError> {
        let names = self.disk.list(&self.body_directory(segment))?;
        let numbers = names.iter().filter_map(|path| path.file_name()?.to_str()?.parse::<u64>().ok());
        self.next_body.store(numbers.max().unwrap_or(0) + 1, Ordering::Relaxed);
        self.current.store(segment, Ordering::Relaxed);
        Ok(())
    }
}

fn write_mark(file: &dyn DiskFile, scan: &Scan, at: u64) -> Result<(), StoreError> {
    let mark = FrameHeader::mark(Position { segment: scan.id.number, offset: at });
    Ok(file.write_at(at, &mark.encode(&scan.id, at))?)
}

fn copy_octets(from: &dyn DiskFile, to: &dyn DiskFile, start: u64, end: u64) -> Result<(), StoreError> {
    let mut buffer = vec![0; COPY_BYTES.min(end - start) as usize];
    let mut at = start;
    while at < end {
        let piece = (end - at).min(buffer.len() as u64) as usize;
        let read = from.read_at(at, &mut buffer[..piece])?;
        to.write_at(at, &buffer[..read])?;
        if read < piece {
            return Err(StoreError::Io(format!(
                "a file ended at {} of {end} while it was copied",
                at + read as u64
            )));
        }
        at += read as u64;
    }
    Ok(())
}

/// The number in a name: sixteen hexadecimal digits and the suffix. Numbers begin with 1 and leave room for those that follow.
fn number(path: &Path, suffix: &str) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16 && (1..=SEGMENT_NUMBER_MAX).contains(&number)).then_some(number)
}
