//! The indexes and design documents of one database that are in use.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    definition::{Signature, ViewGroup},
    design,
    index::{IndexPlace, ViewIndex},
};
use crate::{
    database::{Database, GetOptions},
    document::{DocHead, Summary},
    error::Result,
    json::Value,
    revision::Rev,
};

/// Revisions of a design document that are looked at for a view's former definition.
const MAX_FORMER: usize = 20;
/// Design documents that are remembered as they were read, per database.
const MAX_GROUPS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Views {
    place: IndexPlace,
    indexes: Mutex<HashMap<Signature, Arc<ViewIndex>>>,
    groups: Mutex<HashMap<String, (Rev, Arc<ViewGroup>)>>,
    closed: Arc<AtomicBool>,
    /// Whether there may be design documents.
    pub(super) has_designs: AtomicBool,
    /// Whether the database waits for its indexes to be brought up to date in the background.
    pub(super) behind: AtomicBool,
    /// Whether there may be indexes now that no design document needs any more.
    pub(super) has_replaced: AtomicBool,
}

impl Views {
    pub(crate) fn new(place: IndexPlace, has_designs: bool) -> Self {
        Views {
            place,
            indexes: Mutex::default(),
            groups: Mutex::default(),
            closed: Arc::default(),
            has_designs: AtomicBool::new(has_designs),
            behind: AtomicBool::new(false),
            has_replaced: AtomicBool::new(false),
        }
    }

    /// Set when the database is closed; whoever changes an index then stops.
    pub(crate) fn closed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closed)
    }

    /// A design document was written.
    pub(crate) fn design_written(&self) {
        self.has_designs.store(true, Ordering::Relaxed);
        self.has_replaced.store(true, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> &IndexPlace {
        &self.place
    }

    /// Forgets indexes that are not among these.
    pub(crate) fn keep(&self, wanted: &dyn Fn(Signature) -> bool) {
        self.indexes.lock().retain(|signature, _| wanted(*signature));
    }
}

impl Database {
    /// The index with this signature, built or not.
    pub(crate) fn view_index(&self, signature: Signature) -> Result<Arc<ViewIndex>> {
        let mut indexes = self.views.indexes.lock();
        if let Some(index) = indexes.get(&signature) {
            return Ok(Arc::clone(index));
        }
        let snapshot = self.store.snapshot()?;
        let place = self.views.place.clone();
        let index = ViewIndex::open(place, signature, self.identity.uuid, &*snapshot)?;
        indexes.insert(signature, Arc::clone(&index));
        Ok(index)
    }

    /// The views of a design document as its former revisions had them, newest first, as far as these can
    /// still be read.
    pub(crate) fn former_groups(self: &Arc<Self>, id: &str) -> Result<Vec<ViewGroup>> {
        let reader = self.read()?;
        let Some(entry) = reader.snapshot.doc(id.as_bytes())? else { return Ok(Vec::new()) };
        let tree = DocHead::decode(&entry.value)?.tree()?;
        let Some(winner) = tree.winner() else { return Ok(Vec::new()) };
        let mut groups = Vec::new();
        for node in tree.path(winner).skip(1).take(MAX_FORMER) {
            let Some(stored) = tree.stored(node) else { continue };
            let blob = reader.snapshot.blob(stored.body)?;
            let body = Value::from_canonical(&reader.body(&Summary::decode(&blob)?)?)?;
            // One that cannot be run now has no index to be read.
            groups.extend(design::group(id, &body, self).ok());
        }
        Ok(groups)
    }

    /// The views of a design document, given by its id, as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if there is none, and those of its functions.
    pub fn view_group(self: &Arc<Self>, id: &str) -> Result<Arc<ViewGroup>> {
        let reader = self.read()?;
        let cached = self.views.groups.lock().get(id).cloned();
        if let Some((rev, group)) = cached
            && let Some(entry) = reader.snapshot.doc(id.as_bytes())?
            && DocHead::decode(&entry.value)?.winner.rev == rev
        {
            return Ok(group);
        }
        let found = reader.get(id, &GetOptions::default())?;
        let body = Value::from_canonical(found.body())?;
        let group = Arc::new(design::group(id, &body, self)?);
        let mut groups = self.views.groups.lock();
        if groups.len() >= MAX_GROUPS {
            groups.clear();
        }
        groups.insert(id.to_owned(), (found.rev().clone(), Arc::clone(&group)));
        Ok(group)
    }
}
