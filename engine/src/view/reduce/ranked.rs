//! `_top_N` and `_bottom_N`: the greatest or least different values, in the order of collation.

use std::cmp::Ordering;

use crate::{
    collation::compare,
    json::{Value, raw},
};

/// The values so far, best first.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    rank: usize,
    greatest: bool,
    values: Vec<Value>,
}

impl Ranked {
    pub(super) fn new(rank: usize, greatest: bool) -> Self {
        Ranked { rank, greatest, values: Vec::new() }
    }

    /// Adds a value, given as JSON.
    pub(super) fn add(&mut self, json: &[u8]) {
        let Ok(value) = Value::from_canonical(json) else { return };
        let order = |known: &Value| match self.greatest {
            true => compare(&value, known),
            false => compare(known, &value),
        };
        // The first known value that the new one is not behind.
        let at = self.values.partition_point(|known| order(known) == Ordering::Less);
        if at >= self.rank || self.values.get(at).is_some_and(|known| order(known).is_eq()) {
            return;
        }
        self.values.insert(at, value);
        self.values.truncate(self.rank);
    }

    /// Adds what [`Ranked::write`] wrote.
    pub(super) fn join(&mut self, json: &[u8]) {
        raw::items(json).for_each(|value| self.add(value));
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        Value::Array(self.values.clone()).write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_different_values_are_kept() {
        let ranked = |rank, greatest| {
            let mut ranked = Ranked::new(rank, greatest);
            for value in ["3", "\"a\"", "3.0", "null", "[1]", "2", "\"a\""] {
                ranked.add(value.as_bytes());
            }
            let mut out = Vec::new();
            ranked.write(&mut out);
            let mut again = Ranked::new(rank, greatest);
            again.join(&out);
            again.join(&out);
            let mut joined = Vec::new();
            again.write(&mut joined);
            assert_eq!(joined, out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(ranked(2, true), r#"[[1],"a"]"#);
        assert_eq!(ranked(3, false), "[null,2,3]");
        assert_eq!(ranked(100, true), r#"[[1],"a",3,2,null]"#);
    }
}
