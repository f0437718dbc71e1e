//! Bodies of answers, and how they are produced with back-pressure.
//!
//! A scan runs on a blocking thread and writes into a [`BlockingWriter`]; a feed that waits for
//! changes is a task that writes into an [`AsyncWriter`]. Both hand buffers to the connection
//! through a short bounded channel, so that a slow client slows the producer down and memory
//! stays at a few buffers for each answer. A client that goes away makes the next write fail with
//! [`ClientGone`].

use std::fmt;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

use super::Failure;

/// The size at which a producer's buffer is handed on, in bytes.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Stored bytes that are read in one turn on a blocking thread.
const PIECE_BYTES: usize = 128 << 10;

/// Answers that may be produced at a time. Each holds a blocking thread while its client is slow, so
/// there must be more threads than this, or slow readers would keep writers from theirs.
pub const MAX_PRODUCERS: usize = 384;

static PRODUCERS: Semaphore = Semaphore::const_new(MAX_PRODUCERS);

/// Buffers that may wait for a slow client.
const BUFFERS_IN_FLIGHT: usize = 2;

/// How long a client may leave a full buffer lying before its answer is given up, and the thread
/// that produces it goes back to work.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes a streamed answer may be gathered to when the client asked for a buffered one
/// (`buffer_response=true`); beyond it streams all the same.
const MAX_BUFFERED_RESPONSE_BYTES: usize = 64 << 20;

/// The client hung up, or its connection failed: nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientGone;

impl fmt::Display for ClientGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client closed the connection")
    }
}

impl std::error::Error for ClientGone {}

impl From<ClientGone> for io::Error {
    fn from(gone: ClientGone) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, gone)
    }
}

/// Why a body breaks off after its beginning was sent. The connection is closed mid-chunk, so
/// that no client takes the part for the whole.
#[derive(Debug)]
pub struct Abort(Failure);

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer broke off: {}", self.0)
    }
}

impl std::error::Error for Abort {}

/// The body of an answer.
pub enum ReplyBody {
    /// All of it at once.
    Whole(Bytes),
    /// Some at first, then what comes through the channel; the length is given if known.
    Stream(StreamBody),
}

/// The receiving end of a produced body.
pub struct StreamBody {
    first: Option<Bytes>,
    rest: Receiver,
    remaining: Option<u64>,
    /// What follows the last piece, unless the body breaks off.
    after: Option<Bytes>,
}

/// What goes through the channel.
struct Piece {
    bytes: Bytes,
    /// Whether its producer knows that nothing follows.
    last: bool,
}

type Sender = mpsc::Sender<Result<Piece, Abort>>;

/// The channel's end. A producer that panics or gives up just drops its sender, which looks like
/// the end of the body; whether it was the end stands in `complete`.
struct Receiver {
    pieces: mpsc::Receiver<Result<Piece, Abort>>,
    complete: Arc<AtomicBool>,
}

impl Receiver {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Abort>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        // Told once: whoever goes on reading after the failure gets the end.
        if piece.is_none() && !self.complete.swap(true, Ordering::Acquire) {
            let failure = Failure::internal("the request failed inside the server");
            return Poll::Ready(Some(Err(Abort(failure))));
        }
        Poll::Ready(piece)
    }

    async fn next(&mut self) -> Option<Result<Piece, Abort>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}

fn pieces() -> (Sender, Arc<AtomicBool>, Receiver) {
    let (sender, pieces) = mpsc::channel(BUFFERS_IN_FLIGHT);
    let complete = Arc::new(AtomicBool::new(false));
    (sender, Arc::clone(&complete), Receiver { pieces, complete })
}

impl ReplyBody {
    /// The number of bytes, if it is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.remaining,
        }
    }

    /// The same body with bytes before it, and others in place of its final newline, or behind it where it
    /// streams.
    #[must_use]
    pub(super) fn between(self, before: Bytes, after: Bytes) -> Self {
        match self {
            Self::Whole(bytes) => {
                Self::Whole([&before, bytes.trim_ascii_end(), &after].concat().into())
            }
            Self::Stream(mut stream) => {
                let added = (before.len() + after.len()) as u64;
                let first = stream.first.take().unwrap_or_default();
                stream.first = Some([before, first].concat().into());
                stream.after = Some(after);
                stream.remaining = stream.remaining.map(|remaining| remaining + added);
                Self::Stream(stream)
            }
        }
    }

    /// Whether there are certainly no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Declares the exact number of bytes that a stream will have, so that the answer carries
    /// `Content-Length` instead of being chunked. A producer that then delivers another number
    /// makes the connection fail, never a wrong answer.
    #[must_use]
    pub fn with_len(mut self, len: u64) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.remaining = Some(len);
        }
        self
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl StreamBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => {
                let piece = std::task::ready!(self.rest.poll(context));
                piece.map(|piece| piece.map(|piece| piece.bytes))
            }
        };
        let next = match next {
            Some(next) => next,
            None => match self.after.take() {
                Some(after) => Ok(after),
                None => return Poll::Ready(None),
            },
        };
        if next.is_err() {
            self.after = None;
        }
        Poll::Ready(Some(next.and_then(|bytes| self.count(bytes)).map(Frame::data)))
    }

    /// Holds the producer to the length it has declared; too few bytes are noticed by hyper.
    fn count(&mut self, bytes: Bytes) -> Result<Bytes, Abort> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(bytes.len() as u64).ok_or_else(|| {
                Abort(Failure::internal("an answer became longer than it was declared"))
            })?;
        }
        Ok(bytes)
    }
}

/// Where a blocking producer writes. Bytes are gathered into buffers of [`BUFFER_BYTES`]; a write
/// that fills one blocks until the client has taken an earlier one.
pub struct BlockingWriter {
    buffer: Vec<u8>,
    sender: Sender,
    complete: Arc<AtomicBool>,
}

impl BlockingWriter {
    /// The buffer, to be written into directly; call [`Self::spill`] after each row.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands the buffer on if it is full.
    ///
    /// # Errors
    ///
    /// When the client is gone; the producer should stop.
    pub fn spill(&mut self) -> Result<(), ClientGone> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Whether the client is still there, for producers that find nothing to write.
    pub fn is_read(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// When the client is gone; the producer should stop.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), ClientGone> {
        self.buffer.extend_from_slice(bytes);
        self.spill()
    }

    /// Hands on what there is, full or not.
    ///
    /// # Errors
    ///
    /// When the client is gone; the producer should stop.
    pub fn flush(&mut self) -> Result<(), ClientGone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 8);
        let full = std::mem::replace(&mut self.buffer, next);
        self.send(full, false)
    }

    fn send(&self, bytes: Vec<u8>, last: bool) -> Result<(), ClientGone> {
        let piece = Ok(Piece { bytes: Bytes::from(bytes), last });
        match self.sender.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(ClientGone),
            Err(TrySendError::Full(piece)) => {
                // This is a thread for waiting, and the client may be slow, but not for ever.
                let sent = self.sender.send_timeout(piece, STALL_TIMEOUT);
                Handle::current().block_on(sent).map_err(|_| ClientGone)
            }
        }
    }

    /// Ends the body, as it should or with a failure.
    pub fn finish(mut self, result: Result<(), Failure>) {
        let sent = match result {
            Ok(()) => {
                let rest = std::mem::take(&mut self.buffer);
                let sent = self.send(rest, true);
                self.complete.store(sent.is_ok(), Ordering::Release);
                sent
            }
            Err(failure) => self.sender.blocking_send(Err(Abort(failure))).map_err(|_| ClientGone),
        };
        if sent.is_err() {
            tracing::debug!("the client hung up before the end of a streamed answer");
        }
    }
}

impl io::Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Self::flush(self)?)
    }
}

/// The body that consists of what is read from `bytes`, for contents that are read off as they are,
/// such as attachments.
///
/// A thread is held only while a piece is read, never while the client takes it: any number of slow
/// downloads cost some memory each, but no threads. A failure to read the first piece is returned
/// as such; a later one breaks the connection.
///
/// # Errors
///
/// When the first piece can't be read.
pub async fn read_off(bytes: impl io::Read + Send + 'static) -> Result<ReplyBody, Failure> {
    let (bytes, first) = read_piece(bytes).await?;
    if first.len() < PIECE_BYTES {
        return Ok(ReplyBody::Whole(Bytes::from(first)));
    }
    let (writer, body) = channel();
    tokio::spawn(read_on(bytes, first, writer));
    Ok(body)
}

/// Sends a piece and what follows it.
async fn read_on(mut bytes: impl io::Read + Send + 'static, first: Vec<u8>, writer: AsyncWriter) {
    let mut piece = first;
    loop {
        let last = piece.len() < PIECE_BYTES;
        let sent = tokio::time::timeout(STALL_TIMEOUT, writer.send(piece)).await;
        match sent {
            Ok(Ok(())) if !last => {}
            Ok(Ok(())) => return,
            Ok(Err(ClientGone)) | Err(_) => {
                tracing::debug!("the client hung up before the end of a streamed answer");
                return writer.give_up();
            }
        }
        match read_piece(bytes).await {
            Ok((rest, next)) => (bytes, piece) = (rest, next),
            Err(failure) => return writer.abort(failure).await,
        }
    }
}

/// Reads as much as there is, up to [`PIECE_BYTES`].
async fn read_piece<R: io::Read + Send + 'static>(mut bytes: R) -> Result<(R, Vec<u8>), Failure> {
    let read = tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        bytes.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        Ok::<_, io::Error>((bytes, piece))
    });
    let failed = |cause: String| Failure::internal(format!("reading stored bytes failed: {cause}"));
    read.await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

/// Runs `produce` on a blocking thread and returns the body it writes, as soon as its first
/// buffer is there (or was flushed). A failure before that is returned as such, so that it still
/// decides the status; a failure after it breaks the connection.
///
/// What `produce` does about a [`ClientGone`] is its own affair: nobody will see it.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use settee_server::http::stream;
///
/// let body = stream::produce(|out| {
///     for n in 0..3 {
///         if out.put(format!("{n}\n").as_bytes()).is_err() {
///             break;
///         }
///     }
///     Ok(())
/// });
/// assert_eq!(body.await.unwrap().len(), Some(6));
/// # });
/// ```
///
/// # Errors
///
/// What `produce` returned, if it wrote less than a buffer before.
pub async fn produce(
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> Result<ReplyBody, Failure> {
    start(spawn_producer(produce).await, 0).await
}

/// As [`produce`], but holds the answer back until it is complete (or past 64 MiB), as
/// `buffer_response=true` asks, so that a late failure still decides the status.
///
/// # Errors
///
/// What `produce` returned.
pub async fn produce_buffered(
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> Result<ReplyBody, Failure> {
    start(spawn_producer(produce).await, MAX_BUFFERED_RESPONSE_BYTES).await
}

/// As [`produce`], for producers that hand the writer on; they end it with [`BlockingWriter::finish`].
///
/// # Errors
///
/// What the writer was ended with, if less than a buffer was written before.
pub async fn produce_owned(
    produce: impl FnOnce(BlockingWriter) + Send + 'static,
) -> Result<ReplyBody, Failure> {
    start(spawn_owned(produce).await, 0).await
}

async fn spawn_producer(
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> Receiver {
    let owned = move |mut writer: BlockingWriter| {
        let result = produce(&mut writer);
        writer.finish(result);
    };
    spawn_owned(owned).await
}

async fn spawn_owned(produce: impl FnOnce(BlockingWriter) + Send + 'static) -> Receiver {
    let (sender, complete, receiver) = pieces();
    // The semaphore is never closed, so there is always a permit to wait for.
    let permit = PRODUCERS.acquire().await;
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        let _permit = permit;
        produce(BlockingWriter { buffer: Vec::new(), sender, complete });
    });
    receiver
}

/// Gathers at least `hold` bytes (and one buffer) before the answer begins.
async fn start(mut rest: Receiver, hold: usize) -> Result<ReplyBody, Failure> {
    let mut held = Bytes::new();
    loop {
        let piece = match rest.next().await {
            None => return Ok(ReplyBody::Whole(held)),
            Some(Err(Abort(failure))) => return Err(failure),
            Some(Ok(piece)) => piece,
        };
        held = if held.is_empty() {
            piece.bytes
        } else {
            let mut gathered = Vec::from(held);
            gathered.extend_from_slice(&piece.bytes);
            Bytes::from(gathered)
        };
        if piece.last {
            return Ok(ReplyBody::Whole(held));
        }
        if held.len() >= hold {
            break;
        }
    }
    Ok(ReplyBody::Stream(StreamBody { first: Some(held), rest, remaining: None, after: None }))
}

/// Where a task writes that waits for other things than the client, such as a continuous feed.
pub struct AsyncWriter {
    sender: Sender,
    complete: Arc<AtomicBool>,
    given_up: bool,
}

impl AsyncWriter {
    /// Hands bytes on, waiting while the client has earlier ones to take.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ClientGone> {
        let piece = Piece { bytes: bytes.into(), last: false };
        self.sender.send(Ok(piece)).await.map_err(|_| ClientGone)
    }

    /// Breaks the answer off: the connection is closed mid-chunk.
    pub async fn abort(self, failure: Failure) {
        // A client that is gone already has its answer broken off.
        drop(self.sender.send(Err(Abort(failure))).await);
    }

    /// Leaves the answer incomplete without a word to a client that takes none: whatever it reads
    /// in the end breaks off.
    pub(crate) fn give_up(mut self) {
        self.given_up = true;
    }

    /// Resolves when the client has gone away, so that a waiting feed can end.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }
}

impl Drop for AsyncWriter {
    fn drop(&mut self) {
        let complete = !self.given_up && !std::thread::panicking();
        self.complete.store(complete, Ordering::Release);
    }
}

/// A body that is written by whoever holds the writer, and ends when that is dropped. The answer's headers go out at once.
pub fn channel() -> (AsyncWriter, ReplyBody) {
    let (sender, complete, rest) = pieces();
    let body = ReplyBody::Stream(StreamBody { first: None, rest, remaining: None, after: None });
    (AsyncWriter { sender, complete, given_up: false }, body)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// The body's bytes, or `None` when it broke off.
    async fn read(body: ReplyBody) -> Option<Vec<u8>> {
        body.collect().await.ok().map(|all| all.to_bytes().to_vec())
    }

    /// Writes so many bytes, then ends like this.
    async fn produced(
        bytes: usize,
        end: fn() -> Result<(), Failure>,
    ) -> Result<ReplyBody, Failure> {
        produce(move |out| {
            for _ in 0..bytes / 1000 {
                out.put(&[7; 1000]).unwrap();
            }
            end()
        })
        .await
    }

    #[tokio::test]
    async fn short_answers_have_a_length_and_long_ones_stream() {
        let short = produced(5000, || Ok(())).await.unwrap();
        assert_eq!(short.len(), Some(5000));
        let long = produced(1_000_000, || Ok(())).await.unwrap();
        assert_eq!(long.len(), None);
        assert_eq!(read(long).await.unwrap().len(), 1_000_000);
        assert!(produced(0, || Ok(())).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn stored_bytes_are_read_off_whole() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let body = read_off(io::Cursor::new(bytes.clone())).await.unwrap();
            assert_eq!(body.len().is_some(), length < PIECE_BYTES, "{length}");
            assert_eq!(read(body).await.unwrap(), bytes, "{length}");
        }
    }

    #[tokio::test]
    async fn bytes_that_cannot_be_read_fail_at_once_or_break_off() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("damaged"))
            }
        }
        let after = |length: usize| io::Cursor::new(vec![7; length]).chain(Broken);
        assert_eq!(read_off(after(10)).await.unwrap_err().status(), 500);
        assert_eq!(read(read_off(after(3 * PIECE_BYTES)).await.unwrap()).await, None);
    }

    #[tokio::test]
    async fn early_failures_decide_the_status_and_late_ones_break_off() {
        let fail = || Err(Failure::not_found("missing"));
        assert_eq!(produced(5000, fail).await.unwrap_err().status(), 404);
        assert_eq!(read(produced(1_000_000, fail).await.unwrap()).await, None);
        let held = produce_buffered(|out| {
            out.put(&[7; 1_000_000]).unwrap();
            Err(Failure::not_found("missing"))
        });
        assert_eq!(held.await.unwrap_err().status(), 404);
    }

    #[tokio::test]
    async fn a_panic_is_never_taken_for_the_end() {
        let panicking = || panic!("expected by this test");
        assert_eq!(produced(5000, panicking).await.unwrap_err().status(), 500);
        assert_eq!(read(produced(1_000_000, panicking).await.unwrap()).await, None);
        let (writer, body) = channel();
        tokio::spawn(async move {
            writer.send("some").await.unwrap();
            panic!("expected by this test");
        });
        assert_eq!(read(body).await, None);
    }

    #[tokio::test]
    async fn producers_stop_when_the_client_goes() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let body = produce(move |out| {
            while out.put(&[7; 1000]).is_ok() {}
            tell.send(()).unwrap();
            Ok(())
        });
        drop(body.await.unwrap());
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_body_longer_than_declared_breaks_off() {
        let (writer, body) = channel();
        let body = body.with_len(3);
        tokio::spawn(async move {
            writer.send("ab").await.unwrap();
            let _ = writer.send("cd").await;
        });
        assert_eq!(read(body).await, None);
    }
}
