//! What CouchDB's functions may rely on, and what they cannot do.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    FunctionSource, JsError, JsSettings, Mapper, Reducer, check_function, reducer::ReduceRow,
};

fn function(text: &str) -> FunctionSource<'_> {
    FunctionSource { name: "map function of view 'v'", text }
}

/// The rows that functions emit for a document: function, key, value.
fn map_with(
    settings: &JsSettings,
    lib: Option<&str>,
    maps: &[&str],
    doc: &str,
) -> Result<Vec<String>, JsError> {
    let maps: Vec<_> = maps.iter().map(|text| function(text)).collect();
    let mut mapper = Mapper::new(settings, lib.map(str::as_bytes), &maps)?;
    let mut rows = Vec::new();
    mapper.map(doc.as_bytes(), &mut |function, key, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        rows.push(format!("{function} {}:{}", text(key), text(value)));
    })?;
    Ok(rows)
}

fn map(text: &str, doc: &str) -> Vec<String> {
    map_with(&JsSettings::default(), None, &[text], doc).unwrap()
}

/// Settings that keep what is logged.
fn logging() -> (JsSettings, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let log = Arc::new(move |line: &str| sink.lock().push(line.to_owned()));
    (JsSettings { log, ..JsSettings::default() }, lines)
}

#[test]
fn functions_are_taken_in_every_form_couchdb_takes() {
    for text in [
        "function(doc){emit(doc._id)}",
        "function (doc) { emit(doc._id) };",
        "  // first\nfunction(doc){emit(doc._id)} // last",
        "function named(doc){emit(doc._id)}",
        "function named(doc){emit(doc._id)};;\n",
        "(function(doc){emit(doc._id)})",
        "(doc) => { emit(doc._id) }",
        "doc => emit(doc._id);",
        "function id(d){return d._id}\nfunction(doc){emit(id(doc))}",
        "var x = 1; function(doc){ if (x) emit(doc._id) }",
        "function(doc){var html = '</a>'; var re = /[/'\"]/; emit(doc._id)}",
    ] {
        assert_eq!(map(text, r#"{"_id":"a"}"#), ["0 \"a\":null"], "{text}");
    }
}

#[test]
fn what_is_no_function_is_refused_as_couchdb_does() {
    let refusal = |text| check_function(&JsSettings::default(), function(text)).unwrap_err();
    assert_eq!(
        refusal("function(d){emit(d._id").to_string(),
        "(new Error(\"Line 1: Unexpected end of input\", \"./share/server/main.js\", 1)) (function(d){emit(d._id)"
    );
    assert_eq!(refusal("5").to_string(), "Expression does not eval to a function. (5)");
    assert_eq!(refusal(""), JsError::Missing);
    assert!(
        refusal("function(d){\n\n emit(1 2) }").to_string().contains("Line 3: Unexpected number")
    );
    assert!(refusal("nosuch").to_string().starts_with("ReferenceError"));
    assert_eq!(refusal("a\0b").id(), "compilation_error");
    let endless = check_function(&tight(), function("while(true){}")).unwrap_err();
    assert!(matches!(endless, JsError::TimedOut { .. }), "{endless}");
}

#[test]
fn values_become_the_json_that_couchdb_makes_of_them() {
    let emits = |values: &str| {
        let text = format!("function(d){{[{values}].forEach(function(v){{emit(v,0)}})}}");
        map(&text, r#"{"_id":"a","big":12345678901234567890,"f":1.50}"#)
            .iter()
            .map(|row| row[2..row.len() - 2].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        emits("undefined,null,NaN,1/0,-0,true,function(){},Symbol()"),
        ["null", "null", "null", "null", "0", "true", "null", "null"]
    );
    assert_eq!(
        emits("1e15,1e21,1e300,1e-7,0.1,2147483648,9007199254740993,d.big,d.f"),
        [
            "1000000000000000",
            "1e+21",
            "1e+300",
            "1e-7",
            "0.1",
            "2147483648",
            "9007199254740992",
            "12345678901234567000",
            "1.5"
        ]
    );
    assert_eq!(
        emits(
            "'\\ud800x','é\\n',['\\udc00'],{a:undefined,b:[undefined],c:NaN,d:1e21,'\\ud800':'\\\\ud800'}"
        ),
        [
            "\"\u{fffd}x\"",
            "\"é\\n\"",
            "[\"\u{fffd}\"]",
            "{\"b\":[null],\"c\":null,\"d\":1e+21,\"\u{fffd}\":\"\\\\ud800\"}"
        ]
    );
    assert_eq!(
        emits("new Date(0),{toJSON:function(){return 7}},new TypeError('no'),[,1]"),
        [
            "\"1970-01-01T00:00:00.000Z\"",
            "7",
            "{\"error\":\"TypeError\",\"message\":\"no\"}",
            "[null,1]"
        ]
    );
}

#[test]
fn an_emitted_value_counts_as_it_is_when_the_function_ends() {
    assert_eq!(map("function(d){var k=[1];emit(k);k.push(2)}", "{}"), ["0 [1,2]:null"]);
}

#[test]
fn a_function_that_throws_emits_nothing_and_is_logged() {
    let (settings, lines) = logging();
    let maps = [
        "function(d){emit(1);throw 'up'}",
        "function(d){emit(2)}",
        "function(d){emit(d.x.y)}",
        "function(d){var c={};c.c=c;emit(c)}",
        "function(d){emit({get a(){throw 1}})}",
        "function(d){emit(1n)}",
    ];
    let rows = map_with(&settings, None, &maps, r#"{"_id":"a"}"#).unwrap();
    assert_eq!(rows, ["1 2:null"]);
    let lines = lines.lock();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(
        lines[0],
        "map function of view 'v': function raised exception (up) with doc._id \"a\""
    );
    assert!(lines[1].contains("TypeError"), "{lines:?}");
    assert!(lines[2].contains("circular"), "{lines:?}");
}

#[test]
fn rows_of_one_document_do_not_show_up_with_the_next() {
    let mut mapper = Mapper::new(
        &JsSettings::default(),
        None,
        &[function("function(d){emit(d._id);if(d.bad)throw 1;emit(d._id)}")],
    )
    .unwrap();
    let mut rows = Vec::new();
    for doc in [r#"{"_id":"a"}"#, r#"{"_id":"b","bad":1}"#, r#"{"_id":"c"}"#] {
        mapper.map(doc.as_bytes(), &mut |_, key, _| rows.push(key.to_vec())).unwrap();
    }
    assert_eq!(rows, [b"\"a\"", b"\"a\"", b"\"c\"", b"\"c\""]);
}

#[test]
fn fatal_errors_end_the_request() {
    let error = |text| map_with(&JsSettings::default(), None, &[text], "{}").unwrap_err();
    assert_eq!(
        error("function(d){throw 'fatal_error'}"),
        JsError::Thrown {
            error: "map_runtime_error".into(),
            reason: "function raised 'fatal_error'".into()
        }
    );
    assert_eq!(
        error("function(d){throw ['fatal','mine','because']}"),
        JsError::Thrown { error: "mine".into(), reason: "because".into() }
    );
}

#[test]
fn the_environment_is_couchdbs() {
    let (settings, lines) = logging();
    let rows = map_with(&settings, None, &["function(d){log('x');log({a:1});emit(sum([1,2,3]),toJSON({a:[isArray(d.l),isArray(d)]}))}"], r#"{"l":[]}"#).unwrap();
    assert_eq!(rows, [r#"0 6:"{\"a\":[true,false]}""#]);
    assert_eq!(*lines.lock(), ["x", r#"{"a":1}"#]);
}

#[test]
fn modules_are_found_and_kept() {
    let lib = r#"{"a":"exports.v='a'+require('./b').v","b":"exports.v='b';exports.id=module.id",
        "sub":{"c":"module.exports=function(x){return require('../a').v+x}"},
        "x":"exports.early=true;exports.y=require('./y').seen","y":"exports.seen=require('./x').early",
        "broken":"nosuch()","counter":"var n=0;exports.next=function(){return ++n}"}"#;
    let rows = |text: &str| map_with(&JsSettings::default(), Some(lib), &[text], "{}").unwrap();
    assert_eq!(
        rows("function(d){emit(require('views/lib/a').v,require('views/lib/sub/c')('!'))}"),
        ["0 \"ab\":\"ab!\""]
    );
    assert_eq!(
        rows("function(d){emit(require('views/lib/x').y,require('views/lib/b').id)}"),
        ["0 true:\"views/lib/b\""]
    );
    assert_eq!(
        rows(
            "function(d){require('views/lib/counter').next();emit(require('views/lib/counter').next())}"
        ),
        ["0 2:null"]
    );
    for wrong in ["lib/a", "views/lib/nosuch", "views/lib", "../x", "views/lib/broken"] {
        let text = format!("function(d){{try{{require('{wrong}')}}catch(e){{emit(e[1])}}}}");
        let error =
            if wrong.ends_with("broken") { "compilation_error" } else { "invalid_require_path" };
        assert_eq!(rows(&text), [format!("0 \"{error}\":null")], "{wrong}");
    }
}

#[test]
fn documents_cannot_be_changed() {
    assert_eq!(
        map(
            "function(d){d.a=2;d.l[0]=9;delete d.a;d.new=1;emit([d.a,d.l,d.new])}",
            r#"{"a":1,"l":[1]}"#
        ),
        ["0 [1,[1],null]:null"]
    );
    let rows = map_with(
        &JsSettings::default(),
        None,
        &["function(d){d.l.push(1);emit(1)}", "function(d){emit(d.l)}"],
        r#"{"l":[]}"#,
    )
    .unwrap();
    assert_eq!(rows, ["1 []:null"]);
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(map("function(d){d.x=1;emit(1)}", &format!("{{\"a\":{deep}}}")).len(), 1);
}

#[test]
fn one_function_cannot_reach_another() {
    let spoil = "function(d){\
        Object.prototype.x=1;Array.prototype.y=1;globalThis.z=1;emit.t=1;\
        d.__proto__.x=1;d.l.__proto__.y=1;try{d.constructor.prototype.x=1;d.constructor.keys=null}catch(e){}\
        try{d.l.map.constructor('return globalThis.host')().rows.length=0;emit('reached')}catch(e){}\
        try{Function.prototype.call=null;JSON.stringify=null;JSON.parse=null;String.prototype.toWellFormed=null}catch(e){}\
        emit('done')}";
    let look = "function(d){emit([({}).x,[].y,typeof z,emit.t,d.x,d.l.y,toJSON(1),'\\ud800'])}";
    let rows = map_with(&JsSettings::default(), None, &[spoil, look, look], r#"{"l":[]}"#).unwrap();
    let clean = "[null,null,\"undefined\",null,null,null,\"1\",\"\u{fffd}\"]:null";
    assert_eq!(rows, ["0 \"done\":null".to_owned(), format!("1 {clean}"), format!("2 {clean}")]);
}

#[test]
fn there_is_nothing_outside() {
    for name in [
        "process",
        "fetch",
        "XMLHttpRequest",
        "std",
        "os",
        "setTimeout",
        "WebAssembly",
        "Atomics",
        "SharedArrayBuffer",
        "print",
        "console",
        "performance",
        "host",
    ] {
        assert_eq!(
            map(&format!("function(d){{emit(typeof {name})}}"), "{}"),
            ["0 \"undefined\":null"],
            "{name}"
        );
    }
    assert_eq!(map("function(d){import('os').then(null,null);emit(1)}", "{}").len(), 1);
}

#[test]
fn reductions() {
    let reducer = |text| {
        Reducer::new(
            &JsSettings::default(),
            FunctionSource { name: "reduce function of view 'v'", text },
        )
        .unwrap()
    };
    let row = |id, value| ReduceRow { key: b"[1]", id, value };
    let mut first = reducer(
        "function(k,v,r){return r?{n:sum(v.map(function(x){return x.n}))}:{n:v.length,k:k}}",
    );
    assert_eq!(first.reduce([row("a\"", b"1")]).unwrap(), br#"{"n":1,"k":[[[1],"a\""]]}"#);
    assert_eq!(first.rereduce([b"{\"n\":1}".as_slice(), b"{\"n\":4}"]).unwrap(), br#"{"n":5}"#);
    assert_eq!(first.reduce([]).unwrap(), br#"{"n":0,"k":[]}"#);
    assert_eq!(reducer("function(k,v){throw 'x'}").reduce([row("a", b"1")]).unwrap(), b"null");
    assert_eq!(reducer("function(k,v){}").reduce([row("a", b"1")]).unwrap(), b"null");
    assert_eq!(
        reducer("function(k,v){throw 'fatal_error'}").reduce([]).unwrap_err().id(),
        "map_runtime_error"
    );
}

#[test]
fn other_languages_are_refused() {
    assert_eq!(JsError::check_language("javascript"), Ok(()));
    let error = JsError::check_language("erlang").unwrap_err();
    assert_eq!((error.id(), error.to_string().as_str()), ("unknown_query_language", "erlang"));
}

/// A limit is passed in a moment where tests are concerned.
fn tight() -> JsSettings {
    JsSettings {
        timeout: Duration::from_millis(200),
        memory_bytes: 16 * 1024 * 1024,
        ..JsSettings::default()
    }
}

#[test]
fn hostile_functions_come_to_an_end() {
    let patient = JsSettings { timeout: Duration::from_secs(60), ..tight() };
    let end = |text: &str| map_with(&tight(), None, &[text], r#"{"_id":"a"}"#);
    for endless in [
        "function(d){for(;;);}",
        "function(d){for(;;)try{for(;;);}catch(e){}}",
        "function(d){/^(a+)+$/.test('a'.repeat(40)+'!')}",
        "function(d){var a=[];a.length=4294967295;a.indexOf(1)}",
        "function(d){[].includes.call({length:9007199254740991},1)}",
        "function(d){emit({toJSON:function(){for(;;);}})}",
        "function(d){for(;;)'a'.repeat(40000).indexOf('a'.repeat(20000)+'b')}",
    ] {
        assert!(
            matches!(end(endless), Err(JsError::TimedOut { function, .. }) if function.contains("'v'")),
            "{endless}"
        );
    }
    for greedy in [
        "function(d){var a=[];for(;;)a.push(new Array(1000).join('x')+a.length)}",
        "function(d){var s='x';for(;;)s+=s+'y'}",
        "function(d){for(;;)emit(1,2)}",
        "function(d){new Uint8Array(1e9)}",
    ] {
        let result = map_with(&patient, None, &[greedy], "{}");
        assert!(
            matches!(result, Err(JsError::OutOfMemory { .. })) || result == Ok(vec![]),
            "{greedy}: {result:?}"
        );
    }
    let doubling = "function(d){var x=[1];for(var i=0;i<40;i++){x=[x,x]}emit(x)}";
    assert!(end(doubling).is_err(), "its text is longer than there is memory");
    assert_eq!(end("function(d){(function f(){f()})()}"), Ok(vec![]));
    assert_eq!(end("function(d){var x=[];for(var i=0;i<2000;i++)x=[x];emit(x)}"), Ok(vec![]));
}

#[test]
fn searches_that_cannot_be_interrupted_are_refused() {
    let pattern = "'a'.repeat(1e6)+'b'";
    for search in [
        format!("t.indexOf({pattern})"),
        format!("t.split({pattern})"),
        format!("t.replaceAll({{toString:function(){{return {pattern}}}}},'')"),
        format!("d.valueOf.call(t).lastIndexOf({pattern})"),
    ] {
        let text =
            format!("function(d){{var t='a'.repeat(2e6);try{{{search}}}catch(e){{emit(e.name)}}}}");
        assert_eq!(map(&text, "{}"), ["0 \"RangeError\":null"], "{search}");
    }
    let usual = "function(d){emit(['a,b'.split(','),'abc'.indexOf('c'),'aXb'.replace(/x/i,'-'),\
        'a-b-c'.replaceAll('-','+'),'abc'.includes('bc'),'x'.split(),'aa'.lastIndexOf('a',0),\
        'ab'.replace('b',function(m){return m+m})])}";
    let expected = r#"0 [["a","b"],2,"a-b","a+b+c",true,["x"],0,"abb"]:null"#;
    assert_eq!(map(usual, "{}"), [expected]);
}

#[test]
fn ten_megabytes_of_rows_are_emitted() {
    let text = "function(d){var s='x'.repeat(1024);for(var i=0;i<10240;i++)emit(i,s)}";
    assert_eq!(map(text, "{}").len(), 10_240);
}
