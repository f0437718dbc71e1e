//! The values that CouchDB's configuration writes as Erlang terms, such as
//! `[{chttpd_auth, cookie_authentication_handler}, {iss, "me"}]`.

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 8;

/// An Erlang term, as far as options hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// An atom, a string, a binary or a number: what it says.
    Text(String),
    /// `{a, b}`
    Tuple(Vec<Term>),
    /// `[a, b]`
    List(Vec<Term>),
}

impl Term {
    /// Reads a list whose brackets may be missing; `None` if it is none.
    pub(super) fn list(text: &str) -> Option<Vec<Self>> {
        let text = text.trim().trim_end_matches('.').trim_end();
        let mut reader = Reader { rest: text, depth: 0 };
        let items = match text.starts_with('[') {
            true => match reader.term()? {
                Self::List(items) => items,
                _ => return None,
            },
            false if text.is_empty() => Vec::new(),
            false => reader.items(None)?,
        };
        reader.rest.trim().is_empty().then_some(items)
    }

    /// What an atom, string, binary or number says.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Both parts of a pair of texts.
    pub(super) fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Self::Tuple(parts) => match parts.as_slice() {
                [first, second] => first.text().zip(second.text()),
                _ => None,
            },
            _ => None,
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    fn term(&mut self) -> Option<Term> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '{' => self.nested('}').map(Term::Tuple),
            '[' => self.nested(']').map(Term::List),
            '"' => self.quoted('"').map(Term::Text),
            '\'' => self.quoted('\'').map(Term::Text),
            '<' => {
                self.rest = self.rest.strip_prefix("<<")?.trim_start();
                let text = self.quoted('"')?;
                let rest = self.rest.trim_start();
                self.rest = rest.strip_prefix("/utf8").unwrap_or(rest).strip_prefix(">>")?;
                Some(Term::Text(text))
            }
            _ => self.atom().map(Term::Text),
        }
    }

    fn nested(&mut self, close: char) -> Option<Vec<Term>> {
        self.rest = self.rest.get(1..)?;
        self.depth += 1;
        let items = if self.depth > MAX_DEPTH { None } else { self.items(Some(close)) };
        self.depth -= 1;
        items
    }

    /// Terms separated by commas, up to `close` or the end.
    fn items(&mut self, close: Option<char>) -> Option<Vec<Term>> {
        let mut items = Vec::new();
        if let Some(rest) = close.and_then(|close| self.rest.trim_start().strip_prefix(close)) {
            self.rest = rest;
            return Some(items);
        }
        loop {
            items.push(self.term()?);
            self.rest = self.rest.trim_start();
            match (self.rest.chars().next(), close) {
                (Some(','), _) => self.rest = self.rest.get(1..)?,
                (None, None) => return Some(items),
                (Some(end), Some(close)) if end == close => {
                    self.rest = self.rest.get(end.len_utf8()..)?;
                    return Some(items);
                }
                _ => return None,
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let inside = self.rest.strip_prefix(quote)?;
        let mut text = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    's' => text.push(' '),
                    other => text.push(other),
                },
                _ if char == quote => {
                    self.rest = inside.get(at + char.len_utf8()..)?;
                    return Some(text);
                }
                _ => text.push(char),
            }
        }
        None
    }

    fn atom(&mut self) -> Option<String> {
        let end = self.rest.find([',', '{', '}', '[', ']', '"', '\'', '<', '>']);
        let (atom, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let atom = atom.trim();
        (!atom.is_empty()).then(|| atom.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let shown = |terms: Vec<Term>| terms.iter().map(show).collect::<Vec<_>>().join(" ");
        assert_eq!(Term::list(text).map(shown).as_deref(), expected, "{text}");
    }

    fn show(term: &Term) -> String {
        let all = |terms: &[Term]| terms.iter().map(show).collect::<Vec<_>>().join(",");
        match term {
            Term::Text(text) => text.clone(),
            Term::Tuple(parts) => format!("({})", all(parts)),
            Term::List(items) => format!("[{}]", all(items)),
        }
    }

    #[test]
    fn terms_as_options_hold_them() {
        check("", Some(""));
        check("[]", Some(""));
        check("exp, nbf", Some("exp nbf"));
        check("exp,{iss, \"a b\"}", Some("exp (iss,a b)"));
        check(
            "[{chttpd_auth, cookie_authentication_handler}]",
            Some("(chttpd_auth,cookie_authentication_handler)"),
        );
        check("[{<<\"typ\">>, 'JWT'}, 5].", Some("(typ,JWT) 5"));
        check(
            r#"[{".{10,}", "at \"least\" 10"}, "[A-Z]+"]"#,
            Some("(.{10,},at \"least\" 10) [A-Z]+"),
        );
        check("[[a], {}]", Some("[a] ()"));
    }

    #[test]
    fn what_is_no_term() {
        for text in ["[", "a,", "[a]]", "{a", "\"a", "[a b] c", "a}", ",", "[,]"] {
            check(text, None);
        }
        check(&"[".repeat(100_000), None);
    }
}
