//! What fails when.

use std::io;

/// Kinds of operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening a file that is there, looking up or listing names.
    Open,
    /// Creating a file or folder.
    Create,
    /// Removing a file.
    Remove,
    /// Renaming a file.
    Rename,
    /// Making the names in a folder durable.
    SyncDir,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Changing the length.
    SetLen,
    /// Making bytes durable.
    Sync,
}

/// How an operation fails. Where one makes no sense (a short sync), it is as [`Fault::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation has no effect and returns an I/O error. A failed sync leaves everything unsynced as
    /// it was.
    Error,
    /// The operation has no effect and says that the disk is full.
    Full,
    /// A write writes a part and says so; a read returns a part.
    Short,
    /// A write writes a part and returns an I/O error.
    Torn,
    /// A sync returns an I/O error, having written some of the unsynced sectors, and forgets that the
    /// others are not: reads go on showing them, and no later sync will write them. This is what ext4,
    /// XFS and Btrfs do.
    DropDirty,
    /// A sync returns success but writes nothing, and forgets that it has not.
    Lie,
}

/// The error of a device.
pub(super) fn broken() -> io::Error {
    const EIO: i32 = 5;
    io::Error::from_raw_os_error(EIO)
}

/// Planned failures.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// How often each kind of operation was asked for.
    counts: std::collections::BTreeMap<Operation, u64>,
    /// The failures to come: which operation of its kind, counted from the beginning.
    planned: Vec<(Operation, u64, Fault)>,
    /// Everything fails once this many effects took place.
    power_off_at: Option<u64>,
    pub(super) capacity: Option<u64>,
}

impl Plan {
    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.counts.get(&operation).copied().unwrap_or_default()
    }

    pub(super) fn fail(&mut self, operation: Operation, nth: u64, fault: Fault) {
        let number = self.count(operation).saturating_add(nth);
        self.planned.push((operation, number, fault));
    }

    /// Forgets all planned failures; what was counted stays counted.
    pub(super) fn heal(&mut self) {
        self.planned.clear();
        self.power_off_at = None;
        self.capacity = None;
    }

    pub(super) fn power_off_at(&mut self, operations: u64) {
        self.power_off_at = Some(operations);
    }

    /// Counts an operation and returns the failure planned for it, if it can be partial.
    pub(super) fn enter(
        &mut self,
        operation: Operation,
        operations: u64,
    ) -> io::Result<Option<Fault>> {
        if self.power_off_at.is_some_and(|at| operations >= at) {
            return Err(io::Error::other("the power of the simulated disk is off"));
        }
        let count = self.counts.entry(operation).or_default();
        *count += 1;
        let now = (operation, *count);
        let found = self.planned.iter().position(|&(kind, number, _)| (kind, number) == now);
        match found.map(|index| self.planned.swap_remove(index).2) {
            None => Ok(None),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(fault) => {
                let partial = match operation {
                    Operation::Write => matches!(fault, Fault::Short | Fault::Torn),
                    Operation::Read => fault == Fault::Short,
                    Operation::Sync => matches!(fault, Fault::DropDirty | Fault::Lie),
                    _ => false,
                };
                if partial { Ok(Some(fault)) } else { Err(broken()) }
            }
        }
    }
}
