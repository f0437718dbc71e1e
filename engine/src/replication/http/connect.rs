//! Connections: directly or through a proxy, with TLS or without.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tower_service::Service;

use crate::replication::endpoint::Proxy;

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The name has no address.
    Name(String),
    /// Everything else.
    Other(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Name(host) => write!(f, "the name {host} has no address"),
            ConnectError::Other(problem) => f.write_str(problem),
        }
    }
}

impl StdError for ConnectError {}

fn other(problem: impl fmt::Display) -> ConnectError {
    ConnectError::Other(problem.to_string())
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send>>;

/// Connects to where a URI says, with TLS if it says so.
#[derive(Clone)]
struct Dial {
    tls: Arc<ClientConfig>,
}

impl Dial {
    async fn dial(self, uri: Uri) -> Result<Box<dyn Io>, ConnectError> {
        let tcp = tcp(&uri).await?;
        match uri.scheme_str() {
            Some("https") => Ok(Box::new(secure(self.tls, &uri, tcp).await?.0)),
            _ => Ok(Box::new(tcp)),
        }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.dial(uri).await.map(TokioIo::new) })
    }
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

async fn tcp(uri: &Uri) -> Result<TcpStream, ConnectError> {
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some("socks5") => 1080,
        _ => 80,
    };
    let port = uri.port_u16().unwrap_or(default_port);
    let host = host(uri);
    let addresses =
        lookup_host((host, port)).await.map_err(|_| ConnectError::Name(host.to_owned()))?;
    let mut problem = ConnectError::Name(host.to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it a small request would wait for the answer to the one before.
                stream.set_nodelay(true).map_err(other)?;
                return Ok(stream);
            }
            Err(error) => problem = other(format!("{address}: {error}")),
        }
    }
    Err(problem)
}

/// Puts TLS over a stream; says whether HTTP/2 was agreed on.
async fn secure<S: Io + 'static>(
    tls: Arc<ClientConfig>,
    uri: &Uri,
    stream: S,
) -> Result<(impl Io + 'static, bool), ConnectError> {
    let name = ServerName::try_from(host(uri).to_owned()).map_err(other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(other)?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, is_h2))
}

/// How servers are reached.
#[derive(Clone)]
enum Route {
    Direct,
    Http { proxy: Uri, authorization: Option<HeaderValue> },
    Socks { proxy: Uri, credentials: Option<(String, String)> },
}

/// Makes the connections of one client.
#[derive(Clone)]
pub(super) struct Connector {
    route: Route,
    tls: Arc<ClientConfig>,
    /// For connections to proxies, which speak HTTP/1.
    proxy_tls: Arc<ClientConfig>,
}

impl Connector {
    pub(super) fn new(proxy: Option<&Proxy>, tls: Arc<ClientConfig>) -> Result<Self, String> {
        let mut plain = ClientConfig::clone(&tls);
        plain.alpn_protocols.clear();
        let proxy_tls = Arc::new(plain);
        let Some(proxy) = proxy else {
            return Ok(Connector { route: Route::Direct, tls, proxy_tls });
        };
        let uri: Uri = proxy.url.parse().map_err(|_| "proxy has an invalid url".to_owned())?;
        let credentials = proxy.credentials.as_ref();
        let route = if uri.scheme_str() == Some("socks5") {
            let credentials =
                credentials.map(|known| (known.username.clone(), known.password.clone()));
            Route::Socks { proxy: uri, credentials }
        } else {
            let authorization = credentials.map(|known| HeaderValue::try_from(known.basic()));
            let authorization = authorization.transpose().map_err(|error| error.to_string())?;
            Route::Http { proxy: uri, authorization }
        };
        Ok(Connector { route, tls, proxy_tls })
    }

    /// What has to be sent with each request that goes through a proxy in the clear.
    pub(super) fn proxy_authorization(&self) -> Option<&HeaderValue> {
        match &self.route {
            Route::Http { authorization, .. } => authorization.as_ref(),
            Route::Direct | Route::Socks { .. } => None,
        }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let is_secure = uri.scheme_str() == Some("https");
        let dial = Dial { tls: Arc::clone(&self.proxy_tls) };
        let mut is_proxied = false;
        let stream: Box<dyn Io> = match self.route {
            Route::Direct => Box::new(tcp(&uri).await?),
            Route::Http { proxy, .. } if !is_secure => {
                is_proxied = true;
                dial.dial(proxy).await?
            }
            Route::Http { proxy, authorization } => {
                let mut tunnel = Tunnel::new(proxy, dial);
                if let Some(authorization) = authorization {
                    tunnel = tunnel.with_auth(authorization);
                }
                tunnel.call(uri.clone()).await.map_err(other)?.into_inner()
            }
            Route::Socks { proxy, credentials } => {
                let mut socks = SocksV5::new(proxy, dial).local_dns(false);
                if let Some((user, password)) = credentials {
                    socks = socks.with_auth(user, password);
                }
                socks.call(with_port(&uri)?).await.map_err(other)?.into_inner()
            }
        };
        if !is_secure {
            return Ok(Stream { io: TokioIo::new(stream), is_proxied, is_h2: false });
        }
        let (stream, is_h2) = secure(self.tls, &uri, stream).await?;
        Ok(Stream { io: TokioIo::new(Box::new(stream)), is_proxied, is_h2 })
    }
}

/// A URI that names its port.
fn with_port(uri: &Uri) -> Result<Uri, ConnectError> {
    if uri.port().is_some() {
        return Ok(uri.clone());
    }
    let (scheme, port) = match uri.scheme_str() {
        Some("https") => ("https", 443),
        _ => ("http", 80),
    };
    format!("{scheme}://{}:{port}/", uri.host().unwrap_or_default()).parse().map_err(other)
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Connecting<Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection.
pub(super) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    is_proxied: bool,
    is_h2: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_proxied);
        if self.is_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }
}
