//! What of a configuration has no effect: options of CouchDB that don't apply here, which is fine, and
//! those that nobody knows, which are most often misspelt.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::WITHOUT_EFFECT;
use super::layers::Sections;

/// Options that are read where the server starts rather than with the others.
const READ_AT_START: [(&str, &str); 5] = [
    ("couchdb", "database_dir"),
    ("log", "level"),
    ("log", "writer"),
    ("log", "file"),
    ("log", "format"),
];

/// Sections that are read as a whole where they are needed.
const READ_AS_WHOLE: [&str; 2] = ["admins", "vendor"];

/// Edits by which a key may differ from a known one to be taken for it.
const MAX_TYPOS: usize = 2;

/// The options that were given and have no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Options of CouchDB that don't apply here: keys by section.
    pub ignored: BTreeMap<String, Vec<String>>,
    /// Options that neither CouchDB nor Settee knows.
    pub unknown: Vec<Unknown>,
}

/// An option that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Its section.
    pub section: String,
    /// Its key.
    pub key: String,
    /// What may have been meant.
    pub meant: Option<String>,
}

impl Findings {
    /// Sorts what was given by what is asked for.
    pub(super) fn of(given: &Sections, asked: &BTreeSet<(String, String)>) -> Self {
        let mut findings = Self::default();
        for (section, key) in given.iter().flat_map(|(s, pairs)| pairs.keys().map(move |k| (s, k)))
        {
            if has_effect(section, key, asked) {
                continue;
            }
            if WITHOUT_EFFECT.iter().any(|known| known.covers(section) && known.holds(key)) {
                findings.ignored.entry(section.clone()).or_default().push(key.clone());
            } else {
                let meant = similar(section, key, asked);
                findings.unknown.push(Unknown {
                    section: section.clone(),
                    key: key.clone(),
                    meant,
                });
            }
        }
        findings
    }

    /// The lines that say so to people.
    pub fn ignored_lines(&self) -> impl Iterator<Item = String> {
        self.ignored.iter().map(|(section, keys)| format!("[{section}] {}", keys.join(", ")))
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.section, self.key)?;
        match &self.meant {
            Some(meant) => write!(f, " (did you mean {meant}?)"),
            None => Ok(()),
        }
    }
}

fn has_effect(section: &str, key: &str, asked: &BTreeSet<(String, String)>) -> bool {
    let is_asked = |key: &str| asked.contains(&(section.to_owned(), key.to_owned()));
    READ_AT_START.contains(&(section, key))
        || READ_AS_WHOLE.contains(&section)
        || is_asked(key)
        || is_asked("")
}

/// The known option that differs least.
fn similar(section: &str, key: &str, asked: &BTreeSet<(String, String)>) -> Option<String> {
    let with_effect =
        asked.iter().filter(|(s, k)| s == section && !k.is_empty()).map(|(_, k)| &**k);
    let without = WITHOUT_EFFECT.iter().filter(|known| known.covers(section));
    let known = with_effect.chain(without.flat_map(|known| known.keys.split_whitespace()));
    let best = known.filter(|known| *known != "*").map(|known| (typos(known, key), known)).min()?;
    (best.0 <= MAX_TYPOS).then(|| best.1.to_owned())
}

/// The edits (a letter more, less or another one) that make one word of the other.
fn typos(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut next = vec![at + 1];
        for (place, found) in other.chars().enumerate() {
            let above = |place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let replaced = above(place) + usize::from(letter != found);
            let left = next.last().copied().unwrap_or_default() + 1;
            next.push(replaced.min(above(place + 1) + 1).min(left));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn findings(text: &str) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.ini");
        std::fs::write(&path, text).unwrap();
        Config::load(vec![path], &[]).unwrap().findings()
    }

    #[test]
    fn what_has_an_effect_is_not_mentioned() {
        let text = "[couchdb]\ndatabase_dir = x\nmax_document_size = 1\n[admins]\nx = y\n\
                    [cors]\norigins = *\n[cors:a]\nmax_age = 1\n[vhosts]\na = /b\n[vendor]\nx = y\n";
        assert_eq!(findings(text), Findings::default());
    }

    #[test]
    fn options_of_couchdb_are_ignored_and_others_unknown() {
        let found = findings("[couchdb]\ndelayed_commits = true\n[mem3]\nx = y\n[odd]\nk = v\n");
        let ignored: Vec<_> = found.ignored_lines().collect();
        assert_eq!(ignored, ["[couchdb] delayed_commits", "[mem3] x"]);
        assert_eq!(found.unknown[0].to_string(), "[odd] k");
    }

    #[test]
    fn what_was_meant_is_guessed() {
        let found = findings("[chttpd]\nbind_adress = 0.0.0.0\nquite_other = 1\n");
        let lines: Vec<_> = found.unknown.iter().map(Unknown::to_string).collect();
        assert_eq!(
            lines,
            ["[chttpd] bind_adress (did you mean bind_address?)", "[chttpd] quite_other"]
        );
        assert_eq!((typos("kitten", "sitting"), typos("", "abc"), typos("a", "a")), (3, 3, 0));
    }
}
