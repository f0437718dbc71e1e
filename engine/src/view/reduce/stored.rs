//! Reductions in the inner nodes of an index.
//!
//! ```text
//! sum of a node   rows n, then for each reduction of the index
//!   00            not known: it is too large, or the function failed; to be made from what is below
//!   01, bytes     the value
//!   02, in n, out n   it did not shrink
//!   03, bytes     a value was invalid; the reason
//! ```

use std::cell::Cell;

use settee_storage::{
    Direction,
    tree::{Malformed, Reduce},
};

use super::{
    Limiter, ReduceSpec,
    accumulator::{Accumulator, Reduction, SharedReducer},
};
use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::Result,
    view::row::Row,
};

/// Longest value that is stored, in bytes. With longer ones nodes would hold few children each.
const MAX_STORED_BYTES: usize = 32 * 1024;
const UNKNOWN: u8 = 0;
const VALUE: u8 = 1;
const OVERFLOW: u8 = 2;
const INVALID: u8 = 3;
const MALFORMED: Malformed = Malformed("the sum of a view's rows cannot be read");

/// Sums rows for the trees of an index: how many, and the reductions of the index.
pub(crate) struct ViewReduce<'l> {
    reducers: Vec<Reducer>,
    limits: Limiter<'l>,
}

/// One reduction of an index.
pub(crate) struct Reducer {
    pub(crate) spec: ReduceSpec,
    pub(crate) script: Option<SharedReducer>,
    /// The function passed its limits once; it would cost as much each time.
    failed: Cell<bool>,
}

impl Reducer {
    pub(crate) fn new(spec: ReduceSpec, script: Option<SharedReducer>) -> Self {
        Reducer { spec, script, failed: Cell::new(false) }
    }
}

impl<'l> ViewReduce<'l> {
    pub(crate) fn new(reducers: Vec<Reducer>, limits: Limiter<'l>) -> Self {
        ViewReduce { reducers, limits }
    }

    /// Runs a reduction to its end; nothing if it cannot be known.
    fn reduce(
        &self,
        reducer: &Reducer,
        feed: impl FnOnce(&mut Accumulator<'_>) -> Result<bool>,
    ) -> Result<Option<Reduction>> {
        if reducer.failed.get() {
            return Ok(None);
        }
        let script = reducer.script.as_ref();
        let mut accumulator =
            Accumulator::new(&reducer.spec, script, Direction::Forward, self.limits)?;
        let outcome = feed(&mut accumulator)
            .and_then(|known| if known { accumulator.finish().map(Some) } else { Ok(None) });
        if outcome.is_err() && script.is_some() {
            reducer.failed.set(true);
            return Ok(None);
        }
        outcome
    }

    fn sums(
        &self,
        rows: u64,
        mut reduce: impl FnMut(usize, &Reducer) -> Result<Option<Reduction>>,
    ) -> Result<ViewSum, Malformed> {
        let reducers = self.reducers.iter().enumerate();
        let reductions = reducers.map(|(number, reducer)| reduce(number, reducer));
        let reductions = reductions.collect::<Result<_>>().map_err(|_| MALFORMED)?;
        Ok(ViewSum { rows, reductions })
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ViewSum {
    pub(crate) rows: u64,
    pub(crate) reductions: Vec<Option<Reduction>>,
}

impl Reduce for ViewReduce<'_> {
    type Sum = ViewSum;

    fn leaf(&self, key: &[u8], value: &[u8]) -> Result<ViewSum, Malformed> {
        self.sum_entries(&mut std::iter::once((key, value)))
    }

    fn add(&self, into: &mut ViewSum, other: &ViewSum) {
        let mut stored = [&*into, other].map(|sum| {
            let mut bytes = Vec::new();
            self.encode(sum, &mut bytes);
            bytes
        });
        let sum = self.sum_stored(&mut stored.iter_mut().map(|bytes| &bytes[..]));
        *into = sum.unwrap_or_default();
    }

    fn encode(&self, sum: &ViewSum, out: &mut Vec<u8>) {
        put_varint(out, sum.rows);
        for number in 0..self.reducers.len() {
            match sum.reductions.get(number).and_then(Option::as_ref) {
                Some(Reduction::Value(value)) if value.len() <= MAX_STORED_BYTES => {
                    out.push(VALUE);
                    put_bytes(out, value);
                }
                Some(Reduction::Overflow { input, output }) => {
                    out.push(OVERFLOW);
                    put_varint(out, *input);
                    put_varint(out, *output);
                }
                Some(Reduction::Invalid(reason)) => {
                    out.push(INVALID);
                    put_bytes(out, reason.as_bytes());
                }
                _ => out.push(UNKNOWN),
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<ViewSum, Malformed> {
        let mut reader = Reader::new(bytes, "sum");
        let rows = reader.varint().map_err(|_| MALFORMED)?;
        let reductions = self.reducers.iter().map(|_| read_reduction(&mut reader));
        let reductions = reductions.collect::<Result<_, Malformed>>()?;
        Ok(ViewSum { rows, reductions })
    }

    fn sum_entries(
        &self,
        entries: &mut dyn Iterator<Item = (&[u8], &[u8])>,
    ) -> Result<ViewSum, Malformed> {
        if self.reducers.is_empty() {
            return Ok(ViewSum { rows: entries.count() as u64, reductions: Vec::new() });
        }
        let rows = entries.map(|(key, value)| Row::decode(key, value)).collect::<Result<Vec<_>>>();
        let rows = rows.map_err(|_| MALFORMED)?;
        self.sums(rows.len() as u64, |_, reducer| {
            self.reduce(reducer, |accumulator| {
                rows.iter().try_for_each(|row| accumulator.row(row)).map(|()| true)
            })
        })
    }

    fn sum_stored(&self, stored: &mut dyn Iterator<Item = &[u8]>) -> Result<ViewSum, Malformed> {
        let sums = stored.map(|bytes| self.decode(bytes)).collect::<Result<Vec<_>, _>>()?;
        let rows = sums.iter().fold(0u64, |rows, sum| rows.saturating_add(sum.rows));
        self.sums(rows, |number, reducer| {
            self.reduce(reducer, |accumulator| {
                for sum in &sums {
                    match sum.reductions.get(number).and_then(Option::as_ref) {
                        Some(reduction) => accumulator.stored(reduction)?,
                        None => return Ok(false),
                    }
                }
                Ok(true)
            })
        })
    }

    fn check(&self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        Row::decode(key, value).map(drop).map_err(|_| MALFORMED)
    }
}

fn read_reduction(reader: &mut Reader<'_>) -> Result<Option<Reduction>, Malformed> {
    let mut read = || -> Result<Option<Reduction>> {
        Ok(match reader.byte()? {
            UNKNOWN => None,
            VALUE => Some(Reduction::Value(reader.bytes()?.to_vec())),
            OVERFLOW => {
                let (input, output) = (reader.varint()?, reader.varint()?);
                Some(Reduction::Overflow { input, output })
            }
            INVALID => Some(Reduction::Invalid(reader.text()?.to_owned())),
            _ => return Err(reader.damaged()),
        })
    };
    read().map_err(|_| MALFORMED)
}

/// The reduction number `number` of a stored sum; nothing if it is not known.
pub(crate) fn stored_reduction(sum: &[u8], number: usize) -> Result<Option<Reduction>, Malformed> {
    let mut reader = Reader::new(sum, "sum");
    reader.varint().map_err(|_| MALFORMED)?;
    for _ in 0..number {
        read_reduction(&mut reader)?;
    }
    read_reduction(&mut reader)
}

/// Counts the rows of an index, whatever its reductions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowCount;

impl Reduce for RowCount {
    type Sum = u64;

    fn leaf(&self, _key: &[u8], _value: &[u8]) -> Result<u64, Malformed> {
        Ok(1)
    }

    fn add(&self, into: &mut u64, other: &u64) {
        *into = into.saturating_add(*other);
    }

    fn encode(&self, sum: &u64, out: &mut Vec<u8>) {
        put_varint(out, *sum);
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, Malformed> {
        Reader::new(bytes, "sum").varint().map_err(|_| MALFORMED)
    }
}
