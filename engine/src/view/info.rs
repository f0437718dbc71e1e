//! What there is to say about the indexes of a design document, and cleaning up after old ones.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use settee_storage::{Direction, KeyRange, Seq};

use super::{
    definition::{Signature, ViewGroup},
    index::{ViewIndex, rewrite::rewrite},
    key::collation_version,
    progress::Progress,
};
use crate::{
    all_docs::id_text,
    compaction::{Item, Measure},
    database::Database,
    error::{Error, Result},
    name,
};

/// The state of a design document's indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// Names them all together.
    pub signature: Signature,
    /// The language of the functions.
    pub language: String,
    /// The sequence the one that is behind most is at.
    pub update_seq: Seq,
    /// Changes of the database it has yet to take over.
    pub updates_pending: u64,
    /// Purges that all have taken note of.
    pub purge_seq: u64,
    /// Whether they are being changed.
    pub updater_running: bool,
    /// Requests that wait for that.
    pub waiting_clients: usize,
    /// Whether they are being rewritten to leave garbage behind.
    pub compact_running: bool,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// About how many of them are in use.
    pub active_bytes: u64,
    /// About how many bytes the rows have as JSON.
    pub external_bytes: u64,
    /// Versions of the collation that keys are encoded by.
    pub collator_versions: Vec<String>,
}

impl Database {
    /// What there is to say about the indexes of a group.
    ///
    /// # Errors
    /// Those of the store.
    pub fn view_info(self: &Arc<Self>, group: &ViewGroup) -> Result<ViewInfo> {
        let snapshot = self.store.snapshot()?;
        let (updater_running, waiting_clients) = group.queue.status();
        let mut info = ViewInfo {
            signature: group.signature(),
            language: group.language.clone(),
            update_seq: if group.indexes.is_empty() { 0 } else { Seq::MAX },
            updates_pending: 0,
            purge_seq: if group.indexes.is_empty() { 0 } else { u64::MAX },
            updater_running,
            waiting_clients,
            compact_running: self.is_compacting(group),
            file_bytes: 0,
            active_bytes: 0,
            external_bytes: 0,
            collator_versions: vec![collation_version().to_owned()],
        };
        for definition in &group.indexes {
            let Some(current) = self.view_index(definition.signature)?.current() else {
                (info.update_seq, info.purge_seq) = (0, 0);
                continue;
            };
            info.update_seq = info.update_seq.min(current.meta.seq);
            info.purge_seq = info.purge_seq.min(current.meta.purge_seq);
            info.file_bytes += current.file.bytes();
            let active = current.active_bytes()?;
            info.active_bytes += active;
            info.external_bytes += active / ENCODED_TWICE;
            if !info.collator_versions.contains(&current.meta.collation_version) {
                info.collator_versions.push(current.meta.collation_version.clone());
            }
        }
        info.updates_pending = snapshot.count_changes(info.update_seq)?;
        Ok(info)
    }

    /// The ids of all design documents.
    pub(crate) fn design_ids(&self) -> Result<Vec<String>> {
        let snapshot = self.store.snapshot()?;
        let range = KeyRange::prefix(name::DESIGN_PREFIX.as_bytes());
        let mut cursor = snapshot.docs(&range, Direction::Forward, true)?;
        let mut ids = Vec::new();
        while let Some(row) = cursor.next()? {
            ids.push(id_text(row.id)?.to_owned());
        }
        Ok(ids)
    }

    /// Removes the index files that no design document defines any more.
    ///
    /// # Errors
    /// Those of the store and the disk.
    pub fn clean_up_views(self: &Arc<Self>) -> Result<()> {
        let mut wanted = HashSet::new();
        for id in self.design_ids()? {
            match self.view_group(&id) {
                Ok(group) => wanted.extend(group.indexes.iter().map(|index| index.signature)),
                // One that was deleted meanwhile, or that nobody can run, has no index.
                Err(Error::NotFound(_) | Error::UnknownQueryLanguage(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let files: HashSet<String> = wanted.iter().map(ToString::to_string).collect();
        self.views.keep(&|signature| wanted.contains(&signature));
        let place = self.views.place();
        for (path, name) in place.list()? {
            if name.is_some_and(|name| !files.contains(&name)) {
                place.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the index files that no design document defines any more, unless one that is defined was not
    /// built yet: until it is, those who want no fresh rows are served from the one before.
    pub(crate) fn clean_up_replaced_views(self: &Arc<Self>) -> Result<()> {
        for id in self.design_ids()? {
            let Ok(group) = self.view_group(&id) else { continue };
            for definition in &group.indexes {
                if self.view_index(definition.signature)?.current().is_none() {
                    return Ok(());
                }
            }
        }
        self.clean_up_views()
    }

    /// Has old indexes removed, if there may be some.
    pub(crate) fn consider_view_cleanup(&self) {
        if self.views.has_replaced.swap(false, Ordering::Relaxed) {
            self.shared.compactions.offer(Item::old_indexes(self.name()), Measure::default());
        }
    }

    /// Offers the indexes of a group to the channels, as far as their files have grown enough to look at them
    /// again. Called when they have changed.
    pub(super) fn consider_view_compaction(&self, group: &ViewGroup) {
        for definition in &group.indexes {
            let measure = self.view_index(definition.signature).and_then(|index| index.measure());
            // One that cannot be read is found by its readers.
            if let Ok(Some(measure)) = measure {
                let item = Item::index(self.name(), &group.id, definition.signature);
                self.shared.compactions.offer(item, measure);
            }
        }
        self.consider_view_cleanup();
    }

    /// Writes one index anew, as long as `go_on` says so. Nothing is done if the design document no longer
    /// defines it.
    pub(crate) fn compact_index_while(
        self: &Arc<Self>,
        design: &str,
        signature: Signature,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let group = self.view_group(design)?;
        if group.indexes.iter().all(|definition| definition.signature != signature) {
            return Ok(());
        }
        self.compact_index(&group, &*self.view_index(signature)?, go_on)
    }

    /// Writes the indexes of a group anew, one after the other, in the background, to leave behind what is
    /// no longer in use.
    ///
    /// # Errors
    /// Those of opening the indexes.
    pub fn compact_views(self: &Arc<Self>, group: &Arc<ViewGroup>) -> Result<()> {
        let mut indexes = Vec::new();
        for definition in &group.indexes {
            indexes.push(self.view_index(definition.signature)?);
        }
        let (database, group) = (Arc::clone(self), Arc::clone(group));
        let most = self.shared.view_settings().concurrent_builds;
        self.shared.builder.submit(most, move || {
            for index in indexes {
                // What fails leaves the old file, and an index that is damaged is found by its readers.
                if database.compact_index(&group, &index, &|| true).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    fn compact_index(
        &self,
        group: &ViewGroup,
        index: &ViewIndex,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let _lock = index.change();
        let Some(current) = index.current() else { return Ok(()) };
        let total = current.rows().total()?;
        let members = [
            ("database", self.name().into()),
            ("design_document", group.id.as_str().into()),
            ("phase", "view".into()),
            ("view", index.signature.to_string().into()),
            ("changes_done", 0.into()),
            ("total_changes", total.into()),
            ("progress", 0.into()),
        ];
        let task = self.shared.tasks.begin(COMPACTION, members);
        let progress = Progress::new(Some(task), total, self.views.closed());
        let settings = self.shared.view_settings();
        let reducers = current.meta.reducers.clone();
        rewrite(index, &current, reducers, &*group.source, &settings, &progress, go_on)
    }

    fn is_compacting(&self, group: &ViewGroup) -> bool {
        let running = self.shared.tasks.list();
        running.iter().filter(|task| task.kind == COMPACTION).any(|task| {
            task.members.get("database").and_then(|name| name.as_str()) == Some(self.name())
                && task.members.get("design_document").and_then(|id| id.as_str()) == Some(&group.id)
        })
    }
}

/// Keys are stored encoded and as text, and once more under their document.
const ENCODED_TWICE: u64 = 3;
/// What such a task is called.
const COMPACTION: &str = "view_compaction";
