//! A map that remembers what was used lately, in bounded memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Remembers the entries used last. They stand in two generations: when the younger one is full, the
/// older one is forgotten and the younger takes its place; what is found in the older one moves to the
/// younger. So at least half the capacity is always what was used last, for the price of a plain map.
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Room for this many entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// The value, without counting as use: for those who only have read access.
    pub(crate) fn peek<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Whether the value will be gone soon unless it is inserted anew.
    pub(crate) fn is_fading<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        !self.young.contains_key(key) && self.old.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_stay_and_memory_is_bounded() {
        let mut recent = Recent::new(8);
        for n in 0..100 {
            recent.insert(n, n);
            assert!(recent.young.len() + recent.old.len() <= 8);
            assert!((n.max(3) - 3..=n).all(|n| recent.peek(&n) == Some(&n)));
        }
        assert_eq!(recent.peek(&0), None);
    }

    #[test]
    fn what_is_inserted_again_stays() {
        let mut recent = Recent::new(4);
        recent.insert("kept", 0);
        for n in 0..20 {
            recent.insert(["a", "b", "c", "d"][n % 4], n);
            if recent.is_fading("kept") {
                recent.insert("kept", 0);
            }
            assert!(recent.peek("kept").is_some());
        }
        recent.remove("kept");
        assert_eq!(recent.peek("kept"), None);
    }
}
