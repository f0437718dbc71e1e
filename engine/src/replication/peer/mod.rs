//! The two ends of a replication as the pipeline sees them: a database of this server, or one behind a
//! URL.
//!
//! * this file: what both can do, and what goes between them
//! * `local`: reads and writes a database directly, on threads that may block
//! * `remote`: by HTTP
//! * `rows`: the changes feed as text
//! * `attached`: documents whose attachments follow as a stream
//!
//! Which revisions to move, in which order, and what counts as done is the pipeline's business.

pub(super) mod attached;
mod local;
mod remote;
mod rows;

use bytes::Bytes;

use self::attached::{Attached, AttachedItems};
use super::{
    context::Context,
    endpoint::Endpoint,
    error::{ReplicationError, Side},
    request::Replication,
};
use crate::{
    attachment::FoundAttachment,
    document::Document,
    json::{Object, Value},
    revision::Rev,
};
pub(super) use local::{LocalFeed, LocalPeer};
pub(super) use remote::{RemoteFeed, RemotePeer};

pub(super) type Result<T> = std::result::Result<T, ReplicationError>;

/// What a database says of itself when it is opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opened {
    /// Its newest sequence.
    pub(super) update_seq: Value,
    /// What tells it from an earlier one of its name.
    pub(super) instance: String,
}

/// A document of the feed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) id: String,
    pub(super) revs: Vec<Rev>,
}

/// Some rows of the feed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub(super) changes: Vec<Change>,
    /// What is known to be replicated when these are; `None` if nothing new.
    pub(super) seq: Option<Value>,
}

/// A revision that the target does not have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) key: Key,
    /// Revisions of the target that it may descend from. Attachments that came with them need not be
    /// sent; empty if all are to be sent.
    pub(super) ancestors: Vec<Rev>,
}

/// A revision on its way.
pub(super) enum Parcel {
    /// JSON text with `_revisions`. `stubs` if some of its attachments are.
    Text { key: Key, json: Bytes, stubs: bool },
    /// From a database of this server to another one; attachments that follow are read from the store
    /// while they are written.
    Document { key: Key, document: Box<Document>, following: Vec<FoundAttachment> },
}

/// A revision as it was asked for. A later one may have come in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) rev: Rev,
}

impl Parcel {
    pub(super) fn key(&self) -> &Key {
        match self {
            Parcel::Text { key, .. } | Parcel::Document { key, .. } => key,
        }
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        /// What a document takes besides its text.
        const OVERHEAD: usize = 200;
        OVERHEAD
            + match self {
                Parcel::Text { json, .. } => json.len(),
                Parcel::Document { document, .. } => {
                    document.body.as_bytes().len() + document.history.len() * size_of::<Rev>()
                }
            }
    }
}

/// What a source gave for the front of a list of wanted revisions.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) parcels: Vec<Parcel>,
    /// These have to be fetched one by one.
    pub(super) singly: Vec<Wanted>,
    /// How many of the list are dealt with.
    pub(super) taken: usize,
    /// How many were asked for at once.
    pub(super) attempted: usize,
    /// They turned out to be no smaller than this, on the average, in bytes.
    pub(super) mean_at_least: usize,
}

/// What became of parcels.
#[derive(Default)]
pub(super) struct Written {
    pub(super) written: u64,
    pub(super) failures: u64,
    /// These have stubs of attachments that the target does not have, and have to be sent whole.
    pub(super) without_stubs: Vec<Key>,
}

impl Written {
    pub(super) fn one(written: bool) -> Self {
        Written {
            written: u64::from(written),
            failures: u64::from(!written),
            without_stubs: Vec::new(),
        }
    }
}

/// A checkpoint document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    /// Its revision, if it is stored.
    pub(super) rev: Option<String>,
    /// Its members, without those that begin with an underscore.
    pub(super) body: Object,
}

impl Log {
    /// Takes a stored document apart.
    pub(super) fn read(document: &Value) -> Option<Log> {
        let members = document.as_object()?;
        let rev = members.get("_rev").and_then(Value::as_str).map(str::to_owned);
        let own = members.iter().filter(|(name, _)| !name.starts_with('_'));
        let body = own.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        Some(Log { rev, body })
    }
}

/// One end of a replication.
pub(super) enum Peer {
    Local(LocalPeer),
    Remote(Box<RemotePeer>),
}

macro_rules! either {
    ($peer:expr, $name:ident => $call:expr) => {
        match $peer {
            Peer::Local($name) => $call,
            Peer::Remote($name) => $call,
        }
    };
}

impl Peer {
    pub(super) fn new(side: Side, replication: &Replication, context: &Context) -> Result<Self> {
        let endpoint = match side {
            Side::Source => &replication.source,
            Side::Target => &replication.target,
        };
        Ok(match endpoint {
            Endpoint::Local(local) => Peer::Local(LocalPeer::new(side, local, context)),
            Endpoint::Remote(remote) => {
                Peer::Remote(Box::new(RemotePeer::new(side, remote, replication, context)?))
            }
        })
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self, Peer::Local(_))
    }

    /// Makes the database, if it is not there.
    pub(super) async fn create(&self, params: &Object) -> Result<()> {
        either!(self, peer => peer.create(params).await)
    }

    pub(super) async fn open(&self) -> Result<Opened> {
        either!(self, peer => peer.open().await)
    }

    /// A checkpoint document, by its id without `_local/`.
    pub(super) async fn log(&self, id: &str) -> Result<Option<Log>> {
        either!(self, peer => peer.log(id).await)
    }

    /// Writes a checkpoint document; returns its new revision.
    pub(super) async fn put_log(&self, id: &str, log: &Log) -> Result<String> {
        either!(self, peer => peer.put_log(id, log).await)
    }

    /// Makes everything durable; returns what [`Opened::instance`] is now.
    pub(super) async fn commit(&self) -> Result<String> {
        either!(self, peer => peer.commit().await)
    }

    /// A document's text.
    pub(super) async fn document(&self, id: &str) -> Result<Option<Value>> {
        either!(self, peer => peer.document(id).await)
    }

    /// How many changes follow a sequence, if the database can tell.
    pub(super) async fn pending(&self, since: &Value) -> Result<Option<u64>> {
        either!(self, peer => peer.pending(since).await)
    }

    /// Which revisions are missing here.
    pub(super) async fn missing(&self, changes: Vec<Change>) -> Result<Vec<Wanted>> {
        either!(self, peer => peer.missing(changes).await)
    }

    /// Reads the first few of the wanted revisions: `count` at the most, or as many as are about
    /// [`CHUNK_BYTES`]. `as_text` if they go to another server.
    pub(super) async fn fetch(
        &self,
        wanted: &[Wanted],
        count: usize,
        as_text: bool,
    ) -> Result<Fetched> {
        match self {
            Peer::Local(peer) => peer.fetch(wanted, count, as_text).await,
            Peer::Remote(peer) => peer.fetch(wanted, count).await,
        }
    }

    /// Reads one revision with its attachments as a stream.
    pub(super) async fn fetch_single(&self, wanted: &Wanted) -> Result<AttachedItems> {
        either!(self, peer => peer.fetch_single(wanted).await)
    }

    /// Writes revisions.
    pub(super) async fn write(&self, parcels: Vec<Parcel>) -> Result<Written> {
        either!(self, peer => peer.write(parcels).await)
    }

    /// Writes a revision whose attachments follow.
    pub(super) async fn write_attached(&self, attached: Attached) -> Result<Written> {
        either!(self, peer => peer.write_attached(attached).await)
    }
}

/// About how many bytes of documents are moved at once.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// The changes of a source.
pub(super) enum Feed {
    Local(Box<LocalFeed>),
    Remote(Box<RemoteFeed>),
}

impl Feed {
    /// The next rows, `most` at the most; `None` at the end of a feed that ends. Returns as soon as there
    /// is something.
    pub(super) async fn next(&mut self, most: usize) -> Result<Option<Rows>> {
        match self {
            Feed::Local(feed) => feed.next(most).await,
            Feed::Remote(feed) => feed.next(most).await,
        }
    }
}

/// Runs what may block on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ReplicationError::Internal(format!("a worker thread failed: {error}")))?
}
