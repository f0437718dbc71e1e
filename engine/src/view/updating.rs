//! Bringing the indexes of a design document up to date: one change at a time, for all who wait for it.

use std::{
    fmt, mem,
    sync::{Arc, atomic::Ordering, mpsc},
};

use parking_lot::Mutex;
use serde_json::json;
use settee_storage::Seq;

use super::{
    definition::{IndexDefinition, ViewGroup},
    index::{Current, ViewIndex, build::Build, rewrite::rewrite, update::Update},
    progress::Progress,
    reduce::ReduceSpec,
};
use crate::{
    database::Database,
    error::{Error, Result},
    read::Reader,
};

/// Changes from which on an update is not among those that others may be held up by.
const LONG_FROM_CHANGES: u64 = 10_000;

/// How much there is to do for a group. Long work has threads of its own, so that short work never waits
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    None,
    Short,
    Long,
}

/// Called once, when the indexes are at the sequence asked for, or cannot be.
pub type Updated = Box<dyn FnOnce(Result<(), Arc<Error>>) + Send>;

/// Who waits for the indexes of a group. At most one thread changes them.
#[derive(Default)]
pub(crate) struct UpdateQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: bool,
    waiting: Vec<(Seq, Updated)>,
}

impl fmt::Debug for UpdateQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (running, waiting) = (state.running, state.waiting.len());
        write!(f, "UpdateQueue {{ running: {running}, waiting: {waiting} }}")
    }
}

impl UpdateQueue {
    /// Whether the indexes are being changed, and how many wait for that.
    pub(crate) fn status(&self) -> (bool, usize) {
        let state = self.state.lock();
        (state.running, state.waiting.len())
    }
}

impl Database {
    /// Brings the indexes of a group up to the database's present sequence, in the background, and calls
    /// `updated` when that is done: at once if there is nothing to do. Everybody who asks meanwhile waits for the
    /// same change.
    pub fn update_views(self: &Arc<Self>, group: &Arc<ViewGroup>, updated: Updated) {
        let (seq, work) = match self.work_for(group) {
            Ok((_, Work::None)) => return updated(Ok(())),
            Ok(due) => due,
            Err(error) => return updated(Err(Arc::new(error))),
        };
        let mut state = group.queue.state.lock();
        state.waiting.push((seq, updated));
        if !mem::replace(&mut state.running, true) {
            drop(state);
            let (database, group) = (Arc::clone(self), Arc::clone(group));
            let settings = self.shared.view_settings();
            let run = move || database.run_updates(&group);
            match work {
                Work::Long => self.shared.builder.submit(settings.concurrent_builds, run),
                _ => self.shared.indexer.submit(settings.concurrent_updates, run),
            }
        }
    }

    /// As [`Database::update_views`], and waits until it is done.
    ///
    /// # Errors
    /// Those of building the index.
    pub fn refresh_views(self: &Arc<Self>, group: &Arc<ViewGroup>) -> Result<()> {
        let (sender, outcome) = mpsc::channel();
        self.update_views(
            group,
            Box::new(move |updated| {
                // Somebody who gave up waiting needs no answer.
                let _ = sender.send(updated);
            }),
        );
        match outcome.recv() {
            Ok(updated) => updated.map_err(Error::Shared),
            Err(_) => Err(Error::IndexingFailed("the building of the index came to grief".into())),
        }
    }

    /// Makes durable what would take long to be looked at after a crash. Nobody waits for it, and nothing depends
    /// on it.
    fn sync_indexes(&self, group: &ViewGroup) {
        for definition in &group.indexes {
            let current = self.view_index(definition.signature).map(|index| index.current());
            if let Ok(Some(current)) = current {
                let _ = current.file.sync_if_due();
            }
        }
    }

    /// The sequence the indexes have to be brought to, and how much there is to do for that.
    fn work_for(&self, group: &ViewGroup) -> Result<(Seq, Work)> {
        let snapshot = self.store.snapshot()?;
        let seq = snapshot.seq();
        let mut work = Work::None;
        for definition in &group.indexes {
            let more = match self.view_index(definition.signature)?.current() {
                Some(current) if current.is_at(definition, seq) => Work::None,
                Some(current) if current.is_at(definition, 0) => {
                    match snapshot.count_changes(current.meta.seq)? {
                        0..LONG_FROM_CHANGES => Work::Short,
                        _ => Work::Long,
                    }
                }
                _ => Work::Long,
            };
            work = work.max(more);
        }
        Ok((seq, work))
    }

    /// Serves those who wait until none does.
    fn run_updates(self: &Arc<Self>, group: &ViewGroup) {
        let mut guard = EndOfRun { queue: &group.queue, finished: false };
        loop {
            let outcome = self.read().and_then(|reader| {
                let seq = reader.seq();
                Job { database: self, group, reader }.run().map(|()| seq)
            });
            let mut state = group.queue.state.lock();
            let served: Vec<(Seq, Updated)> = match &outcome {
                Ok(reached) => {
                    let (served, rest) = mem::take(&mut state.waiting)
                        .into_iter()
                        .partition(|(seq, _)| seq <= reached);
                    state.waiting = rest;
                    served
                }
                Err(_) => mem::take(&mut state.waiting),
            };
            if state.waiting.is_empty() {
                state.running = false;
                guard.finished = true;
            }
            drop(state);
            let outcome = outcome.map(drop).map_err(Arc::new);
            served.into_iter().for_each(|(_, updated)| updated(outcome.clone()));
            self.sync_indexes(group);
            self.consider_view_compaction(group);
            if guard.finished {
                return;
            }
        }
    }
}

/// Tells those who wait when a run ends in a panic.
struct EndOfRun<'q> {
    queue: &'q UpdateQueue,
    finished: bool,
}

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let waiting = {
            let mut state = self.queue.state.lock();
            state.running = false;
            mem::take(&mut state.waiting)
        };
        let error = Arc::new(Error::IndexingFailed("the building of the index panicked".into()));
        waiting.into_iter().for_each(|(_, updated)| updated(Err(Arc::clone(&error))));
    }
}

/// One change of a group's indexes.
struct Job<'j> {
    database: &'j Arc<Database>,
    group: &'j ViewGroup,
    reader: Reader,
}

/// An index of the group that has to change.
struct Due<'d> {
    index: Arc<ViewIndex>,
    definition: &'d IndexDefinition,
    current: Option<Arc<Current>>,
}

impl Job<'_> {
    fn run(&self) -> Result<()> {
        let mut indexes = Vec::new();
        for definition in &self.group.indexes {
            indexes.push((self.database.view_index(definition.signature)?, definition));
        }
        // Always in the same order, so that two groups with indexes in common do not wait for each other.
        indexes.sort_by_key(|(index, _)| index.signature);
        let _locks: Vec<_> = indexes.iter().map(|(index, _)| index.change()).collect();
        let due: Vec<Due<'_>> = indexes
            .iter()
            .map(|(index, definition)| {
                let current = index.current();
                Due { index: Arc::clone(index), definition, current }
            })
            .collect();
        match self.run_locked(&due) {
            Err(error) if self.database.views.place().is_damage(&error) => {
                // An index that a crash or a disk has damaged is made anew.
                due.iter().try_for_each(|due| due.index.discard())?;
                self.build(&due.iter().collect::<Vec<_>>())
            }
            outcome => outcome,
        }
    }

    fn run_locked(&self, all: &[Due<'_>]) -> Result<()> {
        let seq = self.reader.seq();
        let is_new =
            |due: &&Due<'_>| due.current.as_ref().is_none_or(|current| !current.is_readable());
        let (new, old): (Vec<_>, Vec<_>) = all.iter().partition(is_new);
        self.build(&new)?;
        for due in &old {
            self.add_reducers(due)?;
        }
        let behind = |due: &Due<'_>| {
            let current = due.index.current()?;
            (current.meta.seq < seq).then_some((current.meta.seq, current.meta.purge_seq))
        };
        let mut rest: Vec<_> =
            old.into_iter().filter_map(|due| Some((behind(due)?, due))).collect();
        // Those that are at the same point read the changes once for all.
        while let Some((at, _)) = rest.first() {
            let at = *at;
            let (together, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(other, _)| *other == at);
            rest = others;
            let together: Vec<_> = together.into_iter().map(|(_, due)| due).collect();
            self.update(&together, at)?;
        }
        Ok(())
    }

    fn progress(&self, total: u64) -> Progress {
        let members = [
            ("database", json!(self.database.name())),
            ("design_document", json!(self.group.id)),
            ("changes_done", json!(0)),
            ("total_changes", json!(total)),
            ("progress", json!(0)),
        ];
        let task = self.database.shared.tasks.begin("indexer", members);
        Progress::new(Some(task), total, self.database.views.closed())
    }

    fn build(&self, due: &[&Due<'_>]) -> Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        let settings = self.database.shared.view_settings();
        let progress = self.progress(self.reader.snapshot.counts().documents());
        let indexes = due.iter().map(|due| (&*due.index, due.definition)).collect();
        let (reader, source) = (&self.reader, &*self.group.source);
        Build { reader, source, indexes, settings: &settings, progress: &progress }.run()?;
        self.database.views.has_replaced.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn update(&self, due: &[&Due<'_>], (seq, purge_seq): (Seq, u64)) -> Result<()> {
        let settings = self.database.shared.view_settings();
        let progress = self.progress(self.reader.snapshot.count_changes(seq)?);
        let indexes = due.iter().map(|due| (&*due.index, due.definition)).collect();
        let (reader, source) = (&self.reader, &*self.group.source);
        let update = Update { reader, source, indexes, settings: &settings, progress: &progress };
        match update.run(seq, purge_seq)? {
            true => Ok(()),
            // More was purged than the database remembers.
            false => self.build(due),
        }
    }

    /// Reductions the index does not have yet are added to those it has.
    fn add_reducers(&self, due: &Due<'_>) -> Result<()> {
        let Some(current) = &due.current else { return Ok(()) };
        if current.reduces(&due.definition.reducers) {
            return Ok(());
        }
        let mut reducers = current.meta.reducers.clone();
        let missing = |spec: &&ReduceSpec| !current.meta.reducers.contains(spec);
        reducers.extend(due.definition.reducers.iter().filter(missing).cloned());
        let settings = self.database.shared.view_settings();
        let progress = self.progress(current.rows().total()?);
        let source = &*self.group.source;
        rewrite(&due.index, current, reducers, source, &settings, &progress, &|| true)
    }
}
