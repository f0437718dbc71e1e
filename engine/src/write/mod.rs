//! Writing: from documents a client sent to the store's edits.
//!
//! * `prepare`: everything that needs no knowledge of what is stored: attachments compressed and
//!   digested, revision ids computed for the parent the client named
//! * `validate`: what the database's functions say to it, and whether design documents can be what they say
//! * `apply`: the decisions, made inside an edit against the latest state, and what is stored
//! * `local`: local documents
//! * `hook`: what system databases check and change first
//! * this file: one call, one or more edits, one list of results
//!
//! Nothing in this folder knows how a document is parsed or shown.

mod apply;
pub(crate) mod hook;
mod local;
mod prepare;
mod validate;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use parking_lot::Mutex;
use settee_storage::{Leader, Receipt};

use crate::{
    caller::Caller,
    database::Database,
    document::Document,
    error::{Error, Result},
    revision::Rev,
};
pub(crate) use apply::{Scratch, weight, weight_of, weight_of_leaves};
pub use hook::{PendingWrite, WriteHook};
pub(crate) use local::LocalDocument;
use prepare::{Plan, Prepared};

/// How revisions come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// The edit gets the revision that follows from it; it must name the leaf it follows.
    Interactive,
    /// The revision the client gave is stored as it is (`new_edits=false`), a conflict if need be.
    Replicated,
}

/// What became of each document of one call, in their order.
pub type WriteResults = Vec<Result<Rev>>;
/// Called once when a call's documents are durable, refused or failed. Must be short.
pub type WriteDone = Box<dyn FnOnce(Result<WriteResults>) + Send>;

/// Bytes of bodies that one edit may carry. A larger call becomes several edits, each of them atomic;
/// smaller ones are atomic as a whole.
pub const MAX_EDIT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of attachments sent inline above which preparing them is left to the returned leader, because
/// compressing and writing them takes long.
const INLINE_WORK_BYTES: usize = 64 * 1024;

impl Database {
    /// Writes documents and waits until they are durable. One result for each, in their order: the new
    /// revision, or [`Error::Conflict`]. Of several with the same id, the first wins.
    ///
    /// # Errors
    /// If the call fails as a whole, and then nothing of it is stored (of calls over
    /// [`MAX_EDIT_BYTES`], some of its documents may be): [`Error::MissingStub`],
    /// [`Error::PreviousRevisionMissing`], those of [`Database::check_writable`] and of the store.
    pub fn write(self: &Arc<Self>, docs: Vec<Document>, mode: WriteMode) -> Result<WriteResults> {
        self.write_as(&Caller::admin(), docs, mode)
    }

    /// As [`Database::write`], in the name of somebody.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn write_as(
        self: &Arc<Self>,
        caller: &Caller,
        docs: Vec<Document>,
        mode: WriteMode,
    ) -> Result<WriteResults> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = Box::new(move |results| {
            // The receiver waits below for as long as it takes.
            let _ = sender.send(results);
        });
        if let Some(leader) = self.submit_write(caller, docs, mode, done) {
            leader.run();
        }
        receiver.recv().unwrap_or(Err(Error::Storage(settee_storage::Error::Closed)))
    }

    /// What has its say before documents are stored here.
    pub(crate) fn write_hook(&self) -> Option<Arc<dyn WriteHook>> {
        self.shared.write_hooks.of(&self.name)
    }

    /// The same without blocking: `done` is called with what [`Database::write_as`] would have returned.
    /// If a [`Leader`] comes back, the caller runs it on a thread that may block.
    pub fn submit_write(
        self: &Arc<Self>,
        caller: &Caller,
        docs: Vec<Document>,
        mode: WriteMode,
        done: WriteDone,
    ) -> Option<Leader> {
        if docs.is_empty() {
            done(Ok(Vec::new()));
            return None;
        }
        let works = inline_bytes(&docs) > INLINE_WORK_BYTES
            || self.designs.may_validate()
            || self.write_hook().is_some()
            || docs.iter().any(|doc| prepare::is_design(&doc.id));
        if !works {
            return self.prepare_and_submit(caller, docs, mode, done);
        }
        let (database, caller) = (Arc::clone(self), caller.clone());
        Some(Leader::new(move || {
            if let Some(leader) = database.prepare_and_submit(&caller, docs, mode, done) {
                leader.run();
            }
        }))
    }

    fn prepare_and_submit(
        self: &Arc<Self>,
        caller: &Caller,
        docs: Vec<Document>,
        mode: WriteMode,
        done: WriteDone,
    ) -> Option<Leader> {
        match Plan::new(self, caller, docs, mode) {
            Ok(plan) => self.submit_plan(plan, done),
            Err(error) => {
                done(Err(error));
                None
            }
        }
    }

    fn submit_plan(self: &Arc<Self>, plan: Plan, done: WriteDone) -> Option<Leader> {
        let rules =
            apply::Rules { mode: plan.mode, checked: plan.checked, database: Arc::clone(self) };
        let gather = Arc::new(Gather::new(plan.count, plan.refused, plan.edits.len(), done));
        if plan.edits.is_empty() {
            gather.finish();
            return None;
        }
        let mut leaders = Vec::new();
        for prepared in plan.edits {
            leaders.extend(self.submit_edit(rules.clone(), prepared, &gather));
        }
        match leaders.len() {
            0 | 1 => leaders.pop(),
            _ => Some(Leader::new(move || leaders.into_iter().for_each(Leader::run))),
        }
    }

    fn submit_edit(
        self: &Arc<Self>,
        rules: apply::Rules,
        prepared: Vec<Prepared>,
        gather: &Arc<Gather>,
    ) -> Option<Leader> {
        // What the edit found, on its way from the edit to `done`. Both run on the leader's thread.
        let found = Arc::new(Mutex::new(Ok(Vec::new())));
        let in_edit = Arc::clone(&found);
        let gather = Arc::clone(gather);
        let designs = prepared.iter().any(|doc| prepare::is_design(&doc.id));
        let database = Arc::clone(self);
        Arc::clone(&self.store).submit(
            Box::new(move |transaction| match apply::apply(transaction, &rules, prepared) {
                Ok(applied) => {
                    let wrote = applied.wrote;
                    *in_edit.lock() = Ok(applied.results);
                    Ok(wrote)
                }
                Err(Error::Storage(error)) => Err(error),
                Err(refusal) => {
                    *in_edit.lock() = Err(refusal);
                    Ok(false)
                }
            }),
            Box::new(move |outcome| {
                let found = mem::replace(&mut *found.lock(), Ok(Vec::new()));
                if designs {
                    database.designs.changed();
                }
                gather.arrived(outcome, found);
            }),
        )
    }
}

fn inline_bytes(docs: &[Document]) -> usize {
    docs.iter().flat_map(|doc| &doc.attachments).map(prepare::inline_len).sum()
}

/// Collects the results of one call's edits and reports when the last is in.
struct Gather {
    state: Mutex<Gathered>,
    outstanding: AtomicUsize,
}

struct Gathered {
    results: Vec<Option<Result<Rev>>>,
    failure: Option<Error>,
    done: Option<WriteDone>,
}

impl Gathered {
    fn take(&mut self, results: impl IntoIterator<Item = (usize, Result<Rev>)>) {
        for (place, result) in results {
            if let Some(slot) = self.results.get_mut(place) {
                *slot = Some(result);
            }
        }
    }
}

impl Gather {
    fn new(count: usize, refused: Vec<(usize, Error)>, edits: usize, done: WriteDone) -> Self {
        let results = std::iter::repeat_with(|| None).take(count).collect();
        let mut gathered = Gathered { results, failure: None, done: Some(done) };
        gathered.take(refused.into_iter().map(|(place, error)| (place, Err(error))));
        Gather { state: Mutex::new(gathered), outstanding: AtomicUsize::new(edits) }
    }

    fn arrived(
        &self,
        outcome: settee_storage::Result<Receipt>,
        found: Result<Vec<(usize, Result<Rev>)>>,
    ) {
        let mut state = self.state.lock();
        match outcome.map_err(Error::from).and(found) {
            Ok(results) => state.take(results),
            Err(error) => {
                state.failure.get_or_insert(error);
            }
        }
        drop(state);
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish();
        }
    }

    /// Reports what is in.
    fn finish(&self) {
        let mut state = self.state.lock();
        let Some(done) = state.done.take() else { return };
        let results = mem::take(&mut state.results);
        let failure = state.failure.take();
        drop(state);
        done(match failure {
            Some(error) => Err(error),
            // Every document was refused or went into exactly one edit, and each edit answers for
            // all of its own.
            None => {
                Ok(results.into_iter().map(|slot| slot.unwrap_or(Err(Error::Conflict))).collect())
            }
        });
    }
}
