//! What the tests of the engine's operations have in common.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::{ops::ControlFlow, sync::Arc};

use settee_engine::{
    AllDocsHead, AllDocsQuery, ChangeRow, ChangeSink, ChangesEnd, ChangesQuery, Database,
    Databases, Document, Error, GetOptions, OpenRevs, Props, Rev, RowSink, ShowOptions, WriteMode,
    document::Limits, json::Value,
};

/// A new database.
pub fn database() -> Arc<Database> {
    databases().create("db", Props::default()).unwrap()
}

/// Databases in memory; over the reference model if the environment asks for it.
pub fn databases() -> Arc<Databases> {
    match std::env::var_os("SETTEE_TEST_MODEL") {
        Some(_) => Databases::over_model(),
        None => Databases::in_memory(),
    }
}

/// A document from JSON text.
pub fn doc(json: &str) -> Document {
    Document::parse(json.as_bytes(), None, &Limits::default()).unwrap()
}

/// A revision from its text.
pub fn rev(text: &str) -> Rev {
    Rev::parse(text.as_bytes()).unwrap()
}

/// `generation-` and a digit 32 times.
pub fn long_rev(generation: u64, digit: &str) -> String {
    format!("{generation}-{}", digit.repeat(32))
}

/// Writes one document interactively; its revision or the error as text.
pub fn put(database: &Arc<Database>, json: &str) -> Result<String, String> {
    write(database, &[json], WriteMode::Interactive)
        .and_then(|mut results| results.pop().unwrap_or(Err("no result".into())))
}

/// Stores documents as a replicator does.
pub fn replicate(database: &Arc<Database>, docs: &[&str]) {
    for result in write(database, docs, WriteMode::Replicated).unwrap() {
        result.unwrap();
    }
}

/// Writes documents; errors as text.
pub fn write(
    database: &Arc<Database>,
    docs: &[&str],
    mode: WriteMode,
) -> Result<Vec<Result<String, String>>, String> {
    let docs = docs.iter().map(|json| doc(json)).collect();
    let results = database.write(docs, mode).map_err(|error| error.to_string())?;
    let text = |result: Result<Rev, Error>| match result {
        Ok(rev) => Ok(rev.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Ok(results.into_iter().map(text).collect())
}

/// The winner as JSON text, or the error's text.
pub fn get(database: &Arc<Database>, id: &str) -> Result<String, String> {
    get_with(database, id, &GetOptions::default())
}

/// A document as JSON text, or the error's text.
pub fn get_with(
    database: &Arc<Database>,
    id: &str,
    options: &GetOptions,
) -> Result<String, String> {
    let reader = database.read().unwrap();
    let mut out = Vec::new();
    let found = reader.get(id, options).map_err(|error| error.to_string())?;
    found.write_json(&mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

/// All leaves with their histories, as JSON text; what a replicator would fetch.
pub fn leaves(database: &Arc<Database>, id: &str) -> Vec<String> {
    let reader = database.read().unwrap();
    let show = ShowOptions { revs: true, ..ShowOptions::default() };
    let opened = reader.open_revs(id, OpenRevs::All, false, &show).unwrap();
    let text = |found: settee_engine::FoundDocument<'_>| {
        let mut out = Vec::new();
        found.write_json(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    opened.into_iter().map(|found| text(found.unwrap_or_else(|rev| panic!("{rev}")))).collect()
}

/// Collects rows.
#[derive(Default)]
pub struct Rows {
    pub head: Option<AllDocsHead>,
    pub rows: Vec<String>,
}

impl RowSink for Rows {
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()> {
        assert!(self.head.replace(*head).is_none(), "the head comes once");
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        assert!(self.head.is_some(), "the head comes first");
        Value::parse(json).unwrap();
        self.rows.push(String::from_utf8(json.to_vec()).unwrap());
        ControlFlow::Continue(())
    }
}

impl ChangeSink for Rows {
    fn row(&mut self, row: ChangeRow<'_>) -> ControlFlow<()> {
        let value = Value::parse(row.json).unwrap();
        let seq = value.get("seq").and_then(Value::as_str).unwrap_or("null-").to_owned();
        let number = seq.split('-').next().unwrap();
        assert!(number == "null" || number == row.seq.to_string());
        let text = String::from_utf8(row.json.to_vec()).unwrap();
        self.rows.push(text.replace(&format!("\"{seq}\""), number));
        ControlFlow::Continue(())
    }
}

/// A listing.
pub fn all_docs(database: &Arc<Database>, query: &AllDocsQuery) -> Rows {
    let mut rows = Rows::default();
    database.read().unwrap().all_docs(query, &mut rows).unwrap();
    rows
}

/// The ids of a listing.
pub fn ids(database: &Arc<Database>, query: &AllDocsQuery) -> Vec<String> {
    let id = |row: &String| {
        let row = Value::parse(row.as_bytes()).unwrap();
        row.get("id").and_then(Value::as_str).unwrap_or("-").to_owned()
    };
    all_docs(database, query).rows.iter().map(id).collect()
}

/// Changes, their sequences cut to the number.
pub fn changes(database: &Arc<Database>, query: &ChangesQuery) -> (Vec<String>, ChangesEnd) {
    let mut rows = Rows::default();
    let end = database.read().unwrap().changes(query, &mut rows).unwrap();
    (rows.rows, end)
}
