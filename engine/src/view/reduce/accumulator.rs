//! One reduction under way.

use std::{cell::RefCell, rc::Rc};

use settee_storage::Direction;

use super::{
    Limiter, ReduceSpec,
    distinct::Sketch,
    ranked::Ranked,
    stats::Stats,
    sum::{Sum, failure},
    too_large,
};
use crate::{
    error::{Error, Result},
    json::write_string,
    view::{
        row::Row,
        source::{ReduceRow, RowReducer},
    },
};

/// Rows are handed to a function when they have so many bytes together.
const MAX_ROWS_BYTES: usize = 512 * 1024;
const DAMAGED: Error = Error::Damaged("reduction of a view");

/// A function that is shared by the reductions of one thread.
pub(crate) type SharedReducer = Rc<RefCell<Box<dyn RowReducer>>>;

/// What became of a reduction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reduction {
    /// A value, in the form it is stored in: JSON, except for `_approx_count_distinct`.
    Value(Vec<u8>),
    /// The value did not shrink as it must: bytes that went in and that came out.
    Overflow { input: u64, output: u64 },
    /// A value was none that can be reduced; the reason.
    Invalid(String),
}

/// A reduction so far.
pub(crate) struct Accumulator<'l> {
    kind: Kind,
    limits: Limiter<'l>,
    /// Bytes of the values that went in.
    input: usize,
    /// What makes every further value pointless.
    spoiled: Option<Reduction>,
    /// Whether anything went in.
    touched: bool,
}

enum Kind {
    Count(u64),
    Sum(Sum),
    Stats(Stats),
    Distinct(Box<Sketch>),
    Ranked(Ranked),
    /// The value of the first of the rows that come.
    Earliest(Option<Vec<u8>>),
    /// The value of the last of the rows that come.
    Latest(Option<Vec<u8>>),
    Script(Script),
}

struct Script {
    reducer: SharedReducer,
    rows: Vec<OwnedRow>,
    rows_bytes: usize,
    values: Vec<Vec<u8>>,
}

struct OwnedRow {
    key: Vec<u8>,
    id: String,
    value: Vec<u8>,
}

impl<'l> Accumulator<'l> {
    /// A reduction of rows that come in this direction.
    pub(crate) fn new(
        spec: &ReduceSpec,
        script: Option<&SharedReducer>,
        direction: Direction,
        limits: Limiter<'l>,
    ) -> Result<Self> {
        let forward = direction == Direction::Forward;
        let kind = match spec {
            ReduceSpec::Count => Kind::Count(0),
            ReduceSpec::Sum => Kind::Sum(Sum::default()),
            ReduceSpec::Stats => Kind::Stats(Stats::default()),
            ReduceSpec::ApproxCountDistinct => Kind::Distinct(Box::default()),
            ReduceSpec::Top(rank) => Kind::Ranked(Ranked::new(*rank, true)),
            ReduceSpec::Bottom(rank) => Kind::Ranked(Ranked::new(*rank, false)),
            ReduceSpec::First if forward => Kind::Earliest(None),
            ReduceSpec::Last if !forward => Kind::Earliest(None),
            ReduceSpec::First | ReduceSpec::Last => Kind::Latest(None),
            ReduceSpec::JavaScript(_) => Kind::Script(Script {
                reducer: script.map(Rc::clone).ok_or(DAMAGED)?,
                rows: Vec::new(),
                rows_bytes: 0,
                values: Vec::new(),
            }),
        };
        Ok(Accumulator { kind, limits, input: 0, spoiled: None, touched: false })
    }

    /// Whether anything went in.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: &Row<'_>) -> Result<()> {
        self.touched = true;
        self.input = self.input.saturating_add(row.key.len() + row.value.len());
        match &mut self.kind {
            Kind::Count(count) => *count += 1,
            Kind::Sum(sum) => sum.add(row.value),
            Kind::Stats(stats) => stats.add(row.value),
            Kind::Distinct(sketch) => sketch.add(row.key),
            Kind::Ranked(ranked) => ranked.add(row.value),
            Kind::Earliest(value) => drop(value.get_or_insert_with(|| row.value.to_vec())),
            Kind::Latest(value) => *value = Some(row.value.to_vec()),
            Kind::Script(script) => {
                script.add(row)?;
                if script.rows_bytes >= MAX_ROWS_BYTES {
                    self.run_rows()?;
                }
            }
        }
        Ok(())
    }

    /// Adds what was reduced before.
    pub(crate) fn stored(&mut self, stored: &Reduction) -> Result<()> {
        self.touched = true;
        let state = match stored {
            Reduction::Value(state) => state,
            spoiled => {
                self.spoiled.get_or_insert_with(|| spoiled.clone());
                return Ok(());
            }
        };
        self.input = self.input.saturating_add(state.len());
        match &mut self.kind {
            Kind::Count(count) => {
                let more = std::str::from_utf8(state).ok().and_then(|text| text.parse().ok());
                *count = count.saturating_add(more.ok_or(DAMAGED)?);
            }
            Kind::Sum(sum) => sum.add(state),
            Kind::Stats(stats) => stats.add(state),
            Kind::Distinct(sketch) => {
                if !sketch.join(state) {
                    return Err(DAMAGED);
                }
            }
            Kind::Ranked(ranked) => ranked.join(state),
            Kind::Earliest(value) => drop(value.get_or_insert_with(|| state.clone())),
            Kind::Latest(value) => *value = Some(state.clone()),
            Kind::Script(_) => {
                self.run_rows()?;
                if let Kind::Script(script) = &mut self.kind {
                    script.values.push(state.clone());
                }
            }
        }
        Ok(())
    }

    /// Hands the rows that wait to the function.
    fn run_rows(&mut self) -> Result<()> {
        let Kind::Script(script) = &mut self.kind else { return Ok(()) };
        if script.rows.is_empty() || self.spoiled.is_some() {
            return Ok(());
        }
        let rows: Vec<_> = script.rows.iter().map(OwnedRow::borrowed).collect();
        let value = script.reducer.borrow_mut().reduce(&rows)?;
        let input = script.rows_bytes;
        script.rows.clear();
        script.rows_bytes = 0;
        if self.limits.exceeded(input, value.len()) {
            self.spoiled = Some(overflow(input, value.len()));
        }
        script.values.push(value);
        Ok(())
    }

    /// Ends the reduction.
    pub(crate) fn finish(mut self) -> Result<Reduction> {
        self.run_rows()?;
        if let Some(spoiled) = self.spoiled {
            return Ok(spoiled);
        }
        let mut out = Vec::new();
        match self.kind {
            Kind::Count(count) => out.extend_from_slice(count.to_string().as_bytes()),
            Kind::Sum(sum) => {
                sum.write(&mut out);
                let failed = matches!(sum, Sum::Failed(_));
                if !failed && self.limits.exceeded(self.input, out.len()) {
                    return Ok(overflow(self.input, out.len()));
                }
            }
            Kind::Stats(Stats::Failed(reason)) => return Ok(Reduction::Invalid(reason)),
            Kind::Stats(stats) => stats.write(&mut out),
            Kind::Distinct(sketch) => sketch.encode(&mut out),
            Kind::Ranked(ranked) => ranked.write(&mut out),
            Kind::Earliest(value) | Kind::Latest(value) => {
                out = value.unwrap_or_else(|| b"null".to_vec());
            }
            Kind::Script(script) => return script.finish(&self.limits),
        }
        Ok(Reduction::Value(out))
    }
}

impl Script {
    fn add(&mut self, row: &Row<'_>) -> Result<()> {
        self.rows_bytes += row.key.len() + row.value.len();
        let id = row.id()?.into_owned();
        self.rows.push(OwnedRow { key: row.key.to_vec(), id, value: row.value.to_vec() });
        Ok(())
    }

    fn finish(mut self, limits: &Limiter<'_>) -> Result<Reduction> {
        if self.values.len() == 1 {
            return Ok(Reduction::Value(self.values.pop().unwrap_or_default()));
        }
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        let value = self.reducer.borrow_mut().rereduce(&values)?;
        let input = values.iter().map(|value| value.len()).sum();
        match limits.exceeded(input, value.len()) {
            true => Ok(overflow(input, value.len())),
            false => Ok(Reduction::Value(value)),
        }
    }
}

impl OwnedRow {
    fn borrowed(&self) -> ReduceRow<'_> {
        ReduceRow { key: &self.key, id: &self.id, value: &self.value }
    }
}

fn overflow(input: usize, output: usize) -> Reduction {
    Reduction::Overflow { input: input as u64, output: output as u64 }
}

impl Reduction {
    /// Appends what the answer to a query shows. `context` names the view in errors.
    ///
    /// # Errors
    /// [`Error::InvalidReduceValue`] for values that cannot be reduced.
    pub(crate) fn write(&self, spec: &ReduceSpec, context: &str, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Reduction::Value(state) if *spec == ReduceSpec::ApproxCountDistinct => {
                let mut sketch = Sketch::default();
                sketch.join(state);
                out.extend_from_slice(sketch.estimate().to_string().as_bytes());
            }
            Reduction::Value(json) => out.extend_from_slice(json),
            Reduction::Invalid(reason) => return Err(Error::InvalidReduceValue(reason.clone())),
            Reduction::Overflow { input, output } => {
                let reason = format!("{} context: {context}", too_large(*input, *output));
                if *spec == ReduceSpec::Sum {
                    out.extend_from_slice(&failure(&reason, None));
                } else {
                    out.extend_from_slice(b"{\"reduce_overflow_error\":");
                    write_string(&reason, out);
                    out.push(b'}');
                }
            }
        }
        Ok(())
    }
}
