//! A stream as the driver uses it: bounded reads that hold no memory while idle, gathered writes with a deadline, compression
//! where it was asked for, an orderly close. Not the machine loop; that is [`crate::driver`].

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    sync::{Semaphore, SemaphorePermit},
    task::coop::consume_budget,
    time::timeout,
};

use crate::{
    deflate::{Deflater, Inflated, Inflater},
    driver::{Disconnect, SEND_TIMEOUT, Stream, UNSENT_BYTES_MAX},
    tls::TlsError,
};

/// Most octets that are read at once: what comes between two steps.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Small writes are gathered up to this.
const GATHERED_BYTES_MAX: usize = 32 * 1024;
/// Longest wait for the peer to close its side after we closed ours.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Most octets that are thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What compression holds is given back after so long without input.
const COMPRESSION_REST: Duration = Duration::from_secs(5);
/// Most deflaters that wait for their session to go on (some 300 KiB each); beyond it each is given back after each flush.
static DEFLATERS_KEPT: Semaphore = Semaphore::const_new(256);

/// Where a handler sends long output: bounded, waits for the peer.
pub struct Output<'a> {
    wire: &'a mut Wire,
}

impl Output<'_> {
    /// Sends octets; small writes are gathered. Errors: `Io`, `Stalled`.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), Disconnect> {
        self.wire.gather(octets).await
    }

    /// Sends what was gathered. Done by the driver after each answer, too.
    pub async fn flush(&mut self) -> Result<(), Disconnect> {
        self.wire.flush().await
    }
}

/// The stream of one session.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    gathered: BytesMut,
    /// Whether something was written that the stream may still hold.
    unflushed: bool,
    /// Whether the peer has closed its side.
    ended: bool,
    compression: Option<Box<Compression>>,
}

/// DEFLATE over the stream.
#[derive(Default)]
struct Compression {
    /// `None`: what we say is not compressed any more.
    deflater: Option<Deflater>,
    /// The deflater may be kept from one flush to the next.
    kept: Option<SemaphorePermit<'static>>,
    inflater: Inflater,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, gathered: BytesMut::new(), unflushed: false, ended: false, compression: None }
    }

    pub(crate) fn output(&mut self) -> Output<'_> {
        Output { wire: self }
    }

    /// Reads once and gives what arrived to `take`; how many octets that were, 0 at the end of input. Cancel-safe.
    pub(crate) async fn read(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize, Disconnect> {
        let Some(compression) = &mut self.compression else {
            return Ok(read(&mut self.stream, &mut self.ended, &mut take).await?);
        };
        loop {
            if compression.inflater.is_fed() {
                // Much may come of little: others get their turn.
                consume_budget().await;
            }
            match compression.inflater.next(&mut take)? {
                Inflated::Octets(length) => return Ok(length),
                Inflated::Over => break,
                Inflated::NeedsInput => {
                    let mut feed = |octets: &[u8]| compression.inflater.feed(octets);
                    if read(&mut self.stream, &mut self.ended, &mut feed).await? == 0 {
                        return Ok(0);
                    }
                }
            }
        }
        if compression.deflater.is_some() {
            // A peer that ended its stream while we compress says no more.
            self.ended = true;
            return Ok(0);
        }
        let rest = compression.inflater.take_rest();
        self.compression = None;
        if rest.is_empty() {
            return Ok(read(&mut self.stream, &mut self.ended, &mut take).await?);
        }
        take(&rest);
        Ok(rest.len())
    }

    /// Adds octets to what is gathered, and sends it when it is much.
    pub(crate) async fn gather(&mut self, octets: &[u8]) -> Result<(), Disconnect> {
        if octets.len() >= GATHERED_BYTES_MAX {
            self.write_gathered().await?;
            return self.write(octets).await;
        }
        self.gathered.extend_from_slice(octets);
        if self.gathered.len() >= GATHERED_BYTES_MAX { self.write_gathered().await } else { Ok(()) }
    }

    /// Adds octets to what is gathered; as they are, where that is nothing.
    pub(crate) async fn add(&mut self, octets: BytesMut) -> Result<(), Disconnect> {
        if self.gathered.is_empty() {
            self.gathered = octets;
            return Ok(());
        }
        self.gather(&octets).await
    }

    /// Sends what is gathered, and keeps no buffer.
    pub(crate) async fn flush(&mut self) -> Result<(), Disconnect> {
        if !self.gathered.is_empty() {
            self.write_gathered().await?;
        }
        self.gathered = BytesMut::new();
        self.flush_compressed().await?;
        if self.unflushed {
            timeout(SEND_TIMEOUT, self.stream.flush()).await.map_err(|_| Disconnect::Stalled)??;
            self.unflushed = false;
        }
        Ok(())
    }

    async fn write_gathered(&mut self) -> Result<(), Disconnect> {
        let mut gathered = std::mem::take(&mut self.gathered);
        self.write(&gathered).await?;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Disconnect> {
        for piece in octets.chunks(UNSENT_BYTES_MAX) {
            match self.deflater() {
                None => self.send(piece).await?,
                Some(deflater) => {
                    let mut compressed = Vec::new();
                    deflater.write(piece, &mut compressed)?;
                    self.send(&compressed).await?;
                }
            }
        }
        Ok(())
    }

    /// A deadline for each piece, so that a peer that takes one octet now and then does not hold us for ever.
    async fn send(&mut self, piece: &[u8]) -> Result<(), Disconnect> {
        if piece.is_empty() {
            return Ok(());
        }
        self.unflushed = true;
        timeout(SEND_TIMEOUT, self.stream.write_all(piece)).await.map_err(|_| Disconnect::Stalled)??;
        Ok(())
    }

    /// From here on both sides compress.
    pub(crate) fn start_compression(&mut self) {
        self.compression =
            Some(Box::new(Compression { deflater: Some(Deflater::default()), ..Compression::default() }));
    }

    /// We compress no more; the peer has stopped, too, after what arrived.
    pub(crate) fn stop_compression(&mut self) {
        if let Some(compression) = &mut self.compression {
            compression.deflater = None;
            compression.kept = None;
            compression.inflater.end();
        }
    }

    /// After how long without input [`Self::rest`] gives something back; `None`: it would not.
    pub(crate) fn rest_after(&self) -> Option<Duration> {
        let at_work = |compression: &Compression| {
            compression.deflater.as_ref().is_some_and(Deflater::is_at_work)
                || compression.inflater.holds_room()
        };
        self.compression.as_deref().is_some_and(at_work).then_some(COMPRESSION_REST)
    }

    /// Gives back what compression holds beside what it must know.
    pub(crate) fn rest(&mut self) {
        if let Some(compression) = &mut self.compression {
            compression.rest();
            compression.inflater.rest();
        }
    }

    fn deflater(&mut self) -> Option<&mut Deflater> {
        self.compression.as_mut()?.deflater.as_mut()
    }

    async fn flush_compressed(&mut self) -> Result<(), Disconnect> {
        let Some(compression) = &mut self.compression else { return Ok(()) };
        let Some(deflater) = compression.deflater.as_mut().filter(|deflater| deflater.is_unflushed()) else {
            return Ok(());
        };
        let mut compressed = Vec::new();
        deflater.flush(&mut compressed)?;
        if compression.kept.is_none() {
            compression.kept = DEFLATERS_KEPT.try_acquire().ok();
        }
        if compression.kept.is_none() {
            compression.rest();
        }
        self.send(&compressed).await
    }

    /// Puts another stream, with TLS, over this one. After an error there is none any more.
    pub(crate) async fn upgrade<T, F>(
        &mut self,
        handshake: impl FnOnce(Box<dyn Stream>) -> F,
    ) -> Result<T, TlsError>
    where
        F: Future<Output = Result<(Box<dyn Stream>, T), TlsError>>,
    {
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let (stream, info) = handshake(plain).await?;
        self.stream = stream;
        self.unflushed = true;
        Ok(info)
    }

    /// Closes our side (with close_notify where TLS is on), then waits a moment for the peer to close its own: input that
    /// nobody read would make the kernel answer with a reset, and the peer could lose our last reply.
    pub(crate) async fn close(&mut self) {
        let orderly = async {
            self.stream.shutdown().await?;
            let mut discarded = 0;
            while !self.ended && discarded < LINGER_BYTES_MAX {
                discarded += self.read(|_| ()).await?;
            }
            Ok::<_, Disconnect>(())
        };
        // The session is over: whether the peer saw a clean end changes nothing here.
        drop(timeout(LINGER_TIMEOUT, orderly).await);
    }
}

impl Compression {
    fn rest(&mut self) {
        if let Some(deflater) = &mut self.deflater {
            deflater.rest();
        }
        self.kept = None;
    }
}

/// Reads once; how many octets that were, 0 at the end of input.
async fn read(
    stream: &mut Box<dyn Stream>,
    ended: &mut bool,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<usize> {
    let length = match poll_fn(|context| poll_read(stream, context, take)).await {
        // Many clients leave TLS without close_notify. Only complete commands are obeyed, so it is an end like any other.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
        read => read?,
    };
    *ended |= length == 0;
    Ok(length)
}

/// The buffer is on the stack, where it costs nothing: a session that waits holds none.
fn poll_read(
    stream: &mut Box<dyn Stream>,
    context: &mut Context<'_>,
    take: &mut impl FnMut(&[u8]),
) -> Poll<io::Result<usize>> {
    let mut octets = [const { MaybeUninit::uninit() }; READ_BYTES_MAX];
    let mut buffer = ReadBuf::uninit(&mut octets);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    if !buffer.filled().is_empty() {
        take(buffer.filled());
    }
    Poll::Ready(Ok(buffer.filled().len()))
}
