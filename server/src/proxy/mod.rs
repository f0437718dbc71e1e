//! The reverse proxy: requests below a configured prefix go to another server, and its answers come back.
//!
//! * [`headers`] decides which headers go along, and which are added;
//! * [`upgrade`] carries what follows when a connection goes on as something else, such as a WebSocket;
//! * here the request is sent on, and what goes wrong is told.
//!
//! Bodies stream both ways. Who may use a prefix has been found out before: the authentication handlers
//! run for these requests as for all others.

mod headers;
mod upgrade;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Upstream;
use crate::http::stream::{AsyncWriter, STALL_TIMEOUT};
use crate::http::{Body, Failure, Outcome, Reply, ReplyBody, Request};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer's head, at most; a body is read in pieces no longer than this.
const MAX_BUFFER_BYTES: usize = 256 << 10;

/// A request's body on its way on. What is wrong with it is noted beside, for the server behind sees it
/// break off only.
type Forwarded = http_body_util::combinators::UnsyncBoxBody<Bytes, Failure>;

/// What went wrong with a request's body.
type Noted = Arc<Mutex<Option<Failure>>>;

/// Sends the request on and returns the answer to it.
///
/// # Errors
///
/// 401 for those who aren't known, where only known ones may pass; 502 when the server can't be reached or
/// breaks off; 504 when it doesn't answer in time; 508 when it is this server.
pub(crate) async fn forward(request: &mut Request, upstream: &Upstream) -> Outcome {
    if upstream.require_valid_user && request.user().name().is_none() {
        return Err(Failure::unauthorized("Authentication required."));
    }
    let via = headers::via(request);
    if headers::has_passed(&request.headers, &via) {
        let reason = format!("the server behind /{} is this one", upstream.prefix);
        return Err(Failure::new(StatusCode::LOOP_DETECTED, "loop_detected", reason));
    }
    let target = target(request.uri.path(), request.uri.query(), upstream)
        .ok_or_else(|| Failure::bad_request("invalid_url_path"))?;
    let upgraded = upgrade::wanted(request);
    let mut sent = hyper::Request::new(());
    *sent.method_mut() = request.verb.clone();
    *sent.uri_mut() = target;
    *sent.headers_mut() = headers::onwards(request, &via, upgraded.is_some());
    let noted = Noted::default();
    let body = std::mem::replace(&mut request.body, Body::empty());
    let sent = sent.map(|()| forwarded(body, Arc::clone(&noted)));

    let connected = timeout(CONNECT_TIMEOUT, connect(upstream)).await;
    let mut sender =
        connected.map_err(|_| late(upstream))?.map_err(|error| unreachable(upstream, &error))?;
    let answered = timeout(upstream.timeout, sender.send_request(sent)).await;
    let answer = answered.map_err(|_| late(upstream))?.map_err(|error| {
        // A body that could not be read is the client's doing.
        noted.lock().take().unwrap_or_else(|| unreachable(upstream, &error))
    })?;
    reply(request, upstream, answer, upgraded)
}

/// Where a request goes: the prefix is taken away from its path, which is passed on as it came.
fn target(path: &str, query: Option<&str>, upstream: &Upstream) -> Option<Uri> {
    let rest = path.trim_start_matches('/').strip_prefix(&*upstream.prefix)?;
    let mut target = match rest {
        // As it is configured, for the prefix alone.
        "" if !upstream.path.is_empty() => upstream.path.clone(),
        "" => "/".to_owned(),
        rest => format!("{}{rest}", upstream.path),
    };
    if let Some(query) = query {
        target = format!("{target}?{query}");
    }
    target.parse().ok()
}

/// A connection of its own for each request: it may stay for hours, and ends with the client's.
async fn connect(upstream: &Upstream) -> io::Result<SendRequest<Forwarded>> {
    let port = upstream.authority.port_u16().unwrap_or(80);
    let host = upstream.authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a server behind this one ended early");
        }
    });
    Ok(sender)
}

fn forwarded(body: Body, noted: Noted) -> Forwarded {
    if body.announced_bytes() == Some(0) {
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    let pieces = stream::unfold(Some(body), move |body| {
        let noted = Arc::clone(&noted);
        async move {
            let mut body = body?;
            match body.chunk().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(body))),
                Err(failure) => {
                    *noted.lock() = Some(failure.clone());
                    Some((Err(failure), None))
                }
            }
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The answer, as the client gets it.
fn reply(
    request: &Request,
    upstream: &Upstream,
    mut answer: hyper::Response<Incoming>,
    upgraded: Option<upgrade::Client>,
) -> Outcome {
    let mut reply = Reply::empty(answer.status().as_u16());
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    headers::back(request, upstream, answer.headers(), switches, &mut reply.headers);
    if switches {
        let Some(client) = upgraded else {
            return Err(broken(upstream, "it switches protocols, which nobody asked it to"));
        };
        client.join(&mut answer, Arc::clone(&request.app));
        return Ok(reply);
    }
    if !request.head_only {
        reply.body = streamed(answer, upstream.prefix.clone());
    }
    Ok(reply)
}

fn streamed(answer: hyper::Response<Incoming>, prefix: String) -> ReplyBody {
    let length =
        answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let incoming = answer.into_body();
    if hyper::body::Body::is_end_stream(&incoming) {
        return ReplyBody::Whole(Bytes::new());
    }
    let (writer, body) = crate::http::stream::channel();
    tokio::spawn(carry(incoming, writer, prefix));
    match length {
        Some(length) => body.with_len(length),
        None => body,
    }
}

/// Carries a body over until it ends, or one of the two sides is gone.
async fn carry(mut incoming: Incoming, writer: AsyncWriter, prefix: String) {
    loop {
        let frame = tokio::select! {
            () = writer.gone() => return,
            frame = incoming.frame() => frame,
        };
        match frame {
            None => return,
            Some(Err(error)) => {
                let reason = format!("the answer from behind /{prefix} broke off: {error}");
                return writer.abort(Failure::internal(reason)).await;
            }
            Some(Ok(frame)) => {
                // Trailers stay behind.
                let Ok(bytes) = frame.into_data() else { continue };
                match timeout(STALL_TIMEOUT, writer.send(bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return writer.give_up(),
                }
            }
        }
    }
}

fn broken(upstream: &Upstream, why: &str) -> Failure {
    let reason = format!("the server behind /{} can't be used: {why}", upstream.prefix);
    Failure::new(StatusCode::BAD_GATEWAY, "bad_gateway", reason)
}

fn unreachable(upstream: &Upstream, error: &dyn std::error::Error) -> Failure {
    tracing::warn!(prefix = upstream.prefix, to = %upstream.authority, %error, "a server behind this one failed");
    let mut why = error.to_string();
    if let Some(cause) = error.source() {
        why = format!("{why}: {cause}");
    }
    broken(upstream, &why)
}

fn late(upstream: &Upstream) -> Failure {
    let reason = format!("the server behind /{} did not answer in time", upstream.prefix);
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, path: &str, query: Option<&str>, expected: &str) {
        let upstream = Upstream {
            prefix: "_app".into(),
            authority: "a:1".parse().unwrap(),
            path: url.to_owned(),
            require_valid_user: false,
            timeout: Duration::from_secs(1),
        };
        assert_eq!(target(path, query, &upstream).unwrap(), expected);
    }

    #[test]
    fn the_prefix_is_taken_away_and_the_rest_stays_as_it_is() {
        check("", "/_app", None, "/");
        check("", "/_app/", None, "/");
        check("", "/_app/a%2Fb//c/", Some("x=%20"), "/a%2Fb//c/?x=%20");
        check("/base", "/_app", Some("x"), "/base?x");
        check("/base", "/_app/x", None, "/base/x");
        check("/base", "//_app/../x", None, "/base/../x");
    }
}
