//! Compaction of databases: what of a document is kept, and who compacts when.
//!
//! How a file is compacted is the store's affair. Here is what only the engine knows:
//!
//! * `rewrite`: which revisions keep their bodies, and where values hold references
//! * `queue`: the databases that wait to be compacted, and the few threads that do it
//!
//! Of a document stays what CouchDB keeps: the bodies and attachments of its leaves. The bodies of interior
//! revisions go; that they existed is still known.

mod queue;
mod rewrite;

use std::sync::Arc;

use serde_json::{Value, json};
use settee_storage::{Compacted, Phase, Progress};

pub(crate) use queue::CompactionQueue;

use self::rewrite::Rewriter;
use crate::{database::Database, error::Result};

/// What compactions call themselves in the list of tasks.
pub const TASK: &str = "database_compaction";

impl Database {
    /// Compacts the database and waits until that is done. Reading and writing go on meanwhile. Ends early
    /// when its task is [cancelled](crate::tasks::Tasks::cancel), and then nothing was changed.
    ///
    /// # Errors
    /// [`settee_storage::Error::Busy`] if it is being compacted already, [`Error::Damaged`](crate::Error::Damaged) and those of
    /// the store.
    pub fn compact(&self) -> Result<Compacted> {
        let task = self.shared.tasks.begin(TASK, self.first_members());
        let mut rewriter = Rewriter::default();
        let watch = |progress| {
            task.set(members(progress));
            !task.is_cancelled()
        };
        let compacted = self.store.compact(&mut rewriter, &watch);
        match rewriter.into_failure() {
            Some(error) => Err(error),
            None => Ok(compacted?),
        }
    }

    /// Lets the database be compacted in the background, soon. Nothing happens if it waits for that or
    /// is under way already.
    ///
    /// # Errors
    /// [`settee_storage::Error::NoRoom`] if the disk is too full for it, [`Error::Overloaded`](crate::Error::Overloaded) if too
    /// many databases wait.
    pub fn start_compaction(self: &Arc<Self>) -> Result<()> {
        self.store.check_compaction_room()?;
        self.shared.compactions.request(self.name())
    }

    /// Whether a compaction is under way or was asked for.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.shared.compactions.has(self.name())
    }

    fn first_members(&self) -> [(&'static str, Value); 2] {
        [("database", json!(self.name())), ("retry", json!(false))]
    }
}

/// What the task says of itself, by the names CouchDB has for it.
fn members(progress: Progress) -> [(&'static str, Value); 4] {
    let Progress { phase, done, total } = progress;
    let phase = match phase {
        Phase::Documents => "document_copy",
        Phase::BySequence => "docid_sort",
        Phase::ById => "docid_copy",
        Phase::Keys => "local_copy",
        Phase::CatchUp => "catch_up",
    };
    let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(100);
    [
        ("phase", json!(phase)),
        ("changes_done", json!(done)),
        ("total_changes", json!(total)),
        ("progress", json!(u64::try_from(percent).unwrap_or(100))),
    ]
}
