//! A selector, a zero byte, and a document to hold against it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_engine::{find::Selector, json::{Value, minify}};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(selector), Some(document)) = (parts.next(), parts.next()) else { return };
    let Ok(selector) = Value::parse(selector) else { return };
    let Ok(document) = minify(document) else { return };
    if let Ok(selector) = Selector::parse(&selector) {
        let _ = selector.matches(&document);
    }
});
