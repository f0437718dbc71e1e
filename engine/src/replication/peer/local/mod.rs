//! A database of this server as an end of a replication: read and written directly, on threads that may
//! block.
//!
//! * this file: opening, checkpoints, comparing revisions
//! * `feed`: changes
//! * `fetch`: reading revisions
//! * `write`: writing them

mod feed;
mod fetch;
mod write;

use std::sync::Arc;

use parking_lot::Mutex;
use settee_storage::Seq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Change, Key, Log, Opened, Result, Wanted, blocking};
use crate::{
    caller::Caller,
    changes::{ChangeRow, ChangesQuery},
    database::{Database, GetOptions, Props, Subscription},
    databases::Databases,
    document::{Document, Limits},
    error::Error,
    json::{Object, Value},
    read::RevsRequest,
    replication::{
        context::{Access, AccessRules, Context, Streams},
        endpoint::LocalEndpoint,
        error::{ReplicationError, Side},
    },
    revision::Rev,
    sequence::Since,
    write::WriteMode,
};
pub(in crate::replication) use feed::LocalFeed;

/// A database of this server.
pub(in crate::replication) struct LocalPeer {
    shared: Arc<Place>,
}

/// What the threads that work on the database need.
struct Place {
    side: Side,
    endpoint: LocalEndpoint,
    databases: Arc<Databases>,
    access: Arc<dyn AccessRules>,
    limits: Limits,
    streams: Streams,
    /// The database that was opened, so that another one of its name is not taken for it.
    opened: Mutex<Option<Subscription>>,
}

impl Place {
    /// The database, opened again if it was closed meanwhile. It must not be another one.
    fn database(&self, access: Access) -> Result<Arc<Database>> {
        self.check(access)?;
        let opened = self.opened.lock().clone();
        match opened {
            None => self.databases.get(&self.endpoint.name).map_err(|error| self.error(error)),
            Some(opened) => self.databases.resume(&opened).map_err(|error| match error {
                Error::DatabaseNotFound => self.changed(),
                other => self.error(other),
            }),
        }
    }

    fn check(&self, access: Access) -> Result<()> {
        let LocalEndpoint { caller, name, .. } = &self.endpoint;
        self.access.check(caller, name, access).map_err(|error| self.error(error))
    }

    /// One of the threads that may wait for another server.
    async fn permit(streams: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(streams).acquire_owned().await;
        permit.map_err(|error| ReplicationError::Internal(error.to_string()))
    }

    fn caller(&self) -> &Caller {
        &self.endpoint.caller
    }

    /// The database is not the one that was opened.
    fn changed(&self) -> ReplicationError {
        ReplicationError::DatabaseChanged {
            of_source: self.side == Side::Source,
            of_target: self.side == Side::Target,
        }
    }

    fn error(&self, error: Error) -> ReplicationError {
        let (side, url) = (self.side, self.endpoint.url.clone());
        match error {
            Error::DatabaseNotFound => ReplicationError::DatabaseNotFound { side, url },
            Error::Unauthorized(_) => ReplicationError::Unauthorized { side, url },
            Error::Forbidden(_) => ReplicationError::Forbidden { side, url },
            error => ReplicationError::Local { side, error: Arc::new(error) },
        }
    }
}

impl LocalPeer {
    pub(in crate::replication) fn new(
        side: Side,
        endpoint: &LocalEndpoint,
        context: &Context,
    ) -> Self {
        LocalPeer {
            shared: Arc::new(Place {
                side,
                endpoint: endpoint.clone(),
                databases: Arc::clone(&context.databases),
                access: Arc::clone(&context.access),
                limits: context.limits,
                streams: context.streams.clone(),
                opened: Mutex::new(None),
            }),
        }
    }

    /// Runs `work` with the database on a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        access: Access,
        work: impl FnOnce(&Place, &Arc<Database>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = Arc::clone(&self.shared);
        blocking(move || {
            let database = place.database(access)?;
            work(&place, &database)
        })
        .await
    }

    pub(super) async fn create(&self, params: &Object) -> Result<()> {
        let props = props(params);
        let place = Arc::clone(&self.shared);
        blocking(move || {
            let name = &place.endpoint.name;
            if place.databases.exists(name).map_err(|error| place.error(error))? {
                return Ok(());
            }
            place.check(Access::Create)?;
            match place.databases.create(name, props) {
                Ok(_) | Err(Error::DatabaseExists) => Ok(()),
                // Opening it says what is wrong.
                Err(Error::IllegalDatabaseName(_) | Error::DatabaseNameTooLong(_)) => Ok(()),
                Err(error) => Err(place.error(error)),
            }
        })
        .await
    }

    pub(super) async fn open(&self) -> Result<Opened> {
        let access = match self.shared.side {
            Side::Source => Access::Read,
            Side::Target => Access::Write,
        };
        self.with(access, |place, database| {
            let seq = database.read().map_err(|error| place.error(error))?.seq();
            *place.opened.lock() = Some(database.subscribe());
            Ok(Opened {
                update_seq: database.sequence_text(seq).into(),
                instance: database.uuid().to_string(),
            })
        })
        .await
    }

    pub(super) async fn commit(&self) -> Result<String> {
        // What was written was durable when it was acknowledged.
        self.with(Access::Read, |_, database| Ok(database.uuid().to_string())).await
    }

    pub(super) async fn log(&self, id: &str) -> Result<Option<Log>> {
        let document = self.document(&format!("_local/{id}")).await?;
        Ok(document.as_ref().and_then(Log::read))
    }

    pub(super) async fn put_log(&self, id: &str, log: &Log) -> Result<String> {
        let mut members = Object::new();
        members.insert("_id", format!("_local/{id}"));
        if let Some(rev) = &log.rev {
            members.insert("_rev", rev.as_str());
        }
        let own = log.body.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let members: Object = members.into_iter().chain(own).collect();
        let json = Value::from(members).to_json();
        self.with(Access::Read, move |place, database| {
            let written = Document::parse(&json, None, &Limits::default())
                .and_then(|doc| {
                    database.write_as(place.caller(), vec![doc], WriteMode::Interactive)
                })
                .map_err(|error| place.error(error))?;
            match written.into_iter().next() {
                Some(Ok(rev)) => Ok(rev.to_string()),
                Some(Err(error)) => Err(place.error(error)),
                None => Err(ReplicationError::Internal("a write without a result".into())),
            }
        })
        .await
    }

    pub(super) async fn document(&self, id: &str) -> Result<Option<Value>> {
        let id = id.to_owned();
        self.with(Access::Read, move |place, database| {
            let reader = database.read().map_err(|error| place.error(error))?;
            let mut text = Vec::new();
            let found = reader.get(&id, &GetOptions::default());
            match found.and_then(|found| found.write_json(&mut text)) {
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(place.error(error)),
                Ok(()) => {
                    Value::from_canonical(&text).map(Some).map_err(|error| place.error(error))
                }
            }
        })
        .await
    }

    pub(super) async fn pending(&self, since: &Value) -> Result<Option<u64>> {
        let since = since.clone();
        self.with(Access::Read, move |place, database| {
            let Ok(since) = position(database, &since) else { return Ok(None) };
            let reader = database.read().map_err(|error| place.error(error))?;
            let query = ChangesQuery { since, limit: Some(0), ..ChangesQuery::default() };
            let nothing = &mut |_: ChangeRow<'_>| std::ops::ControlFlow::Break(());
            let end = reader.changes(&query, nothing).map_err(|error| place.error(error))?;
            Ok(Some(end.pending))
        })
        .await
    }

    pub(super) async fn missing(&self, changes: Vec<Change>) -> Result<Vec<Wanted>> {
        self.with(Access::Write, move |place, database| {
            let reader = database.read().map_err(|error| place.error(error))?;
            let mut wanted = Vec::new();
            for Change { id, revs } in changes {
                if database.check_doc_id(&id).is_err() {
                    // It will be refused, and counted.
                    wanted.extend(revs.into_iter().map(|rev| want(&id, rev, &[])));
                    continue;
                }
                let request = [RevsRequest { id, revs }];
                let diffs = reader.revs_diff(&request).map_err(|error| place.error(error))?;
                for diff in diffs {
                    let ancestors = &diff.possible_ancestors;
                    wanted
                        .extend(diff.missing.into_iter().map(|rev| want(&diff.id, rev, ancestors)));
                }
            }
            Ok(wanted)
        })
        .await
    }
}

fn want(id: &str, rev: Rev, ancestors: &[Rev]) -> Wanted {
    let key = Key { id: id.to_owned(), rev };
    Wanted { key, ancestors: ancestors.to_vec() }
}

/// Parameters of creation; those that cannot be read are passed over.
fn props(params: &Object) -> Props {
    let number = |name: &str| {
        let value = params.get(name)?;
        let number = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        number.and_then(|number| u32::try_from(number).ok())
    };
    let partitioned = params.get("partitioned");
    let mut props = Props::default();
    props.q = number("q").filter(|q| *q > 0).unwrap_or(props.q);
    props.n = number("n").filter(|n| *n > 0).unwrap_or(props.n);
    props.partitioned = partitioned
        .is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"));
    props
}

/// Where in the database a sequence is.
fn position(database: &Arc<Database>, seq: &Value) -> Result<Seq> {
    let malformed = || {
        let reason = format!("since_seq: {}", Error::MalformedSequence);
        ReplicationError::Invalid(crate::replication::RequestError::BadRequest(reason))
    };
    match seq {
        Value::String(text) => match database.parse_sequence(text).map_err(|_| malformed())? {
            Since::Seq(seq) => Ok(seq),
            Since::Now => {
                let reader = database.read().map_err(|error| ReplicationError::Local {
                    side: Side::Source,
                    error: Arc::new(error),
                })?;
                Ok(reader.seq())
            }
        },
        other => other.as_u64().ok_or_else(malformed),
    }
}
