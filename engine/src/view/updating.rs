//! Bringing the indexes of a design document up to date: one change at a time, for all who wait for it.

use std::{
    fmt, mem,
    sync::{Arc, mpsc},
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
        let seq = match self.indexes_are_current(group) {
            Ok(Ok(())) => return updated(Ok(())),
            Ok(Err(seq)) => seq,
            Err(error) => return updated(Err(Arc::new(error))),
        };
        let mut state = group.queue.state.lock();
        state.waiting.push((seq, updated));
        if !mem::replace(&mut state.running, true) {
            drop(state);
            let (database, group) = (Arc::clone(self), Arc::clone(group));
            let most = self.shared.view_settings().concurrent_updates;
            self.shared.indexer.submit(most, move || database.run_updates(&group));
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

    /// The sequence the indexes have to be brought to, if they are not there.
    fn indexes_are_current(&self, group: &ViewGroup) -> Result<Result<(), Seq>> {
        let seq = self.store.snapshot()?.seq();
        for definition in &group.indexes {
            let current = self.view_index(definition.signature)?.current();
            if !current.is_some_and(|current| current.is_at(definition, seq)) {
                return Ok(Err(seq));
            }
        }
        Ok(Ok(()))
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
            Err(Error::Storage(settee_storage::Error::Corrupt { .. }) | Error::Damaged(_)) => {
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
        Build { reader, source, indexes, settings: &settings, progress: &progress }.run()
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
        rewrite(&due.index, current, reducers, &*self.group.source, &settings, &progress)
    }
}
