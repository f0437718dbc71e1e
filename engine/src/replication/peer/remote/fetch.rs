//! Reading revisions many at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;

use super::{RemotePeer, text_of, write_revs};
use crate::{
    document::write_rev,
    json::{raw, write_string},
    replication::{
        error::ReplicationError,
        http::Call,
        peer::{CHUNK_BYTES, Fetched, Parcel, Result, Wanted},
    },
};

/// Longest answer, in bytes; if it is longer, fewer are asked for, and one by itself.
const MAX_ANSWER_BYTES: usize = 2 * CHUNK_BYTES;
/// After an answer that is too long, one part in so many is asked for.
const FEWER: usize = 4;
/// How long a source that refused such requests is not asked again.
const REST: Duration = Duration::from_secs(37);

/// What is known of a source's way to give many revisions at once.
pub(super) struct BulkGet {
    is_wanted: bool,
    resting_until: Mutex<Option<Instant>>,
}

impl BulkGet {
    pub(super) fn new(is_wanted: bool) -> Self {
        BulkGet { is_wanted, resting_until: Mutex::new(None) }
    }

    fn is_available(&self) -> bool {
        self.is_wanted && self.resting_until.lock().is_none_or(|until| until < Instant::now())
    }

    fn failed(&self) {
        *self.resting_until.lock() = Some(Instant::now() + REST);
    }
}

impl RemotePeer {
    /// See [`super::super::Peer::fetch`]. Revisions with attachments that have to come along, those that
    /// the source is not sure about, and all if the source does not know such requests, are to be fetched
    /// one by one.
    pub(in crate::replication) async fn fetch(
        &self,
        wanted: &[Wanted],
        count: usize,
    ) -> Result<Fetched> {
        let mut count = count.min(wanted.len());
        let mut mean_at_least = 0;
        loop {
            let asked = wanted.get(..count).unwrap_or(wanted);
            if !self.bulk.is_available() {
                return Ok(one_by_one(asked));
            }
            let call = Call::post("_bulk_get", request(asked))
                .param("revs", "true")
                .param("latest", "true")
                .param("attachments", "false");
            match self.remote.call(&call, MAX_ANSWER_BYTES).await {
                Ok((StatusCode::OK, body)) => {
                    return Ok(Fetched { mean_at_least, ..self.sort(asked, &body)? });
                }
                // The server does not have it, or not for these.
                Ok((_, _)) => {
                    self.bulk.failed();
                    return Ok(one_by_one(asked));
                }
                Err(ReplicationError::BadAnswer { .. }) if count > 1 => {
                    mean_at_least = MAX_ANSWER_BYTES / count;
                    count = count.div_ceil(FEWER);
                }
                // Large, or with large attachments.
                Err(ReplicationError::BadAnswer { .. }) => {
                    return Ok(Fetched { mean_at_least: MAX_ANSWER_BYTES, ..one_by_one(asked) });
                }
                Err(ReplicationError::Http { .. }) => {
                    self.bulk.failed();
                    return Ok(one_by_one(asked));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sorts out an answer.
    fn sort(&self, asked: &[Wanted], body: &Bytes) -> Result<Fetched> {
        let answer = Bytes::from(self.minified(body)?);
        let mut fetched =
            Fetched { taken: asked.len(), attempted: asked.len(), ..Fetched::default() };
        let results = raw::member(&answer, "results");
        let results = results.ok_or_else(|| self.remote.senseless("no results of _bulk_get"))?;
        let mut results = raw::items(results);
        for wanted in asked {
            let found = results.next().and_then(|result| documents(wanted, result));
            match found {
                Some(found) if found.iter().all(|document| is_simple(document, wanted)) => {
                    for document in found {
                        let (key, stubs) = (wanted.key.clone(), has_stubs(document));
                        let json = answer.slice_ref(document);
                        fetched.parcels.push(Parcel::Text { key, json, stubs });
                    }
                }
                _ => fetched.singly.push(wanted.clone()),
            }
        }
        Ok(fetched)
    }
}

fn one_by_one(asked: &[Wanted]) -> Fetched {
    Fetched { singly: asked.to_vec(), taken: asked.len(), ..Fetched::default() }
}

fn request(asked: &[Wanted]) -> Vec<u8> {
    let mut out = b"{\"docs\":[".to_vec();
    for (at, wanted) in asked.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"id\":" } else { b"{\"id\":" });
        write_string(&wanted.key.id, &mut out);
        out.extend_from_slice(b",\"rev\":");
        write_rev(&wanted.key.rev, &mut out);
        if !wanted.ancestors.is_empty() {
            out.extend_from_slice(b",\"atts_since\":");
            write_revs(&wanted.ancestors, &mut out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"revs\":true,\"latest\":true,\"attachments\":false}");
    out
}

/// The documents that an entry of the answer gives for a revision; `None` if it gives something else.
fn documents<'a>(wanted: &Wanted, result: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let id = raw::member(result, "id").and_then(raw::string)?;
    if text_of(id) != wanted.key.id {
        return None;
    }
    let docs = raw::items(raw::member(result, "docs")?);
    let found: Option<Vec<_>> = docs.map(|entry| raw::member(entry, "ok")).collect();
    found.filter(|found| !found.is_empty() && found.iter().all(|doc| doc.starts_with(b"{")))
}

/// The attachments of a document, as they are described there.
fn attachments(document: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Most documents have none, which is found out at once.
    let mentions = memchr::memmem::find(document, b"\"_attachments\"").is_some();
    let attachments = mentions.then(|| raw::member(document, "_attachments")).flatten();
    raw::members(attachments.unwrap_or_default()).map(|(_, attachment)| attachment)
}

fn is_stub(attachment: &[u8]) -> bool {
    raw::member(attachment, "stub") == Some(b"true")
}

fn has_stubs(document: &[u8]) -> bool {
    attachments(document).any(is_stub)
}

/// Whether the document can be written as it came: its attachments came along, or came with an ancestor
/// which the target has.
fn is_simple(document: &[u8], wanted: &Wanted) -> bool {
    if attachments(document).next().is_none() {
        return true;
    }
    let known = known_until(document, wanted);
    attachments(document).all(|attachment| {
        let revpos = raw::member(attachment, "revpos").and_then(number);
        let is_known = known > 0 && revpos.is_some_and(|revpos| revpos <= known);
        match is_stub(attachment) {
            true => is_known,
            false => raw::member(attachment, "data").is_some(),
        }
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The newest generation of the document's history that the target has.
fn known_until(document: &[u8], wanted: &Wanted) -> u64 {
    let revisions = raw::member(document, "_revisions").unwrap_or_default();
    let start = raw::member(revisions, "start").and_then(number).unwrap_or(0);
    let ids = raw::items(raw::member(revisions, "ids").unwrap_or_default());
    let generations = (0..=start).rev();
    let mut history = ids.filter_map(raw::string).map(text_of).zip(generations);
    let is_known = |(id, generation): &(String, u64)| {
        wanted
            .ancestors
            .iter()
            .any(|rev| rev.generation == *generation && rev.id.to_string() == *id)
    };
    history.find(is_known).map_or(0, |(_, generation)| generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{replication::peer::Key, revision::Rev};

    fn rev(text: &str) -> Rev {
        Rev::parse(text.as_bytes()).unwrap()
    }

    fn wanted() -> Wanted {
        let key = Key { id: "a".into(), rev: rev("3-c") };
        Wanted { key, ancestors: vec![rev("2-b"), rev("2-x")] }
    }

    #[test]
    fn what_is_asked() {
        let plain = Wanted { ancestors: Vec::new(), ..wanted() };
        let text = String::from_utf8(request(&[wanted(), plain])).unwrap();
        assert_eq!(
            text,
            r#"{"docs":[{"id":"a","rev":"3-c","atts_since":["2-b","2-x"]},{"id":"a","rev":"3-c"}],"revs":true,"latest":true,"attachments":false}"#
        );
    }

    #[test]
    fn which_documents_can_go_as_they_are() {
        let check = |attachments: &str, expected| {
            let document = format!(
                r#"{{"_id":"a","_revisions":{{"start":3,"ids":["c","b","a"]}},"_attachments":{attachments}}}"#
            );
            assert_eq!(is_simple(document.as_bytes(), &wanted()), expected, "{attachments}");
        };
        check("{}", true);
        check(r#"{"f":{"stub":true,"revpos":2}}"#, true);
        check(r#"{"f":{"stub":true,"revpos":3}}"#, false);
        check(r#"{"f":{"stub":true,"revpos":1},"g":{"stub":true,"revpos":3}}"#, false);
        check(r#"{"f":{"data":"","revpos":3},"g":{"stub":true,"revpos":2}}"#, true);
        check(r#"{"f":{"follows":true,"revpos":3}}"#, false);
        let plain = Wanted { ancestors: Vec::new(), ..wanted() };
        assert!(!is_simple(br#"{"_attachments":{"f":{"stub":true,"revpos":0}}}"#, &plain));
    }

    #[test]
    fn a_source_that_refuses_is_left_alone_for_a_while() {
        let bulk = BulkGet::new(true);
        assert!(bulk.is_available() && !BulkGet::new(false).is_available());
        bulk.failed();
        assert!(!bulk.is_available());
    }
}
