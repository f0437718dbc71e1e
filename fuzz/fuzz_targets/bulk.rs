//! The body of `_bulk_docs`.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_engine::document::{Limits, parse_bulk};

fuzz_target!(|input: &[u8]| {
    let _ = parse_bulk(input, &Limits::default());
});
