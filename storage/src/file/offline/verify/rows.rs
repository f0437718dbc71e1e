//! Checking both indexes against each other, the counts, and what the rows refer to.

use super::{
    super::{Content, Progress, Resolver, read_only::ReadOnlyFile},
    Verification,
};
use crate::{
    error::{Error, Result},
    store::{Counts, Direction, DocRow, KeyRange, Seq, Snapshot},
};

pub(super) fn check(
    opened: &ReadOnlyFile,
    content: &dyn Content,
    report: &mut Verification,
    progress: Progress<'_>,
) -> Result<()> {
    let snapshot: &dyn Snapshot = opened.state.as_ref();
    let roots = opened.state.trees.roots;
    let offset = |root: crate::tree::Root| root.node.map_or(0, |node| node.offset);
    let mut damage = std::mem::take(&mut report.damage);
    let mut resolver = Resolver::new(snapshot, &mut damage, offset(roots.by_id));
    let done = opened.end.end;
    let mut tell = |bytes: u64| {
        let total = done.saturating_add(snapshot.counts().active_bytes);
        progress(done.saturating_add(bytes), total.max(done.saturating_add(bytes)));
    };
    let walks = [
        documents(snapshot, content, &mut resolver, report, &mut tell),
        keys(snapshot, content, &mut resolver),
    ];
    report.references = resolver.references;
    report.live_bytes = report.live_bytes.saturating_add(resolver.bytes);
    damage.truncate(super::MAX_DAMAGE);
    report.damage = damage;
    for walk in walks {
        match walk {
            // The trees have been checked by themselves; a walk ends where they are damaged.
            Err(Error::Corrupt { .. }) if !report.is_sound() => {}
            Err(error @ Error::Corrupt { .. }) => report.note(error, "the rows")?,
            other => other?,
        }
    }
    Ok(())
}

fn documents(
    snapshot: &dyn Snapshot,
    content: &dyn Content,
    resolver: &mut Resolver<'_>,
    report: &mut Verification,
    tell: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut counts = Counts::default();
    let mut docs = snapshot.docs(&KeyRange::all(), Direction::Forward, false)?;
    while let Some(row) = docs.next()? {
        if resolver.damage.len() >= super::MAX_DAMAGE {
            return Ok(());
        }
        report.documents += 1;
        counts = add(counts, row.weight.into());
        document(snapshot, content, &row, resolver)?;
        tell(resolver.bytes);
    }
    drop(docs);
    report.counts = counts;
    if counts != snapshot.counts() {
        resolver.flaw("the counts of the database are not those of its documents".to_owned());
    }
    changes(snapshot, report.documents, resolver)
}

/// Sums of damaged rows must not overflow.
fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        live: a.live.saturating_add(b.live),
        deleted: a.deleted.saturating_add(b.deleted),
        active_bytes: a.active_bytes.saturating_add(b.active_bytes),
        external_bytes: a.external_bytes.saturating_add(b.external_bytes),
    }
}

fn document(
    snapshot: &dyn Snapshot,
    content: &dyn Content,
    row: &DocRow<'_>,
    resolver: &mut Resolver<'_>,
) -> Result<()> {
    let name = || format!("document {:?}", String::from_utf8_lossy(row.id));
    resolver.next_row();
    if row.seq == 0 || row.seq > snapshot.seq() {
        resolver.flaw(format!("{}: its sequence {} cannot be", name(), row.seq));
        return Ok(());
    }
    let change = change_at(snapshot, row.seq)?.filter(|(id, _)| id == row.id);
    if change.is_none() {
        resolver.flaw(format!("{}: the index by-seq does not have it at {}", name(), row.seq));
    }
    content.document(row, change.as_ref().map(|(_, value)| &value[..]), resolver)
}

/// Id and value of the change with this sequence.
fn change_at(snapshot: &dyn Snapshot, seq: Seq) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut changes = snapshot.changes(seq - 1, Direction::Forward)?;
    let found = changes.next()?.filter(|change| change.seq == seq);
    Ok(found.map(|change| (change.id.to_vec(), change.value.to_vec())))
}

/// Each document was found in by-seq, so by-seq has nothing else if it has as many rows.
fn changes(snapshot: &dyn Snapshot, documents: u64, resolver: &mut Resolver<'_>) -> Result<()> {
    let mut rows = 0u64;
    let mut changes = snapshot.changes(0, Direction::Forward)?;
    while changes.next()?.is_some() {
        rows += 1;
    }
    drop(changes);
    if rows == documents {
        return Ok(());
    }
    let mut changes = snapshot.changes(0, Direction::Forward)?;
    while let Some(change) = changes.next()? {
        let is_there = snapshot.doc(change.id)?.is_some_and(|entry| entry.seq == change.seq);
        if !is_there {
            let id = String::from_utf8_lossy(change.id);
            let seq = change.seq;
            resolver.flaw(format!("sequence {seq} of by-seq names {id:?}, which is not there"));
        }
    }
    Ok(())
}

fn keys(snapshot: &dyn Snapshot, content: &dyn Content, resolver: &mut Resolver<'_>) -> Result<()> {
    let mut locals = snapshot.locals(&KeyRange::all(), Direction::Forward)?;
    while let Some((key, value)) = locals.next()? {
        resolver.next_row();
        content.local(key, value, resolver)?;
    }
    let mut metas = snapshot.metas(&KeyRange::all(), Direction::Forward)?;
    while let Some((key, value)) = metas.next()? {
        resolver.next_row();
        content.meta(key, value, resolver)?;
    }
    Ok(())
}
