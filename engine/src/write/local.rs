//! Local documents: bodies under a name, without history, conflicts or sequences.
//!
//! The value is the counter of the revision `0-<counter>` in eight bytes, then the body.

use settee_storage::Transaction;

use super::prepare::Prepared;
use crate::{
    error::{Error, Result},
    revision::{Rev, RevId},
};

/// A stored local document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalDocument<'v> {
    counter: u64,
    pub(crate) body: &'v [u8],
}

impl<'v> LocalDocument<'v> {
    pub(crate) fn decode(value: &'v [u8]) -> Result<Self> {
        let (counter, body) = value.split_first_chunk().ok_or(Error::Damaged("local document"))?;
        Ok(LocalDocument { counter: u64::from_le_bytes(*counter), body })
    }

    pub(crate) fn rev(&self) -> Rev {
        rev(self.counter)
    }
}

fn rev(counter: u64) -> Rev {
    Rev::new(0, RevId::Opaque(counter.to_string().into_bytes().into()))
}

/// The counter that follows the revision a client named, whatever is stored.
///
/// # Errors
/// [`Error::InvalidRev`] if it is not the revision of a local document.
pub(super) fn next_counter(named: Option<&Rev>) -> Result<u64> {
    let Some(named) = named else { return Ok(1) };
    let digits = std::str::from_utf8(named.id.as_bytes()).ok().filter(|_| named.generation == 0);
    let counter = digits.and_then(|digits| digits.parse::<u64>().ok());
    counter.and_then(|counter| counter.checked_add(1)).ok_or(Error::InvalidRev)
}

/// Writes or removes a local document; the last write wins.
pub(super) fn apply(transaction: &mut dyn Transaction, doc: &Prepared) -> Result<Rev> {
    if doc.deleted {
        transaction.remove_local(doc.id.as_bytes())?;
        return Ok(rev(0));
    }
    let counter = next_counter(doc.rev.as_ref())?;
    let mut value = counter.to_le_bytes().to_vec();
    value.extend_from_slice(doc.body.as_bytes());
    transaction.put_local(doc.id.as_bytes(), &value)?;
    Ok(rev(counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_follows_the_named_revision() {
        assert_eq!(next_counter(None).unwrap(), 1);
        assert_eq!(next_counter(Some(&Rev::parse(b"0-41").unwrap())).unwrap(), 42);
        for bad in ["0-x", "0-", "1-1", "0-18446744073709551615", "0--1"] {
            let rev = Rev::parse(bad.as_bytes()).unwrap();
            assert!(matches!(next_counter(Some(&rev)), Err(Error::InvalidRev)), "{bad}");
        }
    }
}
