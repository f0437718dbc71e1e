//! Listening, taking connections, and coming to an end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::tls::{Tls, TlsError};
use super::{connection, metrics_port};
use crate::app::App;

/// Connections the system holds for us until they are accepted.
const BACKLOG: u32 = 1024;

/// How long requests that run when the server stops may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the system refused to accept a connection, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Clients beyond the most that are served, who are told so at the same time; more are just cut off.
const MAX_TURNED_AWAY: usize = 64;

/// How long telling one of them may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// What they are told.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 94\r\n\r\n\
    {\"error\":\"too_many_connections\",\"reason\":\"the server has as many connections as it may have\"}\n";

/// The server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be had.
    #[error("cannot listen on {address}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server that listens, and serves once it is run.
pub struct Server {
    app: Arc<App>,
    listeners: Vec<Listener>,
    metrics: Vec<TcpListener>,
    max_connections: usize,
}

/// One address.
struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Listens on an address; port 0 takes any free one, see [`App::address`]. Of all addresses together,
    /// `max_connections` are served at a time; more are answered with 503.
    ///
    /// # Errors
    ///
    /// When the address is in use or isn't this machine's.
    pub fn bind(
        app: Arc<App>,
        address: SocketAddr,
        max_connections: usize,
    ) -> Result<Self, ServeError> {
        let socket = listen(address)?;
        app.listens_on(socket.local_addr().unwrap_or(address));
        let listeners = vec![Listener { socket, tls: None }];
        Ok(Self { app, listeners, metrics: Vec::new(), max_connections })
    }

    /// Listens for TLS, too, on the port and with the certificate of `[ssl]`; returns the address, or
    /// `None` when `[ssl]` is off.
    ///
    /// # Errors
    ///
    /// When the address can't be had, or the certificate and its key can't be used.
    pub fn bind_tls(&mut self, mut address: SocketAddr) -> Result<Option<SocketAddr>, ServeError> {
        let Some(settings) = self.app.settings().network.tls.clone() else { return Ok(None) };
        address.set_port(settings.port);
        let tls = Tls::load(&settings)?;
        let socket = listen(address)?;
        address = socket.local_addr().unwrap_or(address);
        self.listeners.push(Listener { socket, tls: Some(tls) });
        Ok(Some(address))
    }

    /// Listens for those who collect metrics, too, at the address of `[prometheus]`: it asks for no
    /// credentials, and gives nothing else. Returns the address, or `None` when that is off.
    ///
    /// # Errors
    ///
    /// When the address can't be had.
    pub fn bind_metrics(
        &mut self,
        address: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, ServeError> {
        let Some(address) = address else { return Ok(None) };
        let socket = listen(address)?;
        let address = socket.local_addr().unwrap_or(address);
        self.metrics.push(socket);
        Ok(Some(address))
    }

    /// Serves until `stop` resolves; then takes no more connections, lets running requests finish
    /// (for ten seconds at most) and returns. Feeds that wait for changes end at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        // Every connection holds a sender: when the last is gone, nothing is received any more.
        let (served, mut last) = mpsc::channel::<()>(1);
        let hall = Hall {
            app: Arc::clone(&self.app),
            places: Arc::new(Semaphore::new(self.max_connections)),
            turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
            served,
        };
        let mut taking = Vec::new();
        for listener in self.listeners {
            if let Some(tls) = &listener.tls {
                tokio::spawn(Arc::clone(tls).follow(Arc::clone(&self.app)));
            }
            taking.push(tokio::spawn(hall.clone().take(listener)));
        }
        for socket in self.metrics {
            taking.push(tokio::spawn(metrics_port::take(Arc::clone(&self.app), socket)));
        }
        drop(hall);
        stop.await;
        taking.iter().for_each(tokio::task::JoinHandle::abort);
        for task in taking {
            // Aborted: it has let go of its socket.
            drop(task.await);
        }
        self.app.stop();
        if tokio::time::timeout(STOP_TIMEOUT, last.recv()).await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // A server that was just stopped leaves connections behind that would hold the address.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| ServeError::Address { address, source })
}

/// Where connections arrive.
#[derive(Clone)]
struct Hall {
    app: Arc<App>,
    places: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    served: mpsc::Sender<()>,
}

impl Hall {
    /// Takes connections for ever.
    async fn take(self, listener: Listener) {
        loop {
            let (stream, address) = accept(&listener.socket).await;
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => self.serve(stream, address, listener.tls.clone(), place),
                Err(_) => self.turn_away(stream, listener.tls.is_none()),
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        place: OwnedSemaphorePermit,
    ) {
        let (app, served) = (Arc::clone(&self.app), self.served.clone());
        tokio::spawn(async move {
            connection::serve(app, stream, address, tls, place).await;
            drop(served);
        });
    }

    /// Tells a client that there is no place for it, as long as few are told so; with TLS there is no way
    /// to say so that is cheap.
    fn turn_away(&self, mut stream: TcpStream, plain: bool) {
        self.app.metrics().turned_away.add();
        if self.turned_away.available_permits() == MAX_TURNED_AWAY {
            tracing::warn!(
                "clients are turned away: there are as many connections as there may be"
            );
        }
        let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() else { return };
        if !plain {
            return;
        }
        tokio::spawn(async move {
            let goodbye = async {
                stream.write_all(TOO_MANY.as_bytes()).await?;
                stream.shutdown().await?;
                // Closed with its request unread, the connection would be reset, and the answer lost.
                let mut unread = [0; 1024];
                while stream.read(&mut unread).await? > 0 {}
                io::Result::Ok(())
            };
            // Whoever doesn't listen goes without.
            drop(tokio::time::timeout(TURN_AWAY_TIMEOUT, goodbye).await);
            drop(permit);
        });
    }
}

/// The next connection. A failed accept concerns one connection or a passing want of
/// descriptors; neither is a reason to stop.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // An answer goes out in one write: there is nothing to wait for.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was refused");
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TOO_MANY;

    #[test]
    fn the_refusal_has_the_length_it_says() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
