//! Fetching a small JSON document over HTTP.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The longest document that is read, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// The time from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// GETs a JSON document over https, or over http from this machine. Redirections are not followed.
///
/// # Errors
///
/// A sentence for the log.
pub(super) async fn json(url: &str) -> Result<Value, String> {
    let body = tokio::time::timeout(TIMEOUT, get(url))
        .await
        .map_err(|_| format!("{url}: no answer within {} s", TIMEOUT.as_secs()))??;
    serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
}

async fn get(url: &str) -> Result<Bytes, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let uri: Uri = url.parse().map_err(|error| failed(&error))?;
    let host = uri.host().ok_or_else(|| failed(&"it names no host"))?;
    let host = host.trim_matches(['[', ']']);
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_this_machine(host) => false,
        Some("http") => return Err(failed(&"http is for this machine only, use https")),
        _ => return Err(failed(&"neither http nor https")),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    if !secure {
        return exchange(stream, &uri).await.map_err(|error| failed(&error));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let stream = connector()?.connect(name, stream).await.map_err(|error| failed(&error))?;
    exchange(stream, &uri).await.map_err(|error| failed(&error))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Trusts what the system trusts.
fn connector() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(TlsConnector::from(Arc::clone(config)));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no root certificates: install ca-certificates or set \
                    SSL_CERT_FILE"
            .to_owned());
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let config = CONFIG.get_or_init(|| Arc::new(config));
    Ok(TlsConnector::from(Arc::clone(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit('@').next().unwrap_or(host);
    let request = http::Request::get(target)
        .header(HOST, HeaderValue::try_from(host)?)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await?.to_bytes();
    drop(sender);
    driver.abort();
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_is_reached_without_tls() {
        for (url, expected) in [
            ("http://example.com/", "http is for this machine only, use https"),
            ("http://localhost.example.com/", "http is for this machine only, use https"),
            ("http://127.0.0.1@example.com/", "http is for this machine only, use https"),
            ("http://10.0.0.1/", "http is for this machine only, use https"),
            ("ftp://127.0.0.1/", "neither http nor https"),
        ] {
            let error = json(url).await.unwrap_err();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
