//! The functions of a design document in JavaScript, as a source of rows.

use std::sync::Arc;

use super::{
    design::MapFunction,
    source::{Emit, ReduceRow, RowMapper, RowReducer, RowSource},
};
use crate::{
    error::Result,
    javascript::{FunctionSource, Mapper, Reducer, reducer},
    shared::Shared,
};

/// Map functions, and whatever reduce functions are asked for.
#[derive(Debug)]
pub(super) struct JavaScriptSource {
    /// The design document's id, for errors and the log.
    pub(super) id: String,
    pub(super) shared: Arc<Shared>,
    pub(super) lib: Option<Vec<u8>>,
    pub(super) functions: Vec<MapFunction>,
}

impl RowSource for JavaScriptSource {
    fn mapper(&self, functions: &[usize]) -> Result<Box<dyn RowMapper>> {
        let wanted = functions.iter().filter_map(|number| self.functions.get(*number));
        let named: Vec<(String, &str)> = wanted
            .map(|function| {
                let name = format!("map function of view '{}' of {}", function.view, self.id);
                (name, function.text.as_str())
            })
            .collect();
        let sources: Vec<_> =
            named.iter().map(|(name, text)| FunctionSource { name, text }).collect();
        Ok(Box::new(Mapper::new(&self.shared.javascript(), self.lib.as_deref(), &sources)?))
    }

    fn reducer(&self, source: &str) -> Result<Box<dyn RowReducer>> {
        let name = format!("reduce function of {}", self.id);
        let function = FunctionSource { name: &name, text: source };
        Ok(Box::new(Reducer::new(&self.shared.javascript(), function)?))
    }

    fn log(&self, message: &str) {
        (self.shared.javascript().log)(&format!("reduction of {}: {message}", self.id));
    }
}

impl RowMapper for Mapper {
    fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        Ok(Mapper::map(self, document, emit)?)
    }
}

impl RowReducer for Reducer {
    fn reduce(&mut self, rows: &[ReduceRow<'_>]) -> Result<Vec<u8>> {
        let rows = rows.iter().map(|row| reducer::ReduceRow {
            key: row.key,
            id: row.id,
            value: row.value,
        });
        Ok(Reducer::reduce(self, rows)?)
    }

    fn rereduce(&mut self, values: &[&[u8]]) -> Result<Vec<u8>> {
        Ok(Reducer::rereduce(self, values.iter().copied())?)
    }
}
