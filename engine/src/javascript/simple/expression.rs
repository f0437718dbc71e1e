//! From tokens to expressions.

use super::{
    parser::{INHERITED, Parser, is_listed},
    syntax::{Expression, Operator},
};
use crate::javascript::lexer::Kind;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Option<Expression> {
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
        if !plain || digits || is_listed(INHERITED, &name) {
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
            if digits || again || is_listed(INHERITED, &name) {
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
