//! The tokens of JavaScript, as far as the text of a function has to be understood without running it.
//!
//! Whether a slash divides or begins a regular expression is decided by the token before it, which is
//! right for everything but a few constructions nobody writes. Who uses the tokens must be right also
//! where this is wrong: a text is only ever compiled by the interpreter.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Word,
    /// A number.
    Number,
    /// A string in quotes.
    String,
    /// A template with everything inside it.
    Template,
    /// A regular expression with its flags.
    Regex,
    /// Anything else: one operator or bracket.
    Punctuation,
    /// A string, template, comment or regular expression without an end, or a byte that cannot be.
    Broken,
}

/// A token and where it is in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Token {
    pub(crate) fn text<'t>(&self, source: &'t str) -> &'t str {
        source.get(self.start..self.end).unwrap_or_default()
    }
}

/// The tokens of `source`, comments and blanks left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { source: source.as_bytes(), at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    while let Some(token) = lexer.next(tokens.last(), source) {
        tokens.push(token);
    }
    tokens
}

/// Operators of more than one character, the longest first.
const OPERATORS: [&str; 36] = [
    ">>>=", "...", "===", "!==", "**=", "<<=", ">>=", ">>>", "&&=", "||=", "??=", "=>", "==", "!=",
    "<=", ">=", "&&", "||", "??", "?.", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "<<", ">>", "**", "{", "}", ";",
];

/// Words after which an expression begins.
const BEFORE_EXPRESSION: [&str; 15] = [
    "return",
    "typeof",
    "instanceof",
    "in",
    "of",
    "new",
    "delete",
    "void",
    "throw",
    "case",
    "do",
    "else",
    "yield",
    "await",
    "default",
];

struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self, before: Option<&Token>, source: &str) -> Option<Token> {
        if let Some(broken) = self.skip_blanks() {
            return Some(broken);
        }
        let start = self.at;
        let kind = match self.peek(0)? {
            b'"' | b'\'' => self.string(),
            b'`' => self.template(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            b'/' if begins_expression(before, source) => self.regex(),
            byte if is_word(byte) => self.word(),
            byte if byte.is_ascii_graphic() => self.punctuation(),
            _ => {
                self.at += 1;
                Kind::Broken
            }
        };
        Some(Token { kind, start, end: self.at })
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &[u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    /// Passes blanks and comments; gives a comment without an end.
    fn skip_blanks(&mut self) -> Option<Token> {
        loop {
            let rest = self.rest();
            if rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b) {
                self.at += 1;
            } else if let Some(blank) = wide_blank(rest) {
                self.at += blank;
            } else if rest.starts_with(b"//") {
                self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                let start = self.at;
                let length = memchr::memmem::find(rest.get(2..)?, b"*/");
                self.at = length.map_or(self.source.len(), |length| start + length + 4);
                if length.is_none() {
                    return Some(Token { kind: Kind::Broken, start, end: self.at });
                }
            } else {
                return None;
            }
        }
    }

    fn string(&mut self) -> Kind {
        let quote = self.peek(0);
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return Kind::Broken,
                byte if Some(byte) == quote => return Kind::String,
                _ => {}
            }
        }
        self.at = self.source.len();
        Kind::Broken
    }

    /// A template; brackets inside its expressions are counted, strings in them passed over.
    fn template(&mut self) -> Kind {
        self.at += 1;
        // For each expression that is open, how many brackets are open in it; templates nest.
        let mut open: Vec<Option<usize>> = vec![None];
        while let (Some(byte), Some(top)) = (self.peek(0), open.last_mut()) {
            self.at += 1;
            match (byte, top) {
                (b'\\', None) => self.at += 1,
                (b'`', None) => {
                    open.pop();
                }
                (b'$', None) if self.peek(0) == Some(b'{') => {
                    self.at += 1;
                    open.push(Some(0));
                }
                (_, None) => {}
                (b'`', Some(_)) => open.push(None),
                (b'{', Some(depth)) => *depth += 1,
                (b'}', Some(0)) => {
                    open.pop();
                }
                (b'}', Some(depth)) => *depth -= 1,
                (b'"' | b'\'', Some(_)) => {
                    self.at -= 1;
                    if self.string() == Kind::Broken {
                        return Kind::Broken;
                    }
                }
                (_, Some(_)) => {}
            }
        }
        self.at = self.at.min(self.source.len());
        if open.is_empty() { Kind::Template } else { Kind::Broken }
    }

    fn number(&mut self) -> Kind {
        while let Some(byte) = self.peek(0) {
            let sign = matches!(byte, b'+' | b'-') && self.ends_in_exponent();
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign) {
                break;
            }
            self.at += 1;
        }
        Kind::Number
    }

    /// Whether the last bytes are an `e` behind a digit, so that a sign belongs to the number.
    fn ends_in_exponent(&self) -> bool {
        let before = self.source.get(..self.at).unwrap_or_default();
        matches!(before, [.., b'0'..=b'9' | b'.', b'e' | b'E'])
    }

    fn word(&mut self) -> Kind {
        while self.peek(0).is_some_and(|byte| is_word(byte) || byte.is_ascii_digit()) {
            self.at += 1;
        }
        Kind::Word
    }

    fn regex(&mut self) -> Kind {
        self.at += 1;
        let mut in_class = false;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'\n' => return Kind::Broken,
                b'/' if !in_class => {
                    self.word();
                    return Kind::Regex;
                }
                _ => {}
            }
        }
        self.at = self.source.len();
        Kind::Broken
    }

    fn punctuation(&mut self) -> Kind {
        let rest = self.rest();
        let known = OPERATORS.iter().find(|operator| rest.starts_with(operator.as_bytes()));
        self.at += known.map_or(1, |operator| operator.len());
        Kind::Punctuation
    }
}

/// Characters of names; those beyond ASCII are taken for letters.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'\\' | b'#' | b'@') || byte >= 0x80
}

/// Length of a blank beyond ASCII at the front: no-break space, byte order mark, line separators.
fn wide_blank(text: &[u8]) -> Option<usize> {
    let blanks: [&[u8]; 4] = [b"\xc2\xa0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xe2\x80\xa9"];
    blanks.iter().find(|blank| text.starts_with(blank)).map(|blank| blank.len())
}

fn begins_expression(before: Option<&Token>, source: &str) -> bool {
    let Some(before) = before else { return true };
    match before.kind {
        Kind::Word => BEFORE_EXPRESSION.contains(&before.text(source)),
        Kind::Punctuation => !matches!(before.text(source), ")" | "]" | "}" | "++" | "--"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text(source)).collect()
    }

    #[test]
    fn tokens_are_told_apart() {
        assert_eq!(
            texts("a.b=c===1.5e-3/2 // x\n/* y */ ? 'it\\'s' : `t${'}' + `${1}`}` ;"),
            [
                "a",
                ".",
                "b",
                "=",
                "c",
                "===",
                "1.5e-3",
                "/",
                "2",
                "?",
                "'it\\'s'",
                ":",
                "`t${'}' + `${1}`}`",
                ";"
            ],
        );
        assert_eq!(
            texts("return /[/]\\//g.test(x)"),
            ["return", "/[/]\\//g", ".", "test", "(", "x", ")"]
        );
        assert_eq!(texts("x>>>=y?.z"), ["x", ">>>=", "y", "?.", "z"]);
    }

    #[test]
    fn what_has_no_end_is_broken() {
        for source in ["'a", "\"a\nb\"", "`a${", "/* a", "x = /a"] {
            let last = tokens(source).into_iter().any(|token| token.kind == Kind::Broken);
            assert!(last, "{source}");
        }
    }

    proptest! {
        #[test]
        fn tokens_lie_in_order_within_any_text(source in r#"[a-c0-2'"`$\\{}()\[\]/*+=.; \né]{0,24}"#) {
            let mut end = 0;
            for token in tokens(&source) {
                prop_assert!(token.start >= end && token.end > token.start);
                end = token.end;
            }
            prop_assert!(end <= source.len() + 1);
        }
    }
}
