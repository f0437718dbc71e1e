//! Which databases are open: the engine's slots, over databases that only count.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test, and parts of another crate"
)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use settee_schedule::explore;
use shuttle::thread;

#[path = "../../engine/src/databases/slots.rs"]
mod slots;

/// What the slots know of the engine.
mod error {
    pub type Result<T> = std::result::Result<T, ()>;
}

mod notify {
    /// Stands for the one of the engine.
    #[derive(Default)]
    pub struct Notifier(pub std::sync::atomic::AtomicBool);

    impl Notifier {
        pub fn close(&self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

mod database {
    use super::*;

    /// A database of a file that only one may have open.
    pub struct Database {
        pub(crate) notifier: Arc<notify::Notifier>,
        pub file: Arc<AtomicU64>,
        pub closed: AtomicBool,
    }

    impl Database {
        pub fn open(file: &Arc<AtomicU64>, notifier: Arc<notify::Notifier>) -> Arc<Self> {
            assert_eq!(file.fetch_add(1, Ordering::SeqCst), 0, "opened twice");
            Arc::new(Database { notifier, file: Arc::clone(file), closed: AtomicBool::new(false) })
        }

        pub fn checkpoint(&self) -> Result<(), ()> {
            assert!(!self.closed.load(Ordering::SeqCst), "a closed database is checkpointed");
            // Others may come in between.
            thread::yield_now();
            Ok(())
        }

        pub fn close_store(&self) {
            thread::yield_now();
            assert!(!self.closed.swap(true, Ordering::SeqCst), "closed twice");
            self.file.fetch_sub(1, Ordering::SeqCst);
        }

        /// What a request does: for this long nobody may close it.
        pub fn use_it(&self) {
            for _ in 0..2 {
                assert!(!self.closed.load(Ordering::SeqCst), "closed while it is used");
                thread::yield_now();
            }
        }
    }
}

use database::Database;
use slots::Slots;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// So many of them are used at once.
const BUSY: usize = 3;

struct Folder {
    slots: Slots,
    files: [Arc<AtomicU64>; NAMES.len()],
}

impl Folder {
    fn new(max_open: usize) -> Arc<Self> {
        Arc::new(Folder { slots: Slots::new(max_open), files: Default::default() })
    }

    fn get(&self, number: usize) -> Arc<Database> {
        let name = NAMES[number];
        let open = |open: &mut Option<Arc<Database>>| match open {
            Some(database) => Ok(Arc::clone(database)),
            None => {
                let notifier = self.slots.wake(name).unwrap_or_default();
                let database = Database::open(&self.files[number], notifier);
                *open = Some(Arc::clone(&database));
                Ok(database)
            }
        };
        self.slots.with(name, open).unwrap()
    }

    fn delete(&self, number: usize) {
        let taken = self.slots.with(NAMES[number], |open| {
            if let Some(database) = open.take() {
                database.close_store();
                database.notifier.close();
            }
            Ok(())
        });
        taken.unwrap();
    }
}

/// More databases than may be open, used by several threads: each is open once, none is closed while it is
/// used, and afterwards no more are open than may be.
#[test]
fn none_is_opened_twice_or_closed_while_in_use() {
    explore(|| {
        let folder = Folder::new(1);
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let folder = Arc::clone(&folder);
                thread::spawn(move || {
                    for step in 0..3 {
                        folder.get((thread + step) % BUSY).use_it();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nothing is in use any more: the next one that is opened brings the number back.
        drop(folder.get(BUSY));
        assert_eq!(folder.slots.open(), 1);
        let open: u64 = folder.files.iter().map(|file| file.load(Ordering::SeqCst)).sum();
        assert_eq!(open, folder.slots.open() as u64, "what is open is listed");
        folder.slots.drain().iter().for_each(|database| database.close_store());
        assert!(folder.files.iter().all(|file| file.load(Ordering::SeqCst) == 0));
    });
}

/// Deleting while others open and close: a name is free again afterwards.
#[test]
fn deleting_comes_between() {
    explore(|| {
        let folder = Folder::new(1);
        let users: Vec<_> = (0..2)
            .map(|thread| {
                let folder = Arc::clone(&folder);
                thread::spawn(move || {
                    drop(folder.get(thread));
                    drop(folder.get(2));
                })
            })
            .collect();
        let deleter = thread::spawn({
            let folder = Arc::clone(&folder);
            move || {
                folder.delete(2);
                folder.delete(0);
            }
        });
        users.into_iter().chain([deleter]).for_each(|thread| thread.join().unwrap());
        for number in 0..NAMES.len() {
            folder.delete(number);
            assert_eq!(folder.files[number].load(Ordering::SeqCst), 0);
        }
        assert_eq!(folder.slots.open(), 0);
    });
}

/// Who waits for a database is told of its end, whether it is open or was closed meanwhile.
#[test]
fn waits_end_with_the_folder() {
    explore(|| {
        let folder = Folder::new(1);
        let waits = Arc::clone(&folder.get(0).notifier);
        let closer = thread::spawn({
            let folder = Arc::clone(&folder);
            move || {
                for database in folder.slots.drain() {
                    database.close_store();
                    database.notifier.close();
                }
            }
        });
        let opener = thread::spawn({
            let folder = Arc::clone(&folder);
            move || drop(folder.get(1))
        });
        closer.join().unwrap();
        opener.join().unwrap();
        drop(folder);
        assert!(waits.0.load(Ordering::SeqCst), "somebody waits for ever");
    });
}
