//! TLS and HTTP/2 at the real binary.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Settee, admin_header};

const PATIENCE: Duration = Duration::from_secs(20);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(&format!("{name}.cert.pem"))).unwrap()
}

/// A client that trusts one of the certificates, speaks these protocols and may show a certificate itself.
fn client(trusted: &str, protocols: &[&str], own: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(trusted)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(fixture(&format!("{own}.key.pem"))).unwrap();
            builder.with_client_auth_cert(vec![certificate(own)], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// A server with certificate `one`, in files of its own, and further options of `[ssl]`.
fn server(options: &str) -> (Settee, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    install("one", dir.path());
    let files = format!(
        "cert_file = {0}/cert.pem\nkey_file = {0}/key.pem\ncacert_file = {1}\n",
        dir.path().display(),
        fixture("two.cert.pem").display()
    );
    let ini = format!(
        "[chttpd_auth]\niterations = 100\n[ssl]\nenable = true\nport = 0\n{files}{options}"
    );
    let environment = vec![("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")];
    let server = Settee::start_with(&ini, environment, &[]);
    let line = server.said().iter().find_map(|line| line.split_once("https://")).unwrap();
    let address = line.1.trim_end_matches('/').to_owned();
    (server, address, dir)
}

fn install(name: &str, folder: &Path) {
    fs::copy(fixture(&format!("{name}.cert.pem")), folder.join("cert.pem")).unwrap();
    fs::copy(fixture(&format!("{name}.key.pem")), folder.join("key.pem")).unwrap();
}

fn connect(address: &str, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, stream)
}

/// One request over HTTP/1.1; `None` when no TLS was agreed on.
fn get(address: &str, config: ClientConfig, path: &str) -> Option<String> {
    let mut stream = connect(address, config);
    let admin = admin_header();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn http1_is_spoken_over_tls() {
    let (server, address, _dir) = server("");
    let answer = get(&address, client("one", &[], None), "/_session").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"_admin\""), "{answer}");
    // Cookies made over TLS stay on it.
    let mut stream = connect(&address, client("one", &["http/1.1"], None));
    let body = r#"{"name":"admin","password":"secret"}"#;
    let head = "POST /_session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let length = body.len();
    let request = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let cookie =
        answer.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie")).unwrap();
    assert!(cookie.contains("Secure"), "{cookie}");
    // The plain port is still there.
    server.ask("GET", "/_up", "").expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_with_many_requests_on_one_connection() {
    let (server, address, _dir) = server("");
    server.ask("PUT", "/db", "").expect(201);
    let connector = TlsConnector::from(Arc::new(client("one", &["h2", "http/1.1"], None)));
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let ask = |method: &'static str, path: String| {
        let mut sender = sender.clone();
        async move {
            let request = hyper::Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"))
                .header("authorization", admin_header())
                .body(Empty::<bytes::Bytes>::new())
                .unwrap();
            sender.send_request(request).await.unwrap()
        }
    };
    // A feed that stays open holds up nobody.
    let feed = ask("GET", "/db/_changes?feed=continuous&heartbeat=60000".into()).await;
    assert_eq!(feed.status(), 200);
    let answers = (0..50).map(|_| ask("GET", "/db".into()));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\""));
    }
    // The host is known without a header of that name, and the scheme too.
    let redirect = ask("GET", "/_utils".into()).await;
    assert_eq!(redirect.headers()["location"], "https://localhost/_utils/");
}

#[test]
fn a_changed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (server, address, dir) = server("");
    assert!(get(&address, client("two", &[], None), "/").is_none(), "it has the other one");
    fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    server.ask("POST", "/_node/_local/_config/_reload", "{}").expect(200);
    assert!(get(&address, client("one", &[], None), "/").is_some(), "the former one stays in use");
    install("two", dir.path());
    server.ask("POST", "/_node/_local/_config/_reload", "{}").expect(200);
    let started = Instant::now();
    while get(&address, client("two", &[], None), "/").is_none() {
        assert!(started.elapsed() < PATIENCE, "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clients_can_be_asked_for_certificates() {
    let (_server, address, _dir) = server(
        "verify_ssl_certificates = true\nfail_if_no_peer_cert = true\ntls_versions = ['tlsv1.3']\n",
    );
    assert!(get(&address, client("one", &[], None), "/").is_none());
    assert!(get(&address, client("one", &[], Some("one")), "/").is_none(), "not that authority's");
    assert!(get(&address, client("one", &[], Some("two")), "/").is_some());
}

#[test]
fn a_start_with_unusable_files_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let start = |cert: &Path, key: &Path| {
        let ini = dir.path().join("local.ini");
        let (cert, key) = (cert.display(), key.display());
        fs::write(
            &ini,
            format!("[ssl]\nenable = true\nport = 0\ncert_file = {cert}\nkey_file = {key}\n"),
        )
        .unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_settee"))
            .args(["--port", "0", "--data-dir"])
            .arg(dir.path())
            .env_clear()
            .envs([("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "x")])
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = dir.path().join("missing.pem");
    let error = start(&missing, &fixture("one.key.pem"));
    assert!(error.contains("missing.pem"), "{error}");
    let error = start(&fixture("one.cert.pem"), &fixture("two.key.pem"));
    assert!(error.contains("the certificate and its key can't be used"), "{error}");
}
