//! Views: queries, with and without bringing the index up to date, and looking after index files.

use std::{sync::Arc, thread};

use settee_engine::{
    Database,
    view::{ViewReader, ViewSettings},
};

use super::Run;
use crate::{
    check::Stop,
    views::{self, DESIGN, Group, Row},
};

/// Views held at once.
const MAX_HELD_VIEWS: usize = 3;

/// A view as it was read, and what it must go on showing.
pub(super) struct HeldView {
    view: ViewReader,
    name: String,
    rows: Vec<Row>,
}

/// One thread at a time, and none that begins by itself: then a run is decided by its seed.
pub(super) fn settings() -> ViewSettings {
    ViewSettings { build_threads: 1, background: false, ..ViewSettings::default() }
}

impl Run {
    /// A query, mostly after bringing the index up to date.
    pub(super) fn view(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        let Some(group) = self.view_group(name, &db)? else { return Ok(()) };
        let update = !self.random.chance(2);
        if update {
            self.refresh(name, &db, &group)?;
        }
        let picked = views::pick(&group, self.random.index(4));
        let Some((view_name, _, signature)) = picked else { return Ok(()) };
        let view = db.read_view(&group.group, &view_name).map_err(Stop::of)?;
        let seq = views::seq_of(&view)?;
        self.note(|| format!("{name}: view {view_name} at {seq}"));
        let Some(known) = self.known.get(name) else { return Ok(()) };
        if update && seq != known.model.seq {
            let wanted = known.model.seq;
            return Stop::wrong(format!("{view_name} is at {seq} and not at {wanted}"));
        }
        let Some(rows) = known.views.expected(signature, seq) else {
            return Stop::wrong(format!("{view_name} is at {seq}, where it never was"));
        };
        views::check(&view, &view_name, &rows)?;
        self.stats.views += 1;
        if self.held_views.len() < MAX_HELD_VIEWS && self.random.chance(1) {
            self.held_views.push(HeldView { view, name: view_name, rows });
        }
        Ok(())
    }

    /// Some views of the database.
    fn view_group(&mut self, name: &str, db: &Arc<Database>) -> Result<Option<Group>, Stop> {
        let Some(known) = self.known.get(name) else { return Ok(None) };
        let native = &known.views.groups;
        if self.plan.javascript
            && self.random.chance(5)
            && let Some(function) = views::design_function(&known.model)
        {
            let group = db.view_group(DESIGN).map_err(Stop::of)?;
            return Ok(Some(Group { group, functions: vec![function] }));
        }
        Ok(native.get(self.random.index(native.len())).cloned())
    }

    /// Brings indexes up to date.
    pub(super) fn refresh(
        &mut self,
        name: &str,
        db: &Arc<Database>,
        group: &Group,
    ) -> Result<(), Stop> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        known.views.expect(group, &known.model);
        self.note(|| format!("{name}: indexes are brought up to date"));
        let handles = Arc::strong_count(db);
        let refreshed = db.refresh_views(&group.group);
        wait_for_indexer(db, handles);
        refreshed.map_err(Stop::of)
    }

    pub(super) fn compact_views(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        let Some(group) = self.view_group(name, &db)? else { return Ok(()) };
        self.note(|| format!("{name}: indexes are rewritten"));
        let handles = Arc::strong_count(&db);
        let begun = db.compact_views(&group.group).map_err(Stop::of);
        wait_for_indexer(&db, handles);
        begun
    }

    pub(super) fn clean_up_views(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        self.note(|| format!("{name}: indexes that no design document defines are removed"));
        db.clean_up_views().map_err(Stop::of)
    }

    pub(super) fn check_held_views(&mut self) -> Result<(), Stop> {
        for at in 0..self.held_views.len() {
            let held = &self.held_views[at];
            let checked = views::check(&held.view, &held.name, &held.rows);
            let checked = checked.map_err(|stop| match stop {
                Stop::Wrong(text) => Stop::Wrong(format!("a held view: {text}")),
                trouble => trouble,
            });
            self.tolerate(checked)?;
        }
        Ok(())
    }
}

/// The thread that did it lets go of the database a moment later than it says so.
fn wait_for_indexer(db: &Arc<Database>, handles: usize) {
    while Arc::strong_count(db) > handles {
        thread::yield_now();
    }
}
