//! What a seed decides once, before anything runs: which operations occur and how often, what fails,
//! how small everything is. Runs that leave most things out find what an even mixture hides.

use settee_engine::Options as EngineOptions;
use settee_storage::{
    Options as StoreOptions, ReadBy,
    disk::sim::{Fault, Operation, Random},
};

/// What a step can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One document.
    Single,
    /// Several documents in one call.
    Bulk,
    /// Revisions as a replicator brings them, conflicts among them.
    Replicate,
    /// Several calls that become one commit.
    Group,
    /// A document with attachments.
    Attach,
    /// An attachment that is written and never referred to.
    Abandon,
    /// A purge.
    Purge,
    /// A change of a setting.
    Setting,
    /// A checkpoint.
    Checkpoint,
    /// A compaction, with other steps meanwhile.
    Compact,
    /// A query of a view, mostly after bringing it up to date.
    View,
    /// Indexes rewritten.
    CompactViews,
    /// Indexes removed that no design document defines.
    CleanUpViews,
    /// A snapshot to be held.
    Hold,
    /// A look at a held snapshot, after which it may be let go.
    Release,
    /// A new database.
    Create,
    /// A database deleted.
    Delete,
    /// A look at everything.
    Look,
}

/// Kinds with their usual weights.
const USUAL: [(Kind, u64); 18] = [
    (Kind::Single, 12),
    (Kind::Bulk, 5),
    (Kind::Replicate, 5),
    (Kind::Group, 4),
    (Kind::Attach, 4),
    (Kind::Abandon, 1),
    (Kind::Purge, 2),
    (Kind::Setting, 2),
    (Kind::Checkpoint, 2),
    (Kind::Compact, 2),
    (Kind::View, 5),
    (Kind::CompactViews, 1),
    (Kind::CleanUpViews, 1),
    (Kind::Hold, 2),
    (Kind::Release, 3),
    (Kind::Create, 2),
    (Kind::Delete, 1),
    (Kind::Look, 1),
];

/// Faults that can be planned for single operations. That a file cannot be cut is none of them, because
/// after a failed sync that is more than can be survived: nothing is left to tell what never reached the
/// disk.
pub(crate) const FAULTS: [(Operation, Fault); 18] = [
    (Operation::Write, Fault::Error),
    (Operation::Write, Fault::Full),
    (Operation::Write, Fault::Short),
    (Operation::Write, Fault::Torn),
    (Operation::Sync, Fault::Error),
    (Operation::Sync, Fault::Full),
    // What file systems really do, and the hardest to survive.
    (Operation::Sync, Fault::DropDirty),
    (Operation::Sync, Fault::DropDirty),
    (Operation::Sync, Fault::DropDirty),
    (Operation::Sync, Fault::DropDirty),
    (Operation::Read, Fault::Error),
    (Operation::Read, Fault::Short),
    (Operation::Open, Fault::Error),
    (Operation::Create, Fault::Error),
    (Operation::Create, Fault::Full),
    (Operation::Remove, Fault::Error),
    (Operation::Rename, Fault::Error),
    (Operation::SyncDir, Fault::Error),
];

/// The decisions of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    weights: Vec<(Kind, u64)>,
    /// Processes that follow each other on the disk.
    pub(crate) lives: u64,
    /// Most steps in one of them.
    pub(crate) steps: u64,
    /// Names of databases.
    pub(crate) databases: u64,
    /// Ids of documents in each.
    pub(crate) documents: u64,
    /// How often (of 8) the power goes during a life.
    pub(crate) power: u64,
    /// How often (of 8) single operations of the disk fail during a life.
    pub(crate) faults: u64,
    /// How often (of 8) a file cannot be cut, and nothing else fails.
    pub(crate) cuts: u64,
    /// How often (of 8) the disk is full for a while.
    pub(crate) full: u64,
    /// How often (of 8) something fails while everything is opened.
    pub(crate) opening: u64,
    /// How often (of 64) a compaction is told to stop when it asks.
    pub(crate) cancels: u64,
    /// The design document has a view in JavaScript.
    pub(crate) javascript: bool,
    /// Bits are flipped at the end.
    pub(crate) flips: bool,
    /// Attachments of several chunks occur.
    pub(crate) large: bool,
    store: StoreOptions,
    open_databases: usize,
}

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Self {
        let weights = USUAL.map(|(kind, usual)| match random.below(4) {
            0 if kind != Kind::Single => (kind, 0),
            1 => (kind, usual * 4),
            _ => (kind, usual),
        });
        let rate = |random: &mut Random| match random.below(3) {
            0 => 0,
            _ => random.below(7),
        };
        Plan {
            weights: weights.to_vec(),
            lives: 1 + random.below(4),
            steps: [4, 12, 30, 60][random.index(4)],
            databases: 1 + random.below(3),
            documents: [2, 4, 10][random.index(3)],
            power: rate(random),
            faults: rate(random),
            cuts: rate(random) / 4,
            full: rate(random) / 2,
            opening: rate(random),
            cancels: rate(random) / 2,
            javascript: random.below(12) == 0,
            flips: random.chance(2),
            large: random.below(40) == 0,
            store: StoreOptions {
                checkpoint_log_bytes: [700, 2500, 9000, 1 << 40][random.index(4)],
                checkpoint_memory_bytes: [4000, 1 << 20, 1 << 20][random.index(3)],
                max_prepare_bytes: [0, 4096, 8192][random.index(3)],
                read_by: ReadBy::Pread,
                cache_bytes: [0, 4096, 1 << 20][random.index(3)],
                compact_helpers: Some(0),
                identity: None,
                compact_pause_bytes: [0, 4096, 1 << 20][random.index(3)],
            },
            open_databases: 1 + random.index(3),
        }
    }

    /// What a process opens its databases with. Those it creates must not be taken for those of another one.
    pub(crate) fn engine_options(&self, life: u8) -> EngineOptions {
        EngineOptions {
            open_databases: self.open_databases,
            store: StoreOptions { identity: Some([life; 32]), ..self.store },
            ..EngineOptions::default()
        }
    }

    /// What comes next.
    pub(crate) fn kind(&self, random: &mut Random) -> Kind {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = random.below(total.max(1));
        for (kind, weight) in &self.weights {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Kind::Single
    }
}
