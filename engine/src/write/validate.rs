//! Whether the functions of a database agree to what is to be written, and whether design documents can be
//! what they say. Looked at on the caller's thread against what is stored at that moment.
//!
//! A function sees the revision that the write names; if that is followed by another meanwhile, the
//! write is a conflict. Writes that are conflicts already are not shown to any function, as in
//! CouchDB.

use std::sync::Arc;

use settee_storage::BlobRef;

use super::{
    WriteMode,
    apply::{self, Placement},
    prepare::{Prepared, PreparedAttachment, Source},
};
use crate::{
    caller::Caller,
    database::{Database, GetOptions, ShowOptions},
    design::{self, Validators},
    document::{AttachmentPlace, AttachmentRecord, AttachmentView, DocHead, DocumentView},
    error::{Error, Result},
    javascript::Validation,
    json::Value,
    name::DocKind,
    read::Reader,
    revision::{Rev, RevId},
    revtree::{NodeIndex, RevTree},
};

/// Takes the documents out of `prepared` that must not be written, each with its place and the reason.
///
/// # Errors
/// Those of the store.
pub(super) fn refuse(
    database: &Arc<Database>,
    caller: &Caller,
    prepared: &mut Vec<Prepared>,
    (mode, checked): (WriteMode, bool),
) -> Result<Vec<(usize, Error)>> {
    let validators = match prepared.iter().any(|doc| DocKind::of(&doc.id) == DocKind::Normal) {
        true => database.validators()?,
        false => None,
    };
    let is_design = |doc: &Prepared| DocKind::of(&doc.id) == DocKind::Design && !doc.deleted;
    if validators.is_none() && !prepared.iter().any(is_design) {
        return Ok(Vec::new());
    }
    let mut gate = Gate {
        reader: database.read()?,
        validators,
        user: Value::from(design::user_context(database, caller)).to_json(),
        security: database.security(),
        mode,
        checked,
    };
    let mut refused: Vec<(usize, Error)> = Vec::new();
    for doc in prepared.iter() {
        if let Err(error) = gate.admit(doc) {
            match error {
                Error::Storage(_) | Error::Damaged(_) => return Err(error),
                refusal => refused.push((doc.place, refusal)),
            }
        }
    }
    // Places ascend, for nothing has sorted the documents yet.
    prepared.retain(|doc| refused.binary_search_by_key(&doc.place, |(place, _)| *place).is_err());
    Ok(refused)
}

/// What the documents of one call have to pass.
struct Gate {
    reader: Reader,
    validators: Option<Arc<Validators>>,
    user: Vec<u8>,
    security: Arc<str>,
    mode: WriteMode,
    checked: bool,
}

impl Gate {
    fn admit(&mut self, doc: &Prepared) -> Result<()> {
        let kind = DocKind::of(&doc.id);
        let concerned = match kind {
            DocKind::Design => !doc.deleted,
            DocKind::Normal => self.validators.is_some(),
            DocKind::Local => false,
        };
        if !concerned {
            return Ok(());
        }
        let tree = match self.reader.snapshot.doc(doc.id.as_bytes())? {
            Some(entry) => DocHead::decode(&entry.value)?.tree()?,
            None => RevTree::new(),
        };
        let Some(parent) = self.parent(doc, &tree) else { return Ok(()) };
        if kind == DocKind::Design {
            let database = self.reader.database();
            return design::check(database, &database.shared.javascript(), &doc.body);
        }
        self.validate(doc, parent.map(|node| tree.rev(node).clone()))
    }

    /// The revision that the write follows, if there is one; `None` if the write will be refused, or
    /// changes nothing.
    fn parent(&self, doc: &Prepared, tree: &RevTree) -> Option<Option<NodeIndex>> {
        match self.mode {
            WriteMode::Interactive => {
                let placement = apply::placement(tree, self.checked, doc).ok()?;
                Some(match placement {
                    Placement::Below(node) => Some(node),
                    Placement::History | Placement::Revival(_) => None,
                })
            }
            WriteMode::Replicated => {
                let rev = doc.rev.as_ref()?;
                let known = tree.find(rev).filter(|node| tree.stored(*node).is_some());
                match known {
                    Some(_) => None,
                    None => Some(apply::nearest_body(tree, rev.generation, &doc.history)),
                }
            }
        }
    }

    fn validate(&self, doc: &Prepared, parent: Option<Rev>) -> Result<()> {
        let Some(validators) = &self.validators else { return Ok(()) };
        let mut old = Vec::new();
        let mut known = Vec::new();
        match parent {
            None => old.extend_from_slice(b"null"),
            Some(rev) => {
                let show = ShowOptions { revs: true, ..ShowOptions::default() };
                let options = GetOptions { rev: Some(rev), show, ..GetOptions::default() };
                let found = self.reader.get(&doc.id, &options)?;
                found.write_json(&mut old)?;
                known.extend(found.attachments().cloned());
            }
        }
        // A stub of nothing is refused when it is written.
        let Some(new) = new_document(doc, &known) else { return Ok(()) };
        let (user, security) = (&self.user, self.security.as_bytes());
        validators.validate(Validation { new: &new, old: &old, user, security })
    }
}

/// The document to be written as functions see it.
fn new_document(doc: &Prepared, known: &[AttachmentRecord]) -> Option<Vec<u8>> {
    let records: Option<Vec<_>> =
        doc.attachments.iter().map(|new| record(doc, new, known)).collect();
    let records = records?;
    let attachments: Vec<_> = records.iter().map(|record| (record, AttachmentView::Stub)).collect();
    let revisions: Vec<RevId> = doc.path();
    let mut out = Vec::new();
    let view = DocumentView {
        rev: doc.rev.as_ref(),
        deleted: doc.deleted,
        revisions: &revisions,
        attachments: &attachments,
        ..DocumentView::new(&doc.id, &NO_REV, doc.body.as_bytes())
    };
    view.write_json(&mut out);
    if doc.rev.is_none() {
        out.pop();
        out.extend_from_slice(br#","_revisions":{"start":0,"ids":[]}}"#);
    }
    Some(out)
}

/// Stands where a view wants a revision before it is told which.
const NO_REV: Rev = Rev { generation: 0, id: RevId::Hash([0; 16]) };

/// What a function sees of an attachment that has not been written yet.
fn record(
    doc: &Prepared,
    new: &PreparedAttachment,
    known: &[AttachmentRecord],
) -> Option<AttachmentRecord> {
    if let Source::Stub = new.source {
        return known.iter().find(|record| record.name == new.name).cloned();
    }
    let position = doc.rev.as_ref().map_or(0, |rev| rev.generation) + 1;
    Some(AttachmentRecord {
        name: new.name.clone(),
        content_type: new.content_type.clone(),
        revpos: new.revpos.filter(|_| new.keeps_position).unwrap_or(position),
        digest: new.digest,
        encoding: new.encoding,
        stored_len: new.stored_len,
        identity_len: new.identity_len,
        place: AttachmentPlace::Blob(BlobRef { offset: 0, len: 0, crc: 0 }),
    })
}
