//! Listening, connections, and coming to an end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::exchange;
use crate::app::App;

/// Connections the system holds for us until they are accepted.
const BACKLOG: u32 = 1024;

/// How long a connection may take to send a request's head, an idle one included. As CouchDB,
/// which closes idle connections after five minutes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of a request's head, at most; a body is read in pieces no longer than this.
const MAX_BUFFER_BYTES: usize = 256 << 10;

/// How long requests that run when the server stops may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the system refused to accept a connection, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ServeError {
    /// Which one.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A server that listens, and serves once it is run.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    max_connections: usize,
}

impl Server {
    /// Listens on an address; port 0 takes any free one, see [`App::address`]. Connections beyond
    /// `max_connections` wait to be accepted.
    ///
    /// # Errors
    ///
    /// When the address is in use or isn't this machine's.
    pub fn bind(
        app: Arc<App>,
        address: SocketAddr,
        max_connections: usize,
    ) -> Result<Self, ServeError> {
        let listener = listen(address).map_err(|source| ServeError { address, source })?;
        app.listens_on(listener.local_addr().unwrap_or(address));
        Ok(Self { app, listener, max_connections })
    }

    /// Serves until `stop` resolves; then takes no more connections, lets running requests finish
    /// (for ten seconds at most) and returns. Feeds that wait for changes end at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let connections = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.max_connections));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_BUFFER_BYTES);
        // Not `pipeline_flush`: with it hyper takes in all of a streamed body, however slow the client.
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                () = &mut stop => break,
            };
            let (stream, peer, permit) = accepted;
            let app = Arc::clone(&self.app);
            let service = service_fn(move |request| {
                let app = Arc::clone(&app);
                async move { Ok::<_, Infallible>(exchange::answer(app, peer, request).await) }
            });
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        self.app.stop();
        if tokio::time::timeout(STOP_TIMEOUT, connections.shutdown()).await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A server that was just stopped leaves connections behind that would hold the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection. A failed accept concerns one connection or a passing want of
/// descriptors; neither is a reason to stop.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<Permit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // An answer goes out in one write: there is nothing to wait for.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was refused");
                }
                return (stream, peer, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
