//! HTTP: connections, requests in, answers out. What is asked for and answered is the business of
//! `routes`; nothing here reads or writes a database.
//!
//! # For whoever writes a route
//!
//! A handler is an async function `fn(&mut Request, …) -> Outcome`, called by
//! `routes` with the decoded parts of the path:
//!
//! * [`Request`]: `request.query.text("rev")`, `request.query.bytes("key")`,
//!   `request.query.is_true("revs")`, `request.header("x-couch-id")`,
//!   `request.require_json_type()?`, `request.accepts("multipart/mixed")`,
//!   `request.none_match(etag)`, `request.if_match()`, `request.absolute_uri(&[db, id])`,
//!   `request.user()` (see [`crate::auth::User`]), `request.app` (see [`crate::app::App`]).
//! * [`Body`]: `request.body.bytes().await?` is the whole body, inflated; `request.body.chunk()
//!   .await?` gives it piece by piece, as it came. To read it elsewhere, take it with
//!   `std::mem::replace(&mut request.body, Body::empty())`.
//! * [`Reply`]: `Reply::json(200, text)`, `Reply::value(201, &json!({…}))`, `Reply::ok(202)`,
//!   `Reply::not_modified(etag)`, `.with_etag(rev)`, `.with_location(uri)`.
//!   Long answers: `Reply::json_stream(stream::produce(|out| …).await?)` for scans on a blocking
//!   thread, [`stream::channel`] for feeds.
//! * [`Failure`]: every error, made by its constructors or from the engine's error by `?`.

pub(crate) mod accept;
mod body;
mod connection;
mod cors;
mod engine_error;
mod exchange;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod jsonp;
mod method;
mod metrics_port;
mod path;
pub mod percent;
mod query;
pub(crate) mod ranges;
mod record;
mod reply;
mod request;
mod request_id;
mod serve;
pub mod stream;
mod tls;
mod vhost;

pub(crate) use connection::Tunnel;
pub(crate) use settee_engine::multipart;

pub use body::{Body, MAX_GATHERED_BYTES};
pub use failure::Failure;
pub use method::Method;
pub use path::Path;
pub use query::Query;
pub use reply::{JSON, Outcome, Reply};
pub use request::Request;
pub use serve::{ServeError, Server};
pub use stream::ReplyBody;
pub use tls::TlsError;
