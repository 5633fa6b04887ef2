//! The preview of a message while its octets pass.
//!
//! Of a part that may turn out to be the one that is previewed, octets are taken as they come until the preview is full. Behind the end of a part stand
//! its line end and a boundary line, which nobody knows before they have passed: so where a boundary may come, so many octets are held back.
//!
//! Which part it is stands fast with the last one: the first text, or where that is HTML in alternatives, a plain one behind it.

use super::{Markup, PreviewWriter, STEP_BYTES, is_alternative, markup, part};
use crate::structure::Part;

/// Most octets of a message that are looked at while it arrives: receiving it costs no more for what would be hard to find.
const BYTES_MAX: usize = 16 * 1024;
/// Most parts that are gathered: HTML, and plain ones behind it.
const PARTS_MAX: usize = 4;

/// What is gathered so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// The part that is passing.
    open: Option<Passing>,
    /// Those that passed.
    passed: Vec<Passed>,
    /// What the first one was written in.
    first: Option<Markup>,
    /// Octets that were looked at.
    bytes: usize,
}

#[derive(Debug)]
struct Passing {
    /// Where its body begins.
    start: u64,
    /// Octets that the longest boundary line takes with the line end before it; 0: none can come.
    hold: usize,
    writer: PreviewWriter,
    /// Octets of the body that were written.
    written: u64,
    /// Octets behind them that may not be of the body.
    held: Vec<u8>,
    /// Whether there was more than may be looked at.
    cut: bool,
}

#[derive(Debug)]
struct Passed {
    start: u64,
    /// `None`: it would take more octets.
    preview: Option<String>,
}

impl Gathering {
    /// The header of a part has ended that is no multipart and lies in no message inside the message; `within`: what it lies in.
    pub(crate) fn begin<'a>(
        &mut self,
        part: &Part,
        mut within: impl Iterator<Item = &'a Part>,
        boundary_bytes_max: usize,
    ) {
        let Some(markup) = markup(part).filter(|_| self.passed.len() < PARTS_MAX) else { return };
        let is_wanted = match self.first {
            None => true,
            Some(Markup::Plain) => false,
            Some(Markup::Html) => markup == Markup::Plain && within.any(is_alternative),
        };
        if is_wanted {
            self.first.get_or_insert(markup);
            self.open = Some(Passing {
                start: part.body.start,
                hold: boundary_bytes_max,
                writer: PreviewWriter::new(part),
                written: 0,
                held: Vec::new(),
                cut: false,
            });
        }
    }

    /// Octets of the innermost part pass, and perhaps the boundary line behind it.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        let Some(passing) = &mut self.open else { return };
        if passing.cut || passing.writer.is_full() {
            return;
        }
        let taken = octets.len().min(BYTES_MAX - self.bytes);
        passing.cut = taken < octets.len();
        self.bytes += taken;
        passing.feed(&octets[..taken]);
    }

    /// The innermost part has ended; its body did at `end`.
    pub(crate) fn end(&mut self, end: u64) {
        self.passed.extend(self.open.take().map(|passing| passing.end(end)));
    }

    /// The preview of the message, whose parts are known now; `None`: it would take more octets.
    pub(crate) fn finish(self, root: &Part) -> Option<String> {
        let Some(part) = part(root).filter(|part| part.body.start < part.body.end) else {
            return Some(String::new());
        };
        self.passed.into_iter().find(|passed| passed.start == part.body.start)?.preview
    }
}

impl Passing {
    fn feed(&mut self, octets: &[u8]) {
        for step in octets.chunks(STEP_BYTES) {
            self.held.extend_from_slice(step);
            let certain = self.held.len().saturating_sub(self.hold);
            if certain >= STEP_BYTES {
                self.writer.feed(&self.held[..certain]);
                self.held.drain(..certain);
                self.written += certain as u64;
                if self.writer.is_full() {
                    return;
                }
            }
        }
    }

    fn end(mut self, end: u64) -> Passed {
        let Self { start, written, .. } = self;
        let left = usize::try_from((end - start).saturating_sub(written)).unwrap_or(usize::MAX);
        self.held.truncate(left);
        self.writer.feed(&self.held);
        let preview = (!self.cut || self.writer.is_full()).then(|| self.writer.finish());
        Passed { start, preview }
    }
}
