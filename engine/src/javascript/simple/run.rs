//! Running a program over the text of a document.

use std::{borrow::Cow, ops::Range};

use super::{
    GiveUp,
    fields::Found,
    syntax::{Expression, Operator, Program, Statement},
    value::{Value, number_of},
};
use crate::{javascript::output::write_number, json::raw};

/// Steps after which a run is left to the interpreter, which has a clock.
const MAX_STEPS: usize = 100_000;
/// Bytes of rows after which a run is left to the interpreter, which counts memory.
const MAX_EMITTED_BYTES: usize = 16 * 1024 * 1024;
/// Bytes up to which texts are put together.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Values that one array or object of the program may hold, however deep. Loops could put arrays into
/// arrays, or twice the same ones, without end.
const MAX_VALUES: usize = 256;

/// Rows that a function emitted: keys and values in one buffer, and where each of them is.
#[derive(Debug, Default)]
pub(in crate::javascript) struct Emitted {
    pub(in crate::javascript) buffer: Vec<u8>,
    pub(in crate::javascript) rows: Vec<(Range<usize>, Range<usize>)>,
}

impl Emitted {
    pub(in crate::javascript) fn clear(&mut self) {
        self.buffer.clear();
        self.rows.clear();
    }
}

/// Why statements are left.
#[derive(PartialEq)]
enum Flow {
    On,
    Return,
    Break,
    Continue,
}

/// One program over one document.
pub(in crate::javascript) struct Run<'v> {
    document: &'v [u8],
    fields: Found<'v>,
    slots: Vec<Value<'v>>,
    steps: usize,
    emitted: &'v mut Emitted,
}

impl<'v> Run<'v> {
    /// Runs the program over a document's text and adds what it emits to `emitted`. `fields` are the members that
    /// the program looks at.
    ///
    /// # Errors
    /// If it does something that is not built here; what was emitted until then does not count.
    pub(in crate::javascript) fn run(
        program: &'v Program,
        document: &'v [u8],
        fields: Found<'v>,
        emitted: &'v mut Emitted,
    ) -> Result<(), GiveUp> {
        let mut run = Run {
            document,
            fields,
            slots: vec![Value::Undefined; program.slots],
            steps: 0,
            emitted,
        };
        run.statements(&program.body).map(drop)
    }

    fn step(&mut self) -> Result<(), GiveUp> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(GiveUp) } else { Ok(()) }
    }

    fn statements(&mut self, statements: &'v [Statement]) -> Result<Flow, GiveUp> {
        for statement in statements {
            match self.statement(statement)? {
                Flow::On => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, statement: &'v Statement) -> Result<Flow, GiveUp> {
        self.step()?;
        match statement {
            Statement::Expression(expression) => drop(self.value(expression)?),
            Statement::Set(slot, expression) => {
                let value = self.value(expression)?;
                *self.slots.get_mut(*slot).ok_or(GiveUp)? = value;
            }
            Statement::If { condition, then, otherwise } => {
                let branch = if self.value(condition)?.is_true() { then } else { otherwise };
                return self.statements(branch);
            }
            Statement::Loop { begin, condition, step, body } => {
                self.statements(begin)?;
                return self.repeat(condition.as_ref(), step, body);
            }
            Statement::ForEach { array, item, index, locals, body } => {
                let array = self.value(array)?;
                let Value::Json(text @ [b'[', ..]) = array else { return Err(GiveUp) };
                self.for_each(text, (*item, *index), locals, body)?;
            }
            Statement::Return => return Ok(Flow::Return),
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn repeat(
        &mut self,
        condition: Option<&'v Expression>,
        step: &'v [Statement],
        body: &'v [Statement],
    ) -> Result<Flow, GiveUp> {
        loop {
            self.step()?;
            if let Some(condition) = condition
                && !self.value(condition)?.is_true()
            {
                return Ok(Flow::On);
            }
            match self.statements(body)? {
                Flow::Break => return Ok(Flow::On),
                Flow::Return => return Ok(Flow::Return),
                Flow::On | Flow::Continue => {}
            }
            self.statements(step)?;
        }
    }

    fn for_each(
        &mut self,
        array: &'v [u8],
        (item, index): (Option<usize>, Option<usize>),
        locals: &[usize],
        body: &'v [Statement],
    ) -> Result<(), GiveUp> {
        for (at, text) in raw::items(array).enumerate() {
            for slot in locals {
                *self.slots.get_mut(*slot).ok_or(GiveUp)? = Value::Undefined;
            }
            let values = [(item, Value::read(text)?), (index, number_of(at))];
            for (slot, value) in values {
                if let Some(slot) = slot {
                    *self.slots.get_mut(slot).ok_or(GiveUp)? = value;
                }
            }
            self.statements(body)?;
        }
        Ok(())
    }

    fn value(&mut self, expression: &'v Expression) -> Result<Value<'v>, GiveUp> {
        Ok(match expression {
            Expression::Undefined => Value::Undefined,
            Expression::Null => Value::Null,
            Expression::Bool(bool) => Value::Bool(*bool),
            Expression::Number(number) => Value::Number(*number),
            Expression::String(text) => Value::String(Cow::Borrowed(text)),
            Expression::Document => Value::Json(self.document),
            Expression::Field(place) => match self.fields.get(*place) {
                Some(Some(text)) => Value::read(text)?,
                _ => Value::Undefined,
            },
            Expression::Slot(slot) => self.slots.get(*slot).cloned().ok_or(GiveUp)?,
            Expression::Member(of, name) => self.value(of)?.member(name)?,
            Expression::Item(of, place) => {
                let of = self.value(of)?;
                of.item(&self.value(place)?)?
            }
            Expression::Not(of) => Value::Bool(!self.value(of)?.is_true()),
            Expression::TypeOf(of) => Value::String(Cow::Borrowed(self.value(of)?.type_name())),
            Expression::Negative(of) => Value::Number(-self.value(of)?.number().ok_or(GiveUp)?),
            Expression::IsArray(of) => Value::Bool(self.value(of)?.is_array()),
            _ => self.compound(expression)?,
        })
    }

    /// Expressions of several parts.
    fn compound(&mut self, expression: &'v Expression) -> Result<Value<'v>, GiveUp> {
        match expression {
            Expression::Binary(operator, sides) => {
                let [left, right] = &**sides;
                let left = self.value(left)?;
                let right = self.value(right)?;
                binary(*operator, &left, &right)
            }
            Expression::And(sides) => {
                let [left, right] = &**sides;
                let left = self.value(left)?;
                if left.is_true() { self.value(right) } else { Ok(left) }
            }
            Expression::Or(sides) => {
                let [left, right] = &**sides;
                let left = self.value(left)?;
                if left.is_true() { Ok(left) } else { self.value(right) }
            }
            Expression::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if self.value(condition)?.is_true() { then } else { otherwise };
                self.value(chosen)
            }
            Expression::Array(items) => {
                let items: Result<_, _> = items.iter().map(|item| self.value(item)).collect();
                bounded(Value::Array(items?))
            }
            Expression::Object(members) => {
                let members: Result<_, _> = members
                    .iter()
                    .map(|(name, value)| Ok((name.as_str(), self.value(value)?)))
                    .collect();
                bounded(Value::Object(members?))
            }
            Expression::Emit(row) => {
                let [key, value] = &**row;
                let (key, value) = (self.value(key)?, self.value(value)?);
                self.emit(&key, &value)?;
                Ok(Value::Undefined)
            }
            _ => Err(GiveUp),
        }
    }

    fn emit(&mut self, key: &Value<'v>, value: &Value<'v>) -> Result<(), GiveUp> {
        let Emitted { buffer, rows } = &mut *self.emitted;
        let start = buffer.len();
        key.write(buffer)?;
        let middle = buffer.len();
        value.write(buffer)?;
        rows.push((start..middle, middle..buffer.len()));
        if buffer.len() > MAX_EMITTED_BYTES { Err(GiveUp) } else { Ok(()) }
    }
}

/// The value, if it does not hold too many others.
fn bounded(value: Value<'_>) -> Result<Value<'_>, GiveUp> {
    if value.count() > MAX_VALUES { Err(GiveUp) } else { Ok(value) }
}

fn binary<'v>(
    operator: Operator,
    left: &Value<'v>,
    right: &Value<'v>,
) -> Result<Value<'v>, GiveUp> {
    Ok(match operator {
        Operator::Same => Value::Bool(same(left, right)?),
        Operator::NotSame => Value::Bool(!same(left, right)?),
        Operator::Equal => Value::Bool(equal(left, right)?),
        Operator::NotEqual => Value::Bool(!equal(left, right)?),
        Operator::Add => return add(left, right),
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            let (left, right) = numbers(left, right)?;
            Value::Number(match operator {
                Operator::Subtract => left - right,
                Operator::Multiply => left * right,
                Operator::Divide => left / right,
                _ => left % right,
            })
        }
        _ => Value::Bool(ordered(operator, left, right)?),
    })
}

fn numbers(left: &Value<'_>, right: &Value<'_>) -> Result<(f64, f64), GiveUp> {
    left.number().zip(right.number()).ok_or(GiveUp)
}

/// `===`. Whether two arrays or objects are the same one is left to the interpreter.
fn same(left: &Value<'_>, right: &Value<'_>) -> Result<bool, GiveUp> {
    let container =
        |value: &Value<'_>| matches!(value, Value::Json(_) | Value::Array(_) | Value::Object(_));
    if container(left) && container(right) {
        return Err(GiveUp);
    }
    Ok(match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => left == right,
        _ => match (left.text(), right.text()) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        },
    })
}

/// `==`, where no conversion is asked for.
fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, GiveUp> {
    let nothing = |value: &Value<'_>| matches!(value, Value::Undefined | Value::Null);
    if nothing(left) || nothing(right) {
        return Ok(nothing(left) && nothing(right));
    }
    if left.type_name() != right.type_name() {
        return Err(GiveUp);
    }
    same(left, right)
}

fn ordered(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<bool, GiveUp> {
    let order = match (left.text(), right.text()) {
        // Code units sort as bytes do where all of them are ASCII.
        (Some(left), Some(right)) if left.is_ascii() && right.is_ascii() => Some(left.cmp(&right)),
        (None, None) => {
            let (left, right) = numbers(left, right)?;
            left.partial_cmp(&right)
        }
        _ => return Err(GiveUp),
    };
    Ok(order.is_some_and(|order| match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

/// `+`: a sum of numbers, or texts and numbers put together.
fn add<'v>(left: &Value<'v>, right: &Value<'v>) -> Result<Value<'v>, GiveUp> {
    if let (Value::Number(left), Value::Number(right)) = (left, right) {
        return Ok(Value::Number(left + right));
    }
    let has_text = left.text().is_some() || right.text().is_some();
    let mut text = as_text(left)?;
    text.push_str(&as_text(right)?);
    if !has_text || text.len() > MAX_TEXT_BYTES {
        return Err(GiveUp);
    }
    Ok(Value::String(Cow::Owned(text)))
}

/// The text of a string or a number.
fn as_text(value: &Value<'_>) -> Result<String, GiveUp> {
    if let Some(text) = value.text() {
        return Ok(text.into_owned());
    }
    let number = value.number().ok_or(GiveUp)?;
    if number.is_nan() {
        return Ok("NaN".to_owned());
    }
    if number.is_infinite() {
        return Err(GiveUp);
    }
    let mut text = Vec::new();
    write_number(number, &mut text);
    String::from_utf8(text).map_err(|_| GiveUp)
}
