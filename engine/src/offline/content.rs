//! What the values of a database refer to, and whether they agree with each other.

use settee_storage::{
    DocRow, Result,
    offline::{Content, Resolver},
};

use crate::{
    database::settings::{
        IDENTITY, Identity, PURGE_SEQ, PURGED_INFOS_LIMIT, REVS_LIMIT, SECURITY, number,
    },
    document::{
        AttachmentPlace, AttachmentRecord, DocHead, Summary, Winner, encode_change,
        packed::{Dictionaries, Dictionary, dictionary_number, is_packed},
    },
    json::Value,
    revision::Rev,
    revtree::{RevTree, Stored},
    write::{LocalDocument, weight_of},
};

/// The engine's values, as `settee_storage::offline::verify` wants to know them.
///
/// ```
/// use settee_engine::offline::EngineContent;
/// use settee_storage::{FileStore, Options, offline::verify, disk::{Disk, MemoryDisk}};
/// use std::{path::Path, sync::Arc};
///
/// let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
/// FileStore::create(disk.clone(), Path::new("db"), Options::default())?;
/// let report = verify(&*disk, Path::new("db"), &EngineContent::default(), &mut |_, _| ())?;
/// assert!(report.is_sound());
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct EngineContent {
    /// What packed bodies are read with.
    dictionaries: Dictionaries,
}

impl Content for EngineContent {
    fn document(
        &self,
        row: &DocRow<'_>,
        by_seq: Option<&[u8]>,
        resolver: &mut Resolver<'_>,
    ) -> Result<()> {
        let id = String::from_utf8_lossy(row.id).into_owned();
        let head = DocHead::decode(row.value);
        let Ok((winner, tree)) = head.and_then(|head| Ok((head.winner.clone(), head.tree()?)))
        else {
            resolver.flaw(format!("document {id:?}: its revisions cannot be read"));
            return Ok(());
        };
        if Winner::of(&tree).as_ref() != Some(&winner) {
            resolver.flaw(format!("document {id:?}: its winner is not that of its revisions"));
        }
        if by_seq.is_some_and(|by_seq| encode_change(&tree).ok().as_deref() != Some(by_seq)) {
            resolver.flaw(format!("document {id:?}: the index by-seq says something else of it"));
        }
        if weight_of(row.id, &tree).ok().as_ref() != Some(&row.weight) {
            resolver.flaw(format!("document {id:?}: its sizes are not those of its revisions"));
        }
        bodies(&id, &tree, &self.dictionaries, resolver)
    }

    fn local(&self, key: &[u8], value: &[u8], resolver: &mut Resolver<'_>) -> Result<()> {
        let is_object = |body: &[u8]| matches!(Value::parse(body), Ok(Value::Object(_)));
        if !LocalDocument::decode(value).is_ok_and(|local| is_object(local.body)) {
            let id = String::from_utf8_lossy(key);
            resolver.flaw(format!("local document {id:?}: it cannot be read"));
        }
        Ok(())
    }

    fn meta(&self, key: &[u8], value: &[u8], resolver: &mut Resolver<'_>) -> Result<()> {
        let reads = match key {
            IDENTITY => Identity::decode(value).is_some(),
            SECURITY => Value::parse(value).is_ok(),
            REVS_LIMIT | PURGED_INFOS_LIMIT | PURGE_SEQ => number(value).is_ok(),
            _ => dictionary_number(key)
                .is_none_or(|number| Dictionary::decode(number, value).is_ok()),
        };
        if !reads {
            let key = String::from_utf8_lossy(key);
            resolver.flaw(format!("the database's setting {key:?}: it cannot be read"));
        }
        Ok(())
    }
}

/// Follows all bodies of a document, those of older revisions included.
fn bodies(
    id: &str,
    tree: &RevTree,
    dictionaries: &Dictionaries,
    resolver: &mut Resolver<'_>,
) -> Result<()> {
    for node in tree.indexes() {
        if let Some(stored) = tree.stored(node) {
            body(id, tree.rev(node), stored, dictionaries, resolver)?;
        }
    }
    Ok(())
}

fn body(
    id: &str,
    rev: &Rev,
    stored: &Stored,
    dictionaries: &Dictionaries,
    resolver: &mut Resolver<'_>,
) -> Result<()> {
    let name = |what: &str| format!("{what} of revision {rev} of document {id:?}");
    let Some(blob) = resolver.blob(stored.body, || name("the body"))? else { return Ok(()) };
    let read = || {
        let summary = Summary::decode(&blob)?;
        if is_packed(summary.stored_body) {
            dictionaries.unpack(summary.stored_body, resolver.snapshot())?;
        }
        summary.attachments()
    };
    let Ok(attachments) = read() else {
        resolver.flaw(format!("{}: it cannot be read", name("the body")));
        return Ok(());
    };
    for record in attachments {
        attachment(&record, &name, resolver)?;
    }
    Ok(())
}

fn attachment(
    record: &AttachmentRecord,
    name: &dyn Fn(&str) -> String,
    resolver: &mut Resolver<'_>,
) -> Result<()> {
    let name = || name(&format!("attachment {:?}", record.name));
    let len = match record.place {
        AttachmentPlace::Blob(at) => {
            resolver.blob(at, name)?;
            u64::from(at.len)
        }
        AttachmentPlace::Stream(at) => {
            resolver.stream(at, name)?;
            at.len
        }
    };
    if len != record.stored_len {
        resolver.flaw(format!("{}: it is not as long as its record says", name()));
    }
    Ok(())
}
