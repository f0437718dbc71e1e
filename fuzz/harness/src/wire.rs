//! What stands in requests beside their bodies, and in configuration files.

use settee_server::{config::ini, http::Query, http::fuzzing};

/// Query strings.
pub fn query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(query) = Query::parse(text) {
        assert!(query.iter().count() <= input.len() + 1);
    }
}

/// Headers and paths: every parser of one sees the whole input.
pub fn headers(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        fuzzing::headers(text);
    }
}

/// A byte that says in which pieces the rest comes, and a multipart body of the boundary `b`. Its parts
/// are the same whatever the pieces.
pub fn multipart(input: &[u8]) {
    let Some((piece, body)) = input.split_first() else { return };
    let whole = fuzzing::multipart(body, body.len().max(1));
    let pieces = fuzzing::multipart(body, usize::from(*piece) % 16 + 1);
    assert_eq!(whole, pieces, "the parts depend on how they arrive");
}

/// Configuration files: what is set is read back, and nothing else changes.
pub fn ini(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let before: Vec<_> = pairs(text);
    let changed = ini::with(text, "couchdb", "set_by_fuzzer", Some("yes"));
    let after = pairs(&changed);
    let ours = ("couchdb".to_owned(), "set_by_fuzzer".to_owned());
    let last = after.iter().rev().find(|(section, key, _)| (section, key) == (&ours.0, &ours.1));
    assert_eq!(last.map(|(_, _, value)| value.as_str()), Some("yes"), "{changed:?}");
    let others = |pairs: &[(String, String, String)]| {
        let other =
            |(section, key, _): &&(String, String, String)| (section, key) != (&ours.0, &ours.1);
        pairs.iter().filter(other).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&before), others(&after), "{text:?} became {changed:?}");
}

fn pairs(text: &str) -> Vec<(String, String, String)> {
    let owned =
        |pair: ini::Pair<'_>| (pair.section.to_owned(), pair.key.to_owned(), pair.value.to_owned());
    ini::pairs(text).map(owned).collect()
}
