//! Regular expressions of `$regex`.
//!
//! CouchDB uses PCRE on bytes, without Unicode. Most patterns run on an engine of linear time with the
//! same meaning; those that need looking around or back-references go to one that backtracks, with a
//! bound on its steps. Known differences: `$` does not match before a newline at the end, and patterns
//! of the second kind see characters, not bytes.

use std::{fmt, sync::Arc};

/// Most steps of a backtracking search before it counts as not found.
const MAX_BACKTRACKS: usize = 1_000_000;
/// Largest compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A regular expression.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    engine: Arc<Engine>,
}

enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles a pattern; `None` if it is not one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let linear = regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_COMPILED_BYTES)
            .build();
        let engine = match linear {
            Ok(regex) => Engine::Linear(regex),
            Err(_) => {
                let regex = fancy_regex::RegexBuilder::new(text)
                    .backtrack_limit(MAX_BACKTRACKS)
                    .delegate_size_limit(MAX_COMPILED_BYTES)
                    .build();
                Engine::Backtracking(Box::new(regex.ok()?))
            }
        };
        Some(Pattern { text: text.to_owned(), engine: Arc::new(engine) })
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the pattern is found anywhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &*self.engine {
            Engine::Linear(regex) => regex.is_match(text.as_bytes()),
            Engine::Backtracking(regex) => regex.is_match(text).unwrap_or(false),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], not_matching: &[&str]) {
        let pattern = Pattern::new(pattern).unwrap();
        for text in matching {
            assert!(pattern.is_match(text), "{pattern:?} {text}");
        }
        for text in not_matching {
            assert!(!pattern.is_match(text), "{pattern:?} {text}");
        }
    }

    #[test]
    fn patterns_are_found_anywhere() {
        check("b.d", &["abcde", "bxd"], &["bd", "B-D"]);
        check("^(?i)ab$", &["ab", "AB"], &["cab", "abc"]);
        check("é", &["café"], &["cafe"]);
        check(r"^\w+$", &["abc_1"], &["é", "a b"]);
        check("", &["", "x"], &[]);
    }

    #[test]
    fn patterns_that_look_around() {
        check("^(?!foo)", &["bar"], &["foobar"]);
        check(r"(a|b)\1", &["xaay"], &["abab"]);
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["(", "[", "a**b(", "(?<n", r"\"] {
            assert!(Pattern::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_for_ever_is_given_up() {
        let pattern = Pattern::new(r"^(?=(a+)+$)(\1)*b").unwrap();
        assert!(!pattern.is_match(&"a".repeat(40)));
    }
}
