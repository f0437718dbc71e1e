//! Views against a naive recomputation: all documents mapped, all rows sorted by the comparator, everything
//! asked of that list. Documents are random, and so are their edits, deletions, purges and conflicts.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow, sync::Arc};

use proptest::{collection::vec, prelude::*};
use settee_engine::{
    AllDocsQuery, Database, Databases, Options, PurgeRequest, Result,
    collation::compare,
    json::{Value, raw},
    view::{
        Collation, Emit, IndexDefinition, KeyBound, QueryParams, ReduceSpec, RowMapper, RowSource,
        Signature, ViewDefinition, ViewGroup, ViewHead, ViewSelection, ViewSink,
    },
};
use settee_storage::disk::{Disk, RealDisk, SimDisk};
use support::{database, get, ids, put, replicate, rev};

/// Emits the pairs a document lists under `e`, from the first function; and its id, from the second.
#[derive(Debug)]
struct Pairs;

impl RowSource for Pairs {
    fn mapper(&self, functions: &[usize]) -> Result<Box<dyn RowMapper>> {
        Ok(Box::new(PairsMapper(functions.to_vec())))
    }
}

struct PairsMapper(Vec<usize>);

impl RowMapper for PairsMapper {
    fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        for (at, function) in self.0.iter().enumerate() {
            if *function == 1 {
                emit(at, raw::member(document, "_id").unwrap(), b"null");
                continue;
            }
            for pair in raw::member(document, "e").map(raw::items).into_iter().flatten() {
                let mut pair = raw::items(pair);
                emit(at, pair.next().unwrap(), pair.next().unwrap());
            }
        }
        Ok(())
    }
}

fn group() -> Arc<ViewGroup> {
    let mut pairs = IndexDefinition::new(Signature::of(&[b"pairs"]), 0);
    pairs.reducers =
        vec![ReduceSpec::Count, ReduceSpec::Sum, ReduceSpec::Stats, ReduceSpec::Top(3)];
    let mut raw_pairs = IndexDefinition::new(Signature::of(&[b"raw"]), 0);
    raw_pairs.collation = Collation::Raw;
    let ids = IndexDefinition::new(Signature::of(&[b"ids"]), 1);
    let mut group = ViewGroup::new("_design/d", Arc::new(Pairs), vec![pairs, raw_pairs, ids]);
    for (name, index, reduce) in [
        ("count", 0, Some(ReduceSpec::Count)),
        ("sum", 0, Some(ReduceSpec::Sum)),
        ("stats", 0, Some(ReduceSpec::Stats)),
        ("top", 0, Some(ReduceSpec::Top(3))),
        ("last", 0, Some(ReduceSpec::Last)),
        ("distinct", 0, Some(ReduceSpec::ApproxCountDistinct)),
        ("raw", 1, None),
        ("ids", 2, None),
    ] {
        group.views.insert(name.into(), ViewDefinition { index, reduce });
    }
    Arc::new(group)
}

/// An answer.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    counts: Option<(u64, u64)>,
    rows: Vec<String>,
}

impl ViewSink for Answer {
    fn head(&mut self, head: &ViewHead) -> ControlFlow<()> {
        self.counts = head.counts;
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.rows.push(String::from_utf8(json.to_vec()).unwrap());
        ControlFlow::Continue(())
    }
}

fn ask(
    database: &Arc<Database>,
    group: &Arc<ViewGroup>,
    view: &str,
    params: &QueryParams,
) -> Answer {
    let mut answer = Answer::default();
    database.read_view(group, view).unwrap().query(params, &mut answer).unwrap();
    answer
}

#[derive(Clone, Debug)]
struct Row {
    key: Value,
    id: String,
    value: Value,
}

/// All rows of the first function, in order.
fn naive_rows(database: &Arc<Database>) -> Vec<Row> {
    let mut rows = Vec::new();
    for id in ids(database, &AllDocsQuery::default()) {
        let document = Value::parse(get(database, &id).unwrap().as_bytes()).unwrap();
        for pair in document.get("e").and_then(Value::as_array).unwrap_or_default() {
            let [key, value] = pair.as_array().unwrap() else { panic!() };
            rows.push(Row { key: key.clone(), id: id.clone(), value: value.clone() });
        }
    }
    rows.sort_by(|a, b| compare(&a.key, &b.key).then_with(|| a.id.cmp(&b.id)));
    order_values(&mut rows);
    rows
}

/// Whichever way the walk goes, rows of one document with the same key ascend by their values.
fn order_values(rows: &mut [Row]) {
    for same in rows.chunk_by_mut(|a, b| a.id == b.id && text(&a.key) == text(&b.key)) {
        same.sort_by_key(|row| row.value.as_i64());
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(value.to_json()).unwrap()
}

/// Where a row lies compared with an end of a range.
fn against(row: &Row, bound: &KeyBound) -> Ordering {
    let key = Value::parse(&bound.key).unwrap();
    let by_id = |id: &String| row.id.as_bytes().cmp(id.as_bytes());
    compare(&row.key, &key).then_with(|| bound.id.as_ref().map_or(Ordering::Equal, by_id))
}

/// The rows of a request in the order of the answer, and how many lie before them.
fn naive_selection(all: &[Row], params: &QueryParams) -> (Vec<Row>, u64) {
    let mut all = all.to_vec();
    let (mut first, mut last) = (Ordering::Less, Ordering::Greater);
    if params.descending {
        all.reverse();
        order_values(&mut all);
        (first, last) = (last, first);
    }
    let ViewSelection::Range { start, end, inclusive_end } = &params.selection else {
        let ViewSelection::Keys(keys) = &params.selection else { unreachable!() };
        let mut keys: Vec<_> = keys.iter().map(|key| Value::parse(key).unwrap()).collect();
        if params.descending {
            keys.reverse();
        }
        let of = |key: &Value| {
            let mut rows = all.clone();
            rows.retain(|row| compare(&row.key, key).is_eq());
            rows
        };
        let found = keys.iter().find(|key| !of(key).is_empty()).or(keys.last());
        let before = found.map_or(0, |key| {
            all.iter().filter(|row| compare(&row.key, key) == first).count() as u64
        });
        return (keys.iter().flat_map(of).collect(), before);
    };
    let before_start = |row: &Row| start.as_ref().is_some_and(|start| against(row, start) == first);
    let before = all.iter().filter(|row| before_start(row)).count() as u64;
    all.retain(|row| {
        let after_end = |end: &KeyBound| {
            let order = against(row, end);
            order == last || (!inclusive_end && order.is_eq())
        };
        !before_start(row) && !end.as_ref().is_some_and(after_end)
    });
    (all, before)
}

fn naive_map(all: &[Row], params: &QueryParams) -> Answer {
    let (selected, before) = naive_selection(all, params);
    let total = all.len() as u64;
    let rows = selected.iter().skip(params.skip as usize);
    let rows = rows.take(params.limit.map_or(usize::MAX, |limit| limit as usize)).map(|row| {
        let id = text(&Value::from(row.id.as_str()));
        format!(r#"{{"id":{id},"key":{},"value":{}}}"#, text(&row.key), text(&row.value))
    });
    Answer { counts: Some((total, (before + params.skip).min(total))), rows: rows.collect() }
}

/// The group of a key, as its key is shown.
fn group_key(key: &Value, params: &QueryParams) -> Value {
    match (params.group, params.group_level) {
        (_, Some(level @ 1..)) => match key {
            Value::Array(items) => {
                Value::Array(items.iter().take(level as usize).cloned().collect())
            }
            other => other.clone(),
        },
        (Some(true), _) => key.clone(),
        _ => Value::Null,
    }
}

fn naive_groups(all: &[Row], params: &QueryParams) -> Vec<(Value, Vec<Row>)> {
    let mut groups: Vec<(Value, Vec<Row>)> = Vec::new();
    // A key that is asked for twice is answered twice.
    if let ViewSelection::Keys(keys) = &params.selection
        && keys.len() > 1
    {
        let one = |key: &Vec<u8>| {
            let selection = ViewSelection::Keys(vec![key.clone()]);
            naive_groups(all, &QueryParams { selection, ..params.clone() })
        };
        let mut each: Vec<_> = keys.iter().map(one).collect();
        if params.descending {
            each.reverse();
        }
        return each.into_iter().flatten().collect();
    }
    for row in naive_selection(all, params).0 {
        let key = group_key(&row.key, params);
        match groups.last_mut() {
            Some((last, rows)) if compare(last, &key).is_eq() => rows.push(row),
            _ => groups.push((key, vec![row])),
        }
    }
    groups
}

fn naive_reduce(all: &[Row], params: &QueryParams, reduce: &dyn Fn(&[Row]) -> String) -> Answer {
    let groups = naive_groups(all, params);
    let limit = params.limit.map_or(usize::MAX, |limit| limit as usize);
    let rows = groups.into_iter().skip(params.skip as usize).take(limit).map(|(key, mut rows)| {
        if params.descending {
            rows.reverse();
            order_values(&mut rows);
        }
        format!(r#"{{"key":{},"value":{}}}"#, text(&key), reduce(&rows))
    });
    Answer { counts: None, rows: rows.collect() }
}

fn numbers(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.value.as_i64().unwrap()).collect()
}

fn stats(rows: &[Row]) -> String {
    let all = numbers(rows);
    let (min, max) = (all.iter().min().unwrap(), all.iter().max().unwrap());
    let (sum, squares): (i64, i64) = (all.iter().sum(), all.iter().map(|n| n * n).sum());
    let count = all.len();
    format!(r#"{{"sum":{sum},"count":{count},"min":{min},"max":{max},"sumsqr":{squares}}}"#)
}

fn top(rows: &[Row]) -> String {
    let mut all = numbers(rows);
    all.sort_by(|a, b| b.cmp(a));
    all.dedup();
    all.truncate(3);
    text(&Value::Array(all.into_iter().map(Value::from).collect()))
}

fn distinct(rows: &[Row]) -> String {
    let mut keys: Vec<_> = rows.iter().map(|row| text(&row.key)).collect();
    keys.sort();
    keys.dedup();
    keys.len().to_string()
}

fn check(database: &Arc<Database>, group: &Arc<ViewGroup>, params: &QueryParams) {
    let all = naive_rows(database);
    let map = QueryParams { reduce: Some(false), group: None, group_level: None, ..params.clone() };
    assert_eq!(ask(database, group, "sum", &map), naive_map(&all, &map), "{map:?}");
    let several = matches!(params.selection, ViewSelection::Keys(_));
    let exact = params.group == Some(true) && params.group_level.is_none();
    if several && !exact {
        return;
    }
    type Reduction = (&'static str, &'static dyn Fn(&[Row]) -> String);
    let reductions: [Reduction; 6] = [
        ("count", &|rows| rows.len().to_string()),
        ("sum", &|rows| numbers(rows).iter().sum::<i64>().to_string()),
        ("stats", &stats),
        ("top", &top),
        ("last", &|rows| text(&rows.last().unwrap().value)),
        ("distinct", &distinct),
    ];
    for (view, reduce) in reductions {
        // Counting different keys is exact while they are few.
        if view == "distinct" && all.len() > 200 {
            continue;
        }
        let expected = naive_reduce(&all, params, reduce);
        assert_eq!(ask(database, group, view, params), expected, "{view} {params:?}");
    }
}

fn keys() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just("a"), Just("A"), Just("b"), Just("é"), Just("")];
    let leaf = prop_oneof![
        Just(Value::Null),
        (0i64..6).prop_map(Value::from),
        word.prop_map(Value::from),
        any::<bool>().prop_map(Value::Bool),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| vec(inner, 0..4).prop_map(Value::Array))
}

#[derive(Clone, Debug)]
enum Op {
    /// Documents `from` and those after it get these pairs each.
    Put {
        from: u8,
        count: u8,
        pairs: Vec<(Value, i64)>,
    },
    Delete(u8),
    Purge(u8),
    /// A second branch, which may win.
    Conflict(u8, Vec<(Value, i64)>),
    Update,
}

fn pairs() -> impl Strategy<Value = Vec<(Value, i64)>> {
    vec((keys(), -50i64..50), 0..8)
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0u8..30, 1u8..25, pairs()).prop_map(|(from, count, pairs)| Op::Put { from, count, pairs }),
        2 => (0u8..30).prop_map(Op::Delete),
        1 => (0u8..30).prop_map(Op::Purge),
        2 => (0u8..30, pairs()).prop_map(|(id, pairs)| Op::Conflict(id, pairs)),
        3 => Just(Op::Update),
    ]
}

fn params() -> impl Strategy<Value = QueryParams> {
    let bound = || {
        let id = proptest::option::of((0u8..30).prop_map(|n| format!("d{n}")));
        let bound = (keys(), id).prop_map(|(key, id)| KeyBound { key: key.to_json(), id });
        proptest::option::of(bound)
    };
    let range = (bound(), bound(), any::<bool>())
        .prop_map(|(start, end, inclusive_end)| ViewSelection::Range { start, end, inclusive_end });
    let list = vec(keys().prop_map(|key| key.to_json()), 2..4).prop_map(ViewSelection::Keys);
    let selection = prop_oneof![3 => range, 1 => list];
    let group = prop_oneof![
        Just((None, None)),
        Just((Some(true), None)),
        (1u64..3).prop_map(|level| (None, Some(level))),
    ];
    let limit = proptest::option::of(0u64..20);
    (selection, any::<bool>(), 0u64..12, limit, group).prop_map(
        |(selection, descending, skip, limit, (group, group_level))| {
            let mut params = QueryParams {
                selection,
                descending,
                skip,
                limit,
                group,
                group_level,
                ..QueryParams::default()
            };
            // Ends in the wrong order are an error, tested elsewhere.
            if let ViewSelection::Range { start: Some(start), end: Some(end), .. } =
                &mut params.selection
            {
                let [a, b] = [&start.key, &end.key].map(|key| Value::parse(key).unwrap());
                if compare(&a, &b) == if descending { Ordering::Less } else { Ordering::Greater } {
                    std::mem::swap(start, end);
                }
            }
            params
        },
    )
}

/// A document; the padding makes trees of several levels.
fn body(id: u8, rev: &str, pairs: &[(Value, i64)]) -> String {
    let pair = |(key, value): &(Value, i64)| format!("[{},{value}]", text(key));
    let pairs: Vec<_> = pairs.iter().map(pair).collect();
    format!(r#"{{"_id":"d{id}",{rev}"e":[{}]}}"#, pairs.join(","))
}

fn rev_of(database: &Arc<Database>, id: u8) -> Option<String> {
    let document = get(database, &format!("d{id}")).ok()?;
    let document = Value::parse(document.as_bytes()).unwrap();
    document.get("_rev").and_then(Value::as_str).map(str::to_owned)
}

fn apply(database: &Arc<Database>, group: &Arc<ViewGroup>, op: &Op) {
    match op {
        Op::Put { from, count, pairs } => {
            for id in *from..from + count {
                let rev =
                    rev_of(database, id).map_or(String::new(), |rev| format!(r#""_rev":"{rev}","#));
                put(database, &body(id, &rev, pairs)).unwrap();
            }
        }
        Op::Delete(id) => {
            if let Some(rev) = rev_of(database, *id) {
                put(database, &format!(r#"{{"_id":"d{id}","_rev":"{rev}","_deleted":true}}"#))
                    .unwrap();
            }
        }
        Op::Purge(id) => {
            if let Some(text) = rev_of(database, *id) {
                let request = PurgeRequest { id: format!("d{id}"), revs: vec![rev(&text)] };
                database.purge(vec![request]).unwrap();
            }
        }
        Op::Conflict(id, pairs) => {
            let digit = if pairs.len() % 2 == 0 { "f" } else { "0" };
            let rev = format!(r#""_rev":"1-{}","#, digit.repeat(32));
            replicate(database, &[&body(*id, &rev, pairs)]);
        }
        Op::Update => database.refresh_views(group).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn answers_are_those_of_a_naive_recomputation(ops in vec(ops(), 1..14), params in vec(params(), 6)) {
        let (database, group) = (database(), group());
        for op in &ops {
            apply(&database, &group, op);
        }
        database.refresh_views(&group).unwrap();
        for params in &params {
            check(&database, &group, params);
        }
        let listed: Vec<_> = ids(&database, &AllDocsQuery::default());
        let by_id = ask(&database, &group, "ids", &QueryParams::default());
        prop_assert_eq!(by_id.counts, Some((listed.len() as u64, 0)));
    }
}

/// Enough rows for a tree of several levels, built at once and grown by updates, against the same list.
#[test]
fn large_indexes_answer_like_small_ones() {
    let (database, group) = (database(), group());
    let write = |from: u32, to: u32| {
        let docs: Vec<String> = (from..to)
            .map(|n| {
                let pairs =
                    (0..6).map(|m| format!("[[{},\"{}\",{}],{}]", (n + m) % 7, n % 50, n * m, n));
                format!(r#"{{"_id":"n{n}","e":[{}]}}"#, pairs.collect::<Vec<_>>().join(","))
            })
            .collect();
        let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
        support::write(&database, &docs, settee_engine::WriteMode::Interactive).unwrap();
    };
    for (from, to) in [(0, 900), (900, 1500), (1500, 1501)] {
        write(from, to);
        database.refresh_views(&group).unwrap();
        let bound = |key: &str| Some(KeyBound { key: key.into(), id: None });
        let range = |start: &str, end: &str| ViewSelection::Range {
            start: bound(start),
            end: bound(end),
            inclusive_end: true,
        };
        for (selection, level) in [
            (range("null", "{}"), None),
            (range("null", "{}"), Some(1)),
            (range("[1,\"20\"]", "[5,\"3\"]"), Some(2)),
            (range("[2]", "[2,{}]"), None),
        ] {
            let params = QueryParams {
                selection,
                group_level: level,
                skip: 3,
                limit: Some(40),
                ..QueryParams::default()
            };
            check(&database, &group, &QueryParams { skip: 0, limit: None, ..params.clone() });
            check(&database, &group, &params);
        }
    }
}

/// Power cuts while an index is built and updated: whatever is left of it, no row is wrong.
#[test]
fn no_crash_leaves_a_wrong_row() {
    let disk = SimDisk::recording();
    let open = |disk: &SimDisk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Databases::open(disk, "data", Options::default())
    };
    let all = open(&disk).unwrap();
    let database = all.create("db", settee_engine::Props::default()).unwrap();
    let group = group();
    let before = disk.operations();
    for step in 0..4i64 {
        for id in 0..6u8 {
            let rev =
                rev_of(&database, id).map_or(String::new(), |rev| format!(r#""_rev":"{rev}","#));
            let pairs: Vec<_> = (0..5).map(|n| (Value::from(n * step % 7), step)).collect();
            put(&database, &body(id, &rev, &pairs)).unwrap();
        }
        database.refresh_views(&group).unwrap();
    }
    let after = disk.operations();
    drop((database, all));
    for operations in (before..=after).step_by(3) {
        for seed in 0..3 {
            let crashed = disk.after(operations).crash(seed);
            let all = open(&crashed).unwrap();
            let Ok(database) = all.get("db") else { continue };
            // What is there may be old, but is true of some moment; brought up to date it is true of now.
            database.refresh_views(&group).unwrap();
            check(&database, &group, &QueryParams { group: Some(true), ..QueryParams::default() });
        }
    }
}

#[test]
fn an_index_is_built_once_for_all_who_ask() {
    let (database, group) = (database(), group());
    let docs: Vec<String> =
        (0..200).map(|n| format!(r#"{{"_id":"n{n}","e":[[{n},1]]}}"#)).collect();
    let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
    support::write(&database, &docs, settee_engine::WriteMode::Interactive).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                database.refresh_views(&group).unwrap();
                let answer = ask(&database, &group, "count", &QueryParams::default());
                assert_eq!(answer.rows, [r#"{"key":null,"value":200}"#]);
            });
        }
    });
}

#[test]
fn an_index_outlives_its_database_handle_and_not_its_database() {
    let disk: Arc<dyn Disk> = Arc::new(settee_storage::disk::MemoryDisk::new());
    let open = || Databases::open(Arc::clone(&disk), "data", Options::default()).unwrap();
    let group = group();
    let all = open();
    let database = all.create("a/b", settee_engine::Props::default()).unwrap();
    put(&database, r#"{"_id":"x","e":[[1,2]]}"#).unwrap();
    database.refresh_views(&group).unwrap();
    all.close().unwrap();
    drop((database, all));

    let all = open();
    assert_eq!(all.names(&settee_engine::NameRange::default()).unwrap(), ["a/b"]);
    let database = all.get("a/b").unwrap();
    let answer = ask(&database, &group, "sum", &QueryParams::default());
    assert_eq!(answer.rows, [r#"{"key":null,"value":2}"#], "it was not built again");
    drop(database);
    all.delete("a/b").unwrap();
    let database = all.create("a/b", settee_engine::Props::default()).unwrap();
    let answer = ask(&database, &group, "sum", &QueryParams::default());
    assert_eq!(answer.rows, [""; 0]);
    database.refresh_views(&group).unwrap();
    assert_eq!(ask(&database, &group, "sum", &QueryParams::default()).rows, [""; 0]);
}

/// A database that is put back from a copy comes to the same sequence with other documents: its index is of a
/// past that never was.
#[test]
fn an_index_of_another_past_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let group = group();
    let open = || {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Databases::open(disk, folder.path(), Options::default()).unwrap()
    };
    let (file, copy) = (folder.path().join("db.settee"), folder.path().join("copy"));
    let count = |ids: &[&str], put_back: bool| {
        let all = open();
        let database = all.get("db").unwrap();
        for id in ids {
            put(&database, &format!(r#"{{"_id":"{id}","e":[["{id}",1]]}}"#)).unwrap();
        }
        let before = ask(&database, &group, "sum", &QueryParams::default()).rows;
        database.refresh_views(&group).unwrap();
        let params = QueryParams { reduce: Some(false), ..QueryParams::default() };
        let rows = ask(&database, &group, "sum", &params).rows;
        all.close().unwrap();
        drop((database, all));
        if put_back {
            std::fs::copy(&copy, &file).unwrap();
        }
        (before, rows)
    };
    let all = open();
    drop(all.create("db", settee_engine::Props::default()).unwrap());
    all.close().unwrap();
    drop(all);
    count(&["a"], false);
    std::fs::copy(&file, &copy).unwrap();
    // The index that is there is used at once, be it older than the database or not.
    let one = [r#"{"key":null,"value":1}"#.to_owned()];
    assert_eq!(count(&["b", "c"], true).0, one);
    // Now there are as many changes as the index has seen, or more, but others.
    let (before, rows) = count(&["b2", "c2", "d2"], false);
    // An earlier state of the index, if it is still in the file, is one of this past, too.
    assert!(before.is_empty() || before == one, "{before:?}");
    let row = |id| format!(r#"{{"id":"{id}","key":"{id}","value":1}}"#);
    assert_eq!(rows, ["a", "b2", "c2", "d2"].map(row));
}

/// One more reduction of the same rows runs no map function again.
#[test]
fn reductions_are_added_without_mapping() {
    #[derive(Debug)]
    struct Never;
    impl RowSource for Never {
        fn mapper(&self, _functions: &[usize]) -> Result<Box<dyn RowMapper>> {
            panic!("nothing is to be mapped")
        }
    }
    let (database, first) = (database(), group());
    put(&database, r#"{"_id":"x","e":[[1,2],[1,5]]}"#).unwrap();
    database.refresh_views(&first).unwrap();
    let mut more = IndexDefinition::new(Signature::of(&[b"pairs"]), 0);
    more.reducers = vec![ReduceSpec::Bottom(2)];
    let mut second = ViewGroup::new("_design/e", Arc::new(Never), vec![more]);
    let bottom = ViewDefinition { index: 0, reduce: Some(ReduceSpec::Bottom(2)) };
    second.views = BTreeMap::from([("bottom".to_owned(), bottom)]);
    let second = Arc::new(second);
    database.refresh_views(&second).unwrap();
    let answer = ask(&database, &second, "bottom", &QueryParams::default());
    assert_eq!(answer.rows, [r#"{"key":null,"value":[2,5]}"#]);
    let answer = ask(&database, &first, "sum", &QueryParams::default());
    assert_eq!(answer.rows, [r#"{"key":null,"value":7}"#]);
}
