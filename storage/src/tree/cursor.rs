//! Walking a range.

use super::Pages;
use crate::error::Result;

/// Walks the entries of a range, in either direction.
#[derive(Debug)]
pub struct Cursor<'p, P: ?Sized> {
    _pages: &'p P,
}

impl<P: Pages + ?Sized> Cursor<'_, P> {
    /// Moves to the next entry; false at the end of the range. The first call moves to the first.
    pub fn advance(&mut self) -> Result<bool> {
        todo!()
    }

    /// Key of the current entry; empty before the first `advance` and after the end.
    pub fn key(&self) -> &[u8] {
        todo!()
    }

    /// Value of the current entry; empty before the first `advance` and after the end.
    pub fn value(&self) -> &[u8] {
        todo!()
    }

    /// Moves on and returns the entry: key and value.
    #[expect(
        clippy::should_implement_trait,
        reason = "the entry is lent, which Iterator cannot do"
    )]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(if self.advance()? { Some((self.key(), self.value())) } else { None })
    }
}
