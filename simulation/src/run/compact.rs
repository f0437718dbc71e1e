//! Compaction, and what goes on meanwhile.
//!
//! A compaction asks now and then whether to go on. The answer comes from here, after some writes, held
//! snapshots, checkpoints or queries, on the same thread, so that a run is decided by its seed.

use std::{cell::RefCell, sync::Arc};

use settee_engine::{Database, Error};
use settee_storage::Error as StoreError;

use super::Run;
use crate::{
    check::Stop,
    model::{Change, DocWrite},
    perform::{Prepared, perform_prepared, prepare},
    plan::Kind,
};

/// Steps while one compaction is under way.
const MAX_MEANWHILE: u64 = 8;

/// What happens while a compaction is under way.
struct Meanwhile<'r> {
    run: &'r mut Run,
    name: &'r str,
    db: &'r Arc<Database>,
    steps_left: u64,
    /// Writes whose attachments were written ahead: their documents follow after the change of files.
    ahead: Vec<(Prepared, Vec<DocWrite>)>,
    /// It was told to stop.
    cancelled: bool,
    /// Something is wrong.
    stop: Option<Stop>,
}

impl Run {
    /// Compacts a database that is being used.
    pub(super) fn compact(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        self.note(|| format!("compaction of {name}"));
        let steps_left = self.random.below(MAX_MEANWHILE + 1);
        let ahead = Vec::new();
        let (cancelled, stop, db) = (false, None, &db);
        let mut meanwhile = Meanwhile { run: self, name, db, steps_left, ahead, cancelled, stop };
        meanwhile.write_ahead();
        let meanwhile = RefCell::new(meanwhile);
        let outcome = db.compact_while(&|| meanwhile.borrow_mut().go_on());
        let Meanwhile { ahead, cancelled, stop, .. } = meanwhile.into_inner();
        if let Some(stop) = stop {
            return Err(stop);
        }
        let outcome = self.compacted(name, cancelled, outcome.map(drop));
        for (prepared, writes) in ahead {
            self.note(|| format!("{name}: {writes:?}, written ahead"));
            let answer = perform_prepared(db, prepared);
            let answered = self.answered(name, vec![(Change::Write(writes), answer)]);
            self.tolerate(answered)?;
        }
        let compared = self.compare(name, db);
        outcome.and(compared)
    }

    /// Whether it ended as it may, and what that says about the database.
    fn compacted(
        &mut self,
        name: &str,
        cancelled: bool,
        outcome: Result<(), Error>,
    ) -> Result<(), Stop> {
        self.note(|| format!("  compaction of {name} ended: {outcome:?}"));
        match outcome {
            Ok(()) if cancelled => Stop::wrong("a cancelled compaction came to its end"),
            Ok(()) => {
                self.stats.compactions += 1;
                let leftover = Self::path(name).with_extension("settee.compact");
                if self.disk.contents(&leftover).is_some() {
                    return Stop::wrong("a compaction left its file behind");
                }
                if let Some(known) = self.known.get_mut(name) {
                    // What was copied is what was shown.
                    known.pending.clear();
                }
                Ok(())
            }
            Err(Error::Storage(StoreError::Cancelled)) if cancelled => {
                self.stats.cancelled += 1;
                Ok(())
            }
            Err(error) => Err(Stop::of(error)),
        }
    }
}

impl Meanwhile<'_> {
    fn go_on(&mut self) -> bool {
        let run = &mut *self.run;
        if self.stop.is_none() && run.random.below(64) < run.plan.cancels {
            run.note(|| "  is told to stop".into());
            self.cancelled = true;
        }
        while self.stop.is_none() && self.steps_left > 0 && self.run.random.chance(3) {
            self.steps_left -= 1;
            self.step();
        }
        self.stop.is_none() && !self.cancelled
    }

    fn step(&mut self) {
        if self.run.random.below(6) == 0 {
            return self.write_ahead();
        }
        let kind = self.run.plan.kind(&mut self.run.random);
        // One compaction at a time; a database that is deleted waits for its compaction, which waits here.
        if matches!(kind, Kind::Compact | Kind::Create | Kind::Delete) {
            return;
        }
        let outcome = self.run.step_in(self.name, kind);
        if let Err(stop) = self.run.tolerate(outcome) {
            self.stop = Some(stop);
        }
    }

    /// Writes an attachment whose document comes later.
    fn write_ahead(&mut self) {
        let run = &mut *self.run;
        let made = run.chooser(self.name).map(|mut chooser| chooser.attach());
        let prepared = made.and_then(|mut write| {
            // The revision it names may be another one's by then, without these attachments.
            write.stubs = Vec::new();
            write.staged = true;
            run.note(|| format!("{}: ahead of {write:?}", self.name));
            let writes = vec![write];
            Ok((prepare(self.db, &writes)?, writes))
        });
        match run.tolerate(prepared) {
            Ok(prepared) => self.ahead.extend(prepared),
            Err(stop) => self.stop = Some(stop),
        }
    }
}
