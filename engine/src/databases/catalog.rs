//! The names of all databases, kept in memory so that a listing need not read the folder.
//!
//! The files remain the registry: whether a database exists is asked of the disk, never of this. What is
//! created and deleted here is noted at once. Files that somebody puts into the folder, or takes away,
//! are noticed when they are asked for by name, and in listings by reading the folder again: no sooner
//! than a second after the last time, and no more than a small part of the time is spent on it.
//! At 100,000 names it takes about 70 bytes for each.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use super::NameRange;
use crate::error::Result;

/// The folder is not read again sooner than this.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Nor sooner than this many times what the last reading took.
const PAUSE_FACTOR: u32 = 20;

/// See the module.
pub(super) struct Catalog {
    names: RwLock<Names>,
    /// Held by whoever reads the folder.
    last_scan: Mutex<Option<Scan>>,
    min_pause: Duration,
}

#[derive(Default)]
struct Names {
    known: BTreeSet<Box<str>>,
    /// Whether the folder was read; until then nothing is known.
    complete: bool,
    /// What came and went while the folder is being read: the reading may have missed it.
    meanwhile: Option<Vec<(Box<str>, bool)>>,
}

/// A finished reading of the folder.
struct Scan {
    finished: Instant,
    took: Duration,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::with_pause(MIN_PAUSE)
    }
}

impl Catalog {
    fn with_pause(min_pause: Duration) -> Self {
        Catalog { names: RwLock::default(), last_scan: Mutex::default(), min_pause }
    }

    /// Notes that a database is there, or is not.
    pub(super) fn note(&self, name: &str, there: bool) {
        {
            // Almost always it is known already.
            let names = self.names.read();
            let settled = names.meanwhile.is_none() && names.known.contains(name) == there;
            if settled || (!names.complete && names.meanwhile.is_none()) {
                return;
            }
        }
        let mut names = self.names.write();
        names.set(name.into(), there);
        if let Some(meanwhile) = &mut names.meanwhile {
            meanwhile.push((name.into(), there));
        }
    }

    /// The names of a range; `scan` reads the folder.
    pub(super) fn list(
        &self,
        range: &NameRange,
        scan: impl FnOnce() -> Result<Vec<String>>,
    ) -> Result<Vec<String>> {
        self.refresh(scan)?;
        Ok(range.of(&self.names.read().known))
    }

    /// Reads the folder if that is due. Who comes while another reads it makes do with what is known.
    fn refresh(&self, scan: impl FnOnce() -> Result<Vec<String>>) -> Result<()> {
        let complete = self.names.read().complete;
        let mut last_scan = match self.last_scan.try_lock() {
            Some(last_scan) => last_scan,
            None if complete => return Ok(()),
            None => self.last_scan.lock(),
        };
        if last_scan.as_ref().is_some_and(|scan| !scan.is_old(self.min_pause)) {
            return Ok(());
        }
        self.names.write().meanwhile = Some(Vec::new());
        let started = Instant::now();
        let found = scan();
        let mut names = self.names.write();
        let meanwhile = names.meanwhile.take().unwrap_or_default();
        names.known = found?.into_iter().map(Box::from).collect();
        names.complete = true;
        meanwhile.into_iter().for_each(|(name, there)| names.set(name, there));
        *last_scan = Some(Scan { finished: Instant::now(), took: started.elapsed() });
        Ok(())
    }
}

impl Names {
    fn set(&mut self, name: Box<str>, there: bool) {
        match there {
            true => drop(self.known.insert(name)),
            false => drop(self.known.remove(&name)),
        }
    }
}

impl Scan {
    fn is_old(&self, min_pause: Duration) -> bool {
        self.finished.elapsed() >= min_pause.max(self.took.saturating_mul(PAUSE_FACTOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(catalog: &Catalog, folder: &[&str]) -> Vec<String> {
        let folder = folder.iter().map(ToString::to_string).collect();
        catalog.list(&NameRange::default(), || Ok(folder)).unwrap()
    }

    #[test]
    fn what_is_noted_is_listed_without_reading_the_folder_again() {
        let catalog = Catalog::with_pause(Duration::from_secs(3600));
        catalog.note("before", true);
        assert_eq!(list(&catalog, &["b", "a"]), ["a", "b"], "the folder is what counts at first");
        catalog.note("c", true);
        catalog.note("a", false);
        assert_eq!(list(&catalog, &["nobody looks"]), ["b", "c"]);
    }

    #[test]
    fn what_strangers_did_to_the_folder_is_seen_when_it_is_read_again() {
        let catalog = Catalog::with_pause(Duration::ZERO);
        assert_eq!(list(&catalog, &["a", "b"]), ["a", "b"]);
        // Readings of no duration are due again at once.
        catalog.last_scan.lock().as_mut().unwrap().took = Duration::ZERO;
        assert_eq!(list(&catalog, &["b", "c"]), ["b", "c"]);
    }

    #[test]
    fn what_comes_and_goes_while_the_folder_is_read_is_not_lost() {
        let catalog = Catalog::default();
        let listed = catalog.list(&NameRange::default(), || {
            catalog.note("new", true);
            catalog.note("old", false);
            Ok(vec!["old".into(), "other".into()])
        });
        assert_eq!(listed.unwrap(), ["new", "other"]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_tried_again() {
        let catalog = Catalog::default();
        let fail = || Err(crate::Error::NoRandomness);
        assert!(catalog.list(&NameRange::default(), fail).is_err());
        assert_eq!(list(&catalog, &["a"]), ["a"]);
    }
}
