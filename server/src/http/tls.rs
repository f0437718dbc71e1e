//! TLS: certificates and keys from files, read again when the files change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::server::TlsStream;

use super::guard::Guarded;
use crate::app::App;
use crate::config::TlsSettings;

/// How long a client may take to agree on keys.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What HTTP/2 and HTTP/1.1 are called in ALPN, the better one first.
pub(super) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("[ssl] {path}: {error}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file has no certificate or key in it.
    #[error("[ssl] {path}: {error}", path = .path.display())]
    Pem {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The certificate and the key don't belong together, or can't be used.
    #[error("[ssl] the certificate and its key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// Clients can't be checked against `cacert_file`.
    #[error("[ssl] cacert_file can't be used: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

/// The TLS side of a listener.
pub(super) struct Tls {
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads certificate and key.
    pub(super) fn load(settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(server_config(settings)?) }))
    }

    /// Agrees on keys with a client.
    pub(super) async fn accept(
        &self,
        stream: Guarded<TcpStream>,
    ) -> io::Result<TlsStream<Guarded<TcpStream>>> {
        let accept = TlsAcceptor::from(self.current.load_full()).accept(stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await?
    }

    /// Looks after the files until the server stops: when they change, or other ones are configured, new
    /// connections get what is in them now. What can't be used changes nothing.
    pub(super) async fn follow(self: Arc<Self>, app: Arc<App>) {
        let configured = |app: &App| app.settings().network.tls.clone();
        let mut known = configured(&app).map(|settings| (stamps(&settings), settings));
        let mut changes = app.configuration_changes();
        loop {
            tokio::select! {
                () = app.stopping() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
            let Some(settings) = configured(&app) else { continue };
            let now = Some((stamps(&settings), settings.clone()));
            if now == known {
                continue;
            }
            known = now;
            let loaded = tokio::task::spawn_blocking(move || server_config(&settings)).await;
            match loaded {
                Ok(Ok(config)) => {
                    self.current.store(Arc::new(config));
                    tracing::info!("the TLS certificate was read again");
                }
                Ok(Err(error)) => {
                    tracing::error!("the former TLS certificate stays in use: {error}")
                }
                Err(_) => {}
            }
        }
    }
}

/// By which a changed file is known: when it was written, and its length.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let files =
        [Some(&settings.cert_file), Some(&settings.key_file), settings.cacert_file.as_ref()];
    files.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn server_config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    let mut versions: Vec<&SupportedProtocolVersion> = Vec::new();
    versions.extend(settings.tls13.then_some(&version::TLS13));
    versions.extend(settings.tls12.then_some(&version::TLS12));
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(client_verifier(settings)?);
    let chain = certificates(&settings.cert_file)?;
    let text = read(&settings.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| TlsError::Pem { path: settings.key_file.clone(), error })?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

fn client_verifier(settings: &TlsSettings) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(path) = settings.cacert_file.as_ref().filter(|_| settings.ask_for_certificates) else {
        return Ok(Arc::new(NoClientAuth));
    };
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities.add(certificate)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    let optional = |required: bool| {
        if required { verifier } else { verifier.allow_unauthenticated() }
    };
    Ok(optional(settings.require_certificates).build()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::Pem { path: path.to_owned(), error };
    let text = read(path)?;
    let found =
        CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File { path: path.to_owned(), error })
}
