//! An open file of a simulated disk.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::MutexGuard;

use super::{
    Inner, SimDisk,
    faults::{Fault, Operation, broken},
    random::Random,
    state::Effect,
};
use crate::disk::{File, Map};

#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    inode: u64,
    writable: bool,
    locked: AtomicBool,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, inode: u64, writable: bool) -> Self {
        SimFile { disk, inode, writable, locked: AtomicBool::new(false) }
    }

    fn enter_write(
        &self,
        operation: Operation,
    ) -> io::Result<(MutexGuard<'_, Inner>, Option<Fault>)> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.enter(operation)
    }

    fn sync(&self) -> io::Result<()> {
        let (mut inner, fault) = self.disk.enter(Operation::Sync)?;
        let inode = self.inode;
        // Seeds 0 and 1 keep nothing and everything, of which this must be neither.
        let seed = inner.state.operations() + 2;
        match fault {
            None => inner.change(Effect::Sync { inode }),
            Some(Fault::Lie) => inner.change(Effect::DropDirty { inode, seed: None }),
            Some(_) => {
                inner.change(Effect::DropDirty { inode, seed: Some(seed) });
                return Err(broken());
            }
        }
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        inner.closed(self.inode);
        if self.locked.load(Ordering::Acquire) {
            inner.locks.remove(&self.inode);
        }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Between one byte and all but one, by chance; what there is if that is not possible.
fn part(len: usize, seed: u64) -> usize {
    if len < 2 { len } else { 1 + Random::new(seed).index(len - 1) }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (inner, fault) = self.disk.enter(Operation::Read)?;
        let rest = inner.state.inode(self.inode).contents();
        let rest = rest.get(position(offset)?..).unwrap_or_default();
        let mut len = rest.len().min(buffer.len());
        if fault.is_some() {
            len = part(len, offset);
        }
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut inner, fault) = self.enter_write(Operation::Write)?;
        let offset = position(offset)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut len = bytes.len();
        if let Some(capacity) = inner.plan.capacity {
            let free = capacity.saturating_sub(inner.allocated_bytes());
            let free = usize::try_from(free).unwrap_or(usize::MAX);
            len = inner.state.inode(self.inode).fitting(offset, len, free);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        if fault.is_some() {
            len = part(len, inner.state.operations());
        }
        let written = bytes[..len].to_vec();
        inner.change(Effect::Write { inode: self.inode, offset, bytes: written });
        if fault == Some(Fault::Torn) { Err(broken()) } else { Ok(len) }
    }

    fn len(&self) -> io::Result<u64> {
        let inner = self.disk.enter_names(Operation::Open)?;
        Ok(inner.state.inode(self.inode).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut inner, _) = self.enter_write(Operation::SetLen)?;
        inner.change(Effect::SetLen { inode: self.inode, len: position(len)? });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        if self.locked.load(Ordering::Acquire) {
            return Ok(true);
        }
        let free = self.disk.enter_names(Operation::Open)?.locks.insert(self.inode);
        self.locked.store(free, Ordering::Release);
        Ok(free)
    }

    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }
}
