//! See `settee_fuzz_harness::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| settee_fuzz_harness::json(input));
