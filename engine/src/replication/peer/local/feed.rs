//! The changes of a database of this server.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use settee_storage::Seq;

use super::{LocalPeer, Place, position};
use crate::{
    changes::{ChangeRow, ChangesFilter, ChangesQuery, DocumentFilter, Style},
    database::{Database, Subscription},
    design::{FunctionFilter, ViewFilter, user_context},
    error::Error,
    find::Selector,
    json::{Object, Value},
    notify::Wake,
    replication::{
        context::Access,
        error::{ReplicationError, RequestError},
        filter::{Filter, param_text},
        peer::{Change, Result, Rows, blocking, rows::change_of},
        request::Replication,
    },
};

/// The changes of a database of this server, as one replication wants them.
pub(in crate::replication) struct LocalFeed {
    place: Arc<Place>,
    subscription: Subscription,
    filter: Arc<Filter>,
    style: Style,
    since: Seq,
    /// Where a feed ends that ends; `None` if it goes on.
    until: Option<Seq>,
    /// The database as it was when this began has been read to its end.
    is_done: bool,
    /// Nobody wants the rows any more.
    abandoned: Arc<AtomicBool>,
}

impl Drop for LocalFeed {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl LocalPeer {
    pub(in crate::replication) async fn changes(
        &self,
        since: &Value,
        replication: &Replication,
    ) -> Result<LocalFeed> {
        let wanted = since.clone();
        let (since, newest, subscription) = self
            .with(Access::Read, move |place, database| {
                let since = position(database, &wanted)?;
                let newest = database.read().map_err(|error| place.error(error))?.seq();
                // A sequence that is still to come was read before the database was rolled back.
                let since = if since > newest { 0 } else { since };
                Ok((since, newest, database.subscribe()))
            })
            .await?;
        Ok(LocalFeed {
            place: Arc::clone(&self.shared),
            subscription,
            filter: Arc::new(replication.filter.clone()),
            style: if replication.winning_revs_only { Style::MainOnly } else { Style::AllDocs },
            since,
            until: (!replication.continuous).then_some(newest),
            is_done: false,
            abandoned: Arc::default(),
        })
    }
}

/// Rows and where the scan ended.
struct Scanned {
    changes: Vec<Change>,
    /// Of the last row.
    last_row: Seq,
    /// Of the last change looked at.
    last_seq: Seq,
    cut: bool,
}

impl LocalFeed {
    /// See [`super::super::Feed::next`].
    pub(in crate::replication) async fn next(&mut self, most: usize) -> Result<Option<Rows>> {
        loop {
            if self.is_done {
                return Ok(None);
            }
            let Scanned { changes, last_row, last_seq, cut } = self.scan(most).await?;
            if !changes.is_empty() {
                self.since = if cut { last_row } else { last_seq.max(last_row) };
                self.is_done = self.until.is_some_and(|until| !cut || self.since >= until);
                return Ok(Some(self.rows(changes, last_row)));
            }
            if self.until.is_some() {
                return Ok(None);
            }
            if last_seq > self.since {
                // Nothing of it passed the filter, which need not be found out again.
                self.since = last_seq;
                return Ok(Some(self.rows(Vec::new(), last_seq)));
            }
            match self.subscription.changed(self.since).await {
                Wake::Changed(_) => {}
                Wake::Closed => return Err(self.place.changed()),
            }
        }
    }

    fn rows(&self, changes: Vec<Change>, seq: Seq) -> Rows {
        Rows { changes, seq: Some(self.subscription.sequence_text(seq).into()) }
    }

    async fn scan(&self, most: usize) -> Result<Scanned> {
        let (place, filter) = (Arc::clone(&self.place), Arc::clone(&self.filter));
        let (abandoned, style) = (Arc::clone(&self.abandoned), self.style);
        let (since, until) = (self.since, self.until);
        blocking(move || {
            let database = place.database(Access::Read)?;
            let filter = changes_filter(&place, &database, &filter, abandoned)?;
            let limit = Some(most as u64);
            let query = ChangesQuery { since, limit, style, filter, ..ChangesQuery::default() };
            scan(&place, &database, &query, until)
        })
        .await
    }
}

fn scan(
    place: &Place,
    database: &Arc<Database>,
    query: &ChangesQuery,
    until: Option<Seq>,
) -> Result<Scanned> {
    let mut scanned =
        Scanned { changes: Vec::new(), last_row: query.since, last_seq: query.since, cut: false };
    let mut wrong_row = None;
    let reader = database.read().map_err(|error| place.error(error))?;
    let end = reader.changes(query, &mut |row: ChangeRow<'_>| {
        if until.is_some_and(|until| row.seq > until) {
            return ControlFlow::Break(());
        }
        match change_of(row.json) {
            Some(change) => scanned.changes.push(change),
            None => wrong_row = Some(row.seq),
        }
        scanned.last_row = row.seq;
        if wrong_row.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let end = end.map_err(|error| filter_error(place, error))?;
    if let Some(seq) = wrong_row {
        return Err(ReplicationError::Internal(format!("row {seq} of the changes is unreadable")));
    }
    scanned.last_seq = end.last_seq;
    scanned.cut = end.cut;
    Ok(scanned)
}

fn filter_error(place: &Place, error: Error) -> ReplicationError {
    match error {
        Error::NotFound(_) | Error::MissingKey(_) | Error::JavaScript(_) => {
            ReplicationError::FilterFetch(error.to_string())
        }
        other => place.error(other),
    }
}

/// The filter that the engine applies.
fn changes_filter(
    place: &Place,
    database: &Arc<Database>,
    filter: &Filter,
    abandoned: Arc<AtomicBool>,
) -> Result<ChangesFilter> {
    let failed = |error| filter_error(place, error);
    let design = |name: &str| database.design(&format!("_design/{name}")).map_err(failed);
    let by_document = |filter: Arc<dyn DocumentFilter>| {
        ChangesFilter::Documents(Arc::new(Abandonable { filter, abandoned }))
    };
    Ok(match filter {
        Filter::None => ChangesFilter::None,
        Filter::DocIds(ids) => ChangesFilter::DocIds(ids.clone()),
        Filter::Builtin { name, .. } if name == "_design" => ChangesFilter::Design,
        Filter::Builtin { .. } => {
            return Err(RequestError::bad("unknown builtin filter name").into());
        }
        Filter::Selector(selector) => {
            let selector = Selector::parse(selector).map_err(|error| failed(error.into()))?;
            by_document(Arc::new(selector))
        }
        Filter::View { design: name, view, .. } => {
            by_document(ViewFilter::new(&*design(name)?, view).map_err(failed)?)
        }
        Filter::Function { design: document, name, query_params } => {
            let request = request_object(place, database, query_params);
            let design = design(document)?;
            by_document(FunctionFilter::new(&design, name, request).map_err(failed)?)
        }
    })
}

/// What a filter function is told of the request, which is none: its parameters, and who asks.
fn request_object(place: &Place, database: &Arc<Database>, params: &Object) -> Vec<u8> {
    let text = |(name, value): (&str, &Value)| (name.to_owned(), param_text(value).into());
    let mut object = Object::new();
    object.insert("id", Value::Null);
    object.insert("method", "GET");
    let path: Vec<Value> = vec![database.name().into(), "_changes".into()];
    object.insert("requested_path", path.clone());
    object.insert("path", path);
    object.insert("query", params.iter().map(text).collect::<Object>());
    object.insert("headers", Object::new());
    object.insert("body", "undefined");
    object.insert("peer", "127.0.0.1");
    object.insert("form", Object::new());
    object.insert("cookie", Object::new());
    object.insert("userCtx", user_context(database, place.caller()));
    let security = Value::from_canonical(database.security().as_bytes());
    object.insert("secObj", security.unwrap_or_else(|_| Object::new().into()));
    Value::from(object).to_json()
}

/// Ends a scan early when nobody wants its rows any more.
#[derive(Debug)]
struct Abandonable {
    filter: Arc<dyn DocumentFilter>,
    abandoned: Arc<AtomicBool>,
}

impl DocumentFilter for Abandonable {
    fn passes(&self, document: &[u8]) -> crate::error::Result<bool> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::Overloaded("a replication that has ended"));
        }
        self.filter.passes(document)
    }
}
