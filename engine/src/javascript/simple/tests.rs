//! Programs against the interpreter.

use proptest::prelude::*;

use super::parse;
use crate::{
    javascript::{FunctionSource, JsError, JsSettings, Mapper},
    json::minify,
};

/// What a mapper makes of a document: its rows, or that it failed.
fn rows(mapper: &mut Mapper, doc: &[u8]) -> Result<Vec<(String, String)>, JsError> {
    let mut rows = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    mapper.map(doc, &mut |_, key, value| rows.push((text(key), text(value))))?;
    Ok(rows)
}

fn mapper(text: &str, shortcuts: bool) -> Mapper {
    let settings =
        JsSettings { projects: shortcuts, simple_maps: shortcuts, ..JsSettings::default() };
    Mapper::new(&settings, None, &[FunctionSource { name: "map", text }]).unwrap()
}

fn same_rows(text: &str, docs: &[&str]) {
    let (mut short, mut plain) = (mapper(text, true), mapper(text, false));
    for doc in docs {
        let doc = minify(doc.as_bytes()).unwrap();
        let (got, expected) = (rows(&mut short, &doc), rows(&mut plain, &doc));
        assert_eq!(got, expected, "{text} over {}", String::from_utf8_lossy(&doc));
    }
}

const DOCUMENTS: [&str; 8] = [
    r#"{"_id":"a","_rev":"1-x","a":1,"b":"x","t":["p","q"],"o":{"n":2.50,"s":"é"},"n":null}"#,
    r#"{"_id":"b","a":0,"b":"","t":[],"o":{},"x":[[1.0,2],{"z":1e300}]}"#,
    r#"{"_id":"c","a":-1.5,"b":"\"\\\n","t":"text","o":[1],"n":false}"#,
    r#"{"_id":"d","a":"1","b":1,"t":[{"k":1},{"k":2.0}],"o":{"n":12345678901234567890}}"#,
    r#"{"_id":"e","a":true,"b":null,"o":{"2":1,"1":2,"n":1e21}}"#,
    r#"{"_id":"f","a":9007199254740993,"b":"𝄞z","t":[1,2,3],"o":{"n":0.1}}"#,
    r#"{"_id":"g"}"#,
    r#"{"_id":"h","a":2147483648,"b":"true","t":[null,true,"",0],"o":{"toJSON":1,"n":-0.0}}"#,
];

/// Functions that share members, some of them no programs.
#[test]
fn several_programs_do_what_the_interpreter_does() {
    let texts = [
        "function(d){emit(d.a, d.b)}",
        "function(d){emit(String(d.b), d.t)}",
        "function(d){if(d.o)emit(d.o.n, d.a)}",
        "function(d){emit(1)}",
        "function(d){emit(d, d.x)}",
    ];
    let all: Vec<_> = texts.iter().map(|text| FunctionSource { name: "map", text }).collect();
    let rows = |shortcuts: bool, doc: &[u8]| {
        let settings =
            JsSettings { projects: shortcuts, simple_maps: shortcuts, ..JsSettings::default() };
        let mut rows = Vec::new();
        let mut mapper = Mapper::new(&settings, None, &all).unwrap();
        mapper
            .map(doc, &mut |at, key, value| rows.push((at, key.to_vec(), value.to_vec())))
            .unwrap();
        rows.sort_by_key(|(at, ..)| *at);
        rows
    };
    for doc in DOCUMENTS {
        let doc = minify(doc.as_bytes()).unwrap();
        assert_eq!(rows(true, &doc), rows(false, &doc), "{}", String::from_utf8_lossy(&doc));
    }
}

#[test]
fn programs_do_what_the_interpreter_does() {
    for text in [
        "function(doc){emit(doc._id,null)}",
        "function (doc) { if (doc.a && doc.b === 'x') { emit([doc.a, doc.b], doc) } };",
        "function(d){if(typeof d.a === 'number' && d.a > 0) emit(d.a * 2, {k: d.b, u: d.z}); else emit(-1)}",
        "function(d){if(d.t)for(var i=0;i<d.t.length;i++){if(!d.t[i])continue;emit(d.t[i],i)}}",
        "function(d){if(Array.isArray(d.t)) d.t.forEach(function(t, i){ if(t===2) return; emit(t, [i, d._id]) })}",
        "function(d){var o=d.o;if(o&&o.n!==undefined){var s=o.n+1;emit(s,o)}}",
        "d => emit(d.b + ':' + d.a, d.a ? 'yes' : 'no')",
        "(function(d){emit(d.b < 'm', d.a == null);emit(d.a % 2, d.a / 3)})",
        "function(d){var n=0;for(var i=0;i<3;i++){n+=i;if(n>2)break}emit(n)}",
        "function(d){emit(d.o.n, d.o.s)}",
        "function(d){emit(d.b.length, d.t.length)}",
        "function(d){emit(!d.a, d.n === null)}",
        "function(d){let x=d.a;{let y=x;emit(y)}const z=1;emit(z,[undefined,NaN,{a:undefined}])}",
        "function(d){d.a && emit(d.a); d.zz || emit('none')}",
        "function(d){emit(d.x, d.x === d.x)}",
        "function(d){emit(-d.a, d.a - 0)}",
    ] {
        assert!(parse(text).is_some(), "not simple: {text}");
        same_rows(text, &DOCUMENTS);
    }
}

#[test]
fn what_is_outside_the_part_of_the_language_is_left_alone() {
    for text in [
        "function(d){emit(d.a.toLowerCase())}",
        "function(d){for(var k in d)emit(k)}",
        "function(d){x=1;emit(x)}",
        "function(d){d.a=1}",
        "function(d){emit(d.constructor)}",
        "function(d){{let x=1}emit(x)}",
        "function(d){const c=1;c=2;emit(c)}",
        "function(d){if(d.a){var x;emit(x)}if(d.b){var x;emit(x)}}",
        "function(d){return\nemit(1)}",
        "function(d){emit(1)\n(2)}",
        "function(d){emit(010)}",
        "function(d){emit({1:1,0:0})}",
        "function(emit){emit(1)}",
        "function(d,e){emit(1)}",
        "function(d){emit('\\x41')}",
        "function(d){emit(1,2,3)}",
        "function(d){var emit=1}",
        "function(d){emit(/x/.test(d.a))}",
        "5",
        "",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(parse(&format!("function(d){{emit({}1)}}", "1+".repeat(600))), None);
    let deep = format!("function(d){{emit({}1{})}}", "(".repeat(100), ")".repeat(100));
    assert_eq!(parse(&deep), None);
}

/// Random values of documents, as JSON text.
fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        any::<i64>().prop_map(|int| int.to_string()),
        (-5i64..5).prop_map(|int| int.to_string()),
        any::<f64>()
            .prop_filter("finite", |float| float.is_finite())
            .prop_map(|float| format!("{float:e}")),
        "[a-c0-2éﬀ𝄞]{0,3}".prop_map(|text| format!("\"{text}\"")),
        Just("\"\\n\\\"\\u0001\"".to_owned()),
    ];
    scalar.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-c0-2]{1,2}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["a", "b", "t", "o"]);
    prop::collection::vec((names, value()), 0..5).prop_map(|members| {
        let members: String =
            members.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        format!("{{\"_id\":\"x\"{members}}}")
    })
}

/// Random expressions over a document `d` and a variable `v`.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "d.a",
        "d.b",
        "d['t']",
        "d.o",
        "d.missing",
        "v",
        "1",
        "0",
        "2.5",
        "'a'",
        "''",
        "true",
        "null",
        "undefined",
        "NaN",
        "d",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operator = prop::sample::select(vec![
            "===", "!==", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&&", "||",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}{operator} {right})")),
            inner.clone().prop_map(|inner| format!("!{inner}")),
            inner.clone().prop_map(|inner| format!("typeof {inner}")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            inner.clone().prop_map(|inner| format!("({inner}).length")),
            inner.clone().prop_map(|inner| format!("({inner}).a")),
            inner.clone().prop_map(|inner| format!("isArray({inner})")),
            (inner.clone(), inner.clone()).prop_map(|(of, at)| format!("({of})[{at}]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}?{b}:{c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a},{b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({{x:{a},y:{b}}})")),
        ]
    })
}

/// Random functions.
fn function() -> impl Strategy<Value = String> {
    (expression(), expression(), expression(), 0..5).prop_map(|(a, b, c, form)| match form {
        0 => format!("function(d){{var v={a};emit({b},{c})}}"),
        1 => format!("function(d){{var v=1;if({a})emit({b});else emit({c},v)}}"),
        2 => format!("function(d){{for(var v=0;v<3;v++){{if({a})continue;emit({b},{c})}}}}"),
        3 => {
            format!("d=>{{let v=d.t;if(isArray(v))v.forEach((w,i)=>{{emit(w,{a});emit(i,{b})}})}}")
        }
        _ => format!("function(d){{var v=d.a;v+={b};emit(v,{c})}}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_functions_give_the_rows_of_the_interpreter(
        text in function(),
        docs in prop::collection::vec(document(), 1..4),
    ) {
        let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
        same_rows(&text, &docs);
    }

    #[test]
    fn any_text_is_a_program_or_none(
        text in r"(function\(d\)\{)?[a-d.=+(){}\[\];, 0-9'\n]{0,40}\}?",
    ) {
        let _ = parse(&text);
    }
}
