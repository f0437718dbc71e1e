//! The last round and the change of files.

use std::sync::Arc;

use super::{
    Run,
    blobs::Blobs,
    catch_up::Moment,
    copier::{FileCopier, Known},
};
use crate::{
    compaction::{Copier, Phase},
    error::Result,
    file::tail::Appender,
    store::StreamRef,
};

impl Run<'_> {
    /// Ends the compaction if little is left to do; false if there is too much for writers to wait.
    pub(super) fn swap(&mut self, round: u32) -> Result<bool> {
        let old = Arc::clone(&self.old);
        // From here on nothing is committed, no stream grows, and none is staged.
        let mut writer = old.writer.lock();
        let appender = old.tail.lock()?;
        let mut staged = old.staging.lock();
        let places = staged.places();
        let left = writer.last.end - self.reached.end + self.staged_bytes(&places);
        if left > self.most_left(round) {
            return Ok(false);
        }
        // Nobody is asked while writers wait.
        self.look.is_quiet = true;
        self.go_on()?;
        self.round(Moment { state: old.state.load_full(), end: writer.last.end })?;
        self.copy_streams(&places)?;
        self.seal()?;
        self.rename(appender)?;
        let new = Arc::clone(&self.new);
        // Its reader learns how far it is durable.
        new.publish(new.state.load().head.clone());
        new.tail.set_max_prepare_bytes(new.options.max_prepare_bytes);
        writer.replaced = true;
        staged.hand_over(&new.staging, |at| self.staged.get(&at).copied());
        self.store.current.store(new);
        Ok(true)
    }

    /// For how many bytes writers may be made to wait. It grows when rounds do not get shorter in spite of
    /// all back-pressure, so that there is an end.
    fn most_left(&self, round: u32) -> u64 {
        const DOUBLES_AFTER: u32 = 8;
        let doubled = 1u64.checked_shl(round.saturating_sub(DOUBLES_AFTER)).unwrap_or(u64::MAX);
        self.store.options.compact_pause_bytes.saturating_mul(doubled)
    }

    /// Makes the new file a database, and durable.
    fn seal(&self) -> Result<()> {
        let mut appender = self.new.tail.lock()?;
        appender.write_header(&self.target.header(self.base))
    }

    /// Gives the new file its name and lets go of the old one. If nobody knows whether the name is
    /// durable, nobody can say either which of the two files a crash would leave: nothing is written to
    /// either until the database is opened anew.
    fn rename(&mut self, mut appender: Appender<'_>) -> Result<()> {
        if self.target.rename(self.store)? {
            appender.close();
            return Ok(());
        }
        appender.give_up();
        Err(self.old.tail.poisoned_error())
    }

    /// Copies the streams that are staged, so that the last round need not.
    pub(super) fn copy_staged(&mut self) -> Result<()> {
        let places = self.old.staging.lock().places();
        self.copy_streams(&places)
    }

    fn copy_streams(&mut self, places: &[StreamRef]) -> Result<()> {
        let old = self.old.state.load_full();
        let new = Arc::clone(&self.new);
        let mut blobs = Blobs::new(&new.tail);
        for &at in places {
            let look = self.look;
            let (done, total) = (self.done, self.total);
            let mut copier = FileCopier {
                from: &old.trees,
                to: &mut blobs,
                known: Known::default(),
                staged: &self.staged,
                go_on: &|| look.go_on(Phase::CatchUp, done, total),
            };
            // One that was copied already is only looked up.
            let copy = copier.stream(at)?;
            self.staged.insert(at, copy);
        }
        blobs.flush()
    }

    fn staged_bytes(&self, places: &[StreamRef]) -> u64 {
        places.iter().filter(|at| !self.staged.contains_key(at)).map(|at| at.len).sum()
    }

    pub(super) fn go_on(&self) -> Result<()> {
        self.look.go_on(Phase::CatchUp, self.done, self.total)
    }
}
