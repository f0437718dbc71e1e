//! Compaction of databases: what of a document is kept, and who compacts when.
//!
//! How a file is compacted is the store's affair. Here is what only the engine knows:
//!
//! * `rewrite`: which revisions keep their bodies, and where values hold references
//! * `packing`: bodies are compressed on this occasion
//! * `channel`: when it pays to compact a database; `gauge`: noticing it
//! * `queue`: the databases that wait to be compacted, and the few threads that do it
//!
//! Of a document stays what CouchDB keeps: the bodies and attachments of its leaves. The bodies of interior
//! revisions go; that they existed is still known.

mod channel;
mod gauge;
mod packing;
mod queue;
mod rewrite;

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use settee_storage::{Compacted, FileStore, Phase, Progress, Store, Watch, disk::Disk};

pub(crate) use channel::Measure;
pub use channel::{Channel, ChannelOf, Gain, Window};
pub(crate) use gauge::{Gauge, NextLook};
pub use queue::ChannelStatus;
pub(crate) use queue::{CompactionQueue, Item};

use self::{
    packing::Packing,
    rewrite::{Failure, Rewriter},
};
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
        self.compact_while(&|| true)
    }

    /// The same, as long as `go_on` says so. It is asked every few hundred documents and between the chunks of a
    /// long attachment, on this thread, and may itself read and write the database meanwhile. Told to stop,
    /// the compaction ends with [`settee_storage::Error::Cancelled`].
    ///
    /// # Errors
    /// As [`Database::compact`].
    pub fn compact_while(&self, go_on: &dyn Fn() -> bool) -> Result<Compacted> {
        let task = self.shared.tasks.begin(TASK, self.first_members());
        let watch = |progress| {
            task.set(members(progress));
            !task.is_cancelled() && go_on()
        };
        let compacted = compact_store(&self.store, self.shared.packs_bodies(), &watch)?;
        self.gauge.compacted(compacted, &*self.store.snapshot()?);
        Ok(compacted)
    }

    /// Offers the database to the channels, if its file has grown enough to look at it again, and if design
    /// documents were changed. Called after each commit.
    pub(crate) fn consider_compaction(&self) {
        if let Some(measure) = self.gauge.look(&*self.store) {
            self.shared.compactions.offer(Item::database(self.name()), measure);
        }
        self.consider_view_cleanup();
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
    pub fn compact_running(&self) -> bool {
        self.shared.compactions.has(self.name())
    }

    fn first_members(&self) -> [(&'static str, Value); 2] {
        [("database", json!(self.name())), ("retry", json!(false))]
    }
}

/// Compacts a database file that no server has open, its bodies packed or as text; `watch` hears how far it
/// is and may end it.
///
/// # Errors
/// [`settee_storage::Error::Locked`] if a server has it open, otherwise as [`Database::compact`].
pub fn compact_file(
    disk: Arc<dyn Disk>,
    path: &Path,
    packs_bodies: bool,
    watch: Watch<'_>,
) -> Result<Compacted> {
    let store: Arc<dyn Store> = FileStore::open(disk, path, settee_storage::Options::default())?;
    let compacted = compact_store(&store, packs_bodies, watch);
    let closed = store.checkpoint();
    store.close();
    let compacted = compacted?;
    closed?;
    Ok(compacted)
}

fn compact_store(
    store: &Arc<dyn Store>,
    packs_bodies: bool,
    watch: Watch<'_>,
) -> Result<Compacted> {
    let (packing, failure) = (Packing::prepare(store, packs_bodies)?, Failure::default());
    let compacted = store.compact(&mut Rewriter::new(&packing, &failure), watch);
    match failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(compacted?),
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
