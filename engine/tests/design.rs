//! Functions of design documents at work: what may be written, and what is shown.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use settee_engine::{
    Caller, ChangesFilter, ChangesQuery, Database, Databases, Document, Error, Props, PurgeRequest,
    Rev, WriteMode,
    design::{FunctionFilter, ViewFilter},
    document::Limits,
};

fn database() -> Arc<Database> {
    Databases::in_memory().create("db", Props::default()).unwrap()
}

fn document(json: &str) -> Document {
    Document::parse(json.as_bytes(), None, &Limits::default()).unwrap()
}

fn put(database: &Arc<Database>, json: &str) -> Result<Rev, Error> {
    put_as(database, &Caller::admin(), json, WriteMode::Interactive)
}

fn put_as(
    database: &Arc<Database>,
    caller: &Caller,
    json: &str,
    mode: WriteMode,
) -> Result<Rev, Error> {
    database.write_as(caller, vec![document(json)], mode).unwrap().remove(0)
}

/// Stores a validation function.
fn validate(database: &Arc<Database>, name: &str, function: &str) -> Rev {
    let text =
        serde_json::json!({"_id": format!("_design/{name}"), "validate_doc_update": function});
    put(database, &text.to_string()).unwrap()
}

fn refusal(result: Result<Rev, Error>) -> String {
    match result.unwrap_err() {
        Error::Forbidden(reason) => format!("forbidden: {reason}"),
        Error::Unauthorized(reason) => format!("unauthorized: {reason}"),
        other => other.to_string(),
    }
}

/// A function that refuses everything and says what it was given.
const TELL: &str = "function(n, o, u, s) { throw({forbidden: toJSON([n, o, u, s, this._id])}) }";

#[test]
fn every_way_to_write_is_validated() {
    let database = database();
    let first = put(&database, r#"{"_id":"a","v":1}"#).unwrap();
    validate(&database, "g", "function(n){if(n.bad)throw({forbidden:'bad'})}");
    let results = database
        .write(
            vec![
                document(r#"{"_id":"b","bad":1}"#),
                document(r#"{"_id":"c"}"#),
                document(r#"{"_id":"d","bad":1}"#),
            ],
            WriteMode::Interactive,
        )
        .unwrap();
    let outcomes: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [false, true, false]);
    let replicated = put_as(
        &database,
        &Caller::admin(),
        r#"{"_id":"e","_rev":"3-cccccccccccccccccccccccccccccccc","bad":1}"#,
        WriteMode::Replicated,
    );
    assert_eq!(refusal(replicated), "forbidden: bad");
    let tombstone = format!(r#"{{"_id":"a","_rev":"{first}","_deleted":true,"bad":1}}"#);
    assert_eq!(refusal(put(&database, &tombstone)), "forbidden: bad");
    let attached = r#"{"_id":"f","bad":1,"_attachments":{"x":{"data":"eA=="}}}"#;
    assert_eq!(refusal(put(&database, attached)), "forbidden: bad");
    assert!(put(&database, r#"{"_id":"_local/x","bad":1}"#).is_ok());
    assert!(put(&database, r#"{"_id":"_design/x","bad":1}"#).is_ok());
    assert_eq!(database.info().unwrap().doc_count, 4);
}

#[test]
fn functions_are_told_everything() {
    let database = database();
    let first = put(&database, r#"{"_id":"a","v":1}"#).unwrap();
    let body = format!(
        r#"{{"_id":"a","_rev":"{first}","v":2,"_attachments":{{"x":{{"data":"eA==","content_type":"t/x"}}}}}}"#
    );
    let second = put(&database, &body).unwrap();
    database.set_security(br#"{"admins":{"names":["x"]}}"#).unwrap();
    validate(&database, "tell", TELL);
    let caller = Caller::new(Some("ann".into()), [Arc::from("editor")].into());
    let body = format!(
        r#"{{"_id":"a","_rev":"{second}","v":3,"_attachments":{{"x":{{"stub":true}},"y":{{"data":"enk="}}}}}}"#
    );
    let told = refusal(put_as(&database, &caller, &body, WriteMode::Interactive));
    let told = told.strip_prefix("forbidden: ").unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    let (new, old) = (&told[0], &told[1]);
    assert_eq!(new["_rev"], second.to_string());
    assert_eq!(new["_revisions"]["start"], 2);
    assert_eq!(new["_attachments"]["x"]["revpos"], 2);
    assert_eq!(new["_attachments"]["y"]["length"], 2);
    assert_eq!(new["_attachments"]["y"]["stub"], true);
    assert_eq!(old["v"], 2);
    assert_eq!(old["_revisions"]["ids"].as_array().unwrap().len(), 2);
    assert_eq!(told[2], serde_json::json!({"db": "db", "name": "ann", "roles": ["editor"]}));
    assert_eq!(told[3], serde_json::json!({"admins": {"names": ["x"]}}));
    assert_eq!(told[4], "_design/tell");
    let told = refusal(put(&database, r#"{"_id":"new"}"#));
    assert!(told.contains(r#"[{"_id":"new","_revisions":{"start":0,"ids":[]}},null,"#), "{told}");
}

#[test]
fn conflicts_come_before_validation() {
    let database = database();
    put(&database, r#"{"_id":"a"}"#).unwrap();
    validate(&database, "no", "function(){throw({forbidden:'no'})}");
    assert!(matches!(put(&database, r#"{"_id":"a","v":2}"#), Err(Error::Conflict)));
    assert_eq!(refusal(put(&database, r#"{"_id":"b"}"#)), "forbidden: no");
}

#[test]
fn what_functions_throw_decides() {
    let database = database();
    let function = "function(n){if(n.t===1)throw({unauthorized:'who'});if(n.t===2)throw({other:'x'});\
        if(n.t===3)throw('text');if(n.t===4)n.a.b;if(n.t===5)n.changed=1;return false}";
    validate(&database, "g", function);
    let write = |t: u8| put(&database, &format!(r#"{{"_id":"d{t}","t":{t}}}"#));
    assert_eq!(refusal(write(1)), "unauthorized: who");
    let id = |result: Result<Rev, Error>| match result.unwrap_err() {
        Error::JavaScript(error) => (error.id().to_owned(), error.to_string()),
        other => panic!("{other}"),
    };
    assert_eq!(id(write(2)), ("unknown_error".into(), "x".into()));
    assert_eq!(id(write(3)), ("unknown_error".into(), "text".into()));
    assert_eq!(id(write(4)).0, "TypeError");
    assert!(write(5).is_ok() && write(6).is_ok());
}

#[test]
fn a_change_of_functions_counts_at_once() {
    let database = database();
    assert!(put(&database, r#"{"_id":"a"}"#).is_ok());
    let first = validate(&database, "g", "function(){throw({forbidden:'first'})}");
    assert_eq!(refusal(put(&database, r#"{"_id":"b"}"#)), "forbidden: first");
    let other = format!(
        r#"{{"_id":"_design/g","_rev":"{first}","validate_doc_update":"function(){{throw({{forbidden:'second'}})}}"}}"#
    );
    let second = put(&database, &other).unwrap();
    assert_eq!(refusal(put(&database, r#"{"_id":"b"}"#)), "forbidden: second");
    put(&database, &format!(r#"{{"_id":"_design/g","_rev":"{second}","_deleted":true}}"#)).unwrap();
    assert!(put(&database, r#"{"_id":"b"}"#).is_ok());
    let third = validate(&database, "p", "function(){throw({forbidden:'third'})}");
    assert_eq!(refusal(put(&database, r#"{"_id":"c"}"#)), "forbidden: third");
    database.purge(vec![PurgeRequest { id: "_design/p".into(), revs: vec![third] }]).unwrap();
    assert!(put(&database, r#"{"_id":"c"}"#).is_ok());
}

#[test]
fn selectors_validate_too() {
    let database = database();
    let design = r#"{"_id":"_design/q","language":"query","validate_doc_update":
        {"$or":[{"newDoc.type":"post"},{"oldDoc.free":true}]}}"#;
    put(&database, design).unwrap();
    let first = put(&database, r#"{"_id":"a","type":"post","free":true}"#).unwrap();
    assert_eq!(refusal(put(&database, r#"{"_id":"b"}"#)), "forbidden: document is not valid");
    assert!(put(&database, &format!(r#"{{"_id":"a","_rev":"{first}"}}"#)).is_ok());
}

#[test]
fn functions_that_cannot_run_refuse_everything() {
    let database = database();
    validate(&database, "g", "function(");
    assert!(matches!(put(&database, r#"{"_id":"a"}"#), Err(Error::JavaScript(_))));
    let design = r#"{"_id":"_design/e","language":"erlang","validate_doc_update":"x"}"#;
    put(&database, design).unwrap();
    assert!(put(&database, r#"{"_id":"a"}"#).is_err());
}

#[test]
fn bad_design_documents_are_refused_each_for_itself() {
    let database = database();
    for mode in [WriteMode::Interactive, WriteMode::Replicated] {
        let rev = match mode {
            WriteMode::Interactive => "",
            WriteMode::Replicated => r#","_rev":"1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
        };
        let id = if rev.is_empty() { "a" } else { "b" };
        let docs = vec![
            document(&format!(r#"{{"_id":"_design/bad"{rev},"views":{{"x":{{"map":5}}}}}}"#)),
            document(&format!(r#"{{"_id":"{id}"{rev}}}"#)),
            document(&format!(r#"{{"_id":"_design/worse"{rev},"views":{{"x":{{"map":"5"}}}}}}"#)),
        ];
        let results = database.write(docs, mode).unwrap();
        assert!(matches!(results[0], Err(Error::InvalidDesignDoc(_))), "{results:?}");
        assert!(results[1].is_ok());
        assert!(matches!(results[2], Err(Error::JavaScript(_))), "{results:?}");
    }
    assert!(put(&database, r#"{"_id":"_design/bad","_deleted":true,"views":5}"#).is_ok());
}

fn passing(database: &Arc<Database>, filter: ChangesFilter) -> Result<Vec<u64>, Error> {
    let query = ChangesQuery { filter, ..ChangesQuery::default() };
    let mut seqs = Vec::new();
    database.read()?.changes(&query, &mut |row: settee_engine::ChangeRow<'_>| {
        seqs.push(row.seq);
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(seqs)
}

#[test]
fn filters_see_document_and_request() {
    let database = database();
    let design = r#"{"_id":"_design/f","filters":{"even":"function(d,r){return d.v%2==r.query.rest}",
        "broken":"function(d){return d.a.b}"},"views":{"v":{"map":"function(d){if(d.v>1)emit(d.v)}"}}}"#;
    put(&database, design).unwrap();
    for v in 0..4 {
        put(&database, &format!(r#"{{"_id":"{v}","v":{v}}}"#)).unwrap();
    }
    let design = database.design("_design/f").unwrap();
    let function = |name: &str| {
        let req = br#"{"query":{"rest":"1"}}"#.to_vec();
        Ok::<_, Error>(ChangesFilter::Documents(FunctionFilter::new(&design, name, req)?))
    };
    assert_eq!(passing(&database, function("even").unwrap()).unwrap(), [3, 5]);
    assert!(passing(&database, function("broken").unwrap()).is_err());
    let missing = function("nosuch").unwrap_err();
    assert_eq!(missing.to_string(), "missing json key: nosuch");
    let view = ViewFilter::new(&design, "v").unwrap();
    assert_eq!(passing(&database, ChangesFilter::Documents(view)).unwrap(), [4, 5]);
}

#[test]
fn shows_updates_and_rewrites_answer() {
    let database = database();
    let design = r#"{"_id":"_design/d","name":"mine",
        "shows":{"s":"function(d,r){return {code:201,body:this.name+(d?d._id:r.id)}}",
            "p":"function(d,r){provides('json',function(){return {json:{a:1}}});provides('html',function(){return '<p>'})}",
            "w":"function(){start({code:202,headers:{A:'b'}});send('x');return 'y'}",
            "t":"function(){throw {error:'teapot',reason:'short'}}",
            "e":"function(){nosuch()}"},
        "updates":{"u":"function(d,r){return [{_id:r.uuid,v:1},'ok']}","n":"function(){}"},
        "rewrites":"function(r){return r.query.no?null:'../'+r.id}"}"#;
    put(&database, design).unwrap();
    let design = database.design("_design/d").unwrap();
    let show = |name: &str, req: &str| {
        let response = design.show(name, None, req.as_bytes());
        response.map(|value| String::from_utf8(value.to_json()).unwrap())
    };
    assert_eq!(show("s", r#"{"id":"i"}"#).unwrap(), r#"{"code":201,"body":"minei"}"#);
    let accepts = |accept: &str| {
        show("p", &format!(r#"{{"headers":{{"Accept":"{accept}"}},"query":{{}},"path":[]}}"#))
    };
    let json = accepts("application/json;q=0.9, text/plain").unwrap();
    assert_eq!(json, r#"{"json":{"a":1},"headers":{"Content-Type":"application/json"}}"#);
    assert!(accepts("text/html").unwrap().contains("text/html"));
    assert!(accepts("image/png").unwrap_err().to_string().contains("not supported, try one of: "));
    assert_eq!(show("w", "{}").unwrap(), r#"{"code":202,"headers":{"A":"b"},"body":"xy"}"#);
    let id = |name: &str| match show(name, "{}").unwrap_err() {
        Error::JavaScript(error) => error.id().to_owned(),
        other => panic!("{other}"),
    };
    assert_eq!((id("t"), id("e")), ("teapot".into(), "render_error".into()));
    let update = design.update("u", None, br#"{"uuid":"x"}"#).unwrap();
    assert_eq!(update.doc.as_deref(), Some(br#"{"_id":"x","v":1}"#.as_slice()));
    assert!(design.update("n", None, b"{}").is_err());
    let rewritten = |req: &str| design.rewrite(req.as_bytes()).unwrap();
    assert_eq!(rewritten(r#"{"id":"a","query":{}}"#).unwrap().to_json(), br#"{"path":"../a"}"#);
    assert_eq!(rewritten(r#"{"id":"a","query":{"no":1}}"#), None);
}
