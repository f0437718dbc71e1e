//! Comparing what a database shows with what the model says, in every way there is to ask.

use std::{collections::BTreeSet, io::Read, ops::ControlFlow, sync::Arc};

use settee_engine::{
    AllDocsHead, AllDocsQuery, ChangeRow, ChangesQuery, Database, Error, FoundDocument, GetOptions,
    Namespace, Reader, Rev, RowSink, ShowOptions, Style, error::Absence, json::Value,
};
use settee_storage::Error as StoreError;

use crate::model::{Content, Db, Doc, RevKey, rev_text};

/// Why a step or a comparison did not come to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The store says that the disk failed: allowed while the disk fails.
    Trouble(Error),
    /// The store or the engine says that what is stored is damaged: allowed if it was damaged.
    Damage(Error),
    /// Never allowed.
    Wrong(String),
}

impl Stop {
    pub(crate) fn wrong<T>(message: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Wrong(message.into()))
    }

    /// What an error of the engine is, in a database without damage.
    pub(crate) fn of(error: Error) -> Stop {
        let mut innermost = &error;
        while let Error::Shared(inner) = innermost {
            innermost = inner;
        }
        match innermost {
            Error::Storage(
                StoreError::Io { .. }
                | StoreError::Full { .. }
                | StoreError::NoRoom { .. }
                | StoreError::Poisoned { .. }
                | StoreError::Closed,
            ) => Stop::Trouble(error),
            Error::Damaged(_)
            | Error::Storage(StoreError::Corrupt { .. } | StoreError::Format { .. }) => {
                Stop::Damage(error)
            }
            _ => Stop::Wrong(error.to_string()),
        }
    }
}

/// A revision as the model writes it.
pub(crate) fn key_of(rev: &Rev) -> RevKey {
    (rev.generation, rev.id.to_string())
}

/// A revision of the model as the engine has it.
pub(crate) fn rev_of(key: &RevKey) -> Rev {
    Rev::parse(rev_text(key).as_bytes()).unwrap_or_else(|_| panic!("{key:?} is no revision"))
}

/// A comparison of one moment of a database.
pub(crate) struct Check<'c> {
    pub(crate) reader: &'c Reader,
    pub(crate) model: &'c Db,
    /// Bits were flipped in the file: an error that says so is as good as the right answer.
    pub(crate) damaged: bool,
    /// How often that was the case.
    pub(crate) refused: u64,
}

impl<'c> Check<'c> {
    pub(crate) fn new(reader: &'c Reader, model: &'c Db) -> Self {
        Check { reader, model, damaged: false, refused: 0 }
    }

    /// What was read; `None` if damage was noticed.
    fn read<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => match Stop::of(error) {
                Stop::Damage(_) if self.damaged => {
                    self.refused += 1;
                    Ok(None)
                }
                stop => Err(stop),
            },
        }
    }

    /// Everything.
    pub(crate) fn all(&mut self) -> Result<(), Stop> {
        same("the sequence", self.reader.seq(), self.model.seq)?;
        let model = self.model;
        for (id, doc) in &model.docs {
            self.doc(id, doc)?;
        }
        self.listing(false)?;
        self.listing(true)?;
        self.changes(false)?;
        self.changes(true)?;
        self.locals()?;
        self.purges()
    }

    /// One document: all leaves with their histories, the winner, what is left of older revisions.
    pub(crate) fn doc(&mut self, id: &str, doc: &Doc) -> Result<(), Stop> {
        let show = ShowOptions { revs: true, ..ShowOptions::default() };
        let reader = self.reader;
        if let Some(found) = self.read(reader.leaves(id, &show))? {
            let mut revs: Vec<RevKey> = found.iter().map(|found| key_of(found.rev())).collect();
            revs.sort();
            let leaves: Vec<RevKey> = doc.leaves().into_iter().cloned().collect();
            same(&format!("the leaves of {id}"), revs, leaves)?;
            for found in &found {
                let rev = key_of(found.rev());
                self.content(id, found, doc.content(&rev))?;
                self.history(found, &doc.path(&rev))?;
            }
        }
        self.winner(id, doc)?;
        for rev in doc.revs() {
            self.revision(id, rev, doc.content(rev))?;
        }
        Ok(())
    }

    fn content(
        &mut self,
        id: &str,
        found: &FoundDocument<'_>,
        content: Option<&Content>,
    ) -> Result<(), Stop> {
        let Some(content) = content else {
            return Stop::wrong(format!("{id} {} has a body out of nowhere", found.rev()));
        };
        let body = String::from_utf8_lossy(found.body());
        same(&format!("the body of {id}"), &*body, &*content.body)?;
        same("deleted", found.deleted(), content.deleted)?;
        let names: Vec<_> = found.attachments().map(|it| (&*it.name, &*it.content_type)).collect();
        let expected: Vec<_> =
            content.attachments.iter().map(|it| (&*it.name, it.content_type)).collect();
        same(&format!("the attachments of {id}"), names, expected)?;
        for attachment in &content.attachments {
            self.attachment(id, found.rev(), &attachment.name, &attachment.bytes)?;
        }
        Ok(())
    }

    fn attachment(&mut self, id: &str, rev: &Rev, name: &str, expected: &[u8]) -> Result<(), Stop> {
        let found = self.reader.attachment(id, Some(rev), name);
        let Some(found) = self.read(found)? else { return Ok(()) };
        same("the length of an attachment", found.record().identity_len, expected.len() as u64)?;
        let Some(mut reader) = self.read(found.identity())? else { return Ok(()) };
        let mut bytes = Vec::with_capacity(expected.len());
        match reader.read_to_end(&mut bytes) {
            Ok(_) if bytes == expected => Ok(()),
            Ok(_) => Stop::wrong(format!("the bytes of {id} {rev} {name} are others")),
            Err(_) if self.damaged => {
                self.refused += 1;
                Ok(())
            }
            Err(error) => Err(trouble_of(error)),
        }
    }

    fn history(&self, found: &FoundDocument<'_>, path: &[&RevKey]) -> Result<(), Stop> {
        let mut json = Vec::new();
        found.write_json(&mut json).map_err(Stop::of)?;
        let shown = parse(&json)?;
        let ids = shown.get("_revisions").and_then(|it| it.get("ids")).and_then(Value::as_array);
        let ids: Vec<_> = ids.into_iter().flatten().filter_map(Value::as_str).collect();
        // No more are shown than the database keeps now.
        let limit = usize::try_from(self.reader.database().revs_limit()).unwrap_or(usize::MAX);
        let expected: Vec<_> = path.iter().take(limit).map(|rev| &*rev.1).collect();
        same("a history", ids, expected)
    }

    fn winner(&mut self, id: &str, doc: &Doc) -> Result<(), Stop> {
        let show = ShowOptions {
            local_seq: true,
            conflicts: true,
            deleted_conflicts: true,
            ..ShowOptions::default()
        };
        let reader = self.reader;
        let options = GetOptions { deleted: true, show, ..GetOptions::default() };
        let Some(found) = self.read(reader.get(id, &options))? else { return Ok(()) };
        let winner = doc.winner().cloned();
        same(&format!("the winner of {id}"), Some(key_of(found.rev())), winner.clone())?;
        let mut json = Vec::new();
        found.write_json(&mut json).map_err(Stop::of)?;
        let shown = parse(&json)?;
        same(
            &format!("_local_seq of {id}"),
            shown.get("_local_seq").and_then(Value::as_u64),
            Some(doc.seq),
        )?;
        for (member, deleted) in [("_conflicts", false), ("_deleted_conflicts", true)] {
            let listed = shown.get(member).and_then(Value::as_array).into_iter().flatten();
            let listed: BTreeSet<String> =
                listed.filter_map(Value::as_str).map(str::to_owned).collect();
            let others = doc.leaves().into_iter().filter(|rev| Some(*rev) != winner.as_ref());
            let others = others.filter(|rev| doc.is_deleted(rev) == deleted);
            same(member, listed, others.map(rev_text).collect())?;
        }
        Ok(())
    }

    /// A revision by name: its body, or for an older one that it is gone.
    fn revision(&mut self, id: &str, rev: &RevKey, content: Option<&Content>) -> Result<(), Stop> {
        let options = GetOptions { rev: Some(rev_of(rev)), ..GetOptions::default() };
        let reader = self.reader;
        match reader.get(id, &options) {
            Err(Error::NotFound(Absence::Missing)) => Ok(()),
            found => match self.read(found)? {
                Some(found) => self.content(id, &found, content),
                None => Ok(()),
            },
        }
    }

    /// `_all_docs`: the index by id.
    fn listing(&mut self, descending: bool) -> Result<(), Stop> {
        let mut rows = Rows::default();
        let query = AllDocsQuery { descending, ..AllDocsQuery::default() };
        let whole = self.read(self.reader.all_docs(&query, &mut rows))?.is_some();
        let live = self.model.docs.iter().filter(|(_, doc)| !doc.is_gone());
        let mut expected: Vec<_> =
            live.filter_map(|(id, doc)| Some((id.clone(), rev_text(doc.winner()?)))).collect();
        if descending {
            expected.reverse();
        }
        let mut listed = Vec::new();
        for row in &rows.rows {
            let row = parse(row)?;
            let rev = row.get("value").and_then(|value| value.get("rev")).and_then(Value::as_str);
            listed.push((text(&row, "id"), rev.unwrap_or_default().to_owned()));
        }
        if let Some(head) = rows.head {
            same("total_rows", head.total_rows, Some(self.model.counts().0))?;
        }
        same_or_part("_all_docs", whole, listed, expected)
    }

    /// `_changes`: the index by sequence.
    fn changes(&mut self, descending: bool) -> Result<(), Stop> {
        let mut rows: Vec<(u64, Vec<u8>)> = Vec::new();
        let query = ChangesQuery { descending, style: Style::AllDocs, ..ChangesQuery::default() };
        let end = self.reader.changes(&query, &mut |row: ChangeRow<'_>| {
            rows.push((row.seq, row.json.to_vec()));
            ControlFlow::Continue(())
        });
        let whole = self.read(end)?.is_some();
        let mut expected: Vec<_> =
            self.model.docs.iter().map(|(id, doc)| change_of(id, doc)).collect();
        expected.sort();
        if descending {
            expected.reverse();
        }
        let mut listed = Vec::new();
        for (seq, row) in &rows {
            let row = parse(row)?;
            let revs = row.get("changes").and_then(Value::as_array).into_iter().flatten();
            let revs: Vec<String> = revs.map(|it| text(it, "rev")).collect();
            let deleted = row.get("deleted") == Some(&Value::Bool(true));
            let first = revs.first().cloned().unwrap_or_default();
            listed.push((*seq, text(&row, "id"), first, revs.into_iter().collect(), deleted));
        }
        same_or_part("_changes", whole, listed, expected)?;
        self.pending()
    }

    /// The rows after some sequences, counted without being walked.
    fn pending(&mut self) -> Result<(), Stop> {
        for since in [0, self.model.seq / 2, self.model.seq] {
            let query = ChangesQuery { since, limit: Some(0), ..ChangesQuery::default() };
            let end =
                self.reader.changes(&query, &mut |_: ChangeRow<'_>| ControlFlow::Continue(()));
            let Some(end) = self.read(end)? else { continue };
            let after = self.model.docs.values().filter(|doc| doc.seq > since).count() as u64;
            same(&format!("changes pending after {since}"), end.pending, after)?;
        }
        Ok(())
    }

    fn locals(&mut self) -> Result<(), Stop> {
        let mut rows = Rows::default();
        let query = AllDocsQuery { namespace: Namespace::Local, ..AllDocsQuery::default() };
        let whole = self.read(self.reader.all_docs(&query, &mut rows))?.is_some();
        let mut listed = Vec::new();
        for row in &rows.rows {
            listed.push(text(&parse(row)?, "id"));
        }
        same_or_part("_local_docs", whole, listed, self.model.locals.keys().cloned().collect())?;
        let (model, reader) = (self.model, self.reader);
        for (id, local) in &model.locals {
            let Some(found) = self.read(reader.get(id, &GetOptions::default()))? else { continue };
            same(id, &*String::from_utf8_lossy(found.body()), &*local.body)?;
            same(id, key_of(found.rev()), (0, local.counter.to_string()))?;
        }
        Ok(())
    }

    fn purges(&mut self) -> Result<(), Stop> {
        let Some(infos) = self.read(self.reader.purged_infos())? else { return Ok(()) };
        let infos: Vec<_> = infos
            .into_iter()
            .map(|info| (info.id, info.revs.iter().map(key_of).collect()))
            .collect();
        same("the purges", infos, self.model.purges.values().cloned().collect::<Vec<_>>())
    }
}

/// Counts and settings of a database as it is now.
pub(crate) fn check_settings(db: &Arc<Database>, model: &Db) -> Result<(), Stop> {
    let info = db.info().map_err(Stop::of)?;
    same("the counts", (info.doc_count, info.doc_del_count), model.counts())?;
    same("update_seq", info.update_seq, model.seq)?;
    same("purge_seq", info.purge_seq, model.purge_seq)?;
    same("revs_limit", db.revs_limit(), model.revs_limit)?;
    same("purged_infos_limit", db.purged_infos_limit(), model.purged_limit)?;
    let security = model.security.as_deref().unwrap_or(settee_engine::database::DEFAULT_SECURITY);
    same("_security", &*db.security(), security)
}

type ChangeShape = (u64, String, String, BTreeSet<String>, bool);

fn change_of(id: &str, doc: &Doc) -> ChangeShape {
    let winner = doc.winner().map(rev_text).unwrap_or_default();
    let leaves = doc.leaves().into_iter().map(rev_text).collect();
    (doc.seq, id.to_owned(), winner, leaves, doc.is_gone())
}

/// The storage error in an I/O error, as reading a stream wraps it.
fn trouble_of(error: std::io::Error) -> Stop {
    match error.downcast::<StoreError>() {
        Ok(error) => Stop::of(error.into()),
        Err(error) => Stop::Wrong(format!("reading an attachment: {error}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Stop> {
    match found == expected {
        true => Ok(()),
        false => Stop::wrong(format!("{what}: found {found:?}, expected {expected:?}")),
    }
}

/// Compares a list, of which only the beginning was read if damage cut it short.
fn same_or_part<T: PartialEq + std::fmt::Debug>(
    what: &str,
    whole: bool,
    found: Vec<T>,
    mut expected: Vec<T>,
) -> Result<(), Stop> {
    if !whole {
        expected.truncate(found.len());
    }
    same(what, found, expected)
}

fn parse(json: &[u8]) -> Result<Value, Stop> {
    let text = || String::from_utf8_lossy(json).into_owned();
    Value::parse(json).map_err(|_| Stop::Wrong(format!("not JSON: {}", text())))
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[derive(Default)]
struct Rows {
    head: Option<AllDocsHead>,
    rows: Vec<Vec<u8>>,
}

impl RowSink for Rows {
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()> {
        self.head = Some(*head);
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.rows.push(json.to_vec());
        ControlFlow::Continue(())
    }
}
