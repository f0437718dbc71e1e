//! What minifies reads, and what was minified minifies to itself.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_engine::json::{Value, minify};

fuzz_target!(|input: &[u8]| {
    let minified = minify(input);
    assert_eq!(minified.is_ok(), Value::parse(input).is_ok(), "the two readers disagree");
    if let Ok(text) = minified {
        assert_eq!(minify(&text).expect("minified JSON is JSON"), text);
    }
});
