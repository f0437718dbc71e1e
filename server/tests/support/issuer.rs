//! An OpenID Connect issuer on this machine, with or without TLS: discovery, its keys, and how often it was
//! asked for them.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::signers::fixture;

/// A running issuer; it lives as long as the test.
#[derive(Clone)]
pub(crate) struct Issuer {
    /// What `iss` of its tokens says.
    pub(crate) url: String,
    /// What it publishes.
    pub(crate) keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// Over plain HTTP.
    pub(crate) fn start(keys: Vec<Value>) -> Self {
        Self::run(keys, None)
    }

    /// Over TLS, with the certificate that the tests' own authority has signed.
    pub(crate) fn start_with_tls(keys: Vec<Value>) -> Self {
        let certificate = CertificateDer::from_pem_file(fixture("issuer.cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(fixture("issuer.key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::run(keys, Some(Arc::new(config)))
    }

    fn run(keys: Vec<Value>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            None => format!("http://127.0.0.1:{port}/realms/app"),
            Some(_) => format!("https://localhost:{port}/realms/app"),
        };
        let issuer = Self { url, keys: Arc::new(Mutex::new(keys)), asked: Arc::default() };
        let serving = issuer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // A client that doesn't trust the certificate goes away.
                drop(match &tls {
                    None => serving.answer(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        serving.answer(StreamOwned::new(connection, stream))
                    }
                });
            }
        });
        issuer
    }

    /// How often it was asked for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut first, mut line) = (String::new(), String::new());
        stream.read_line(&mut first)?;
        while stream.read_line(&mut line)? > 2 {
            line.clear();
        }
        let body = if first.contains("/.well-known/openid-configuration") {
            json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)})
        } else {
            self.asked.fetch_add(1, Ordering::SeqCst);
            json!({"keys": *self.keys.lock().unwrap()})
        };
        let body = body.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all((head + &body).as_bytes())?;
        stream.get_mut().flush()
    }
}
