//! Two databases that were edited independently and replicated both ways end with the same trees and
//! the same winners, whatever was done in whatever order.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use settee_engine::{
    ChangesQuery, Database, Databases, Document, GetOptions, OpenRevs, Props, Rev, RevId,
    RevsRequest, ShowOptions, Style, WriteMode, document::Limits, json::Value,
};
use support::{changes, databases, get, leaves};

const DOCUMENTS: usize = 3;

/// One thing that happens to one of the two databases.
#[derive(Clone, Debug)]
enum Step {
    /// An interactive write on a leaf (or none, if `leaf` is none of them).
    Edit { doc: usize, leaf: usize, deleted: bool, text: u8 },
    /// A revision made elsewhere: some known history, extended.
    Replicated { doc: usize, history: usize, ids: Vec<u8>, deleted: bool },
    /// Everything the other database lacks is sent there.
    Push,
}

fn any_step() -> impl Strategy<Value = Step> {
    let edit = (0..DOCUMENTS, 0..4usize, any::<bool>(), 0..4u8)
        .prop_map(|(doc, leaf, deleted, text)| Step::Edit { doc, leaf, deleted, text });
    let replicated =
        (0..DOCUMENTS, any::<usize>(), prop::collection::vec(0..3u8, 1..4), any::<bool>())
            .prop_map(|(doc, history, ids, deleted)| Step::Replicated {
                doc,
                history,
                ids,
                deleted,
            });
    prop_oneof![5 => edit, 4 => replicated, 1 => Just(Step::Push)]
}

/// Two databases, and the histories that revisions made elsewhere go on from.
struct World {
    databases: [Arc<Database>; 2],
    histories: Vec<Vec<RevId>>,
    _registry: Arc<Databases>,
}

impl World {
    fn new() -> Self {
        let registry = databases();
        let databases = ["a", "b"].map(|name| registry.create(name, Props::default()).unwrap());
        World { databases, histories: vec![Vec::new()], _registry: registry }
    }

    fn take(&mut self, side: usize, step: &Step) {
        let db = Arc::clone(&self.databases[side]);
        match step {
            Step::Edit { doc, leaf, deleted, text } => edit(&db, *doc, *leaf, *deleted, *text),
            Step::Replicated { doc, history, ids, deleted } => {
                let mut path = self.histories[history % self.histories.len()].clone();
                for (at, digit) in ids.iter().enumerate() {
                    // The id says what it follows and whether it is a tombstone, as one that was
                    // computed would.
                    let parent = path
                        .first()
                        .map_or(0, |id| u64::from_le_bytes(id.as_bytes()[8..].try_into().unwrap()));
                    let tombstone = u64::from(*deleted && at + 1 == ids.len());
                    let origin = parent.wrapping_mul(6) + u64::from(*digit) * 2 + tombstone + 1;
                    let mut id = [*digit; 16];
                    id[8..].copy_from_slice(&origin.to_le_bytes());
                    path.insert(0, RevId::Hash(id));
                }
                let mut document =
                    Document::parse(b"{}", Some(&name(*doc)), &Limits::default()).unwrap();
                document.rev = Some(Rev::new(path.len() as u64, path[0].clone()));
                document.history = path[1..].to_vec();
                document.deleted = *deleted;
                db.write(vec![document], WriteMode::Replicated).unwrap().remove(0).unwrap();
                self.histories.push(path);
            }
            Step::Push => push(&db, &self.databases[1 - side]),
        }
    }
}

fn name(doc: usize) -> String {
    format!("doc{doc}")
}

fn edit(db: &Arc<Database>, doc: usize, leaf: usize, deleted: bool, text: u8) {
    let id = name(doc);
    let json = format!(r#"{{"_deleted":{deleted},"text":{text}}}"#);
    let mut document = Document::parse(json.as_bytes(), Some(&id), &Limits::default()).unwrap();
    let reader = db.read().unwrap();
    let opened = reader.open_revs(&id, OpenRevs::All, false, &ShowOptions::default());
    let revs: Vec<Rev> =
        opened.into_iter().flatten().flatten().map(|found| found.rev().clone()).collect();
    document.rev = revs.get(leaf).cloned();
    // Refusals (a conflict, a dead document) are as good a step as any.
    let _ = db.write(vec![document], WriteMode::Interactive).unwrap().remove(0);
}

/// What a replicator does.
fn push(from: &Arc<Database>, to: &Arc<Database>) {
    let query = ChangesQuery { style: Style::AllDocs, ..ChangesQuery::default() };
    let requests: Vec<RevsRequest> =
        changes(from, &query).0.iter().map(|row| request(row)).collect();
    let (source, target) = (from.read().unwrap(), to.read().unwrap());
    let show = ShowOptions { revs: true, ..ShowOptions::default() };
    let mut docs = Vec::new();
    for diff in target.revs_diff(&requests).unwrap() {
        let revs = OpenRevs::These(&diff.missing);
        for found in source.open_revs(&diff.id, revs, false, &show).unwrap() {
            let mut json = Vec::new();
            found.unwrap().write_json(&mut json).unwrap();
            docs.push(Document::parse(&json, None, &Limits::default()).unwrap());
        }
    }
    for result in to.write(docs, WriteMode::Replicated).unwrap() {
        result.unwrap();
    }
}

fn request(row: &str) -> RevsRequest {
    let row = Value::parse(row.as_bytes()).unwrap();
    let text =
        |value: &Value, member: &str| value.get(member).unwrap().as_str().unwrap().to_owned();
    let revs = row.get("changes").unwrap().as_array().unwrap().iter();
    let revs = revs.map(|change| Rev::parse(text(change, "rev").as_bytes()).unwrap());
    RevsRequest { id: text(&row, "id"), revs: revs.collect() }
}

/// All that replication carries over, for each document.
fn state(db: &Arc<Database>) -> Vec<(String, BTreeSet<String>)> {
    let reader = db.read().unwrap();
    let mut state = Vec::new();
    for id in (0..DOCUMENTS).map(name) {
        let deleted = GetOptions { deleted: true, ..GetOptions::default() };
        if let Ok(winner) = reader.get(&id, &deleted) {
            state.push((winner.rev().to_string(), leaves(db, &id).into_iter().collect()));
        }
    }
    state
}

/// The counts kept in the trees are those of a full count.
fn check_counts(db: &Arc<Database>) {
    let info = db.info().unwrap();
    let winners: Vec<_> = (0..DOCUMENTS).map(|doc| get(db, &name(doc))).collect();
    let live = winners.iter().filter(|winner| winner.is_ok()).count() as u64;
    let dead = winners.iter().filter(|winner| **winner == Err("deleted".into())).count() as u64;
    assert_eq!((info.doc_count, info.doc_del_count), (live, dead));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn replicas_agree(steps in prop::collection::vec((0..2usize, any_step()), 1..40)) {
        let mut world = World::new();
        for (side, step) in &steps {
            world.take(*side, step);
        }
        let [a, b] = &world.databases;
        push(a, b);
        push(b, a);
        prop_assert_eq!(state(a), state(b));
        let before = (a.info().unwrap().update_seq, b.info().unwrap().update_seq);
        push(a, b);
        push(b, a);
        let after = (a.info().unwrap().update_seq, b.info().unwrap().update_seq);
        prop_assert_eq!(before, after, "nothing was left to send");
        check_counts(a);
        check_counts(b);
    }
}
