//! A document as a client sends it is taken or refused, never worse.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_engine::{Document, document::Limits};

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    if let Ok(document) = Document::parse(input, Some("id"), &limits) {
        assert_eq!(document.id, "id");
    }
});
