//! Bits that flip in closed files.

use std::sync::Arc;

use settee_engine::{Database, Databases};
use settee_storage::disk::Disk as _;

use super::{ROOT, Run, views::settings};
use crate::{
    check::{Check, Stop},
    model::Change,
    mutant,
    perform::{follow, perform},
    views,
};

/// How often an index is asked that is damaged. Each time it may be found out by another node.
const MAX_QUERIES: u32 = 6;

impl Run {
    /// Flips bits in closed files. From then on every answer is right or an error that says so.
    pub(super) fn flip(&mut self) -> Result<(), Stop> {
        self.held.clear();
        self.held_views.clear();
        let mut in_indexes = Vec::new();
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            let index = self.random.chance(3) && self.flip_indexes(&name)?;
            if !index {
                self.flip_in(&Self::path(&name));
            }
            in_indexes.push((name, index));
        }
        let disk = mutant::disk(&self.disk, self.mutant);
        let all = Databases::open(disk, ROOT, self.plan.engine_options(self.lives));
        let all = all.map_err(Stop::of)?;
        all.set_view_settings(settings());
        self.all = Some(all);
        for (name, in_indexes) in in_indexes {
            match in_indexes {
                true => self.check_damaged_indexes(&name)?,
                false => self.check_damaged(&name)?,
            }
        }
        Ok(())
    }

    /// One place: where the last commit and the checkpoint that closed the file are both hit, nothing
    /// tells that they were ever there.
    fn flip_in(&mut self, path: &std::path::Path) {
        let len = self.disk.contents(path).map_or(0, |bytes| bytes.len() as u64);
        let (offset, bit) = (self.random.below(len.max(1)), self.random.below(8) as u8);
        self.note(|| format!("flip bit {bit} of byte {offset} of {}", path.display()));
        self.disk.flip_bit(path, offset, bit);
    }

    /// Flips a bit in each index of a database; false if it has none.
    fn flip_indexes(&mut self, name: &str) -> Result<bool, Stop> {
        let folder = Self::path(name).with_extension("views");
        let files = self.disk.list(&folder).unwrap_or_default();
        for (path, _) in &files {
            self.flip_in(path);
        }
        Ok(!files.is_empty())
    }

    fn check_damaged(&mut self, name: &str) -> Result<(), Stop> {
        let Some(db) = self.allow_damage(|run| run.databases()?.get(name).map_err(Stop::of))?
        else {
            return Ok(());
        };
        self.compare_damaged(name, &db)?;
        let change = Change::Write(vec![self.chooser(name)?.single()]);
        if let Some(answer) = self.allow_damage(|_| perform(&db, &change))?
            && let Some(known) = self.known.get_mut(name)
        {
            follow(Arc::make_mut(&mut known.model), &change, &answer)?;
        }
        self.allow_damage(|_| db.checkpoint().map_err(Stop::of))?;
        self.compare_damaged(name, &db)?;
        // What is damaged is not copied as if it were whole.
        self.allow_damage(|_| db.compact().map_err(Stop::of))?;
        self.compare_damaged(name, &db)
    }

    fn compare_damaged(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get(name) else { return Ok(()) };
        let reader = db.read().map_err(Stop::of)?;
        let mut check = Check { damaged: true, ..Check::new(&reader, &known.model) };
        let outcome = check.all();
        self.stats.damage_noticed += check.refused;
        outcome
    }

    /// The indexes are damaged, the database is not: they show what is right, or say so and are made anew.
    fn check_damaged_indexes(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.databases()?.get(name).map_err(Stop::of)?;
        let Some(known) = self.known.get(name) else { return Ok(()) };
        for group in known.views.groups.clone() {
            for number in 0..group.group.views.len() {
                let Some((view, _, signature)) = views::pick(&group, number) else { continue };
                let mut whole = false;
                for _ in 0..MAX_QUERIES {
                    let shown = self.allow_damage(|run| {
                        let read = db.read_view(&group.group, &view).map_err(Stop::of)?;
                        let seq = views::seq_of(&read)?;
                        let known = run.known.get(name);
                        let rows = known.and_then(|it| it.views.expected(signature, seq));
                        let rows = rows.ok_or(Stop::Wrong(format!("{view} was never at {seq}")))?;
                        views::check(&read, &view, &rows)
                    })?;
                    whole = shown.is_some();
                    self.refresh(name, &db, &group)?;
                }
                if !whole {
                    return Stop::wrong(format!("{view} stays damaged"));
                }
            }
        }
        Ok(())
    }

    fn allow_damage<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, Stop>,
    ) -> Result<Option<T>, Stop> {
        match work(self) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Trouble(error)) => Stop::wrong(format!("out of nowhere: {error}")),
            Err(Stop::Damage(error)) => {
                self.note(|| format!("  {error}"));
                self.stats.damage_noticed += 1;
                Ok(None)
            }
            Err(wrong) => Err(wrong),
        }
    }
}
