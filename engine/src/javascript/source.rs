//! The text of a function, and what to evaluate to get it.
//!
//! CouchDB takes functions that are no expressions by themselves: with semicolons and comments behind
//! them, with other declarations in front, with or without a name. The interpreter gets the text in
//! parentheses, or, if it is none then, with its last function in parentheses.

use super::lexer::{Kind, Token, tokens};

/// Scripts one of which gives the function; the first that can be parsed is the one.
pub(super) fn scripts(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut scripts = vec![format!("({text}\n)")];
    let is_end = |token: &&Token| token.text(text) != ";";
    let end = tokens.iter().rev().find(is_end).map_or(text.len(), |last| last.end);
    if let Some(trimmed) = text.get(..end).filter(|_| end < text.trim_end().len()) {
        scripts.push(format!("({trimmed}\n)"));
    }
    scripts.extend(last_function(text, &tokens));
    scripts.push(text.to_owned());
    scripts
}

/// The text with the last function among its statements made the value of the whole: put into
/// parentheses, or named once more at the end.
fn last_function(text: &str, tokens: &[Token]) -> Option<String> {
    let mut depth = 0usize;
    let mut found = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.text(text) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            "function" if depth == 0 && begins_statement(text, tokens, at) => found = Some(at),
            _ => {}
        }
    }
    let at = found?;
    let start = tokens.get(at)?.start;
    let name = tokens.get(at + 1).filter(|token| token.kind == Kind::Word);
    if let Some(name) = name {
        return Some(format!("{text}\n;{}", name.text(text)));
    }
    let end = end_of_function(text, tokens.get(at..)?)?;
    let (before, function, after) = (text.get(..start)?, text.get(start..end)?, text.get(end..)?);
    Some(format!("{before}({function}){after}"))
}

fn begins_statement(text: &str, tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|before| tokens.get(before)) else { return true };
    matches!(before.text(text), ";" | "}")
}

/// Where the function that `tokens` begin with ends: behind the first brace that is closed.
fn end_of_function(text: &str, tokens: &[Token]) -> Option<usize> {
    let mut depth = 0usize;
    for token in tokens {
        match token.text(text) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.checked_sub(1)?,
            "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(token.end);
                }
            }
            _ => {}
        }
    }
    None
}

/// A syntax error in CouchDB's words. `line` and `column` (from 1) are the interpreter's.
pub(super) fn syntax_error(text: &str, line: usize, column: usize) -> String {
    let tokens = tokens(text);
    let lines = text.split_inclusive('\n');
    let before: usize = lines.clone().take(line.saturating_sub(1)).map(str::len).sum();
    // The interpreter counts characters, and one parenthesis more in the first line.
    let within = column.saturating_sub(if line <= 1 { 2 } else { 1 });
    let rest = text.get(before..).unwrap_or_default();
    let at = before + rest.char_indices().nth(within).map_or(rest.len(), |(at, _)| at);
    let found =
        tokens.iter().find(|token| token.end > at).filter(|_| !is_unfinished(text, &tokens));
    let Some(token) = found else {
        let last = text.trim_end().split('\n').count();
        return located(last, "Unexpected end of input");
    };
    let line = text.get(..token.start).map_or(1, |before| before.split('\n').count());
    let message = match token.kind {
        Kind::Word if RESERVED.contains(&token.text(text)) => {
            format!("Unexpected token {}", token.text(text))
        }
        Kind::Word => "Unexpected identifier".to_owned(),
        Kind::Number => "Unexpected number".to_owned(),
        Kind::String => "Unexpected string".to_owned(),
        Kind::Broken => "Unexpected token ILLEGAL".to_owned(),
        _ => format!("Unexpected token {}", token.text(text)),
    };
    located(line, &message)
}

const RESERVED: [&str; 34] = [
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "export",
    "extends",
    "finally",
    "for",
    "function",
    "if",
    "import",
    "in",
    "instanceof",
    "new",
    "return",
    "super",
    "switch",
    "this",
    "throw",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

fn located(line: usize, message: &str) -> String {
    format!("(new Error(\"Line {line}: {message}\", \"./share/server/main.js\", {line}))")
}

/// Whether more brackets are opened than closed.
fn is_unfinished(text: &str, tokens: &[Token]) -> bool {
    let count = |brackets: [&str; 3]| {
        tokens.iter().filter(|token| brackets.contains(&token.text(text))).count()
    };
    count(["(", "[", "{"]) > count([")", "]", "}"])
}

/// Words by which a function could change the document it is given, or hand it to something that does.
const CHANGING: [&str; 32] = [
    "delete",
    "push",
    "pop",
    "shift",
    "unshift",
    "splice",
    "sort",
    "reverse",
    "fill",
    "copyWithin",
    "Object",
    "Reflect",
    "Proxy",
    "require",
    "eval",
    "Function",
    "this",
    "prototype",
    "__proto__",
    "constructor",
    "apply",
    "call",
    "bind",
    "with",
    "globalThis",
    "async",
    "yield",
    "class",
    "__defineGetter__",
    "__defineSetter__",
    "set",
    "arguments",
];

/// Whether running the function might change its argument, as far as can be told from its text. Where
/// it cannot, the document need not be frozen.
pub(super) fn may_change_argument(text: &str) -> bool {
    let tokens = tokens(text);
    (0..tokens.len()).any(|at| Place { text, tokens: &tokens, at }.may_change())
}

/// A token and what stands around it.
struct Place<'t> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
}

impl Place<'_> {
    fn near(&self, offset: isize) -> (Option<Kind>, &str) {
        let token = self.at.checked_add_signed(offset).and_then(|at| self.tokens.get(at));
        (token.map(|token| token.kind), token.map_or("", |token| token.text(self.text)))
    }

    fn may_change(&self) -> bool {
        match self.near(0) {
            (Some(Kind::Broken | Kind::Template), _) => true,
            (Some(Kind::Word), "for") => self.loops_over_member(),
            (Some(Kind::Word), word) => CHANGING.contains(&word) || word.contains('\\'),
            (Some(Kind::Punctuation), "++" | "--") => {
                !(self.follows_name() || self.precedes_name())
            }
            (Some(Kind::Punctuation), "]") => self.is_called(),
            (Some(Kind::Punctuation), "...") => false,
            (Some(Kind::Punctuation), operator) => {
                let assigns = operator.ends_with('=')
                    && !matches!(operator, "==" | "===" | "!=" | "!==" | "<=" | ">=");
                assigns && !self.follows_name()
            }
            _ => false,
        }
    }

    /// Whether a plain name stands in front, not a member.
    fn follows_name(&self) -> bool {
        self.near(-1).0 == Some(Kind::Word) && !matches!(self.near(-2).1, "." | "?.")
    }

    fn precedes_name(&self) -> bool {
        self.near(1).0 == Some(Kind::Word) && !matches!(self.near(2).1, "." | "?." | "[")
    }

    /// Whether a `for` may assign to something other than a plain name.
    fn loops_over_member(&self) -> bool {
        let declares = matches!(self.near(2).1, "var" | "let" | "const");
        !declares
            && (self.near(2).0 != Some(Kind::Word) || matches!(self.near(3).1, "." | "["))
            && self.near(2).1 != ";"
    }

    /// Whether what ends with this bracket is called: a method with a computed name.
    fn is_called(&self) -> bool {
        let mut offset = 1;
        while matches!(self.near(offset).1, ")" | "?.") {
            offset += 1;
        }
        self.near(offset).1 == "("
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_text_is_its_last_function() {
        assert_eq!(scripts("x => 1")[0], "(x => 1\n)");
        assert_eq!(scripts("function(d){} ;; // end")[1], "(function(d){}\n)");
        let two = "function f(a){return {}}; function(d){emit(f(d))}";
        assert!(
            scripts(two).contains(&"function f(a){return {}}; (function(d){emit(f(d))})".into())
        );
        assert!(
            scripts("var x=1; function f(d){}").contains(&"var x=1; function f(d){}\n;f".into())
        );
    }

    #[test]
    fn syntax_errors_name_line_and_token() {
        let error = |text, line, column| syntax_error(text, line, column);
        assert_eq!(
            error("function(d){emit(d._id", 2, 1),
            "(new Error(\"Line 1: Unexpected end of input\", \"./share/server/main.js\", 1))"
        );
        assert!(error("function(d){\n emit(1 2)}", 2, 9).contains("Line 2: Unexpected number"));
    }

    #[test]
    fn functions_that_only_look_are_told_from_those_that_may_change_something() {
        for harmless in [
            "function(d){if(d.a&&d.b===1)emit(d.c,null)}",
            "function(d){for(var i=0;i<d.l.length;i++){var x=d.l[i];emit(x)}}",
            "function(d){var s=0;for(const k in d)s+=d[k];for(;;){break}emit(s)}",
            "d=>emit([d.a,d['b']],{c:d.c>=1})",
        ] {
            assert!(!may_change_argument(harmless), "{harmless}");
        }
        for harmful in [
            "function(d){d.x=1;emit(d.x)}",
            "function(d){d.l.sort();emit(d.l)}",
            "function(d){d.l['so'+'rt']()}",
            "function(d){(d.l['so'+'rt'])()}",
            "function(d){d['x']++}",
            "function(d){--d.x}",
            "function(d){for(d.x in d);}",
            "function(d){[d.x]=[1]}",
            "function(d){Object.assign(d,{})}",
            "function(d){d.x??=1}",
            "function(d){d.\\u0078=1}",
        ] {
            assert!(may_change_argument(harmful), "{harmful}");
        }
    }
}
