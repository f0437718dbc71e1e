//! What reads, listings and feeds show.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::sync::Arc;

use settee_engine::{
    AllDocsQuery, ChangesFilter, ChangesQuery, Database, DocKey, GetOptions, Namespace, OpenRevs,
    Props, PurgeRequest, RevsRequest, Selection, ShowOptions, Style, changes::DocumentFilter,
    json::Value,
};
use support::{
    all_docs, changes, database, databases, get, get_with, ids, leaves, long_rev, put, replicate,
    rev,
};

/// A document `x` with the live leaves `2-b…` and `2-c…` and the dead one `2-d…` over `1-a…`.
fn conflicted() -> Arc<Database> {
    let db = database();
    let doc = |digit: &str, more: &str| {
        let (id, root) = (digit.repeat(32), "a".repeat(32));
        format!(r#"{{"_id":"x","_revisions":{{"start":2,"ids":["{id}","{root}"]}}{more}}}"#)
    };
    let docs = [doc("b", r#","v":"b""#), doc("c", r#","v":"c""#), doc("d", r#","_deleted":true"#)];
    replicate(&db, &docs.each_ref().map(String::as_str));
    db
}

fn show(set: impl FnOnce(&mut ShowOptions)) -> ShowOptions {
    let mut show = ShowOptions::default();
    set(&mut show);
    show
}

#[test]
fn a_winner_shows_what_is_asked_for() {
    let db = conflicted();
    let all = show(|show| {
        show.revs = true;
        show.revs_info = true;
        show.local_seq = true;
        show.conflicts = true;
        show.deleted_conflicts = true;
    });
    let (a, b, c, d) = (long_rev(1, "a"), long_rev(2, "b"), long_rev(2, "c"), long_rev(2, "d"));
    let expected = format!(
        r#"{{"_id":"x","_rev":"{c}","v":"c","_revisions":{{"start":2,"ids":["{}","{}"]}},"#,
        "c".repeat(32),
        "a".repeat(32)
    ) + &format!(
        r#""_revs_info":[{{"rev":"{c}","status":"available"}},{{"rev":"{a}","status":"missing"}}],"#
    ) + &format!(
        r#""_local_seq":1,"_conflicts":["{b}"],"_deleted_conflicts":["{d}"]}}"#
    );
    let winner = GetOptions { show: all.clone(), ..GetOptions::default() };
    assert_eq!(get_with(&db, "x", &winner).unwrap(), expected);
    let named = GetOptions { rev: Some(rev(&b)), show: all, ..GetOptions::default() };
    let shown = get_with(&db, "x", &named).unwrap();
    assert!(shown.contains("_revisions") && !shown.contains("_conflicts"), "{shown}");
    let latest = GetOptions { latest: true, ..named };
    assert_eq!(get_with(&db, "x", &latest).unwrap(), expected, "the winner, whatever was named");
}

#[test]
fn whether_an_answer_may_change_under_its_revision() {
    let db = conflicted();
    put(&db, r#"{"_id":"alone"}"#).unwrap();
    let reader = db.read().unwrap();
    let has_meta = |id: &str, show: ShowOptions| {
        reader.get(id, &GetOptions { show, ..GetOptions::default() }).unwrap().has_meta()
    };
    assert!(!has_meta("x", ShowOptions::default()));
    assert!(!has_meta("x", show(|show| show.revs = true)));
    assert!(has_meta("x", show(|show| show.conflicts = true)));
    assert!(!has_meta("alone", show(|show| show.conflicts = true)));
    assert!(has_meta("alone", show(|show| show.local_seq = true)));
}

#[test]
fn several_revisions_come_in_order_and_once() {
    let db = conflicted();
    let revs: Vec<String> = leaves(&db, "x")
        .iter()
        .map(|leaf| {
            Value::parse(leaf.as_bytes()).unwrap().get("_rev").unwrap().as_str().unwrap()[..3]
                .to_owned()
        })
        .collect();
    assert_eq!(revs, ["2-b", "2-c", "2-d"]);
    let reader = db.read().unwrap();
    let open = |revs: &[&str], latest: bool| -> Vec<String> {
        let revs: Vec<_> = revs.iter().map(|text| rev(text)).collect();
        let opened =
            reader.open_revs("x", OpenRevs::These(&revs), latest, &ShowOptions::default()).unwrap();
        opened
            .into_iter()
            .map(|found| match found {
                Ok(found) => found.rev().to_string()[..3].to_owned(),
                Err(missing) => format!("missing {missing}"),
            })
            .collect()
    };
    let (a, b, c) = (long_rev(1, "a"), long_rev(2, "b"), long_rev(2, "c"));
    assert_eq!(open(&[&c, &b, &c, "9-x"], false), ["2-b", "2-c", "missing 9-x"]);
    assert_eq!(open(&[&a], false), [format!("missing {a}")], "its body was never here");
    assert_eq!(open(&[&a, &c, "9-x"], true), ["2-b", "2-c", "2-d", "missing 9-x"]);
    assert!(reader.open_revs("none", OpenRevs::All, false, &ShowOptions::default()).is_err());
    let none = [rev("1-x")];
    let missing =
        reader.open_revs("none", OpenRevs::These(&none), false, &ShowOptions::default()).unwrap();
    assert!(matches!(&missing[..], [Err(missing)] if *missing == none[0]));
}

#[test]
fn what_a_replicator_is_told_is_missing() {
    let db = conflicted();
    let request = |revs: &[&str]| RevsRequest {
        id: "x".into(),
        revs: revs.iter().map(|text| rev(text)).collect(),
    };
    let reader = db.read().unwrap();
    let (a, b) = (long_rev(1, "a"), long_rev(2, "b"));
    assert_eq!(reader.revs_diff(&[request(&[&a, &b])]).unwrap(), []);
    let diff = reader.revs_diff(&[request(&["3-x", &a])]).unwrap().remove(0);
    assert_eq!(diff.missing, [rev("3-x")]);
    assert_eq!(diff.possible_ancestors.len(), 3);
    assert_eq!(reader.revs_diff(&[request(&["1-x"])]).unwrap()[0].possible_ancestors, []);
}

/// Lower and upper case, a design document, one with a tombstone, and some beyond ASCII.
fn listed() -> Arc<Database> {
    let db = database();
    for id in ["b", "a", "B", "A", "ä", "_design/x", "10", "9", "aa", "a b", "~", "é"] {
        put(&db, &format!(r#"{{"_id":"{id}"}}"#)).unwrap();
    }
    let dead = put(&db, r#"{"_id":"dead"}"#).unwrap();
    put(&db, &format!(r#"{{"_id":"dead","_rev":"{dead}","_deleted":true}}"#)).unwrap();
    put(&db, r#"{"_id":"_local/l","v":1}"#).unwrap();
    db
}

fn range(start: Option<&str>, end: Option<&str>) -> Selection {
    let key = |id: &str| DocKey::Id(id.into());
    Selection::Range { start: start.map(key), end: end.map(key), inclusive_end: true }
}

fn query(selection: Selection) -> AllDocsQuery {
    AllDocsQuery { selection, ..AllDocsQuery::default() }
}

#[test]
fn listings_go_by_bytes() {
    let db = listed();
    let order = ["10", "9", "A", "B", "_design/x", "a", "a b", "aa", "b", "~", "ä", "é"];
    assert_eq!(ids(&db, &AllDocsQuery::default()), order);
    let down = AllDocsQuery { descending: true, ..AllDocsQuery::default() };
    assert_eq!(ids(&db, &down), order.into_iter().rev().collect::<Vec<_>>());
    let rows = all_docs(&db, &query(range(Some("a"), Some("a"))));
    assert_eq!(
        rows.rows,
        [r#"{"id":"a","key":"a","value":{"rev":"1-967a00dff5e02add41819138abb3284d"}}"#]
    );
    let with_docs = AllDocsQuery { include_docs: true, ..query(range(Some("b"), Some("b"))) };
    assert!(
        all_docs(&db, &with_docs).rows[0]
            .ends_with(r#","doc":{"_id":"b","_rev":"1-967a00dff5e02add41819138abb3284d"}}"#)
    );
}

#[test]
fn offsets_count_the_documents_passed_over() {
    let db = listed();
    let check = |query: AllDocsQuery, offset: u64, expected: &[&str]| {
        let head = all_docs(&db, &query).head.unwrap();
        assert_eq!((head.total_rows, head.offset), (Some(12), Some(offset)), "{query:?}");
        assert_eq!(ids(&db, &query), expected);
    };
    check(query(range(Some("a"), Some("b"))), 5, &["a", "a b", "aa", "b"]);
    let exclusive = Selection::Range {
        start: Some(DocKey::Id("a".into())),
        end: Some(DocKey::Id("b".into())),
        inclusive_end: false,
    };
    check(query(exclusive), 5, &["a", "a b", "aa"]);
    let down = AllDocsQuery { descending: true, ..query(range(Some("b"), Some("a"))) };
    check(down, 3, &["b", "aa", "a b", "a"]);
    let skipped = AllDocsQuery { skip: 1, limit: Some(2), ..query(range(Some("a"), None)) };
    check(skipped, 6, &["a b", "aa"]);
    check(query(Selection::key(DocKey::Id("zz".into()))), 9, &[]);
    check(AllDocsQuery { limit: Some(0), ..AllDocsQuery::default() }, 0, &[]);
    check(AllDocsQuery { skip: 100, ..AllDocsQuery::default() }, 12, &[]);
    check(query(range(Some("b"), Some("a"))), 8, &[]);
    let number = Some(DocKey::Other("5".into()));
    let from_number = Selection::Range {
        start: number.clone(),
        end: Some(DocKey::Id("9".into())),
        inclusive_end: true,
    };
    check(query(from_number), 0, &["10", "9"]);
    check(query(Selection::Range { start: None, end: number, inclusive_end: true }), 0, &[]);
}

#[test]
fn lists_of_keys_are_answered_one_by_one() {
    let db = listed();
    let key = |id: &str| DocKey::Id(id.into());
    let keys = vec![key("b"), key("none"), key("dead"), DocKey::Other("[1]".into()), key("b")];
    let by_keys = AllDocsQuery { include_docs: true, ..query(Selection::Keys(keys)) };
    let rows = all_docs(&db, &by_keys);
    assert_eq!(rows.head.unwrap().offset, None);
    assert_eq!(rows.head.unwrap().total_rows, Some(12));
    assert_eq!(rows.rows.len(), 5);
    assert_eq!(rows.rows[1], r#"{"key":"none","error":"not_found"}"#);
    assert!(rows.rows[2].ends_with(r#","deleted":true},"doc":null}"#), "{}", rows.rows[2]);
    assert_eq!(rows.rows[3], r#"{"key":[1],"error":"not_found"}"#);
    assert_eq!(rows.rows[4], rows.rows[0]);
    let part = AllDocsQuery { descending: true, skip: 1, limit: Some(1), ..by_keys };
    assert_eq!(all_docs(&db, &part).rows, [rows.rows[3].as_str()]);
}

#[test]
fn design_and_local_documents_have_listings_of_their_own() {
    let db = listed();
    put(&db, r#"{"_id":"_local/purge-x"}"#).unwrap();
    let design = AllDocsQuery { namespace: Namespace::Design, ..AllDocsQuery::default() };
    let rows = all_docs(&db, &design);
    // Four documents are passed over, but CouchDB never says more than the total.
    assert_eq!((rows.head.unwrap().total_rows, rows.head.unwrap().offset), (Some(1), Some(1)));
    assert_eq!(ids(&db, &design), ["_design/x"]);
    let local =
        AllDocsQuery { namespace: Namespace::Local, include_docs: true, ..AllDocsQuery::default() };
    let rows = all_docs(&db, &local);
    assert_eq!((rows.head.unwrap().total_rows, rows.head.unwrap().offset), (None, None));
    assert_eq!(
        rows.rows,
        [
            r#"{"id":"_local/l","key":"_local/l","value":{"rev":"0-1"},"doc":{"_id":"_local/l","_rev":"0-1","v":1}}"#
        ]
    );
    assert_eq!(ids(&db, &AllDocsQuery { include_system: true, ..local.clone() }).len(), 2);
    let keys = ["_local/l", "_local/zz", "x"].map(|id| DocKey::Id(id.into())).to_vec();
    let by_keys = AllDocsQuery { selection: Selection::Keys(keys), ..local };
    assert_eq!(ids(&db, &by_keys), ["_local/l", "-"]);
}

#[test]
fn a_partition_is_listed_by_itself() {
    let props = Props { partitioned: true, ..Props::default() };
    let db = databases().create("p", props).unwrap();
    for id in ["a:1", "a:2", "b:1", "b:2", "c:1"] {
        put(&db, &format!(r#"{{"_id":"{id}"}}"#)).unwrap();
    }
    let part = |name: &str, descending: bool, selection: Selection| {
        let query = AllDocsQuery {
            partition: Some(name.into()),
            descending,
            selection,
            ..AllDocsQuery::default()
        };
        let head = all_docs(&db, &query).head.unwrap();
        assert_eq!(head.total_rows, Some(5));
        (head.offset.unwrap(), ids(&db, &query))
    };
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(part("b", false, Selection::all()), (2, owned(&["b:1", "b:2"])));
    assert_eq!(part("a", true, Selection::all()), (3, owned(&["a:2", "a:1"])));
    assert_eq!(part("zz", false, Selection::all()), (5, vec![]));
    assert_eq!(part("a", false, Selection::key(DocKey::Id("b:1".into()))), (2, vec![]));
    assert_eq!(part("a", false, range(Some("a:2"), None)), (1, owned(&["a:2"])));
}

#[test]
fn each_document_is_in_the_feed_once() {
    let db = database();
    for id in ["d1", "d2", "d3"] {
        put(&db, &format!(r#"{{"_id":"{id}"}}"#)).unwrap();
    }
    let d1 = get(&db, "d1").unwrap();
    let first = &d1[d1.find("1-").unwrap()..][..34];
    put(&db, &format!(r#"{{"_id":"d1","_rev":"{first}","_deleted":true}}"#)).unwrap();
    let (rows, end) = changes(&db, &ChangesQuery { include_docs: true, ..ChangesQuery::default() });
    assert_eq!((rows.len(), end.last_seq, end.pending, end.cut), (3, 4, 0, false));
    assert!(rows[0].starts_with(r#"{"seq":2,"id":"d2","changes":[{"rev":"1-967a"#));
    assert!(
        rows[2].contains(r#"],"deleted":true,"doc":{"_id":"d1","_rev":"2-eec2"#),
        "{}",
        rows[2]
    );
    let (rows, end) = changes(&db, &ChangesQuery { limit: Some(1), ..ChangesQuery::default() });
    assert_eq!((rows.len(), end.last_seq, end.pending, end.cut), (1, 2, 2, true));
    let (_, end) =
        changes(&db, &ChangesQuery { limit: Some(0), since: 2, ..ChangesQuery::default() });
    assert_eq!((end.last_seq, end.pending, end.cut), (2, 2, true));
    let (rows, end) =
        changes(&db, &ChangesQuery { descending: true, since: 3, ..ChangesQuery::default() });
    assert_eq!((rows.len(), end.last_seq, end.pending), (3, 2, 0), "`since` is no bound downwards");
    let with_seq = |limit| {
        let sparse = ChangesQuery { seq_interval: Some(2), limit, ..ChangesQuery::default() };
        let rows = changes(&db, &sparse).0;
        rows.iter().map(|row| !row.starts_with(r#"{"seq":null"#)).collect::<Vec<_>>()
    };
    assert_eq!(with_seq(None), [true, false, true]);
    assert_eq!(with_seq(Some(25)), [false, true, false], "counted by what is left of the limit");
}

#[test]
fn all_leaves_are_named_if_asked_for() {
    let db = conflicted();
    let all = ChangesQuery { style: Style::AllDocs, include_docs: true, ..ChangesQuery::default() };
    let (rows, _) = changes(&db, &all);
    let [b, c, d] = ["b", "c", "d"].map(|digit| long_rev(2, digit));
    assert!(rows[0].contains(&format!(
        r#""changes":[{{"rev":"{c}"}},{{"rev":"{b}"}},{{"rev":"{d}"}}],"doc""#
    )));
    let conflicts = ChangesQuery {
        include_docs: true,
        show: show(|show| show.conflicts = true),
        ..ChangesQuery::default()
    };
    let (rows, _) = changes(&db, &conflicts);
    assert!(rows[0].ends_with(&format!(r#""v":"c","_conflicts":["{b}"]}}}}"#)), "{}", rows[0]);
}

#[derive(Debug)]
struct Contains(&'static str);

impl DocumentFilter for Contains {
    fn passes(&self, document: &[u8]) -> settee_engine::Result<bool> {
        Ok(String::from_utf8_lossy(document).contains(self.0))
    }
}

#[test]
fn filters_say_what_passes() {
    let db = database();
    for id in ["d1", "d2", "d3", "d4", "_design/x"] {
        put(&db, &format!(r#"{{"_id":"{id}"}}"#)).unwrap();
    }
    let run = |filter: ChangesFilter, limit: Option<u64>, descending: bool| {
        let query = ChangesQuery { filter, limit, descending, ..ChangesQuery::default() };
        let (rows, end) = changes(&db, &query);
        let seqs: Vec<String> =
            rows.iter().map(|row| row[7..row.find(',').unwrap()].to_owned()).collect();
        (seqs.join(" "), end.last_seq, end.pending)
    };
    let ids = |ids: &[&str]| ChangesFilter::DocIds(ids.iter().map(|id| (*id).to_owned()).collect());
    assert_eq!(run(ids(&["d4", "d2", "zz"]), None, false), ("2 4".into(), 5, 3));
    assert_eq!(run(ids(&["d3", "d1", "d1"]), None, false), ("1 1 3".into(), 5, 2));
    assert_eq!(run(ids(&["d3", "d1"]), Some(1), false), ("1".into(), 1, 4));
    assert_eq!(run(ids(&["d3", "d1"]), None, true), ("3 1".into(), 1, 3));
    assert_eq!(run(ids(&[]), None, false), (String::new(), 5, 5));
    assert_eq!(run(ChangesFilter::Design, None, false), ("5".into(), 5, 4));
    let many: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
    assert_eq!(run(ChangesFilter::DocIds(many), None, false), ("1 2 3 4".into(), 5, 0));
    let filter = ChangesFilter::Documents(Arc::new(Contains("\"d3\"")));
    assert_eq!(run(filter, None, false), ("3".into(), 5, 0));
}

#[test]
fn with_all_leaves_asked_for_any_may_pass_the_filter() {
    let db = conflicted();
    let filter = || ChangesFilter::Documents(Arc::new(Contains(r#""v":"b""#)));
    let main = ChangesQuery { filter: filter(), ..ChangesQuery::default() };
    assert_eq!(changes(&db, &main).0.len(), 0);
    let all = ChangesQuery { style: Style::AllDocs, ..main };
    assert_eq!(changes(&db, &all).0.len(), 1);
}

#[test]
fn a_reader_sees_one_moment() {
    let db = database();
    put(&db, r#"{"_id":"a"}"#).unwrap();
    let reader = db.read().unwrap();
    put(&db, r#"{"_id":"b"}"#).unwrap();
    assert!(reader.get("b", &GetOptions::default()).is_err());
    assert_eq!(reader.seq(), 1);
    assert!(get(&db, "b").is_ok());
}

fn purge(db: &Database, id: &str, revs: &[&str]) -> Vec<String> {
    let revs = revs.iter().map(|text| rev(text)).collect();
    let mut purged = db.purge(vec![PurgeRequest { id: id.into(), revs }]).unwrap();
    assert_eq!(purged.len(), 1);
    purged.remove(0).revs.iter().map(ToString::to_string).collect()
}

#[test]
fn purging_takes_leaves_away_as_if_they_had_never_been() {
    let db = conflicted();
    let [b, c, d] = ["b", "c", "d"].map(|digit| long_rev(2, digit));
    assert_eq!(purge(&db, "x", &[&c]), [c.as_str()]);
    assert_eq!(db.info().unwrap().update_seq, 3, "one sequence for each leaf that stays");
    assert!(get(&db, "x").unwrap().contains(&b));
    assert_eq!(purge(&db, "x", &[&long_rev(1, "a")]), [""; 0], "no leaf");
    assert_eq!(db.info().unwrap().update_seq, 4);
    assert_eq!(purge(&db, "x", &[&b, &d]), [b.as_str(), &d]);
    assert_eq!(get(&db, "x"), Err("missing".into()));
    assert_eq!(changes(&db, &ChangesQuery::default()).0.len(), 0);
    let info = db.info().unwrap();
    assert_eq!((info.update_seq, info.purge_seq, info.doc_count), (5, 3, 0));
    assert_eq!((info.sizes.active, info.sizes.external), (0, 0));
    assert_eq!(purge(&db, "none", &["1-x"]), [""; 0]);
}

#[test]
fn purges_are_remembered_up_to_the_limit() {
    let db = database();
    db.set_purged_infos_limit(2).unwrap();
    assert!(db.set_purged_infos_limit(0).is_err());
    for n in 0..3 {
        purge(&db, &format!("d{n}"), &["1-x"]);
    }
    let infos = db.read().unwrap().purged_infos().unwrap();
    let remembered: Vec<_> = infos.iter().map(|info| info.id.as_str()).collect();
    assert_eq!(remembered, ["d1", "d2"]);
}

#[test]
fn security_is_kept_as_it_came() {
    let db = database();
    assert!(db.security().contains("_admin"));
    db.set_security(br#"{"admins": {"names": ["a"]}, "extra": {"x": 1}}"#).unwrap();
    assert_eq!(&*db.security(), r#"{"admins":{"names":["a"]},"extra":{"x":1}}"#);
    for bad in ["[]", "5", r#"{"admins":[]}"#, r#"{"admins":{"names":"x"}}"#, "{"] {
        assert!(db.set_security(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(db.security().contains("extra"));
}
