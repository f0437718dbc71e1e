//! The stored form of a revision tree: what decodes answers every question.
#![no_main]
use libfuzzer_sys::fuzz_target;
use settee_engine::RevTree;

fuzz_target!(|input: &[u8]| {
    if let Ok(tree) = RevTree::decode(input) {
        let _ = (tree.winner(), tree.leaves(), tree.conflicts(), tree.len());
    }
});
