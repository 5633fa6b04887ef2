//! RETR and TOP: the octets of a message go out while they are read, to clients without UTF-8 mode as a surrogate (RFC 6856
//! section 2.1, RFC 6858).

use bytes::{Buf, Bytes, BytesMut};
use waypost_config::WithoutUtf8;
use waypost_message::{Surrogate, surrogate::needs_utf8};
use waypost_net::{Disconnect, Output};
use waypost_storage::{Row, StoreError};

use crate::{
    body::{DotStuffer, Top},
    machine::{Mode, Retrieval},
    maildrop::Maildrop,
    wire::{Code, Encode, Refusal, spoken},
};

/// Octets of a message that are sent at once; after each the session is known to live.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// Room for the lines before and behind them.
const LINES_BYTES: usize = 64;

const NEEDS_UTF8: Refusal = Refusal::with(Code::UTF8, "this message needs UTF8");

/// Sends a message, or its top, as a multi-line reply. What fails before the first octet is refused; what fails later can only be
/// told by hanging up, for a reply that ends looks complete.
pub(super) async fn send(
    maildrop: &mut Maildrop,
    retrieval: Retrieval,
    without_utf8: WithoutUtf8,
    output: &mut Output<'_>,
) -> Result<Result<(), Refusal>, Disconnect> {
    let (mut octets, mut chunk) = match Octets::begin(maildrop, &retrieval, without_utf8).await {
        Ok(begun) => begun,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Retrieval { lines, language, .. } = retrieval;
    let (mut stuffer, mut top) = (DotStuffer::default(), lines.map(Top::new));
    let mut buffer = BytesMut::with_capacity(chunk.len() + LINES_BYTES);
    match lines {
        None => buffer.line(format_args!("+OK {} {}", octets.row.content.size(), spoken(language, "octets"))),
        Some(_) => buffer.line(format_args!("+OK {}", spoken(language, "top of message follows"))),
    }
    while !chunk.is_empty() && !top.as_ref().is_some_and(Top::is_done) {
        let shown = top.as_mut().map_or(&chunk[..], |top| top.show(&chunk));
        stuffer.stuff(shown, &mut buffer);
        // In whole pieces: the line before the message and the one behind it go with its octets.
        while buffer.len() >= PIECE_BYTES {
            tokio::select! {
                biased;
                () = maildrop.lost() => {
                    return Err(Disconnect::Handler("another session has taken the maildrop over".into()));
                }
                sent = output.write(&buffer[..PIECE_BYTES]) => sent?,
            }
            buffer.advance(PIECE_BYTES);
            maildrop.alive();
        }
        chunk = octets.next(maildrop).await.map_err(|error| Disconnect::Handler(error.to_string()))?;
    }
    stuffer.finish(&mut buffer);
    output.write(&buffer).await?;
    Ok(Ok(()))
}

/// The octets of one message, as they go out.
struct Octets {
    row: Row,
    /// How many were read.
    at: u64,
    mode: Mode,
    /// From the first octet above 127 on, in ASCII mode: most messages have none.
    surrogate: Option<Box<Surrogate>>,
}

impl Octets {
    /// A message, and its first octets.
    async fn begin(
        maildrop: &mut Maildrop,
        retrieval: &Retrieval,
        without_utf8: WithoutUtf8,
    ) -> Result<(Self, Bytes), Refusal> {
        let row = maildrop.row(&retrieval.message).await?;
        let (content, mode) = (&row.content, retrieval.mode);
        if (mode, without_utf8) == (Mode::Ascii, WithoutUtf8::Refuse) {
            let structure = maildrop.structure(&row).await?;
            let end = content.prefix_size() + structure.read::<&[u8]>()?.root.header.end;
            if needs_utf8(&maildrop.reader(content, end).rest().await?) {
                return Err(NEEDS_UTF8);
            }
        }
        maildrop.reader(content, content.size());
        let mut octets = Self { row, at: 0, mode, surrogate: None };
        let first = octets.next(maildrop).await?;
        Ok((octets, first))
    }

    /// The next ones; empty at the end.
    async fn next(&mut self, maildrop: &mut Maildrop) -> Result<Bytes, StoreError> {
        loop {
            let chunk = maildrop.octets().await?;
            if self.mode == Mode::Ascii && self.surrogate.is_none() && !chunk.is_ascii() {
                let structure = maildrop.structure(&self.row).await?;
                let prefix = self.row.content.prefix_size();
                self.surrogate = Some(Box::new(Surrogate::new(&structure.read::<&[u8]>()?, prefix, self.at)));
            }
            self.at += chunk.len() as u64;
            let Some(surrogate) = self.surrogate.as_mut().filter(|_| !chunk.is_empty()) else {
                return Ok(chunk);
            };
            let ready = surrogate.feed(&chunk);
            if !ready.is_empty() {
                return Ok(ready.into());
            }
        }
    }
}
