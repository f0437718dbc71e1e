//! Reductions: what a view makes of many rows.
//!
//! * [`spec`]: which there are
//! * `sum`, `stats`, `distinct`, `ranked`: the built-in ones, and `number`, their arithmetic
//! * `accumulator`: one reduction under way, over rows and over what was reduced before
//! * `stored`: reductions in the inner nodes of an index
//!
//! JavaScript functions come in through [`RowReducer`](super::RowReducer); nothing here knows an interpreter.

pub(crate) mod accumulator;
mod distinct;
mod number;
mod ranked;
pub mod spec;
mod stats;
pub(crate) mod stored;
mod sum;

pub use spec::ReduceSpec;

use super::RowSource;

/// Since when a reduction counts as too large, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceLimits {
    /// What happens to a reduction that is too large.
    pub on_overflow: OnOverflow,
    /// A reduction may have so many bytes whatever it was made of.
    pub threshold_bytes: usize,
    /// Beyond that, this many times its bytes must not be more than those of what it was made of.
    pub ratio: f64,
}

/// See [`ReduceLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOverflow {
    /// An error stands in its place.
    Fail,
    /// It is logged.
    Log,
    /// Nothing.
    Ignore,
}

impl Default for ReduceLimits {
    /// Those of CouchDB.
    fn default() -> Self {
        ReduceLimits { on_overflow: OnOverflow::Fail, threshold_bytes: 5000, ratio: 2.0 }
    }
}

/// Applies [`ReduceLimits`], and says so where that is all that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limiter<'l> {
    pub(crate) limits: ReduceLimits,
    /// Whose reductions these are; it has a log.
    pub(crate) source: &'l dyn RowSource,
}

impl Limiter<'_> {
    /// Whether `output` bytes are too many for a reduction of `input` bytes.
    fn exceeded(&self, input: usize, output: usize) -> bool {
        let ReduceLimits { on_overflow, threshold_bytes, ratio } = self.limits;
        if output <= threshold_bytes || output as f64 * ratio <= input as f64 {
            return false;
        }
        if on_overflow == OnOverflow::Log {
            self.source.log(&too_large(input as u64, output as u64));
        }
        on_overflow == OnOverflow::Fail
    }
}

/// What is said of a reduction that did not shrink as it must, in CouchDB's words.
fn too_large(input: u64, output: u64) -> String {
    format!("Reduce output must shrink more rapidly: input size: {input} output size: {output}")
}
