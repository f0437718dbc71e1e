//! Views beside the model: which there are, and what they must show.
//!
//! Most are native functions, some a JavaScript function of the design document that the chooser writes.
//! What is expected of a view is computed from the model's documents one by one.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use settee_engine::{
    Seq,
    collation::compare,
    json::{Value, raw},
    view::{
        Emit, IndexDefinition, QueryParams, ReduceSpec, RowMapper, RowSource, Signature,
        ViewDefinition, ViewGroup, ViewHead, ViewReader, ViewSink,
    },
};

use crate::{
    check::Stop,
    model::{Db, Doc},
    mutant::Mutant,
};

/// The design document whose views are in JavaScript.
pub(crate) const DESIGN: &str = "_design/d";

/// What is emitted for a document, given its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// One row, under the number modulo this.
    Modulo(u64),
    /// None to three rows.
    Several,
}

impl Function {
    fn rows(self, number: u64) -> Vec<(String, String)> {
        match self {
            Function::Modulo(by) => vec![((number % by).to_string(), number.to_string())],
            Function::Several => {
                let row = |at| (format!("[{at},{}]", number % 3), "1".to_owned());
                (0..number % 4).map(row).collect()
            }
        }
    }
}

/// The body of the design document with that number.
pub(crate) fn design_body(number: u64) -> String {
    let by = modulus(number);
    format!(
        r#"{{"op":{number},"views":{{"v":{{"map":"function (doc) {{ if (doc.op) {{ emit(doc.op % {by}, doc.op); }} }}","reduce":"_sum"}}}}}}"#
    )
}

fn modulus(number: u64) -> u64 {
    2 + number % 3
}

/// What the design document defines, if it is there.
pub(crate) fn design_function(model: &Db) -> Option<Function> {
    let doc = model.docs.get(DESIGN).filter(|doc| !doc.is_gone())?;
    let body = doc.content(doc.winner()?)?;
    let body = Value::parse(body.body.as_bytes()).ok()?;
    body.get("views")?;
    Some(Function::Modulo(modulus(number_of(&body)?)))
}

fn number_of(body: &Value) -> Option<u64> {
    body.get("op").and_then(Value::as_u64)
}

/// Views that are indexed together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) group: Arc<ViewGroup>,
    /// The function of each index.
    pub(crate) functions: Vec<Function>,
}

/// The views of one database.
#[derive(Debug)]
pub(crate) struct Views {
    /// The native ones. The second adds reductions to an index of the first, the third is another function.
    pub(crate) groups: Vec<Group>,
    /// What each index must show if it is at a sequence. It cannot be at another one.
    seen: BTreeMap<(Signature, Seq), Vec<Row>>,
}

impl Views {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        let groups =
            [(5, 1), (5, 3), (3, 3)].map(|(by, reductions)| native(by, reductions, mutant));
        Views { groups: groups.into(), seen: BTreeMap::new() }
    }

    /// Notes what a group's indexes must show when they are at this state.
    pub(crate) fn expect(&mut self, group: &Group, model: &Db) {
        for (definition, function) in group.group.indexes.iter().zip(&group.functions) {
            let rows = naive(model, *function, definition.include_design);
            self.seen.insert((definition.signature, model.seq), rows);
        }
    }

    /// What an index at this sequence shows; `None` if it should never have been there.
    pub(crate) fn expected(&self, signature: Signature, seq: Seq) -> Option<Vec<Row>> {
        match self.seen.get(&(signature, seq)) {
            // One that was never built.
            None if seq == 0 => Some(Vec::new()),
            found => found.cloned(),
        }
    }
}

fn native(by: u64, reductions: usize, mutant: Option<Mutant>) -> Group {
    let functions = vec![Function::Modulo(by), Function::Several];
    let modulo = by.to_string();
    let mut first = IndexDefinition::new(Signature::of(&[b"modulo", modulo.as_bytes()]), 0);
    let all = [ReduceSpec::Sum, ReduceSpec::Count, ReduceSpec::Stats];
    first.reducers = all[..reductions].to_vec();
    let mut second = IndexDefinition::new(Signature::of(&[b"several"]), 1);
    second.include_design = true;
    let source = Arc::new(Source { functions: functions.clone(), mutant });
    let mut group = ViewGroup::new("_design/native", source, vec![first, second]);
    for (name, reduce) in ["sum", "count", "stats"].into_iter().zip(&all[..reductions]) {
        let view = ViewDefinition { index: 0, reduce: Some(reduce.clone()) };
        group.views.insert(name.into(), view);
    }
    group.views.insert("several".into(), ViewDefinition { index: 1, reduce: None });
    Group { group: Arc::new(group), functions }
}

#[derive(Debug)]
struct Source {
    functions: Vec<Function>,
    mutant: Option<Mutant>,
}

struct Mapper {
    functions: Vec<Function>,
    mutant: Option<Mutant>,
}

impl RowSource for Source {
    fn mapper(&self, functions: &[usize]) -> settee_engine::Result<Box<dyn RowMapper>> {
        let functions = functions.iter().map(|&number| self.functions[number]).collect();
        Ok(Box::new(Mapper { functions, mutant: self.mutant }))
    }
}

impl RowMapper for Mapper {
    fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> settee_engine::Result<()> {
        let number = raw::member(document, "op").and_then(|text| std::str::from_utf8(text).ok());
        let Some(number) = number.and_then(|text| text.parse().ok()) else { return Ok(()) };
        if self.mutant == Some(Mutant::LostRow) && number % 50 == 49 {
            return Ok(());
        }
        for (at, function) in self.functions.iter().enumerate() {
            for (key, value) in function.rows(number) {
                emit(at, key.as_bytes(), value.as_bytes());
            }
        }
        Ok(())
    }
}

/// A row; key and value are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    key: String,
    id: String,
    value: String,
}

/// The rows of all documents, in order.
fn naive(model: &Db, function: Function, include_design: bool) -> Vec<Row> {
    let number = |doc: &Doc| {
        let body = doc.content(doc.winner()?)?;
        number_of(&Value::parse(body.body.as_bytes()).ok()?)
    };
    let mut rows = Vec::new();
    for (id, doc) in &model.docs {
        if doc.is_gone() || (id.starts_with("_design/") && !include_design) {
            continue;
        }
        for (key, value) in number(doc).into_iter().flat_map(|number| function.rows(number)) {
            rows.push(Row { key, id: id.clone(), value });
        }
    }
    rows.sort_by(|a, b| compare(&parsed(&a.key), &parsed(&b.key)).then_with(|| a.id.cmp(&b.id)));
    rows
}

fn parsed(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or(Value::Null)
}

/// An answer.
#[derive(Debug, Default)]
struct Answer {
    seq: Seq,
    rows: Vec<Value>,
}

impl ViewSink for Answer {
    fn head(&mut self, head: &ViewHead) -> ControlFlow<()> {
        self.seq = head.update_seq;
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.rows.extend(Value::parse(json).ok());
        ControlFlow::Continue(())
    }
}

fn ask(view: &ViewReader, params: &QueryParams) -> Result<Answer, Stop> {
    let mut answer = Answer::default();
    view.query(params, &mut answer).map_err(Stop::of)?;
    Ok(answer)
}

fn text(value: Option<&Value>) -> String {
    value.map(|value| String::from_utf8_lossy(&value.to_json()).into_owned()).unwrap_or_default()
}

fn row_of(row: &Value) -> Row {
    let id = row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    Row { key: text(row.get("key")), id, value: text(row.get("value")) }
}

/// The sequence a view's index is at.
pub(crate) fn seq_of(view: &ViewReader) -> Result<Seq, Stop> {
    let params = QueryParams { limit: Some(0), reduce: Some(false), ..QueryParams::default() };
    Ok(ask(view, &params)?.seq)
}

/// Asks a view in several ways.
pub(crate) fn check(view: &ViewReader, name: &str, expected: &[Row]) -> Result<(), Stop> {
    for descending in [false, true] {
        let params = QueryParams { descending, reduce: Some(false), ..QueryParams::default() };
        let answer = ask(view, &params)?;
        let mut rows: Vec<Row> = answer.rows.iter().map(row_of).collect();
        if descending {
            rows.reverse();
        }
        if rows != expected {
            let seq = answer.seq;
            return Stop::wrong(format!("{name} at {seq} shows {rows:?} instead of {expected:?}"));
        }
    }
    if view.has_reduce() {
        check_reduced(view, name, expected)?;
    }
    Ok(())
}

fn check_reduced(view: &ViewReader, name: &str, expected: &[Row]) -> Result<(), Stop> {
    let mut groups: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for row in expected {
        groups.entry(&row.key).or_default().push(row.value.parse().unwrap_or_default());
    }
    let params = QueryParams { group: Some(true), ..QueryParams::default() };
    let found = ask(view, &params)?.rows;
    let found: Vec<_> =
        found.iter().map(|row| (text(row.get("key")), text(row.get("value")))).collect();
    let groups: Vec<_> =
        groups.iter().map(|(key, values)| ((*key).to_owned(), reduced(name, values))).collect();
    if found != groups {
        return Stop::wrong(format!("{name} by groups is {found:?} instead of {groups:?}"));
    }
    let found = ask(view, &QueryParams::default())?.rows;
    let found = found.first().map(|row| text(row.get("value")));
    let values: Vec<u64> =
        expected.iter().map(|row| row.value.parse().unwrap_or_default()).collect();
    let all = (!values.is_empty()).then(|| reduced(name, &values));
    match found == all || (all.is_none() && found.as_deref() == Some("null")) {
        true => Ok(()),
        false => Stop::wrong(format!("{name} comes to {found:?} instead of {all:?}")),
    }
}

fn reduced(name: &str, values: &[u64]) -> String {
    let (sum, count) = (values.iter().sum::<u64>(), values.len());
    match name {
        "count" => count.to_string(),
        "stats" => {
            let [min, max] = [values.iter().min(), values.iter().max()].map(|it| it.copied());
            let squares: u64 = values.iter().map(|value| value * value).sum();
            format!(
                r#"{{"sum":{sum},"count":{count},"min":{},"max":{},"sumsqr":{squares}}}"#,
                min.unwrap_or_default(),
                max.unwrap_or_default()
            )
        }
        _ => sum.to_string(),
    }
}

/// The view of a group by a number.
pub(crate) fn pick(group: &Group, number: usize) -> Option<(String, Function, Signature)> {
    let names: Vec<_> = group.group.views.iter().collect();
    let (name, view) = names.get(number.checked_rem(names.len())?)?;
    let signature = group.group.indexes.get(view.index)?.signature;
    Some(((*name).clone(), *group.functions.get(view.index)?, signature))
}
