//! From the text of a function to a program.

use super::syntax::{Expression, Operator, Program, Statement};
use crate::javascript::lexer::{Kind, Token, tokens};

/// Deepest nesting of statements and expressions; a function with more is left to the interpreter.
const MAX_DEPTH: usize = 64;
/// Most tokens of a program. Sums of many terms nest as deep as they are long.
const MAX_TOKENS: usize = 384;
/// Members that every object has; what they are is left to the interpreter.
const INHERITED: [&str; 13] = [
    "constructor",
    "toString",
    "toLocaleString",
    "valueOf",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "toJSON",
];
/// Names that mean something by themselves.
const TAKEN: [&str; 54] = [
    "emit",
    "isArray",
    "Array",
    "undefined",
    "NaN",
    "Infinity",
    "null",
    "true",
    "false",
    "var",
    "let",
    "const",
    "if",
    "else",
    "for",
    "while",
    "do",
    "return",
    "break",
    "continue",
    "function",
    "typeof",
    "in",
    "of",
    "instanceof",
    "new",
    "delete",
    "void",
    "this",
    "throw",
    "try",
    "catch",
    "finally",
    "switch",
    "case",
    "default",
    "class",
    "yield",
    "await",
    "async",
    "with",
    "arguments",
    "eval",
    "super",
    "import",
    "export",
    "enum",
    "debugger",
    "log",
    "sum",
    "toJSON",
    "require",
    "static",
    "get",
];

/// The program of a map function; `None` if its text is not in the part of the language that can be
/// run here.
pub(in crate::javascript) fn parse(text: &str) -> Option<Program> {
    let tokens = tokens(text);
    let strange = |token: &Token| {
        matches!(token.kind, Kind::Broken | Kind::Template | Kind::Regex)
            || token.kind == Kind::Word && !token.text(text).is_ascii()
            || token.text(text).contains('\\')
    };
    if tokens.len() > MAX_TOKENS || tokens.iter().any(strange) {
        return None;
    }
    let mut parser = Parser { text, tokens, ..Parser::default() };
    let body = parser.function()?;
    Some(Program { fields: parser.fields, slots: parser.slots, body })
}

#[derive(Default)]
struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// What the document is called.
    document: String,
    fields: Vec<String>,
    slots: usize,
    /// Variables that can be seen, the innermost last.
    scope: Vec<(String, usize)>,
    /// Names that were declared anywhere.
    declared: Vec<String>,
    /// Variables that keep their first value.
    constant: Vec<usize>,
    /// How many loops of the innermost function we are in.
    loops: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &'t str {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &'t str {
        self.tokens.get(self.at + by).map_or("", |token| token.text(self.text))
    }

    fn kind(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    /// Passes this word or operator if it comes next.
    fn accept(&mut self, wanted: &str) -> bool {
        let comes = self.peek() == wanted && self.kind() != Some(Kind::String);
        self.at += usize::from(comes);
        comes
    }

    fn expect(&mut self, wanted: &str) -> Option<()> {
        self.accept(wanted).then_some(())
    }

    /// Whether a line ends before the next token.
    fn on_new_line(&self) -> bool {
        let end = |at: usize| self.tokens.get(at).map(|token| token.end);
        let before = self.at.checked_sub(1).and_then(end);
        let next = self.tokens.get(self.at).map(|token| token.start);
        match (before, next) {
            (Some(before), Some(next)) => {
                self.text.get(before..next).is_some_and(|between| between.contains('\n'))
            }
            _ => true,
        }
    }

    /// A name that is not taken.
    fn name(&mut self) -> Option<String> {
        let name = self.peek();
        if self.kind() != Some(Kind::Word) || TAKEN.contains(&name) || name == self.document {
            return None;
        }
        self.at += 1;
        Some(name.to_owned())
    }

    /// The whole text.
    fn function(&mut self) -> Option<Vec<Statement>> {
        let wrapped = self.peek() == "(" && matches!(self.ahead(1), "function" | "(");
        if wrapped {
            self.at += 1;
        }
        let is_arrow = self.peek() != "function";
        if !is_arrow {
            self.at += 1;
            if self.peek() != "(" {
                self.name()?;
            }
        }
        self.document = self.only_parameter()?;
        if is_arrow {
            self.expect("=>")?;
        }
        let body = match is_arrow && self.peek() != "{" {
            true => vec![Statement::Expression(self.expression()?)],
            false => self.braces()?,
        };
        if wrapped {
            self.expect(")")?;
        }
        while self.accept(";") {}
        (self.at == self.tokens.len()).then_some(body)
    }

    fn only_parameter(&mut self) -> Option<String> {
        match self.accept("(") {
            true => {
                let name = self.name()?;
                self.expect(")")?;
                Some(name)
            }
            false => self.name(),
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Statements in braces. What is declared in them cannot be seen behind them.
    fn braces(&mut self) -> Option<Vec<Statement>> {
        self.nested(|parser| {
            parser.expect("{")?;
            let seen = parser.scope.len();
            let mut statements = Vec::new();
            while !parser.accept("}") {
                parser.statement(&mut statements)?;
            }
            parser.scope.truncate(seen);
            Some(statements)
        })
    }

    fn block(&mut self) -> Option<Vec<Statement>> {
        if self.peek() == "{" {
            return self.braces();
        }
        // A declaration that is the whole body is legal for `var` only, and seldom.
        if matches!(self.peek(), "var" | "let" | "const") {
            return None;
        }
        self.nested(|parser| {
            let mut statements = Vec::new();
            parser.statement(&mut statements)?;
            Some(statements)
        })
    }

    fn statement(&mut self, out: &mut Vec<Statement>) -> Option<()> {
        match self.peek() {
            ";" => self.at += 1,
            "{" => out.extend(self.braces()?),
            "var" | "let" | "const" => {
                self.declaration(out)?;
                self.end()?;
            }
            "if" => out.push(self.condition()?),
            "for" => out.push(self.for_loop()?),
            "return" => {
                self.at += 1;
                let bare = matches!(self.peek(), ";" | "}");
                if !bare && self.on_new_line() {
                    return None;
                }
                if !bare {
                    out.push(Statement::Expression(self.expression()?));
                }
                self.end()?;
                out.push(Statement::Return);
            }
            word @ ("break" | "continue") if self.loops > 0 => {
                self.at += 1;
                out.push(if word == "break" { Statement::Break } else { Statement::Continue });
                self.end()?;
            }
            _ => {
                self.simple(out)?;
                self.end()?;
            }
        }
        Some(())
    }

    /// Where a statement ends. A line's end counts only where nothing on the next could continue it.
    fn end(&mut self) -> Option<()> {
        if self.accept(";") || self.peek() == "}" || self.at == self.tokens.len() {
            return Some(());
        }
        let continues =
            self.kind() != Some(Kind::Word) || matches!(self.peek(), "in" | "instanceof");
        (self.on_new_line() && !continues).then_some(())
    }

    fn declaration(&mut self, out: &mut Vec<Statement>) -> Option<()> {
        let kind = self.peek();
        self.at += 1;
        loop {
            let name = self.name()?;
            if self.scope.iter().any(|(known, _)| *known == name) {
                return None;
            }
            let value = match self.accept("=") {
                // Not in scope yet: the value cannot look at it.
                true => Some(self.expression()?),
                false if kind == "let" => Some(Expression::Undefined),
                // The variable keeps what a declaration before this one gave it.
                false if kind == "const" || self.declared.contains(&name) => return None,
                false => None,
            };
            let slot = self.declare(name);
            if kind == "const" {
                self.constant.push(slot);
            }
            out.extend(value.map(|value| Statement::Set(slot, value)));
            if !self.accept(",") {
                return Some(());
            }
        }
    }

    fn declare(&mut self, name: String) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.declared.push(name.clone());
        self.scope.push((name, slot));
        slot
    }

    fn condition(&mut self) -> Option<Statement> {
        self.at += 1;
        self.expect("(")?;
        let condition = self.expression()?;
        self.expect(")")?;
        let then = self.block()?;
        let otherwise = if self.accept("else") { self.block()? } else { Vec::new() };
        Some(Statement::If { condition, then, otherwise })
    }

    fn for_loop(&mut self) -> Option<Statement> {
        self.at += 1;
        self.expect("(")?;
        let seen = self.scope.len();
        let mut begin = Vec::new();
        match self.peek() {
            ";" => {}
            "var" | "let" => self.declaration(&mut begin)?,
            _ => self.simple(&mut begin)?,
        }
        self.expect(";")?;
        let condition = if self.peek() == ";" { None } else { Some(self.expression()?) };
        self.expect(";")?;
        let mut step = Vec::new();
        if self.peek() != ")" {
            self.simple(&mut step)?;
        }
        self.expect(")")?;
        self.loops += 1;
        let body = self.block()?;
        self.loops -= 1;
        self.scope.truncate(seen);
        Some(Statement::Loop { begin, condition, step, body })
    }

    /// An assignment, a `forEach`, or any other expression.
    fn simple(&mut self, out: &mut Vec<Statement>) -> Option<()> {
        if self.kind() == Some(Kind::Word)
            && let Some(slot) = self.slot(self.peek())
        {
            let assigns = matches!(self.ahead(1), "=" | "++" | "--" | "+=" | "-=");
            if assigns && self.constant.contains(&slot) {
                return None;
            }
            let operator = match self.ahead(1) {
                "=" => None,
                // `+` would join texts; subtracting only ever counts.
                step @ ("++" | "--") => {
                    self.at += 2;
                    let by = Expression::Number(if step == "++" { -1.0 } else { 1.0 });
                    let sides = Box::new([Expression::Slot(slot), by]);
                    out.push(Statement::Set(slot, Expression::Binary(Operator::Subtract, sides)));
                    return Some(());
                }
                "+=" => Some(Operator::Add),
                "-=" => Some(Operator::Subtract),
                _ => return self.expression_statement(out),
            };
            self.at += 2;
            let value = self.expression()?;
            let value = match operator {
                None => value,
                Some(operator) => {
                    Expression::Binary(operator, Box::new([Expression::Slot(slot), value]))
                }
            };
            out.push(Statement::Set(slot, value));
            return Some(());
        }
        self.expression_statement(out)
    }

    fn expression_statement(&mut self, out: &mut Vec<Statement>) -> Option<()> {
        let expression = self.expression()?;
        // `forEach` is left standing by the expression in front of it.
        if self.peek() == "." && self.ahead(1) == "forEach" && self.ahead(2) == "(" {
            self.at += 3;
            out.push(self.for_each(expression)?);
            return self.expect(")");
        }
        out.push(Statement::Expression(expression));
        Some(())
    }

    fn for_each(&mut self, array: Expression) -> Option<Statement> {
        let is_arrow = !self.accept("function");
        let seen = self.scope.len();
        let first = self.slots;
        let mut parameters = Vec::new();
        if self.accept("(") {
            while !self.accept(")") {
                let name = self.name()?;
                if self.scope.iter().any(|(known, _)| *known == name) || parameters.len() == 2 {
                    return None;
                }
                parameters.push(self.declare(name));
                if self.peek() != ")" {
                    self.expect(",")?;
                }
            }
        } else if is_arrow {
            let name = self.name()?;
            parameters.push(self.declare(name));
        }
        if is_arrow {
            self.expect("=>")?;
        }
        let loops = std::mem::take(&mut self.loops);
        let body = match is_arrow && self.peek() != "{" {
            true => vec![Statement::Expression(self.expression()?)],
            false => self.braces()?,
        };
        self.loops = loops;
        self.scope.truncate(seen);
        let (item, index) = (parameters.first().copied(), parameters.get(1).copied());
        let locals = (first..self.slots).collect();
        Some(Statement::ForEach { array, item, index, locals, body })
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, slot)| *slot)
    }

    fn expression(&mut self) -> Option<Expression> {
        self.nested(|parser| {
            let condition = parser.or()?;
            if !parser.accept("?") {
                return Some(condition);
            }
            let then = parser.expression()?;
            parser.expect(":")?;
            let otherwise = parser.expression()?;
            Some(Expression::Choice(Box::new([condition, then, otherwise])))
        })
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.accept("||") {
            left = Expression::Or(Box::new([left, self.and()?]));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.binary(0)?;
        while self.accept("&&") {
            left = Expression::And(Box::new([left, self.binary(0)?]));
        }
        Some(left)
    }

    /// Operators that bind at least as closely as `level`.
    fn binary(&mut self, level: usize) -> Option<Expression> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let next = self.peek();
            let found = operators.iter().find(|(text, _)| *text == next);
            let Some((_, operator)) = found.filter(|_| self.kind() == Some(Kind::Punctuation))
            else {
                return Some(left);
            };
            self.at += 1;
            left = Expression::Binary(*operator, Box::new([left, self.binary(level + 1)?]));
        }
    }

    fn unary(&mut self) -> Option<Expression> {
        self.nested(|parser| {
            if parser.accept("!") {
                return Some(Expression::Not(Box::new(parser.unary()?)));
            }
            if parser.accept("-") {
                return Some(Expression::Negative(Box::new(parser.unary()?)));
            }
            if parser.accept("typeof") {
                return Some(Expression::TypeOf(Box::new(parser.unary()?)));
            }
            let value = parser.primary()?;
            parser.members(value)
        })
    }

    /// What follows a value: members and items of it.
    fn members(&mut self, mut value: Expression) -> Option<Expression> {
        loop {
            if self.peek() == "." && self.ahead(1) == "forEach" {
                return Some(value);
            }
            if self.accept(".") {
                if self.kind() != Some(Kind::Word) {
                    return None;
                }
                let name = self.peek().to_owned();
                self.at += 1;
                value = self.member(value, name)?;
            } else if self.accept("[") {
                let literal = match (self.kind(), self.ahead(1)) {
                    (Some(Kind::String), "]") => Some(self.string()?),
                    _ => None,
                };
                value = match literal {
                    Some(name) => self.member(value, name)?,
                    None if value == Expression::Document => return None,
                    None => {
                        let item = self.expression()?;
                        Expression::Item(Box::new(value), Box::new(item))
                    }
                };
                self.expect("]")?;
            } else {
                return Some(value);
            }
        }
    }

    fn member(&mut self, value: Expression, name: String) -> Option<Expression> {
        let plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$- ".contains(&byte));
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || digits || INHERITED.contains(&name.as_str()) {
            return None;
        }
        if value != Expression::Document {
            return Some(Expression::Member(Box::new(value), name));
        }
        let known = self.fields.iter().position(|field| *field == name);
        let place = known.unwrap_or_else(|| {
            self.fields.push(name);
            self.fields.len() - 1
        });
        Some(Expression::Field(place))
    }

    fn primary(&mut self) -> Option<Expression> {
        match (self.kind()?, self.peek()) {
            (Kind::Number, _) => self.number(),
            (Kind::String, _) => self.string().map(Expression::String),
            (Kind::Punctuation, "(") => {
                self.at += 1;
                let inside = self.expression()?;
                self.expect(")")?;
                Some(inside)
            }
            (Kind::Punctuation, "[") => {
                self.at += 1;
                self.list("]").map(Expression::Array)
            }
            (Kind::Punctuation, "{") => self.object(),
            (Kind::Word, word) => self.word(word),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> Option<Expression> {
        if word == self.document {
            self.at += 1;
            return Some(Expression::Document);
        }
        if let Some(slot) = self.slot(word) {
            self.at += 1;
            return Some(Expression::Slot(slot));
        }
        self.at += 1;
        match word {
            "undefined" => Some(Expression::Undefined),
            "null" => Some(Expression::Null),
            "true" => Some(Expression::Bool(true)),
            "false" => Some(Expression::Bool(false)),
            "NaN" => Some(Expression::Number(f64::NAN)),
            "Infinity" => Some(Expression::Number(f64::INFINITY)),
            "emit" => self.emit(),
            "isArray" => self.is_array(),
            "Array" => {
                self.expect(".")?;
                self.expect("isArray")?;
                self.is_array()
            }
            _ => None,
        }
    }

    fn emit(&mut self) -> Option<Expression> {
        self.expect("(")?;
        let mut values = self.list(")")?.into_iter();
        let (key, value) = (values.next(), values.next());
        if values.next().is_some() {
            return None;
        }
        let or_undefined = |value: Option<Expression>| value.unwrap_or(Expression::Undefined);
        Some(Expression::Emit(Box::new([or_undefined(key), or_undefined(value)])))
    }

    fn is_array(&mut self) -> Option<Expression> {
        self.expect("(")?;
        let value = self.expression()?;
        self.expect(")")?;
        Some(Expression::IsArray(Box::new(value)))
    }

    /// Expressions up to the bracket that closes them; none is left out.
    fn list(&mut self, close: &str) -> Option<Vec<Expression>> {
        let mut items = Vec::new();
        while !self.accept(close) {
            items.push(self.expression()?);
            if self.peek() != close {
                self.expect(",")?;
            }
        }
        Some(items)
    }

    fn object(&mut self) -> Option<Expression> {
        self.at += 1;
        let mut members: Vec<(String, Expression)> = Vec::new();
        while !self.accept("}") {
            let name = match self.kind()? {
                Kind::String => self.string()?,
                Kind::Word => {
                    let name = self.peek().to_owned();
                    self.at += 1;
                    name
                }
                _ => return None,
            };
            let digits = name.bytes().all(|byte| byte.is_ascii_digit());
            let again = members.iter().any(|(known, _)| *known == name);
            if digits || again || INHERITED.contains(&name.as_str()) {
                return None;
            }
            self.expect(":")?;
            members.push((name, self.expression()?));
            if self.peek() != "}" {
                self.expect(",")?;
            }
        }
        Some(Expression::Object(members))
    }

    /// A string without escapes; those with any are left to the interpreter.
    fn string(&mut self) -> Option<String> {
        let quoted = self.peek();
        self.at += 1;
        quoted.get(1..quoted.len().checked_sub(1)?).map(str::to_owned)
    }

    fn number(&mut self) -> Option<Expression> {
        let text = self.peek();
        self.at += 1;
        let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let octal = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
        if !decimal || octal {
            return None;
        }
        text.parse().ok().map(Expression::Number)
    }
}

/// Binary operators, those that bind least first.
const LEVELS: [&[(&str, Operator)]; 4] = [
    &[
        ("===", Operator::Same),
        ("!==", Operator::NotSame),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
    ],
    &[
        ("<", Operator::Less),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        (">=", Operator::GreaterOrEqual),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
];
