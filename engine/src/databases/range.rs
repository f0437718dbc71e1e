//! Which names a listing asks for.

use std::{collections::BTreeSet, ops::Bound};

/// Which names to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRange {
    /// Where to begin; with `descending`, the highest name.
    pub start: Option<String>,
    /// Where to end.
    pub end: Option<String>,
    /// Whether a database named `end` belongs to it.
    pub inclusive_end: bool,
    /// Highest name first.
    pub descending: bool,
    /// Passes over this many names.
    pub skip: u64,
    /// At most this many names.
    pub limit: Option<u64>,
}

impl Default for NameRange {
    fn default() -> Self {
        NameRange {
            start: None,
            end: None,
            inclusive_end: true,
            descending: false,
            skip: 0,
            limit: None,
        }
    }
}

impl NameRange {
    /// One name.
    #[must_use]
    pub fn key(name: &str) -> Self {
        NameRange { start: Some(name.into()), end: Some(name.into()), ..NameRange::default() }
    }

    /// The names of the range, in the order asked for.
    pub(super) fn of(&self, names: &BTreeSet<Box<str>>) -> Vec<String> {
        let Some(bounds) = self.bounds() else { return Vec::new() };
        let found = names.range::<str, _>(bounds);
        match self.descending {
            false => self.page(found),
            true => self.page(found.rev()),
        }
    }

    fn page<'n>(&self, found: impl Iterator<Item = &'n Box<str>>) -> Vec<String> {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let limit = self.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        found.skip(skip).take(limit).map(|name| String::from(&**name)).collect()
    }

    /// From the lowest name to the highest; `None` if nothing can lie between them.
    fn bounds(&self) -> Option<(Bound<&str>, Bound<&str>)> {
        let start = self.start.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let end = match (self.end.as_deref(), self.inclusive_end) {
            (None, _) => Bound::Unbounded,
            (Some(end), true) => Bound::Included(end),
            (Some(end), false) => Bound::Excluded(end),
        };
        let (low, high) = if self.descending { (end, start) } else { (start, end) };
        let (Bound::Included(from) | Bound::Excluded(from)) = low else { return Some((low, high)) };
        let (Bound::Included(to) | Bound::Excluded(to)) = high else { return Some((low, high)) };
        (from <= to).then_some((low, high))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(range: &NameRange, names: &BTreeSet<Box<str>>) -> Vec<String> {
        let (low, high) = match range.descending {
            false => (&range.start, &range.end),
            true => (&range.end, &range.start),
        };
        let mut names: Vec<String> = names.iter().map(|name| String::from(&**name)).collect();
        names.retain(|name| {
            low.as_ref().is_none_or(|low| low <= name)
                && high.as_ref().is_none_or(|high| name <= high)
                && (range.inclusive_end || range.end.as_ref() != Some(name))
        });
        if range.descending {
            names.reverse();
        }
        let limit = range.limit.map_or(usize::MAX, |limit| limit as usize);
        names.into_iter().skip(range.skip as usize).take(limit).collect()
    }

    proptest! {
        #[test]
        fn a_range_is_what_a_scan_would_find(
            names in prop::collection::btree_set("[a-d]{1,2}", 0..20),
            start in prop::option::of("[a-d]{0,2}"),
            end in prop::option::of("[a-d]{0,2}"),
            (inclusive_end, descending) in any::<(bool, bool)>(),
            skip in 0..5_u64,
            limit in prop::option::of(0..8_u64),
        ) {
            let names: BTreeSet<Box<str>> = names.into_iter().map(Box::from).collect();
            let range = NameRange { start, end, inclusive_end, descending, skip, limit };
            prop_assert_eq!(range.of(&names), naive(&range, &names));
        }
    }
}
