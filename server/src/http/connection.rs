//! One connection: agreeing on a protocol, and handing its requests on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::exchange;
use super::guard::{Activity, Guarded, PATIENCE, Running};
use super::record::Exchange;
use super::tls::{self, Tls};
use crate::app::App;
use crate::metrics::Present;

/// Bytes of a request's head, at most; a body is read in pieces no longer than this.
const MAX_BUFFER_BYTES: usize = 256 << 10;

/// Header lines of a request, at most.
const MAX_HEADERS: usize = 100;

/// Bytes of a request's head over HTTP/2, at most.
const MAX_H2_HEADER_BYTES: u32 = 64 << 10;

/// Requests that one HTTP/2 connection may have running. A browser opens a single connection for all of a
/// page's feeds.
const MAX_H2_STREAMS: u32 = 256;

/// Bytes of one request's body that may be on their way, and of all of a connection's.
const H2_STREAM_WINDOW_BYTES: u32 = 256 << 10;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of one answer that may wait for a slow client.
const H2_SEND_BUFFER_BYTES: usize = 256 << 10;

/// Requests that a client may take back before they were looked at, at a time.
const MAX_H2_RESETS: usize = 32;

/// An HTTP/2 connection is asked this often whether its client is still there, and has so long to say so.
const H2_PING_INTERVAL: Duration = Duration::from_secs(60);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a connection's requests have in common.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The other end.
    pub(super) address: SocketAddr,
    /// Whether it is reached over TLS.
    pub(super) tls: bool,
    /// What the connection does at the moment.
    pub(super) activity: Arc<Activity>,
    /// Its place among the connections.
    _place: Arc<(OwnedSemaphorePermit, Present)>,
}

/// The place of a connection that speaks something else than HTTP by now, and may take its time for it.
pub(crate) struct Tunnel {
    _running: Running,
    _peer: Peer,
}

impl Peer {
    /// Goes on with the connection when HTTP is over on it.
    pub(crate) fn into_tunnel(self) -> Tunnel {
        Tunnel { _running: self.activity.begin(), _peer: self }
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    app: Arc<App>,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    place: OwnedSemaphorePermit,
) {
    let activity = Arc::new(Activity::default());
    let present = app.metrics().connections.enter();
    let stream = Guarded::new(stream, Arc::clone(&activity), PATIENCE);
    let peer = Peer { address, tls: tls.is_some(), activity, _place: Arc::new((place, present)) };
    let ended = match tls {
        None => serve_http1(app, stream, peer).await,
        Some(tls) => match tls.accept(stream).await {
            Err(error) => return tracing::debug!(peer = %address, %error, "no TLS was agreed on"),
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(tls::H2) => {
                serve_http2(app, stream, peer).await
            }
            Ok(stream) => serve_http1(app, stream, peer).await,
        },
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "a connection ended early");
    }
}

async fn serve_http1(
    app: Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
) -> hyper::Result<()> {
    // Not `pipeline_flush`: with it hyper takes in all of a streamed body, however slow the client.
    let connection = http1::Builder::new()
        // `Guarded` has the patience.
        .header_read_timeout(None)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service(&app, &peer, None))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = app.stopping() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn serve_http2(
    app: Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
) -> hyper::Result<()> {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_H2_STREAMS)
        .max_header_list_size(MAX_H2_HEADER_BYTES)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_H2_RESETS)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service(&app, &peer, Some(Arc::default())));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = app.stopping() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Answers a connection's requests. From its first one on, an HTTP/2 connection counts as busy (`opened`):
/// frames come at any time on it, without being the beginning of a head.
fn service(
    app: &Arc<App>,
    peer: &Peer,
    opened: Option<Arc<OnceLock<Running>>>,
) -> impl Service<
    hyper::Request<Incoming>,
    Response = hyper::Response<Exchange>,
    Error = Infallible,
    Future = impl Future<Output = Result<hyper::Response<Exchange>, Infallible>> + Send + use<>,
> + Send
+ use<> {
    let (app, peer) = (Arc::clone(app), peer.clone());
    service_fn(move |request| {
        if let Some(opened) = &opened {
            opened.get_or_init(|| peer.activity.begin());
        }
        let (app, peer) = (Arc::clone(&app), peer.clone());
        async move { Ok(exchange::answer(app, peer, request).await) }
    })
}
