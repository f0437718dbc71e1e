//! Carrying out changes on a database, and finding out whether one whose outcome nobody was told was
//! carried out.

use std::sync::Arc;

use parking_lot::Mutex;
use settee_engine::{
    Caller, Database, Document, Error, GetOptions, PurgeRequest, Reader, Rev, ShowOptions,
    StageOptions, WriteMode, WriteResults,
    document::{AttachmentSource, IncomingAttachment, Limits},
    json::Value,
};

use crate::{
    check::{Stop, key_of, rev_of},
    model::{Attachment, Base, Change, Db, DocWrite, RevKey, Verdict},
};

/// What a change was answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The revision of each document; `None` if it was refused.
    Written(Vec<Option<RevKey>>),
    Purged(Vec<Vec<RevKey>>),
    Set,
}

/// Pieces in which attachments are written ahead, in bytes.
const PIECE_BYTES: usize = 100_000;

/// Documents as a client would send them, with what was written ahead for them.
pub(crate) type Prepared = (Vec<Document>, WriteMode);

/// Makes what a write sends, attachments that are to be written ahead included.
pub(crate) fn prepare(db: &Arc<Database>, writes: &[DocWrite]) -> Result<Prepared, Stop> {
    let replicated = writes.iter().any(|write| matches!(write.base, Base::History(_)));
    let mode = if replicated { WriteMode::Replicated } else { WriteMode::Interactive };
    let docs = writes.iter().map(|write| document(db, write)).collect::<Result<_, _>>()?;
    Ok((docs, mode))
}

/// Sends it.
pub(crate) fn perform_prepared(db: &Arc<Database>, (docs, mode): Prepared) -> Result<Answer, Stop> {
    answer(db.write(docs, mode))
}

/// Carries a change out and waits for its answer.
pub(crate) fn perform(db: &Arc<Database>, change: &Change) -> Result<Answer, Stop> {
    match change {
        Change::Write(writes) => perform_prepared(db, prepare(db, writes)?),
        Change::Purge(requests) => {
            let request = |(id, revs): &(String, Vec<RevKey>)| PurgeRequest {
                id: id.clone(),
                revs: revs.iter().map(rev_of).collect(),
            };
            let purged = db.purge(requests.iter().map(request).collect()).map_err(Stop::of)?;
            let revs = |purged: PurgeRequest| purged.revs.iter().map(key_of).collect();
            Ok(Answer::Purged(purged.into_iter().map(revs).collect()))
        }
        Change::Security(text) => set(db.set_security(text.as_bytes())),
        Change::RevsLimit(limit) => set(db.set_revs_limit(*limit)),
        Change::PurgedLimit(limit) => set(db.set_purged_infos_limit(*limit)),
    }
}

fn set(result: Result<(), Error>) -> Result<Answer, Stop> {
    result.map(|()| Answer::Set).map_err(Stop::of)
}

/// Carries writes out that all wait before the first of them is served, so that they become one commit.
pub(crate) fn perform_group(
    db: &Arc<Database>,
    group: &[Vec<DocWrite>],
) -> Result<Vec<Result<Answer, Stop>>, Stop> {
    type Slot = Option<Result<WriteResults, Error>>;
    let answers: Arc<Mutex<Vec<Slot>>> = Arc::default();
    answers.lock().resize_with(group.len(), || None);
    let mut prepared = Vec::new();
    for writes in group {
        prepared.push(prepare(db, writes)?);
    }
    let mut leaders = Vec::new();
    for (at, (docs, mode)) in prepared.into_iter().enumerate() {
        let answers = Arc::clone(&answers);
        let done = Box::new(move |results| {
            if let Some(slot) = answers.lock().get_mut(at) {
                *slot = Some(results);
            }
        });
        leaders.extend(db.submit_write(&Caller::admin(), docs, mode, done));
    }
    for leader in leaders {
        leader.run();
    }
    let answers = std::mem::take(&mut *answers.lock());
    let told = |it: Option<_>| it.map_or_else(|| Stop::wrong("a writer was never told"), answer);
    Ok(answers.into_iter().map(told).collect())
}

fn answer(results: Result<WriteResults, Error>) -> Result<Answer, Stop> {
    let each = |result: Result<Rev, Error>| match result {
        Ok(rev) => Ok(Some(key_of(&rev))),
        Err(Error::Conflict) => Ok(None),
        Err(error) => Err(Stop::of(error)),
    };
    let results = results.map_err(Stop::of)?.into_iter().map(each);
    results.collect::<Result<_, _>>().map(Answer::Written)
}

/// The document as a client would send it.
fn document(db: &Arc<Database>, write: &DocWrite) -> Result<Document, Stop> {
    let mut json = String::from("{");
    match &write.base {
        Base::Named(None) => {}
        Base::Named(Some((generation, id))) => {
            json.push_str(&format!(r#""_rev":"{generation}-{id}","#));
        }
        Base::History(history) => {
            let start = history.first().map_or(0, |rev| rev.0);
            let ids: Vec<_> = history.iter().map(|(_, id)| format!("\"{id}\"")).collect();
            let ids = ids.join(",");
            json.push_str(&format!(r#""_revisions":{{"start":{start},"ids":[{ids}]}},"#));
        }
    }
    if write.deleted {
        json.push_str(r#""_deleted":true,"#);
    }
    json.push_str(write.body.strip_prefix('{').unwrap_or_default());
    let parsed = Document::parse(json.as_bytes(), Some(&write.id), &Limits::default());
    let mut document = parsed.map_err(Stop::of)?;
    let stub = |name: &String| incoming(name, "", AttachmentSource::Stub);
    document.attachments.extend(write.stubs.iter().map(stub));
    for attachment in &write.fresh {
        let source = match write.staged {
            true => stage(db, attachment)?,
            false => AttachmentSource::Inline(attachment.bytes.to_vec()),
        };
        document.attachments.push(incoming(&attachment.name, attachment.content_type, source));
    }
    Ok(document)
}

fn incoming(name: &str, content_type: &str, source: AttachmentSource) -> IncomingAttachment {
    let (name, content_type) = (name.to_owned(), content_type.to_owned());
    IncomingAttachment { name, content_type, revpos: None, source }
}

/// Writes an attachment ahead of its document.
pub(crate) fn stage(db: &Arc<Database>, attachment: &Attachment) -> Result<AttachmentSource, Stop> {
    let options = StageOptions::default();
    let begun = db.stage_attachment(&attachment.name, attachment.content_type, options);
    let mut writer = begun.map_err(Stop::of)?;
    for piece in attachment.bytes.chunks(PIECE_BYTES) {
        writer.write(piece).map_err(Stop::of)?;
    }
    Ok(AttachmentSource::Staged(writer.finish().map_err(Stop::of)?))
}

/// Follows a change that was answered.
pub(crate) fn follow(model: &mut Db, change: &Change, answer: &Answer) -> Result<(), Stop> {
    match (change, answer) {
        (Change::Write(writes), Answer::Written(results)) => {
            model.write(writes, results).map_err(Stop::Wrong)
        }
        (Change::Purge(requests), Answer::Purged(purged)) => {
            let expected = model.purge(requests);
            match &expected == purged {
                true => Ok(()),
                false => Stop::wrong(format!("purged {purged:?} instead of {expected:?}")),
            }
        }
        (Change::Security(text), Answer::Set) => {
            model.set_security(text);
            Ok(())
        }
        (Change::RevsLimit(limit), Answer::Set) => {
            model.revs_limit = *limit;
            Ok(())
        }
        (Change::PurgedLimit(limit), Answer::Set) => {
            model.purged_limit = *limit;
            Ok(())
        }
        _ => Stop::wrong(format!("{change:?} was answered with {answer:?}")),
    }
}

/// Whether a change of unknown outcome took effect, and with what answer. A change of which only a part
/// is there is found out by the comparison that follows.
pub(crate) fn effect(
    db: &Arc<Database>,
    reader: &Reader,
    model: &Db,
    change: &Change,
) -> Result<Option<Answer>, Stop> {
    let applied = match change {
        Change::Write(writes) => return effect_of_write(reader, model, writes),
        Change::Purge(requests) => {
            let purge_seq = db.info().map_err(Stop::of)?.purge_seq;
            let applied = purge_seq > model.purge_seq;
            let answer = || Answer::Purged(model.clone().purge(requests));
            return Ok(applied.then(answer));
        }
        // The same object once more takes a sequence all the same.
        Change::Security(text) => &*db.security() == text && reader.seq() > model.seq,
        Change::RevsLimit(limit) => db.revs_limit() == *limit,
        Change::PurgedLimit(limit) => db.purged_infos_limit() == *limit,
    };
    Ok(applied.then_some(Answer::Set))
}

fn effect_of_write(
    reader: &Reader,
    model: &Db,
    writes: &[DocWrite],
) -> Result<Option<Answer>, Stop> {
    let mut applied = false;
    let mut results = Vec::new();
    for write in writes {
        if write.is_local() {
            let (seen, result) = effect_of_local(reader, model, write)?;
            applied |= seen;
            results.push(Some(result));
            continue;
        }
        results.push(match model.judge(write) {
            Verdict::Refused => None,
            Verdict::Known(rev) => Some(rev),
            verdict @ (Verdict::Trusted { .. } | Verdict::Written { .. }) => {
                let found = find_body(reader, &write.id, &write.body)?;
                applied |= found.is_some();
                match verdict {
                    Verdict::Written { rev: Some(rev), .. } => Some(rev),
                    _ => found,
                }
            }
        });
    }
    Ok(applied.then_some(Answer::Written(results)))
}

/// Whether a write of a local document shows, and its revision if it took place.
fn effect_of_local(reader: &Reader, model: &Db, write: &DocWrite) -> Result<(bool, RevKey), Stop> {
    let found = match reader.get(&write.id, &GetOptions::default()) {
        Ok(found) => Some(String::from_utf8_lossy(found.body()).into_owned()),
        Err(Error::NotFound(_)) => None,
        Err(error) => return Err(Stop::of(error)),
    };
    let counter = match &write.base {
        _ if write.deleted => 0,
        Base::Named(Some((0, counter))) => counter.parse::<u64>().unwrap_or_default() + 1,
        _ => 1,
    };
    let seen = match write.deleted {
        true => found.is_none() && model.locals.contains_key(&write.id),
        false => found.as_deref() == Some(&*write.body),
    };
    Ok((seen, (0, counter.to_string())))
}

/// The revision with a body that occurs but once.
fn find_body(reader: &Reader, id: &str, body: &str) -> Result<Option<RevKey>, Stop> {
    let show = ShowOptions { revs: true, ..ShowOptions::default() };
    let leaves = match reader.leaves(id, &show) {
        Ok(leaves) => leaves,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(Stop::of(error)),
    };
    for leaf in &leaves {
        if leaf.body() == body.as_bytes() {
            return Ok(Some(key_of(leaf.rev())));
        }
        let mut json = Vec::new();
        leaf.write_json(&mut json).map_err(Stop::of)?;
        let shown = Value::parse(&json).map_err(Stop::of)?;
        let ids = shown.get("_revisions").and_then(|it| it.get("ids")).and_then(Value::as_array);
        let ids = ids.into_iter().flatten().filter_map(Value::as_str);
        for (back, rev) in (0..leaf.rev().generation).zip(ids) {
            let rev = (leaf.rev().generation - back, rev.to_owned());
            let options = GetOptions { rev: Some(rev_of(&rev)), ..GetOptions::default() };
            match reader.get(id, &options) {
                Ok(found) if found.body() == body.as_bytes() => return Ok(Some(rev)),
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(Stop::of(error)),
            }
        }
    }
    Ok(None)
}
