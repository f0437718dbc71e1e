//! Patience with slow clients: a connection that takes too long over a request's head, doesn't take what it is
//! sent, or has had nothing to say for long, is given up.
//!
//! hyper could bound how long a connection may be idle *and* then send a head; an idle connection is cheap and
//! may stay for minutes, but one that has begun a request and dribbles it holds a place that others want. Also,
//! hyper's timer is made, registered and taken back for every request. Here one timer serves a connection for
//! all its life: it may ring too early, and then is set anew.

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
    /// Between an answer and the next request. CouchDB closes idle connections after five minutes.
    pub(super) idle: Duration,
}

/// The patience that clients meet.
pub(super) const PATIENCE: Patience = Patience {
    head: Duration::from_secs(30),
    write: Duration::from_secs(300),
    idle: Duration::from_secs(300),
};

/// What a connection does at the moment, as those know who serve it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that are being answered, and tunnels.
    running: AtomicUsize,
    /// How many there have been. One may be answered between two reads, which then find nothing running.
    begun: AtomicUsize,
}

/// Says that a request is being answered, while it lives.
#[derive(Debug)]
pub(super) struct Running(Arc<Activity>);

impl Activity {
    /// A request has been read and is now answered.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
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

/// What a client owes, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// Nothing: its request is being answered.
    Nothing,
    /// Another request, if it likes.
    Request(Instant),
    /// The rest of a head; by when, is set when it first has to be waited for.
    Head(Option<Instant>),
}

/// A stream whose slow client is given up.
pub(super) struct Guarded<S> {
    stream: S,
    activity: Arc<Activity>,
    patience: Patience,
    owed: Owed,
    /// Requests that had begun when that was said.
    begun: usize,
    /// Rings when what is owed is due, or earlier.
    due: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a new connection.
    pub(super) fn new(stream: S, activity: Arc<Activity>, patience: Patience) -> Self {
        Self { stream, activity, patience, owed: Owed::Nothing, begun: 0, due: None, stalled: None }
    }

    /// Takes note of bytes that came; fails if they are part of a head and came too late.
    fn received(&mut self) -> io::Result<()> {
        match self.owed {
            Owed::Head(Some(until)) if until <= Instant::now() => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Owed::Head(_) => Ok(()),
            _ => {
                self.owed = Owed::Head(None);
                Ok(())
            }
        }
    }

    /// Until when to wait for what is owed now that there is nothing to be read.
    fn deadline(&mut self) -> Instant {
        match self.owed {
            Owed::Request(until) | Owed::Head(Some(until)) => until,
            Owed::Head(None) => {
                let until = Instant::now() + self.patience.head;
                self.owed = Owed::Head(Some(until));
                until
            }
            Owed::Nothing => {
                let until = Instant::now() + self.patience.idle;
                self.owed = Owed::Request(until);
                until
            }
        }
    }

    /// Ready when what is owed is due.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let until = self.deadline();
        let due = self.due.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if due.deadline() > until {
            due.as_mut().reset(until);
        }
        while due.as_mut().poll(context).is_ready() {
            if due.deadline() >= until {
                return Poll::Ready(());
            }
            // It was set for something that has come meanwhile.
            due.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let (is_idle, begun) = (this.activity.is_idle(), this.activity.begun());
        if !is_idle || begun != this.begun {
            this.owed = Owed::Nothing;
            this.begun = begun;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) if is_idle && buffer.filled().len() > before => {
                Poll::Ready(this.received())
            }
            Poll::Pending if is_idle => match (this.poll_due(context), this.owed) {
                (Poll::Pending, _) => Poll::Pending,
                // As if the client had closed an idle connection itself.
                (Poll::Ready(()), Owed::Request(_)) => Poll::Ready(Ok(())),
                (Poll::Ready(()), _) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            },
            result => result,
        }
    }
}

/// Fails when the time that a client may take to accept something is over; `None` begins it.
fn poll_stalled(
    timer: &mut Option<Pin<Box<Sleep>>>,
    patience: Duration,
    context: &mut Context<'_>,
) -> Poll<io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
    timer.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn poll_output<T>(
        &mut self,
        context: &mut Context<'_>,
        output: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match output(Pin::new(&mut self.stream), context) {
            Poll::Pending => poll_stalled(&mut self.stalled, self.patience.write, context).map(Err),
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
        let patience = Patience { head: SHORT, write: SHORT, idle: 8 * SHORT };
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

    /// A regression: after a request that was answered between two reads, its head was still waited for, so that
    /// a connection in use ended when the patience with that was over.
    #[tokio::test]
    async fn requests_that_are_answered_at_once_leave_no_head_behind() {
        let (mut client, mut server, activity) = guarded();
        let mut byte = [0];
        for _ in 0..8 {
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut byte).await.unwrap(), 1);
            drop(activity.begin());
            let idle = tokio::time::timeout(SHORT / 2, server.read(&mut byte));
            assert!(idle.await.is_err());
        }
        let idle = tokio::time::timeout(3 * SHORT, server.read(&mut byte));
        assert!(idle.await.is_err(), "between requests there is no hurry");
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read(&mut byte).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_idle_connection_ends_as_if_its_client_had_closed_it() {
        let (mut client, mut server, activity) = guarded();
        let mut byte = [0];
        // The time between two requests counts from the end of the first.
        for _ in 0..3 {
            let wait = tokio::time::timeout(6 * SHORT, server.read(&mut byte));
            assert!(wait.await.is_err());
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut byte).await.unwrap(), 1);
            let running = activity.begin();
            let meanwhile = tokio::time::timeout(PAUSE, server.read(&mut byte));
            assert!(meanwhile.await.is_err());
            drop(running);
        }
        assert_eq!(server.read(&mut byte).await.unwrap(), 0);
    }
}
