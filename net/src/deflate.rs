//! DEFLATE (RFC 1951, as RFC 4978 uses it) as a layer of a stream: octets in, octets out, in pieces. Not the stream; that is [`crate::wire`].
//!
//! What a peer sends is inflated only as far as it is asked for, a piece at a time, so that few octets never become many in
//! memory. Between blocks nothing is held but the window, which is as long as what was inflated and at most 32 KiB. The
//! deflater holds some hundred KiB while it is used; it can be given back after each flush, for its next block names
//! nothing that was sent before.

use bytes::{Buf, BytesMut};
use miniz_oxide::{
    deflate::core::{
        CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
    },
    inflate::{
        TINFLStatus,
        core::{
            BlockBoundaryState, DecompressorOxide, decompress,
            inflate_flags::{
                TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
                TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
            },
        },
    },
};

/// How far back DEFLATE refers (RFC 1951 section 2).
pub const WINDOW_BYTES_MAX: usize = 32 * 1024;
/// Most octets that are inflated at once.
pub const INFLATED_BYTES_MAX: usize = 16 * 1024;
/// How hard is tried: answers are small or repeat themselves, which the fast levels find.
const LEVEL: i32 = 3;
/// No header and no checksum around the blocks.
const RAW: i32 = -15;

/// What arrived is not DEFLATE.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what the peer compressed is not DEFLATE")]
pub struct NotDeflate;

/// What came of [`Inflater::next`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inflated {
    /// So many octets were given.
    Octets(usize),
    /// More must be fed.
    NeedsInput,
    /// The peer ended its compressed stream. What it feeds after that is not compressed.
    Over,
}

enum State {
    /// Between two blocks.
    Between(BlockBoundaryState),
    Within(Box<DecompressorOxide>),
    Over,
}

/// Makes of what a peer compressed what it said.
pub struct Inflater {
    input: BytesMut,
    window: Vec<u8>,
    state: State,
    /// The last piece was as large as it may be: there may be more.
    is_more: bool,
    /// The peer stops compressing after the block that it is in.
    ending: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            input: BytesMut::new(),
            window: Vec::new(),
            state: State::Between(BlockBoundaryState::default()),
            is_more: false,
            ending: false,
        }
    }
}

impl Inflater {
    /// Takes compressed octets.
    pub fn feed(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// The peer said that it compresses no more: what is left of its stream is the end of the last flush (RFC 8437 section 4.1).
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether [`Self::next`] may have something without being fed.
    pub fn is_fed(&self) -> bool {
        self.is_more || !self.input.is_empty()
    }

    /// Gives the next octets, at most [`INFLATED_BYTES_MAX`] and of one block, to `take`.
    pub fn next(&mut self, take: impl FnOnce(&[u8])) -> Result<Inflated, NotDeflate> {
        loop {
            if self.is_over() {
                return Ok(Inflated::Over);
            }
            if !self.is_fed() {
                self.input = BytesMut::new();
                return Ok(Inflated::NeedsInput);
            }
            let before = self.window.len();
            let bytes = self.inflate()?;
            if bytes > 0 && self.ending {
                return Err(NotDeflate);
            }
            if bytes > 0 {
                take(&self.window[before..]);
                self.window.drain(..self.window.len().saturating_sub(WINDOW_BYTES_MAX));
                return Ok(Inflated::Octets(bytes));
            }
        }
    }

    /// What was fed and is not compressed any more, once the stream is over.
    pub fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.input)
    }

    /// Whether [`Self::rest`] gives something back.
    pub fn holds_room(&self) -> bool {
        self.window.capacity() > self.window.len()
    }

    /// Gives back what is not needed while nothing arrives.
    pub fn rest(&mut self) {
        self.window.shrink_to_fit();
    }

    /// Whether the stream is over: by its last block, or where it was said to end and a block has ended with an octet. There, no
    /// text begins as the empty block of a flush does, with three bits of a header and five of padding.
    fn is_over(&self) -> bool {
        match &self.state {
            State::Over => true,
            State::Between(state) if self.ending && state.num_bits == 0 => {
                self.input.first().is_some_and(|octet| *octet >= 8)
            }
            State::Between(_) | State::Within(_) => false,
        }
    }

    /// Inflates once, to the end of the window; how many octets.
    fn inflate(&mut self) -> Result<usize, NotDeflate> {
        let mut decompressor = match std::mem::replace(&mut self.state, State::Over) {
            State::Between(state) => Box::new(DecompressorOxide::from_block_boundary_state(&state)),
            State::Within(decompressor) => decompressor,
            State::Over => return Ok(0),
        };
        let flags = TINFL_FLAG_HAS_MORE_INPUT
            | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY
            | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let before = self.window.len();
        self.window.resize(before + INFLATED_BYTES_MAX, 0);
        let (status, taken, bytes) =
            decompress(&mut decompressor, &self.input, &mut self.window, before, flags);
        self.window.truncate(before + bytes);
        self.input.advance(taken);
        self.is_more = status == TINFLStatus::HasMoreOutput;
        self.state = match status {
            TINFLStatus::Done => State::Over,
            TINFLStatus::BlockBoundary => {
                State::Between(decompressor.block_boundary_state().ok_or(NotDeflate)?)
            }
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => State::Within(decompressor),
            _ => return Err(NotDeflate),
        };
        Ok(bytes)
    }
}

/// Compresses what is said to a peer.
#[derive(Default)]
pub struct Deflater {
    compressor: Option<Box<CompressorOxide>>,
    /// Something was taken that was not flushed.
    unflushed: bool,
}

impl Deflater {
    /// Takes octets; what is compressed already goes to `out`.
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), NotDeflate> {
        self.unflushed |= !octets.is_empty();
        self.compress(octets, TDEFLFlush::None, out)
    }

    /// All that was taken goes to `out`, up to a whole octet: the peer can inflate it.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), NotDeflate> {
        match std::mem::take(&mut self.unflushed) {
            true => self.compress(&[], TDEFLFlush::Sync, out),
            false => Ok(()),
        }
    }

    /// Gives back all memory, if all was flushed. What is written later is compressed without what came before.
    pub fn rest(&mut self) {
        if !self.unflushed {
            self.compressor = None;
        }
    }

    /// Whether something was taken that was not flushed.
    pub fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// Whether there is something to give back.
    pub fn is_at_work(&self) -> bool {
        self.compressor.is_some()
    }

    fn compress(&mut self, octets: &[u8], flush: TDEFLFlush, out: &mut Vec<u8>) -> Result<(), NotDeflate> {
        let new = || Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, RAW, 0)));
        let compressor = self.compressor.get_or_insert_with(new);
        let take = |some: &[u8]| {
            out.extend_from_slice(some);
            true
        };
        // With a place for all that comes out it takes all that is given.
        match compress_to_output(compressor, octets, flush, take) {
            (TDEFLStatus::Okay, taken) if taken == octets.len() => Ok(()),
            _ => Err(NotDeflate),
        }
    }
}

#[cfg(test)]
mod tests;
