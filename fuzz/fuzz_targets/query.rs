//! Query strings.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_server::http::Query;

fuzz_target!(|input: &str| {
    if let Ok(query) = Query::parse(input) {
        assert!(query.iter().count() <= input.len() + 1);
    }
});
