//! The port for those who collect metrics: one path, no credentials.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::serve::accept;
use crate::app::App;
use crate::metrics::prometheus;

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 16;

/// How long one may be idle and then send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes connections for ever.
pub(super) async fn take(app: Arc<App>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let (stream, peer) = accept(&listener).await;
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let reply = answer(&app, &request);
                async move { Ok::<_, Infallible>(reply) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection for metrics ended early");
            }
            drop(place);
        });
    }
}

fn answer(app: &App, request: &hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
    let path = matches!(
        request.uri().path(),
        "/_node/_local/_prometheus" | "/_node/couchdb@127.0.0.1/_prometheus"
    );
    let (status, text) = match (path, request.method()) {
        (false, _) => (StatusCode::NOT_FOUND, String::new()),
        (true, &http::Method::GET | &http::Method::HEAD) => (
            StatusCode::OK,
            prometheus::text(app.metrics(), &app.replicator().counts(), app.started().elapsed()),
        ),
        (true, _) => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = hyper::Response::new(Full::from(text));
    *response.status_mut() = status;
    if let Ok(kind) = prometheus::CONTENT_TYPE.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}
