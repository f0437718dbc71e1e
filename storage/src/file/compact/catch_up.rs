//! What was committed since: read from the log of the old file, done again in the new one.

use std::sync::Arc;

use super::{
    CHANGES_PER_LOOK, Run,
    blobs::Blobs,
    copier::{FileCopier, Known, Notes},
};
use crate::{
    codec::Input,
    compaction::{Compaction, NewDocument, OldDocument, Phase},
    error::{Error, Result},
    file::{
        frame::Kind, generation::Generation, ops::Op, record::CommitHead, rows::Space, scan::Scan,
        state::State, transaction::Group,
    },
    store::{Seq, Transaction},
};

/// Edits done again become a commit when there are so many.
const MAX_BATCH_EDITS: usize = 4096;
/// Or when their values take so many bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// A durable state of the old file, and where its log ends.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) state: Arc<State>,
    pub(super) end: u64,
}

impl Moment {
    pub(super) fn of(generation: &Generation) -> Result<Self> {
        let writer = generation.writer.lock();
        // After a failed sync, the last commit is not part of the state.
        generation.tail.check()?;
        Ok(Moment { state: generation.state.load_full(), end: writer.last.end })
    }
}

/// An edit to be done again.
enum Again {
    Put { id: Vec<u8>, seq: Seq, new: NewDocument },
    Remove { id: Vec<u8>, seq: Seq },
    Bump,
    Key { key: Vec<u8>, value: Option<Vec<u8>> },
}

impl Run<'_> {
    /// Brings the new file from where it is to the moment `to`.
    pub(super) fn round(&mut self, to: Moment) -> Result<()> {
        let old = Arc::clone(&self.old);
        let mut round = Round::new(self, &to);
        let mut scan = Scan::new(&old.path, old.readers.raw(), old.tail.keys(), to.end);
        let mut at = round.run.reached.end;
        while at < to.end {
            let Some((header, _)) = scan.header(at)? else { return Err(unreadable(&old, at)) };
            if header.kind == Kind::Commit {
                let payload = scan.payload(&header)?.ok_or_else(|| unreadable(&old, at))?;
                let (head, edits) =
                    CommitHead::decode(payload).ok_or_else(|| unreadable(&old, at))?;
                round
                    .commit(&head, edits)
                    .and_then(|whole| if whole { Ok(()) } else { Err(unreadable(&old, at)) })?;
            }
            at = header.end();
        }
        round.flush()?;
        let (found, expected) = (self.new.state.load_full(), &to.state.head);
        let (counts, wanted) = (found.head.counts, expected.counts);
        if found.head.seq != expected.seq
            || (counts.live, counts.deleted) != (wanted.live, wanted.deleted)
        {
            return Err(Error::Invalid { what: "a compaction that does not come out even" });
        }
        self.reached = to;
        Ok(())
    }
}

fn unreadable(old: &Generation, offset: u64) -> Error {
    let path = old.path.to_path_buf();
    Error::Corrupt { path, offset, what: "a commit that was durable is not readable" }
}

/// One round.
struct Round<'a, 'r> {
    run: &'a mut Run<'r>,
    to: Arc<State>,
    new: Arc<Generation>,
    batch: Vec<Again>,
    batch_bytes: usize,
    /// Sequence after the edits read so far.
    seq: Seq,
}

impl<'a, 'r> Round<'a, 'r> {
    fn new(run: &'a mut Run<'r>, to: &Moment) -> Self {
        let (new, seq) = (Arc::clone(&run.new), run.reached.state.head.seq);
        Round { run, to: Arc::clone(&to.state), new, batch: Vec::new(), batch_bytes: 0, seq }
    }

    /// Does the edits of a commit again; false if they make no sense.
    fn commit(&mut self, head: &CommitHead, edits: &[u8]) -> Result<bool> {
        let new = Arc::clone(&self.new);
        let mut blobs = Blobs::new(&new.tail);
        let mut input = Input::new(edits);
        for _ in 0..head.ops {
            let Some(op) = Op::decode(&mut input) else { return Ok(false) };
            self.edit(&op, &mut blobs)?;
            if self.batch.len() >= MAX_BATCH_EDITS || self.batch_bytes >= MAX_BATCH_BYTES {
                blobs.flush()?;
                self.flush()?;
            }
        }
        blobs.flush()?;
        Ok(input.is_empty() && self.seq == head.seq)
    }

    fn edit(&mut self, op: &Op<'_>, blobs: &mut Blobs<'_>) -> Result<()> {
        let again = match op {
            Op::PutKey { key, .. } | Op::RemoveKey { key } => self.key(key, blobs)?,
            Op::Bump => Again::Bump,
            Op::RemoveDoc { id, .. } => Again::Remove { id: id.to_vec(), seq: self.seq + 1 },
            Op::PutDoc(put) => self.put(put.id, self.seq + 1, blobs)?,
        };
        self.batch_bytes += match &again {
            Again::Put { id, new, .. } => id.len() + new.by_id.len() + new.by_seq.len(),
            Again::Remove { id, .. } => id.len(),
            Again::Bump => 0,
            Again::Key { key, value } => key.len() + value.as_ref().map_or(0, Vec::len),
        };
        if op.takes_sequence() {
            self.seq += 1;
            self.run.done += 1;
            if self.run.done.is_multiple_of(CHANGES_PER_LOOK) {
                self.run.go_on()?;
            }
        }
        self.batch.push(again);
        Ok(())
    }

    /// A document as it is in the end, unless a later edit of this round made it so.
    fn put(&mut self, id: &[u8], seq: Seq, blobs: &mut Blobs<'_>) -> Result<Again> {
        let to = Arc::clone(&self.to);
        let Some(entry) = to.view().doc(id)?.filter(|entry| entry.seq == seq) else {
            return Ok(Again::Bump);
        };
        let by_seq = to.view().change(seq)?.ok_or_else(|| to.trees.bad_row())?;
        let known = self.known(id)?;
        let run = &mut *self.run;
        let (look, done, total) = (run.look, run.done, run.total);
        let mut copier = FileCopier {
            from: &to.trees,
            to: blobs,
            known,
            staged: &run.staged,
            go_on: &|| look.go_on(Phase::CatchUp, done, total),
        };
        let old =
            OldDocument { id, seq, weight: entry.weight, by_id: &entry.value, by_seq: &by_seq };
        let new = run.job.document(old, &mut copier)?;
        Ok(Again::Put { id: id.to_vec(), seq, new })
    }

    /// What an earlier version of a document referred to is in the new file already: attachments that
    /// stayed as they were, and bodies of other leaves.
    fn known(&mut self, id: &[u8]) -> Result<Known> {
        let (old, new) = (Arc::clone(&self.run.reached.state), self.new.state.load_full());
        let (Some(before), Some(copy)) = (old.view().doc(id)?, new.view().doc(id)?) else {
            return Ok(Known::default());
        };
        if before.seq != copy.seq {
            return Ok(Known::default());
        }
        let [old, new] = [&old, &new].map(|state| notes(state, id, self.run.job));
        Ok(Known::pairs(old?, new?))
    }

    fn key(&mut self, key: &[u8], blobs: &mut Blobs<'_>) -> Result<Again> {
        let to = Arc::clone(&self.to);
        let (space, bare) = match key.split_first() {
            Some((&first, bare)) if first == Space::Local.prefix() => (Space::Local, bare),
            Some((&first, bare)) if first == Space::Meta.prefix() => (Space::Meta, bare),
            _ => return Err(to.trees.bad_row()),
        };
        let value = to.view().key(space, bare)?;
        let run = &mut *self.run;
        let mut copier = FileCopier {
            from: &to.trees,
            to: blobs,
            known: Known::default(),
            staged: &run.staged,
            go_on: &|| Ok(()),
        };
        let value = match value {
            Some(value) => run.job.key(space.keyspace(), bare, &value, &mut copier)?,
            None => None,
        };
        Ok(Again::Key { key: key.to_vec(), value })
    }

    /// Makes the batch a commit of the new file.
    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.new.writer.lock();
        let head = self.new.append_group(&mut writer, |group| {
            batch.into_iter().try_for_each(|again| do_again(group, again))
        })?;
        if let Some(head) = head {
            self.new.publish(head);
        }
        drop(writer);
        self.new.checkpoint_if_due();
        Ok(())
    }
}

/// What a document hands over when it is copied.
fn notes<'n>(state: &'n State, id: &[u8], job: &mut dyn Compaction) -> Result<Notes<'n>> {
    let mut notes = Notes::new(&state.trees);
    if let Some(entry) = state.view().doc(id)? {
        let by_seq = state.view().change(entry.seq)?.ok_or_else(|| state.trees.bad_row())?;
        let (seq, weight) = (entry.seq, entry.weight);
        let old = OldDocument { id, seq, weight, by_id: &entry.value, by_seq: &by_seq };
        job.document(old, &mut notes)?;
    }
    Ok(notes)
}

/// Each edit takes the sequence it took before.
fn do_again(group: &mut Group<'_>, again: Again) -> Result<()> {
    let (found, expected) = match again {
        Again::Put { id, seq, new } => {
            (group.put_doc(&id, new.weight, &new.by_id, &new.by_seq)?, seq)
        }
        Again::Remove { id, seq } => {
            if !group.remove_doc(&id)? {
                // It came and went within the round.
                group.bump()?;
            }
            (group.seq(), seq)
        }
        Again::Bump => {
            group.bump()?;
            return Ok(());
        }
        Again::Key { key, value } => return group.put_raw_key(&key, value.as_deref()),
    };
    match found == expected {
        true => Ok(()),
        false => Err(Error::Invalid { what: "a compaction that does not come out even" }),
    }
}
