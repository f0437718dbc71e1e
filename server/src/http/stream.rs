//! Bodies of answers, and how they are produced with back-pressure.
//!
//! A scan runs on a blocking thread and writes into a [`BlockingWriter`]; a feed that waits for
//! changes is a task that writes into an [`AsyncWriter`]. Both hand buffers to the connection
//! through a short bounded channel, so that a slow client slows the producer down and memory
//! stays at a few buffers for each answer. A client that goes away makes the next write fail with
//! [`ClientGone`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::Failure;

/// The size at which a producer's buffer is handed on, in bytes.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Buffers that may wait for a slow client.
const BUFFERS_IN_FLIGHT: usize = 2;

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
    rest: mpsc::Receiver<Result<Bytes, Abort>>,
    remaining: Option<u64>,
}

impl ReplyBody {
    /// The number of bytes, if it is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.remaining,
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
            None => std::task::ready!(self.rest.poll_recv(context)),
        };
        if let (Some(Ok(bytes)), Some(remaining)) = (&next, &mut self.remaining) {
            *remaining = remaining.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(next.map(|result| result.map(Frame::data)))
    }
}

/// Where a blocking producer writes. Bytes are gathered into buffers of [`BUFFER_BYTES`]; a write
/// that fills one blocks until the client has taken an earlier one.
pub struct BlockingWriter {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, Abort>>,
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
        self.sender.blocking_send(Ok(Bytes::from(full))).map_err(|_| ClientGone)
    }

    fn finish(mut self, result: Result<(), Failure>) {
        let sent = match result {
            Ok(()) => self.flush(),
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
    start(spawn_producer(produce), 0).await
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
    start(spawn_producer(produce), MAX_BUFFERED_RESPONSE_BYTES).await
}

fn spawn_producer(
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> mpsc::Receiver<Result<Bytes, Abort>> {
    let (sender, receiver) = mpsc::channel(BUFFERS_IN_FLIGHT);
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        let mut writer = BlockingWriter { buffer: Vec::new(), sender };
        let result = produce(&mut writer);
        writer.finish(result);
    });
    receiver
}

/// Gathers at least `hold` bytes (and one buffer) before the answer begins.
async fn start(
    mut rest: mpsc::Receiver<Result<Bytes, Abort>>,
    hold: usize,
) -> Result<ReplyBody, Failure> {
    let mut held = match rest.recv().await {
        None => return Ok(ReplyBody::Whole(Bytes::new())),
        Some(Err(Abort(failure))) => return Err(failure),
        Some(Ok(first)) => first,
    };
    if hold > 0 {
        let mut gathered = Vec::from(held);
        while gathered.len() < hold {
            match rest.recv().await {
                None => return Ok(ReplyBody::Whole(Bytes::from(gathered))),
                Some(Err(Abort(failure))) => return Err(failure),
                Some(Ok(more)) => gathered.extend_from_slice(&more),
            }
        }
        held = Bytes::from(gathered);
    } else if rest.is_closed() && rest.is_empty() {
        return Ok(ReplyBody::Whole(held));
    }
    Ok(ReplyBody::Stream(StreamBody { first: Some(held), rest, remaining: None }))
}

/// Where a task writes that waits for other things than the client, such as a continuous feed.
#[derive(Clone)]
pub struct AsyncWriter {
    sender: mpsc::Sender<Result<Bytes, Abort>>,
}

impl AsyncWriter {
    /// Hands bytes on, waiting while the client has earlier ones to take.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ClientGone> {
        self.sender.send(Ok(bytes.into())).await.map_err(|_| ClientGone)
    }

    /// Breaks the answer off: the connection is closed mid-chunk.
    pub async fn abort(self, failure: Failure) {
        // A client that is gone already has its answer broken off.
        drop(self.sender.send(Err(Abort(failure))).await);
    }

    /// Resolves when the client has gone away, so that a waiting feed can end.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }

    /// The same channel for a blocking producer, which may then write a batch of rows into it.
    pub fn blocking(&self) -> BlockingWriter {
        BlockingWriter { buffer: Vec::new(), sender: self.sender.clone() }
    }
}

/// A body that is written by whoever holds the writer, and ends when the last clone of it is
/// dropped. The answer's headers go out at once.
pub fn channel() -> (AsyncWriter, ReplyBody) {
    let (sender, rest) = mpsc::channel(BUFFERS_IN_FLIGHT);
    (AsyncWriter { sender }, ReplyBody::Stream(StreamBody { first: None, rest, remaining: None }))
}
