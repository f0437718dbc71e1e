//! `_global_changes`: a database with a document for each thing that can happen to a database, so that its
//! changes are the feed `/_db_updates`.
//!
//! As in CouchDB it is kept only if somebody has created that database. A document is named `created:NAME`,
//! `updated:NAME` or `deleted:NAME` and written anew each time, so that there are never more than three for a
//! database, and a reader that stayed away long finds each database once. Events are gathered for a moment
//! (`[global_changes] max_write_delay`) and written together: a busy database costs one small write in each such
//! moment. What a crash catches in memory is not told; whoever must miss nothing compares `_all_dbs` at times.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use settee_engine::document::{Body, Document};
use settee_engine::{Databases, Error, Event, GetOptions, Result, WriteMode};
use tokio::sync::Notify;

use crate::app::App;
use crate::config::GlobalChangesSettings;

/// The database of events.
pub(crate) const DATABASE: &str = "_global_changes";

/// Documents that are written together.
const BATCH: usize = 1000;

/// Events that are gathered, at most. There are never that many unless writing them fails.
const MAX_GATHERED: usize = 100_000;

/// The pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What writes events down.
pub(crate) struct GlobalChanges {
    databases: Arc<Databases>,
    gathered: Arc<Gathered>,
    settings: ArcSwap<GlobalChangesSettings>,
    /// Held by the one who writes.
    writing: tokio::sync::Mutex<()>,
}

/// Events that are still to be written, each with its place in their order.
#[derive(Default)]
struct Gathered {
    /// Whether there is a database to write them to, and it is wanted.
    wanted: AtomicBool,
    switched_on: AtomicBool,
    events: Mutex<Events>,
    arrived: Notify,
}

#[derive(Default)]
struct Events {
    places: HashMap<(Event, String), u64>,
    last: u64,
}

impl Gathered {
    /// Takes note; called inside of writes.
    fn note(&self, event: Event, name: &str) {
        if name == DATABASE {
            match event {
                Event::Created => self.wanted.store(true, Ordering::Relaxed),
                Event::Deleted => self.wanted.store(false, Ordering::Relaxed),
                // Its own changes are no news.
                Event::Updated => {}
            }
            return;
        }
        if self.wanted.load(Ordering::Relaxed) && self.switched_on.load(Ordering::Relaxed) {
            self.add([(event, name.to_owned())]);
            self.arrived.notify_one();
        }
    }

    fn add(&self, events: impl IntoIterator<Item = (Event, String)>) {
        let gathered = &mut *self.events.lock();
        for event in events {
            if gathered.places.len() < MAX_GATHERED || gathered.places.contains_key(&event) {
                gathered.last += 1;
                gathered.places.insert(event, gathered.last);
            }
        }
    }

    /// All of them, in the order in which they last happened.
    fn take(&self) -> Vec<(Event, String)> {
        let gathered = std::mem::take(&mut self.events.lock().places);
        let mut events: Vec<_> =
            gathered.into_iter().map(|(event, place)| (place, event)).collect();
        events.sort_unstable_by_key(|(place, _)| *place);
        events.into_iter().map(|(_, event)| event).collect()
    }
}

impl GlobalChanges {
    /// Takes note of what happens to these databases from now on.
    pub(crate) fn new(databases: Arc<Databases>, settings: GlobalChangesSettings) -> Self {
        let gathered = Arc::new(Gathered::default());
        gathered.wanted.store(databases.exists(DATABASE).unwrap_or(false), Ordering::Relaxed);
        gathered.switched_on.store(settings.enabled, Ordering::Relaxed);
        let listener = Arc::clone(&gathered);
        databases.listen(Arc::new(move |event, name| listener.note(event, name)));
        let settings = ArcSwap::from_pointee(settings);
        Self { databases, gathered, settings, writing: tokio::sync::Mutex::default() }
    }

    /// Puts other settings into effect.
    pub(crate) fn configure(&self, settings: GlobalChangesSettings) {
        self.gathered.switched_on.store(settings.enabled, Ordering::Relaxed);
        self.settings.store(Arc::new(settings));
    }

    /// Writes events down until the server stops.
    pub(crate) async fn follow(self: Arc<Self>, app: Arc<App>) {
        loop {
            tokio::select! {
                () = app.stopping() => break,
                () = self.gathered.arrived.notified() => {}
            }
            let delay = Duration::from_millis(self.settings.load().write_delay_ms);
            tokio::select! {
                () = app.stopping() => break,
                () = tokio::time::sleep(delay) => {}
            }
            if let Err(error) = self.flush().await {
                tracing::error!(%error, "events of databases can't be written to {DATABASE}");
                tokio::select! {
                    () = app.stopping() => break,
                    () = tokio::time::sleep(RETRY_AFTER) => self.gathered.arrived.notify_one(),
                }
            }
        }
        if let Err(error) = self.flush().await {
            tracing::error!(%error, "the last events of databases are lost");
        }
    }

    /// Writes what has happened so far, so that who reads next sees it.
    ///
    /// # Errors
    ///
    /// Those of the store; the events are kept.
    pub(crate) async fn flush(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let events = self.gathered.take();
        if events.is_empty() {
            return Ok(());
        }
        let (databases, gathered) = (Arc::clone(&self.databases), Arc::clone(&self.gathered));
        let written = tokio::task::spawn_blocking(move || {
            batches(&events).into_iter().try_for_each(|batch| write(&databases, batch)).inspect_err(
                |_| {
                    gathered.add(events.clone());
                },
            )
        });
        // A panic has been reported where it happened; its events are gone.
        written.await.unwrap_or(Ok(()))
    }
}

/// The events in runs that are written one after the other: documents that are written together take sequences in
/// the order of their ids, so that no database may be twice among them.
fn batches(events: &[(Event, String)]) -> Vec<&[(Event, String)]> {
    let (mut batches, mut rest) = (Vec::new(), events);
    while !rest.is_empty() {
        let (mut names, mut length) = (HashSet::new(), 0);
        for (_, name) in rest.iter().take(BATCH) {
            if !names.insert(name.as_str()) {
                break;
            }
            length += 1;
        }
        let (batch, after) = rest.split_at(length);
        batches.push(batch);
        rest = after;
    }
    batches
}

/// Writes the documents of these events.
fn write(databases: &Databases, events: &[(Event, String)]) -> Result<()> {
    let database = match databases.get(DATABASE) {
        // Deleted meanwhile: nobody wants them any more.
        Err(Error::DatabaseNotFound) => return Ok(()),
        found => found?,
    };
    let reader = database.read()?;
    let mut documents = Vec::with_capacity(events.len());
    for (event, name) in events {
        let id = format!("{}:{name}", word(*event));
        let rev = match reader.get(&id, &GetOptions::default()) {
            Ok(found) => Some(found.rev().clone()),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let body = Body::parse(b"{}")?;
        let (history, attachments) = (Vec::new(), Vec::new());
        documents.push(Document { id, rev, history, deleted: false, body, attachments });
    }
    drop(reader);
    for refused in
        database.write(documents, WriteMode::Interactive)?.iter().filter_map(|r| r.as_ref().err())
    {
        // Somebody else writes there.
        tracing::debug!(%refused, "an event was not written to {DATABASE}");
    }
    Ok(())
}

/// What `type` says of it.
fn word(event: Event) -> &'static str {
    match event {
        Event::Created => "created",
        Event::Updated => "updated",
        Event::Deleted => "deleted",
    }
}

#[cfg(test)]
mod tests {
    use settee_engine::{ChangeRow, ChangesQuery, Props};

    use super::*;

    const SETTINGS: GlobalChangesSettings =
        GlobalChangesSettings { enabled: true, write_delay_ms: 0 };

    /// The ids of what has been written, in the order of the last write of each.
    fn written(databases: &Arc<Databases>) -> Vec<String> {
        let mut ids = Vec::new();
        let reader = databases.get(DATABASE).unwrap().read().unwrap();
        let mut note = |row: ChangeRow<'_>| {
            let row: serde_json::Value = serde_json::from_slice(row.json).unwrap();
            ids.push(row["id"].as_str().unwrap().to_owned());
            std::ops::ControlFlow::Continue(())
        };
        reader.changes(&ChangesQuery::default(), &mut note).unwrap();
        ids
    }

    fn put(databases: &Databases, name: &str, id: &str) {
        let limits = settee_engine::document::Limits::default();
        let document = Document::parse(b"{}", Some(id), &limits).unwrap();
        let database = databases.get(name).unwrap();
        assert!(database.write(vec![document], WriteMode::Interactive).unwrap()[0].is_ok());
    }

    #[tokio::test]
    async fn each_event_is_one_document() {
        let databases = Databases::in_memory();
        let changes = GlobalChanges::new(Arc::clone(&databases), SETTINGS);
        databases.create("before", Props::default()).unwrap();
        databases.create(DATABASE, Props::default()).unwrap();
        databases.create("a", Props::default()).unwrap();
        databases.create("b", Props::default()).unwrap();
        for n in 0..3 {
            put(&databases, "a", &n.to_string());
        }
        put(&databases, "b", "_local/x");
        changes.flush().await.unwrap();
        assert_eq!(written(&databases), ["created:a", "created:b", "updated:a"]);

        databases.delete("a").unwrap();
        databases.create("a", Props::default()).unwrap();
        changes.flush().await.unwrap();
        assert_eq!(written(&databases), ["created:b", "updated:a", "deleted:a", "created:a"]);
        changes.flush().await.unwrap();
        assert_eq!(written(&databases).len(), 4, "its own writes are no events");
    }

    #[tokio::test]
    async fn it_can_be_switched_off_and_the_database_deleted() {
        let databases = Databases::in_memory();
        databases.create(DATABASE, Props::default()).unwrap();
        let changes = GlobalChanges::new(Arc::clone(&databases), SETTINGS);
        changes.configure(GlobalChangesSettings { enabled: false, ..SETTINGS });
        databases.create("a", Props::default()).unwrap();
        changes.configure(SETTINGS);
        databases.create("b", Props::default()).unwrap();
        changes.flush().await.unwrap();
        assert_eq!(written(&databases), ["created:b"]);
        databases.create("c", Props::default()).unwrap();
        databases.delete(DATABASE).unwrap();
        changes.flush().await.unwrap();
        databases.create("d", Props::default()).unwrap();
        assert!(changes.gathered.take().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let gathered = Gathered::default();
        gathered.add((0..MAX_GATHERED + 10).map(|n| (Event::Created, n.to_string())));
        assert_eq!(gathered.take().len(), MAX_GATHERED);
    }
}
