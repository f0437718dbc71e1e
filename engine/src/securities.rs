//! The security objects of databases, closed ones too: who lists the databases that somebody may read must
//! not open each of them for it.

use std::{collections::HashMap, mem, sync::Arc};

use parking_lot::RwLock;

/// Bytes of names and objects that are remembered.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that an entry takes besides its name and its object.
const ENTRY_BYTES: usize = 96;

/// Remembers the objects that were read or written last, in two generations: when the younger one is full,
/// the older one is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Securities(RwLock<[Generation; 2]>);

#[derive(Debug, Default)]
struct Generation {
    entries: HashMap<Box<str>, Arc<str>>,
    bytes: usize,
}

impl Securities {
    /// The security object of the database `name`, if it is remembered.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<str>> {
        let generations = self.0.read();
        generations.iter().find_map(|generation| generation.entries.get(name)).map(Arc::clone)
    }

    /// Remembers what the security object of `name` is now.
    pub(crate) fn set(&self, name: &str, security: &Arc<str>) {
        let mut generations = self.0.write();
        let [young, old] = &mut *generations;
        old.entries.remove(name);
        if young.bytes >= MAX_BYTES / 2 {
            *old = mem::take(young);
        }
        let before = young.entries.insert(name.into(), Arc::clone(security));
        young.bytes += match before {
            None => name.len() + security.len() + ENTRY_BYTES,
            // A change counts as well: a little too much is fine.
            Some(_) => security.len(),
        };
    }

    /// Forgets the database `name`.
    pub(crate) fn forget(&self, name: &str) {
        for generation in &mut *self.0.write() {
            generation.entries.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let securities = Securities::default();
        for word in ["a", "b"] {
            securities.set("db", &word.into());
            assert_eq!(securities.get("db").as_deref(), Some(word));
        }
        securities.forget("db");
        assert_eq!(securities.get("db"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let securities = Securities::default();
        let large: Arc<str> = "x".repeat(MAX_BYTES / 10).into();
        for n in 0..100 {
            securities.set(&n.to_string(), &large);
        }
        let remembered = (0..100).filter(|n| securities.get(&n.to_string()).is_some()).count();
        assert!((5..=12).contains(&remembered), "{remembered}");
        assert!(securities.get("99").is_some());
    }
}
