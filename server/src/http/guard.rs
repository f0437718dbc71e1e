//! Patience with slow clients: a connection that takes too long over a request's head, or doesn't take
//! what it is sent, is given up.
//!
//! hyper bounds how long a connection may be idle *and* then send a head; an idle connection is cheap and
//! may stay for minutes, but one that has begun a request and dribbles it holds a place that others want.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, from its first byte to its last. That of the first one on a TLS connection
    /// includes agreeing on keys.
    pub(super) head: Duration,
    /// Until it takes something of what waits for it.
    pub(super) write: Duration,
}

/// The patience that clients meet.
pub(super) const PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), write: Duration::from_secs(300) };

/// What a connection does at the moment, as those know who serve it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that are being answered, and tunnels.
    running: AtomicUsize,
}

/// Says that a request is being answered, while it lives.
#[derive(Debug)]
pub(super) struct Running(Arc<Activity>);

impl Activity {
    /// A request has been read and is now answered.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose slow client is given up.
pub(super) struct Guarded<S> {
    stream: S,
    activity: Arc<Activity>,
    patience: Patience,
    /// Runs while a head is being read.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a new connection.
    pub(super) fn new(stream: S, activity: Arc<Activity>, patience: Patience) -> Self {
        Self { stream, activity, patience, head: None, stalled: None }
    }
}

/// Fails when the time set by `timer` is over; `None` sets it.
fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    patience: Duration,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
    match timer.as_mut().poll(context) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.activity.is_idle() {
            this.head = None;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before && this.activity.is_idle() => {
                // The first bytes of a head start the clock; the next ones don't set it back.
                let head = this
                    .head
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(this.patience.head)));
                match head.deadline() <= Instant::now() {
                    true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    false => Poll::Ready(Ok(())),
                }
            }
            Poll::Pending if this.head.is_some() => {
                poll_timer(&mut this.head, this.patience.head, context)
            }
            result => result,
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn poll_output<T>(
        &mut self,
        context: &mut Context<'_>,
        output: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match output(Pin::new(&mut self.stream), context) {
            Poll::Pending => match poll_timer(&mut self.stalled, self.patience.write, context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            ready => {
                self.stalled = None;
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_output(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_output(context, |stream, context| stream.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_output(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_output(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Little, so that tests need not wait long.
    const SHORT: Duration = Duration::from_millis(50);
    const PAUSE: Duration = Duration::from_millis(5);

    fn guarded() -> (DuplexStream, Guarded<DuplexStream>, Arc<Activity>) {
        let (client, server) = duplex(64);
        let activity = Arc::new(Activity::default());
        let patience = Patience { head: SHORT, write: SHORT };
        (client, Guarded::new(server, Arc::clone(&activity), patience), activity)
    }

    /// Reads for ever from a client that sends a byte now and then; returns when it is given up.
    async fn dribble(mut client: DuplexStream, mut server: Guarded<DuplexStream>) -> io::ErrorKind {
        let read = async move {
            let mut bytes = [0; 64];
            loop {
                if let Err(error) = server.read(&mut bytes).await {
                    return error.kind();
                }
            }
        };
        let write = async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::pin!(read);
        tokio::select! { kind = &mut read => kind, () = write => read.await }
    }

    #[tokio::test]
    async fn a_head_that_dribbles_in_is_given_up() {
        let (client, server, _) = guarded();
        assert_eq!(dribble(client, server).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn while_a_request_is_answered_nobody_is_hurried() {
        let (client, server, activity) = guarded();
        let running = activity.begin();
        let dribbling = tokio::time::timeout(4 * SHORT, dribble(client, server));
        assert!(dribbling.await.is_err());
        drop(running);
        assert!(activity.is_idle());
    }

    #[tokio::test]
    async fn an_idle_connection_may_wait_and_one_that_takes_nothing_may_not() {
        let (mut client, mut server, _) = guarded();
        let mut byte = [0];
        let idle = tokio::time::timeout(4 * SHORT, server.read(&mut byte));
        assert!(idle.await.is_err(), "before the first byte of a head there is no hurry");
        let error = server.write_all(&[7; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        client.read_exact(&mut byte).await.unwrap();
    }
}
