//! See `settee_fuzz_harness::merges`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| settee_fuzz_harness::merges(input));
