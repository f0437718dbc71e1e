//! Which databases are open, which of them are closed when there are too many, and who waits for
//! changes of closed ones.
//!
//! *Order.* Open databases stand in a queue. When there are more than may be open, those in front are
//! looked at: one that was used since it was queued, or is in use, goes to the end; the others are
//! closed. That is close to the order of their last use, and a use costs one relaxed store.
//!
//! *Waits.* A feed that waits for changes holds the database's notifier and not the database. The notifier
//! outlives the closing and is found again here when the database is next opened, so that an idle feed
//! costs no open file.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{database::Database, error::Result, notify::Notifier};

/// Databases that are looked at when one is opened beyond the bound. More than one, so that the bound
/// is come back to when several could not be closed before.
const MAX_LOOKS: usize = 64;
/// Notifiers that nobody waits on any more are cleared away when there are this many, at first.
const MIN_SLEEPING: usize = 1024;

/// A place for one database that may be open. Whoever opens, creates or deletes it holds the lock.
#[derive(Default)]
struct Slot {
    database: Mutex<Option<Arc<Database>>>,
    /// Since it was last looked at.
    used: AtomicBool,
    /// Its place in the queue.
    place: AtomicU64,
}

/// See the module.
pub(super) struct Slots {
    by_name: RwLock<HashMap<Arc<str>, Arc<Slot>>>,
    queue: Mutex<Queue>,
    sleeping: Mutex<Sleeping>,
    max_open: usize,
}

#[derive(Default)]
struct Queue {
    next: u64,
    open: BTreeMap<u64, (Arc<str>, Arc<Slot>)>,
}

impl Queue {
    fn push(&mut self, name: Arc<str>, slot: Arc<Slot>) {
        self.next += 1;
        slot.place.store(self.next, Ordering::Relaxed);
        self.open.insert(self.next, (name, slot));
    }
}

/// Notifiers of databases that are closed and waited for.
#[derive(Default)]
struct Sleeping {
    notifiers: HashMap<Arc<str>, Weak<Notifier>>,
    clear_at: usize,
}

impl Slots {
    pub(super) fn new(max_open: usize) -> Self {
        Slots {
            by_name: RwLock::default(),
            queue: Mutex::default(),
            sleeping: Mutex::default(),
            max_open,
        }
    }

    /// How many databases are open.
    pub(super) fn open(&self) -> usize {
        self.queue.lock().open.len()
    }

    /// Runs `work` with the slot of `name` locked; what it leaves there is open from then on.
    pub(super) fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Option<Arc<Database>>) -> Result<T>,
    ) -> Result<T> {
        let known = self.by_name.read().get(name).map(Arc::clone);
        let slot = known.unwrap_or_else(|| {
            Arc::clone(self.by_name.write().entry(Arc::from(name)).or_default())
        });
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        let mut open = slot.database.lock();
        let was_open = open.is_some();
        let outcome = work(&mut open);
        let is_open = open.is_some();
        // Under the slot's lock, so that a slot is in the queue if and only if it is open.
        match (was_open, is_open) {
            (false, true) => self.queue.lock().push(name.into(), Arc::clone(&slot)),
            (true, false) => self.dequeue(&slot),
            _ => {}
        }
        drop(open);
        match (was_open, is_open) {
            (false, true) => self.close_idle(),
            (_, false) => self.forget(name, &slot),
            _ => {}
        }
        outcome
    }

    fn dequeue(&self, slot: &Slot) {
        self.queue.lock().open.remove(&slot.place.load(Ordering::Relaxed));
    }

    /// Drops an empty slot, unless somebody else is about to use it.
    fn forget(&self, name: &str, slot: &Arc<Slot>) {
        let mut slots = self.by_name.write();
        let ours = slots.get(name).is_some_and(|listed| Arc::ptr_eq(listed, slot));
        // The map's handle and ours: nobody else can come by one while the map is locked.
        if ours && Arc::strong_count(slot) == 2 && slot.database.lock().is_none() {
            slots.remove(name);
        }
    }

    /// Closes databases that have not been used for long, as long as too many are open.
    fn close_idle(&self) {
        for _ in 0..MAX_LOOKS {
            let Some((name, slot)) = self.next_look() else { return };
            let used = slot.used.swap(false, Ordering::Relaxed);
            if !used && self.close_if_unused(&name, &slot) {
                self.forget(&name, &slot);
            }
        }
    }

    /// The first of the queue, which goes to its end, if too many are open.
    fn next_look(&self) -> Option<(Arc<str>, Arc<Slot>)> {
        let mut queue = self.queue.lock();
        if queue.open.len() <= self.max_open {
            return None;
        }
        let (_, (name, slot)) = queue.open.pop_first()?;
        queue.push(Arc::clone(&name), Arc::clone(&slot));
        Some((name, slot))
    }

    /// Closes the database of a slot; true if there is none in it now. Whoever asks for it meanwhile waits
    /// for the slot, then opens it anew.
    fn close_if_unused(&self, name: &Arc<str>, slot: &Slot) -> bool {
        let Some(mut open) = slot.database.try_lock() else { return false };
        let unused = open.take_if(|database| Arc::strong_count(database) == 1);
        if let Some(database) = unused {
            // What is not in the trees yet is in the file's commits: a failed checkpoint costs the next
            // opening a replay and nothing else.
            let _ = database.checkpoint();
            database.close_store();
            let notifier = Arc::downgrade(&database.notifier);
            drop(database);
            if notifier.strong_count() > 0 {
                self.sleeping.lock().insert(Arc::clone(name), notifier);
            }
        }
        if open.is_none() {
            self.dequeue(slot);
        }
        open.is_none()
    }

    /// The notifier of a closed database that is waited for, to be used by the database opened anew.
    /// The caller holds the database's slot.
    pub(super) fn wake(&self, name: &str) -> Option<Arc<Notifier>> {
        self.sleeping.lock().notifiers.remove(name)?.upgrade()
    }

    /// Empties all slots: returns the databases that were open, and ends the waits for the others.
    pub(super) fn drain(&self) -> Vec<Arc<Database>> {
        let slots: Vec<_> = self.by_name.write().drain().map(|(_, slot)| slot).collect();
        let databases = slots.iter().filter_map(|slot| slot.database.lock().take()).collect();
        self.queue.lock().open.clear();
        let sleeping = std::mem::take(&mut self.sleeping.lock().notifiers);
        sleeping.values().filter_map(Weak::upgrade).for_each(|notifier| notifier.close());
        databases
    }
}

impl Sleeping {
    fn insert(&mut self, name: Arc<str>, notifier: Weak<Notifier>) {
        if self.notifiers.len() >= self.clear_at.max(MIN_SLEEPING) {
            self.notifiers.retain(|_, notifier| notifier.strong_count() > 0);
            self.clear_at = 2 * self.notifiers.len();
        }
        self.notifiers.insert(name, notifier);
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // Databases that somebody still holds go on; who waits for a closed one would wait for ever.
        let sleeping = std::mem::take(&mut self.sleeping.lock().notifiers);
        sleeping.values().filter_map(Weak::upgrade).for_each(|notifier| notifier.close());
    }
}
