//! From the text of a function to a program.

use super::syntax::{Expression, Operator, Program, Statement};
use crate::javascript::lexer::{Kind, Token, tokens};

/// Deepest nesting of statements and expressions; a function with more is left to the interpreter.
const MAX_DEPTH: usize = 64;
/// Most tokens of a program. Sums of many terms nest as deep as they are long.
const MAX_TOKENS: usize = 384;
/// Members that every object has; what they are is left to the interpreter.
pub(super) const INHERITED: &str = "constructor toString toLocaleString valueOf hasOwnProperty isPrototypeOf \
    propertyIsEnumerable __proto__ __defineGetter__ __defineSetter__ __lookupGetter__ \
    __lookupSetter__ toJSON";
/// Names that mean something by themselves.
const TAKEN: &str = "emit isArray Array undefined NaN Infinity null true false var let const if else for \
    while do return break continue function typeof in of instanceof new delete void this \
    throw try catch finally switch case default class yield await async with arguments eval \
    super import export enum debugger log sum toJSON require static get";

/// Whether `name` is one of the names, which are separated by blanks.
pub(super) fn is_listed(names: &str, name: &str) -> bool {
    names.split(' ').any(|listed| listed == name)
}

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
pub(super) struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    pub(super) at: usize,
    depth: usize,
    /// What the document is called.
    pub(super) document: String,
    pub(super) fields: Vec<String>,
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
    pub(super) fn peek(&self) -> &'t str {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, by: usize) -> &'t str {
        self.tokens.get(self.at + by).map_or("", |token| token.text(self.text))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    /// Passes this word or operator if it comes next.
    pub(super) fn accept(&mut self, wanted: &str) -> bool {
        let comes = self.peek() == wanted && self.kind() != Some(Kind::String);
        self.at += usize::from(comes);
        comes
    }

    pub(super) fn expect(&mut self, wanted: &str) -> Option<()> {
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
        if self.kind() != Some(Kind::Word) || is_listed(TAKEN, name) || name == self.document {
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

    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
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

    pub(super) fn slot(&self, name: &str) -> Option<usize> {
        self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, slot)| *slot)
    }
}
