//! Which members of a document a function can look at, as far as its text says.

use super::lexer::{Kind, Token, tokens};
use crate::json::raw;

/// Names by which a function gets at its argument, or at more of the language than its text shows.
const REVEALING: [&str; 4] = ["arguments", "eval", "Function", "with"];

/// The names of the members that a function of one parameter looks at; `None` if it may look at any.
pub(super) fn touched(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text);
    let strange = |token: &Token| {
        matches!(token.kind, Kind::Broken | Kind::Template)
            || REVEALING.contains(&token.text(text))
            || token.kind == Kind::Word && token.text(text).contains('\\')
    };
    if tokens.iter().any(strange) {
        return None;
    }
    let word = |at: usize| tokens.get(at).map_or("", |token: &Token| token.text(text));
    let (parameter, body) = parameter(&word)?;
    if !is_all(&word, body, tokens.len()) {
        return None;
    }
    let mut names = Vec::new();
    for at in body..tokens.len() {
        let before = word(at - 1);
        if word(at) != parameter || matches!(before, "." | "?.") {
            continue;
        }
        let name = match (word(at + 1), tokens.get(at + 2)?) {
            ("." | "?.", name) if name.kind == Kind::Word && word(at + 3) != "(" => name.text(text),
            ("[", name)
                if name.kind == Kind::String && word(at + 3) == "]" && word(at + 4) != "(" =>
            {
                let quoted = name.text(text);
                quoted.get(1..quoted.len().checked_sub(1)?)?
            }
            _ => return None,
        };
        let plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$- ".contains(&byte));
        if !plain {
            return None;
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

/// The only parameter, and at which token the body begins. Functions with another in front of them are
/// not understood.
fn parameter<'t>(word: &impl Fn(usize) -> &'t str) -> Option<(&'t str, usize)> {
    let mut at = usize::from(word(0) == "(" && matches!(word(1), "function" | "("));
    if word(at) == "function" {
        at += 1;
        if word(at) != "(" {
            at += 1;
        }
        return match (word(at), word(at + 2)) {
            ("(", ")") => Some((word(at + 1), at + 3)),
            _ => None,
        };
    }
    match (word(at), word(at + 1), word(at + 2), word(at + 3)) {
        ("(", parameter, ")", "=>") => Some((parameter, at + 4)),
        (parameter, "=>", ..) => Some((parameter, at + 2)),
        _ => None,
    }
}

/// Whether nothing but brackets and semicolons stands behind the function whose body begins at `body`.
fn is_all<'t>(word: &impl Fn(usize) -> &'t str, body: usize, end: usize) -> bool {
    let in_braces = word(body) == "{";
    let mut depth = 0usize;
    let mut ended = false;
    for at in body..end {
        let token = word(at);
        match token {
            _ if ended => {
                if !matches!(token, ")" | ";") {
                    return false;
                }
            }
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth > 0 => {
                depth -= 1;
                ended = in_braces && depth == 0;
            }
            ")" | ";" if depth == 0 => ended = true,
            // A second function, in front of which the first one's expression ends.
            "," | "function" if depth == 0 => return false,
            _ => {}
        }
    }
    true
}

/// Appends the document with these members only.
pub(super) fn project(document: &[u8], names: &[String], out: &mut Vec<u8>) {
    let mut missing = names.len();
    let mut members = raw::members(document);
    let mut before = b'{';
    while missing > 0
        && let Some((name, value)) = members.next()
    {
        if !names.iter().any(|wanted| wanted.as_bytes() == name) {
            continue;
        }
        missing -= 1;
        out.push(before);
        before = b',';
        out.push(b'"');
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    if before == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_known_where_only_members_are_used() {
        let names = |text: &str| touched(text).map(|names| names.join(","));
        let known = |text: &str, expected: &str| {
            assert_eq!(names(text).as_deref(), Some(expected), "{text}");
        };
        known("function(doc){if(doc.a)emit(doc['b c'],doc.a.doc)}", "a,b c");
        known("(function named(d){emit(d?.x)});", "x");
        known("(d)=>{d.t.forEach(function(t){emit(t.toUpperCase(),/x/.test(d.u))})}", "t,u");
        known("d=>emit(1)", "");
        for any in [
            "function(doc){emit(doc)}",
            "function(doc){for(var k in doc)emit(k)}",
            "function(doc){emit(doc[k])}",
            "function(doc){emit(doc.hasOwnProperty('a'))}",
            "function(doc){emit(doc['toString']())}",
            "function(doc){(function(doc){})(1)}",
            "function(doc){emit(arguments[0].x)}",
            "function(doc){emit(`${doc.a}`)}",
            "function(doc){emit(eval('doc').x)}",
            "function(doc,x){emit(doc.a)}",
            "function f(x){return x.b} function(doc){emit(f(doc))}",
            "function({a}){emit(a)}",
            "x=>x.b, y=>emit(y.c)",
            "x=>x.b; function(doc){emit(doc.a)}",
            "(function(d){return function(e){emit(e.b)}})(1)",
        ] {
            assert_eq!(names(any), None, "{any}");
        }
    }

    #[test]
    fn a_projection_keeps_what_is_asked_for() {
        let mut out = Vec::new();
        let names = ["b".to_owned(), "x".to_owned()];
        project(br#"{"a":1,"b":{"c":[1]},"x":"y","z":2}"#, &names, &mut out);
        assert_eq!(out, br#"{"b":{"c":[1]},"x":"y"}"#);
        out.clear();
        project(br#"{"a":1}"#, &[], &mut out);
        assert_eq!(out, b"{}");
    }
}
