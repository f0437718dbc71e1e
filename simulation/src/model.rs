//! What a database must hold: plain maps and the rules of revision trees, written down once more and
//! as naively as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// A revision: generation and id as text. Compared like this, the higher one wins.
pub(crate) type RevKey = (u64, String);

/// `generation-id`.
pub(crate) fn rev_text(rev: &RevKey) -> String {
    format!("{}-{}", rev.0, rev.1)
}

/// An attachment and its bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Arc<[u8]>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} bytes", self.name, self.content_type, self.bytes.len())
    }
}

/// What is stored of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) deleted: bool,
    pub(crate) body: Arc<str>,
    pub(crate) attachments: Vec<Attachment>,
}

#[derive(Clone, Debug)]
struct Node {
    parent: Option<RevKey>,
    content: Option<Content>,
}

/// A document: its revisions, and the sequence of its latest change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doc {
    pub(crate) seq: u64,
    nodes: BTreeMap<RevKey, Node>,
}

impl Doc {
    /// The leaves, lowest revision first.
    pub(crate) fn leaves(&self) -> Vec<&RevKey> {
        let parents: BTreeSet<_> =
            self.nodes.values().filter_map(|it| it.parent.as_ref()).collect();
        self.nodes.keys().filter(|rev| !parents.contains(rev)).collect()
    }

    /// The leaf that wins: a live one before deleted ones, then the highest.
    pub(crate) fn winner(&self) -> Option<&RevKey> {
        self.leaves().into_iter().max_by_key(|rev| (!self.is_deleted(rev), *rev))
    }

    pub(crate) fn is_deleted(&self, rev: &RevKey) -> bool {
        self.content(rev).is_some_and(|content| content.deleted)
    }

    /// Whether its winner is a tombstone.
    pub(crate) fn is_gone(&self) -> bool {
        self.winner().is_some_and(|winner| self.is_deleted(winner))
    }

    pub(crate) fn content(&self, rev: &RevKey) -> Option<&Content> {
        self.nodes.get(rev).and_then(|node| node.content.as_ref())
    }

    /// All revisions, lowest first.
    pub(crate) fn revs(&self) -> impl Iterator<Item = &RevKey> {
        self.nodes.keys()
    }

    /// A revision and its ancestors, newest first.
    pub(crate) fn path(&self, rev: &RevKey) -> Vec<&RevKey> {
        let mut path = Vec::new();
        let mut at = self.nodes.get_key_value(rev);
        while let Some((rev, node)) = at {
            path.push(rev);
            at = node.parent.as_ref().and_then(|parent| self.nodes.get_key_value(parent));
        }
        path
    }

    /// Adds a history, newest first. The newest revision is new and gets the content.
    fn add(&mut self, history: &[RevKey], content: Content) {
        for (at, rev) in history.iter().enumerate() {
            let parent = history.get(at + 1).cloned();
            let node =
                self.nodes.entry(rev.clone()).or_insert(Node { parent: None, content: None });
            node.parent = node.parent.take().or(parent);
        }
        if let Some(node) = history.first().and_then(|rev| self.nodes.get_mut(rev)) {
            node.content = Some(content);
        }
    }

    /// Keeps what lies at most `limit` revisions down from one of these leaves.
    fn keep(&mut self, leaves: &[RevKey], limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let kept: BTreeSet<RevKey> = leaves
            .iter()
            .flat_map(|leaf| self.path(leaf).into_iter().take(limit))
            .cloned()
            .collect();
        self.nodes.retain(|rev, _| kept.contains(rev));
        for node in self.nodes.values_mut() {
            node.parent = node.parent.take().filter(|parent| kept.contains(parent));
        }
    }

    /// Removes leaves and what only they needed; those that were leaves come back.
    fn purge(&mut self, revs: &[RevKey]) -> Vec<RevKey> {
        let mut leaves: Vec<RevKey> = self.leaves().into_iter().cloned().collect();
        let removed: Vec<RevKey> =
            revs.iter().filter(|rev| leaves.contains(rev)).cloned().collect();
        leaves.retain(|leaf| !removed.contains(leaf));
        if !removed.is_empty() {
            self.keep(&leaves, u64::MAX);
        }
        removed
    }
}

/// What a write says of where its revision belongs.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// The revision to follow; the new one is the database's to find.
    Named(Option<RevKey>),
    /// Its own revision and its ancestors, newest first.
    History(Vec<RevKey>),
}

/// One document of a write.
#[derive(Clone, Debug)]
pub(crate) struct DocWrite {
    pub(crate) id: String,
    pub(crate) base: Base,
    pub(crate) deleted: bool,
    /// JSON text that occurs in no other write.
    pub(crate) body: Arc<str>,
    /// Attachments of the named revision that are kept.
    pub(crate) stubs: Vec<String>,
    /// Attachments that come with it.
    pub(crate) fresh: Vec<Attachment>,
    /// The fresh ones were written ahead, as streams.
    pub(crate) staged: bool,
}

impl DocWrite {
    pub(crate) fn is_local(&self) -> bool {
        self.id.starts_with("_local/")
    }
}

/// A local document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) counter: u64,
    pub(crate) body: Arc<str>,
}

/// A change of a database, as a whole or not at all.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write(Vec<DocWrite>),
    Purge(Vec<(String, Vec<RevKey>)>),
    Security(String),
    RevsLimit(u64),
    PurgedLimit(u64),
}

/// What must become of a document of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A conflict.
    Refused,
    /// A conflict, or written below this revision of a document that is unknown (any more, after a purge): that
    /// depends on whether CouchDB would look first, which the model does not know.
    Trusted { parent: RevKey },
    /// The revision is there already.
    Known(RevKey),
    /// Its revision gets this parent; the revision itself, if the write says which.
    Written { parent: Option<RevKey>, rev: Option<RevKey> },
}

/// A database.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pub(crate) seq: u64,
    pub(crate) docs: BTreeMap<String, Doc>,
    pub(crate) locals: BTreeMap<String, Local>,
    pub(crate) security: Option<String>,
    pub(crate) revs_limit: u64,
    pub(crate) purged_limit: u64,
    pub(crate) purge_seq: u64,
    /// The purge requests that are remembered.
    pub(crate) purges: BTreeMap<u64, (String, Vec<RevKey>)>,
}

impl Default for Db {
    fn default() -> Self {
        Db {
            seq: 0,
            docs: BTreeMap::new(),
            locals: BTreeMap::new(),
            security: None,
            revs_limit: 1000,
            purged_limit: 1000,
            purge_seq: 0,
            purges: BTreeMap::new(),
        }
    }
}

impl Db {
    /// Live and deleted documents.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let gone = self.docs.values().filter(|doc| doc.is_gone()).count() as u64;
        (self.docs.len() as u64 - gone, gone)
    }

    /// What must become of a document if it is written now.
    pub(crate) fn judge(&self, write: &DocWrite) -> Verdict {
        let doc = self.docs.get(&write.id);
        match &write.base {
            Base::History(history) => match history.as_slice() {
                [rev, ..] if doc.is_some_and(|doc| doc.nodes.contains_key(rev)) => {
                    Verdict::Known(rev.clone())
                }
                [rev, rest @ ..] => {
                    Verdict::Written { parent: rest.first().cloned(), rev: Some(rev.clone()) }
                }
                [] => Verdict::Refused,
            },
            Base::Named(Some(named)) if doc.is_none() => Verdict::Trusted { parent: named.clone() },
            Base::Named(named) => match self.parent(doc, named.as_ref(), write.deleted) {
                Some(parent) => Verdict::Written { parent, rev: None },
                None => Verdict::Refused,
            },
        }
    }

    /// The parent that an interactive write gets; `None` if it is refused.
    #[expect(clippy::option_option, reason = "no revision, no parent, a parent")]
    fn parent(
        &self,
        doc: Option<&Doc>,
        named: Option<&RevKey>,
        deleted: bool,
    ) -> Option<Option<RevKey>> {
        match (doc.and_then(|doc| Some((doc, doc.winner()?))), named) {
            (None, None) => Some(None),
            (None, Some(_)) => None,
            (Some((doc, winner)), None) => {
                (doc.is_deleted(winner) && !deleted).then(|| Some(winner.clone()))
            }
            (Some((doc, winner)), Some(named)) => {
                let follows = !doc.is_deleted(winner) && doc.leaves().contains(&named);
                follows.then(|| Some(named.clone()))
            }
        }
    }

    /// Follows a write whose documents ended as `results` says (`None`: refused), checking that they
    /// should.
    pub(crate) fn write(
        &mut self,
        writes: &[DocWrite],
        results: &[Option<RevKey>],
    ) -> Result<(), String> {
        let mut order: Vec<_> = writes.iter().zip(results).collect();
        // Sequences are given in the order of ids.
        order.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        for (write, result) in order {
            match write.is_local() {
                true => self.write_local(write, result.as_ref())?,
                false => self.write_doc(write, result.as_ref())?,
            }
        }
        Ok(())
    }

    fn write_doc(&mut self, write: &DocWrite, result: Option<&RevKey>) -> Result<(), String> {
        let verdict = self.judge(write);
        let wrong = || Err(format!("{write:?} ended as {result:?} instead of {verdict:?}"));
        let (parent, own, rev) = match (&verdict, result) {
            (Verdict::Refused | Verdict::Trusted { .. }, None) => return Ok(()),
            (Verdict::Known(known), Some(rev)) if known == rev => return Ok(()),
            (Verdict::Written { parent, rev: own }, Some(rev)) => {
                (parent.as_ref(), own.as_ref(), rev)
            }
            (Verdict::Trusted { parent }, Some(rev)) => (Some(parent), None, rev),
            _ => return wrong(),
        };
        let generation = parent.map_or(0, |parent| parent.0) + 1;
        let doc = self.docs.entry(write.id.clone()).or_default();
        let fits = match own {
            Some(own) => own == rev,
            None => rev.0 == generation && !doc.nodes.contains_key(rev),
        };
        if !fits {
            return wrong();
        }
        self.seq += 1;
        doc.seq = self.seq;
        let content = content_of(doc, parent, write);
        let history = match &write.base {
            Base::History(history) => history.clone(),
            Base::Named(_) => iter_history(rev, parent),
        };
        doc.add(&history, content);
        let leaves: Vec<RevKey> = doc.leaves().into_iter().cloned().collect();
        doc.keep(&leaves, self.revs_limit);
        Ok(())
    }

    fn write_local(&mut self, write: &DocWrite, result: Option<&RevKey>) -> Result<(), String> {
        let counter = match &write.base {
            _ if write.deleted => 0,
            Base::Named(Some((0, counter))) => counter.parse::<u64>().unwrap_or_default() + 1,
            _ => 1,
        };
        if result != Some(&(0, counter.to_string())) {
            return Err(format!("{write:?} ended as {result:?} instead of 0-{counter}"));
        }
        match write.deleted {
            true => self.locals.remove(&write.id),
            false => {
                let body = Arc::clone(&write.body);
                self.locals.insert(write.id.clone(), Local { counter, body })
            }
        };
        Ok(())
    }

    /// Sets the security object, which takes a sequence.
    pub(crate) fn set_security(&mut self, text: &str) {
        self.security = Some(text.to_owned());
        self.seq += 1;
    }

    /// Purges; what was there and is gone now, as the database must say it.
    pub(crate) fn purge(&mut self, requests: &[(String, Vec<RevKey>)]) -> Vec<Vec<RevKey>> {
        let first = self.seq;
        let mut purged = Vec::new();
        for (id, revs) in requests {
            purged.push(self.purge_doc(id, revs));
            self.purge_seq += 1;
            self.purges.insert(self.purge_seq, (id.clone(), revs.clone()));
            if let Some(forgotten) = self.purge_seq.checked_sub(self.purged_limit) {
                self.purges.remove(&forgotten);
            }
        }
        if self.seq == first {
            self.seq += 1;
        }
        purged
    }

    fn purge_doc(&mut self, id: &str, revs: &[RevKey]) -> Vec<RevKey> {
        let Some(doc) = self.docs.get_mut(id) else { return Vec::new() };
        let removed = doc.purge(revs);
        if removed.is_empty() {
            return removed;
        }
        // One sequence for each leaf that stays, and one if none does.
        self.seq += (doc.leaves().len() as u64).max(1);
        doc.seq = self.seq;
        if doc.nodes.is_empty() {
            self.docs.remove(id);
        }
        removed
    }
}

fn iter_history(rev: &RevKey, parent: Option<&RevKey>) -> Vec<RevKey> {
    std::iter::once(rev).chain(parent).cloned().collect()
}

fn content_of(doc: &Doc, parent: Option<&RevKey>, write: &DocWrite) -> Content {
    let kept = parent.and_then(|parent| doc.content(parent));
    let kept = kept.map(|content| content.attachments.as_slice()).unwrap_or_default();
    let stubs = write.stubs.iter();
    let stubs = stubs.filter_map(|name| kept.iter().find(|it| &it.name == name));
    Content {
        deleted: write.deleted,
        body: Arc::clone(&write.body),
        attachments: stubs.chain(&write.fresh).cloned().collect(),
    }
}
