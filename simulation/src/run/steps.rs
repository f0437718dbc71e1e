//! The steps of a life: writes, snapshots that are held, databases that come and go.

use std::{path::Path, sync::Arc};

use settee_engine::{Database, Error, Props};
use settee_storage::{Error as StoreError, disk::Disk};

use super::{FREE_SECTORS, Held, Known, MAX_HELD, ROOT, Run, SECTOR_BYTES};
use crate::{
    check::{Check, Stop},
    choose::Chooser,
    model::{Change, Db},
    perform::{Answer, follow, perform, perform_group, stage},
    plan::Kind,
};

impl Run {
    /// One step; false if the process should end.
    pub(super) fn step(&mut self) -> Result<bool, Stop> {
        self.stats.steps += 1;
        if self.random.below(40) < self.plan.full {
            self.fill_disk();
        }
        let kind = self.plan.kind(&mut self.random);
        let outcome = match (self.some_database(), kind) {
            (None, _) | (_, Kind::Create) => self.create(),
            (Some(name), Kind::Delete) => self.delete(&name),
            (Some(name), kind) => self.step_in(&name, kind),
        };
        let poisoned =
            matches!(outcome, Err(Stop::Trouble(Error::Storage(StoreError::Poisoned { .. }))));
        self.tolerate(outcome)?;
        Ok(!(poisoned && self.random.chance(4)))
    }

    pub(super) fn step_in(&mut self, name: &str, kind: Kind) -> Result<(), Stop> {
        match kind {
            Kind::Hold => self.hold(name),
            Kind::Release => self.release(),
            Kind::Look => self.look(name),
            Kind::Checkpoint => {
                self.note(|| format!("checkpoint of {name}"));
                self.database(name)?.checkpoint().map_err(Stop::of)
            }
            Kind::Compact => self.compact(name),
            Kind::View => self.view(name),
            Kind::CompactViews => self.compact_views(name),
            Kind::CleanUpViews => self.clean_up_views(name),
            Kind::Group => self.group(name),
            Kind::Abandon => {
                let attachment = self.chooser(name)?.attachment();
                self.note(|| format!("abandon {} bytes in {name}", attachment.bytes.len()));
                stage(&self.database(name)?, &attachment).map(|_| ())
            }
            kind => self.change(name, kind),
        }
    }

    pub(super) fn chooser(&mut self, name: &str) -> Result<Chooser<'_>, Stop> {
        let known = self.known.get(name).ok_or(Stop::Wrong("no such database".into()))?;
        Ok(Chooser {
            random: &mut self.random,
            model: &known.model,
            bodies: &mut self.bodies,
            documents: self.plan.documents,
            large: self.plan.large,
            javascript: self.plan.javascript,
        })
    }

    fn change(&mut self, name: &str, kind: Kind) -> Result<(), Stop> {
        let db = self.database(name)?;
        let mut chooser = self.chooser(name)?;
        let change = match kind {
            Kind::Bulk => chooser.bulk(false),
            Kind::Replicate => chooser.bulk(true),
            Kind::Attach => Change::Write(vec![chooser.attach()]),
            Kind::Purge => chooser.purge(),
            Kind::Setting => chooser.setting(),
            _ => Change::Write(vec![chooser.single()]),
        };
        self.note(|| format!("{name}: {change:?}"));
        let answer = perform(&db, &change);
        self.answered(name, vec![(change, answer)])?;
        self.compare_one(name, &db)
    }

    fn group(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        let mut group = Vec::new();
        for _ in 0..2 + self.random.below(4) {
            // A history that is cut short meanwhile would not be what it was when it was made up.
            let keeps_all = self.known.get(name).is_some_and(|it| it.model.revs_limit >= 1000);
            let replicated = self.random.chance(2) && keeps_all;
            if let Change::Write(mut writes) = self.chooser(name)?.bulk(replicated) {
                // By then the revision it names may be another one's, without these attachments.
                writes.iter_mut().for_each(|write| write.stubs.clear());
                // Design documents are compiled by whoever leads, so a call with one of them in it may come
                // after a later one.
                writes.retain(|write| !write.id.starts_with("_design/"));
                if !writes.is_empty() {
                    group.push(writes);
                }
            }
        }
        self.note(|| format!("{name}: together {group:?}"));
        let answers = perform_group(&db, &group)?;
        let changes = group.into_iter().map(Change::Write).zip(answers).collect();
        self.answered(name, changes)?;
        self.compare_one(name, &db)
    }

    /// Follows what was acknowledged; remembers what may or may not have taken effect. If something
    /// was acknowledged, what failed before through the same handle did not.
    pub(super) fn answered(
        &mut self,
        name: &str,
        changes: Vec<(Change, Result<Answer, Stop>)>,
    ) -> Result<(), Stop> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        let (mut trouble, mut failed, mut committed) = (None, Vec::new(), false);
        for (change, answer) in changes {
            match answer {
                Ok(answer) => {
                    committed |= would_change(&known.model, &change);
                    follow(Arc::make_mut(&mut known.model), &change, &answer)?;
                    self.trace.note(|| format!("      {answer:?}"));
                }
                Err(Stop::Trouble(error)) => {
                    // Where functions may validate, those who wait together are prepared one after the
                    // other, and so need not be one commit: each answers for itself.
                    failed.push(change);
                    trouble = Some(error);
                }
                Err(wrong) => return Err(wrong),
            }
        }
        if committed {
            known.pending.clear();
        }
        known.pending.append(&mut failed);
        trouble.map_or(Ok(()), |error| Err(Stop::Trouble(error)))
    }

    /// Compares a document of the database, so that a step costs little.
    fn compare_one(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get(name) else { return Ok(()) };
        let (docs, at) = (&known.model.docs, self.random.index(known.model.docs.len().max(1)));
        let Some((id, doc)) = docs.iter().nth(at) else { return Ok(()) };
        let reader = db.read().map_err(Stop::of)?;
        Check::new(&reader, &known.model).doc(id, doc)
    }

    fn hold(&mut self, name: &str) -> Result<(), Stop> {
        let reader = self.database(name)?.read().map_err(Stop::of)?;
        if let (Some(known), true) = (self.known.get(name), self.held.len() < MAX_HELD) {
            let model = Arc::clone(&known.model);
            self.held.push(Held { reader, model });
            self.note(|| format!("hold {name}"));
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), Stop> {
        self.check_held_views()?;
        if self.random.chance(2) {
            self.held_views.clear();
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.held.len());
        self.check_held(at)?;
        if self.random.chance(4) {
            self.held.swap_remove(at);
        }
        Ok(())
    }

    pub(super) fn check_held(&mut self, at: usize) -> Result<(), Stop> {
        self.note(|| format!("held snapshot {at}"));
        self.stats.snapshots += 1;
        let held = &self.held[at];
        let checked = Check::new(&held.reader, &held.model).all();
        let checked = checked.map_err(|stop| match stop {
            Stop::Wrong(text) => Stop::Wrong(format!("a held snapshot: {text}")),
            trouble => trouble,
        });
        self.tolerate(checked).map(|_| ())
    }

    fn create(&mut self) -> Result<(), Stop> {
        let name = self.name();
        self.note(|| format!("create {name}"));
        match self.databases()?.create(&name, Props::default()) {
            Ok(_) if !self.known.contains_key(&name) => {
                self.unsure.remove(&name);
                self.known.insert(name.clone(), Known::new(Arc::default(), self.mutant));
                self.look(&name)
            }
            Err(Error::DatabaseExists) if self.known.contains_key(&name) => Ok(()),
            Err(Error::DatabaseExists) if self.unsure.contains_key(&name) => self.settle_unsure(),
            Ok(_) | Err(Error::DatabaseExists) => Stop::wrong("a database is there, or it is not"),
            Err(error) => {
                if !self.known.contains_key(&name) {
                    // Beside one of this name whose deletion failed.
                    let new = Known::new(Arc::default(), self.mutant);
                    self.unsure.entry(name).or_default().push(new);
                }
                Err(Stop::of(error))
            }
        }
    }

    fn delete(&mut self, name: &str) -> Result<(), Stop> {
        self.note(|| format!("delete {name}"));
        let deleted = self.databases()?.delete(name);
        let Some(known) = self.known.remove(name) else { return Ok(()) };
        if let Err(error) = deleted {
            self.unsure.entry(name.to_owned()).or_default().push(known);
            return Err(Stop::of(error));
        }
        Ok(())
    }

    fn fill_disk(&mut self) {
        let free = match self.random.chance(4) {
            true => None,
            false => Some(self.random.below(FREE_SECTORS) * SECTOR_BYTES),
        };
        self.note(|| format!("free space: {free:?}"));
        self.faulty |= free.is_some();
        self.disk.set_capacity(None);
        let used = self.disk.free_bytes(Path::new(ROOT)).map_or(0, |free| u64::MAX - free);
        self.disk.set_capacity(free.map(|free| used + free));
    }
}

/// Whether a change that succeeds leaves anything in the file.
fn would_change(model: &Db, change: &Change) -> bool {
    use crate::model::Verdict;
    match change {
        Change::Write(writes) => writes
            .iter()
            .any(|write| write.is_local() || matches!(model.judge(write), Verdict::Written { .. })),
        _ => true,
    }
}
