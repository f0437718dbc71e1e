//! Making up changes: what a client might ask of a database that is in this state.

use std::sync::Arc;

use settee_storage::disk::sim::Random;

use crate::{
    model::{Attachment, Base, Change, Db, Doc, DocWrite, RevKey},
    views::{DESIGN, design_body},
};

const SECURITY: [&str; 3] = [
    r#"{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}"#,
    r#"{"admins":{"names":["anna"]}}"#,
    r#"{}"#,
];

/// Makes up changes. Every body is different from every other.
pub(crate) struct Chooser<'c> {
    pub(crate) random: &'c mut Random,
    pub(crate) model: &'c Db,
    /// Bodies so far.
    pub(crate) bodies: &'c mut u64,
    /// How many documents there may be.
    pub(crate) documents: u64,
    /// Attachments of several chunks may occur.
    pub(crate) large: bool,
    /// Design documents have views in JavaScript.
    pub(crate) javascript: bool,
}

impl Chooser<'_> {
    fn id(&mut self) -> String {
        match self.random.below(self.documents) {
            0 => DESIGN.into(),
            1 => "ä \"quoted\"".into(),
            number => format!("doc{number}"),
        }
    }

    fn body(&mut self) -> Arc<str> {
        *self.bodies += 1;
        let number = *self.bodies;
        let len = match self.random.below(12) {
            0 => self.random.index(3000),
            1..5 => self.random.index(200),
            _ => 0,
        };
        format!(r#"{{"op":{number},"text":"{}","list":[1,2.5,null]}}"#, "ab cö ".repeat(len / 7))
            .into()
    }

    fn write(&mut self, id: String, base: Base, deleted: bool) -> DocWrite {
        let mut body = self.body();
        if self.javascript && id == DESIGN {
            body = design_body(*self.bodies).into();
        }
        let (stubs, fresh, staged) = (Vec::new(), Vec::new(), false);
        DocWrite { id, base, deleted, body, stubs, fresh, staged }
    }

    /// A write of one document: new, an edit, a deletion; sometimes one that must be refused.
    pub(crate) fn single(&mut self) -> DocWrite {
        if self.random.below(10) == 0 {
            return self.local();
        }
        let id = self.id();
        let doc = self.model.docs.get(&id);
        let named = match doc {
            Some(doc) if !doc.is_gone() => self.named(doc),
            _ => None,
        };
        let deleted = named.is_some() && self.random.below(6) == 0;
        let stubs = match (doc, &named) {
            (Some(doc), Some(named)) => self.stubs(doc, named),
            _ => Vec::new(),
        };
        DocWrite { stubs, ..self.write(id, Base::Named(named), deleted) }
    }

    /// Mostly the winner; now and then another leaf, an old revision or none.
    fn named(&mut self, doc: &Doc) -> Option<RevKey> {
        let leaves = doc.leaves();
        match self.random.below(12) {
            0 => None,
            1 => doc.revs().next().cloned(),
            2..5 => leaves.get(self.random.index(leaves.len().max(1))).map(|rev| (*rev).clone()),
            _ => doc.winner().cloned(),
        }
    }

    fn stubs(&mut self, doc: &Doc, named: &RevKey) -> Vec<String> {
        // A stub of a revision that may not be followed is another refusal than a conflict.
        if !doc.leaves().contains(&named) || doc.is_gone() {
            return Vec::new();
        }
        let attachments = doc.content(named).map(|content| content.attachments.as_slice());
        let names = attachments.unwrap_or_default().iter().map(|it| it.name.clone());
        names.filter(|_| self.random.chance(6)).collect()
    }

    fn local(&mut self) -> DocWrite {
        let id = format!("_local/{}", self.random.below(3));
        let known = self.model.locals.get(&id).map(|local| (0, local.counter.to_string()));
        let deleted = known.is_some() && self.random.chance(2);
        self.write(id, Base::Named(known), deleted)
    }

    /// A document with attachments, new ones and kept ones.
    pub(crate) fn attach(&mut self) -> DocWrite {
        let mut write = self.single();
        if write.is_local() {
            return write;
        }
        write.staged = self.random.chance(4);
        for _ in 0..1 + self.random.below(2) {
            let attachment = self.attachment();
            let taken = write.fresh.iter().map(|it| &it.name).chain(&write.stubs);
            if !taken.into_iter().any(|name| *name == attachment.name) {
                write.fresh.push(attachment);
            }
        }
        write
    }

    pub(crate) fn attachment(&mut self) -> Attachment {
        let len = match self.random.below(10) {
            0 if self.large => 250_000 + self.random.index(300_000),
            0 => 0,
            1..4 => self.random.index(6000),
            _ => self.random.index(300),
        };
        // Sometimes the same bytes again: they are then stored once.
        let (mut bytes, seed) = (Vec::with_capacity(len + 8), self.random.below(20));
        let mut source = Random::new(seed);
        while bytes.len() < len {
            bytes.extend_from_slice(&source.next().to_le_bytes());
        }
        bytes.truncate(len);
        Attachment {
            name: format!("file{}", self.random.below(3)),
            content_type: ["text/plain", "image/png"][self.random.index(2)],
            bytes: bytes.into(),
        }
    }

    /// A revision as a replicator brings it: new or known, below any revision or none.
    fn replicated(&mut self) -> DocWrite {
        let id = self.id();
        let doc = self.model.docs.get(&id);
        let leaves = doc.map(Doc::leaves).unwrap_or_default();
        if let (Some(doc), Some(known), 0) = (doc, leaves.first(), self.random.below(6)) {
            let history = doc.path(known).into_iter().cloned().collect();
            let deleted = doc.is_deleted(known);
            return self.write(id, Base::History(history), deleted);
        }
        let revs: Vec<RevKey> = doc.into_iter().flat_map(Doc::revs).cloned().collect();
        let mut history: Vec<RevKey> = match (doc, revs.get(self.random.index(revs.len() + 1))) {
            (Some(doc), Some(parent)) => doc.path(parent).into_iter().cloned().collect(),
            _ => Vec::new(),
        };
        for _ in 0..1 + self.random.below(3) {
            let generation = match history.first() {
                Some(parent) => parent.0 + 1,
                None => 1 + self.random.below(3),
            };
            let rev =
                (generation, format!("{:016x}{:016x}", self.random.next(), self.random.next()));
            history.insert(0, rev);
        }
        let deleted = self.random.chance(2);
        self.write(id, Base::History(history), deleted)
    }

    /// Several documents of different ids.
    pub(crate) fn bulk(&mut self, replicated: bool) -> Change {
        let mut writes: Vec<DocWrite> = Vec::new();
        for _ in 0..1 + self.random.below(8) {
            let write = if replicated { self.replicated() } else { self.single() };
            if writes.iter().all(|other| other.id != write.id) {
                writes.push(write);
            }
        }
        Change::Write(writes)
    }

    /// Leaves, revisions that are none, and documents that are not there.
    pub(crate) fn purge(&mut self) -> Change {
        let mut requests = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let id = self.id();
            let revs = self.model.docs.get(&id).into_iter().flat_map(Doc::revs);
            let revs = revs.filter(|_| self.random.chance(4)).cloned().collect();
            requests.push((id, revs));
        }
        Change::Purge(requests)
    }

    pub(crate) fn setting(&mut self) -> Change {
        match self.random.below(3) {
            0 => Change::Security(SECURITY[self.random.index(SECURITY.len())].into()),
            1 => Change::RevsLimit([1, 2, 5, 1000][self.random.index(4)]),
            _ => Change::PurgedLimit([1, 3, 1000][self.random.index(3)]),
        }
    }
}
