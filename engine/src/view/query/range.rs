//! From the keys of a request to ranges of encoded rows.

use std::ops::Bound;

use settee_storage::KeyRange;

use super::request::{QueryParams, ViewSelection};
use crate::{
    error::{Error, Result},
    view::{
        definition::IndexDefinition,
        key::AFTER,
        row::{put_id, put_partition},
    },
};

/// The ranges a request reads, one after the other, in terms of ascending keys.
pub(super) fn ranges(params: &QueryParams, index: &IndexDefinition) -> Result<Vec<KeyRange>> {
    let prefix = partition_prefix(params);
    let whole = match prefix.as_slice() {
        [] => KeyRange::all(),
        prefix => KeyRange {
            start: Bound::Included(prefix.to_vec()),
            end: Bound::Excluded(followed(prefix, &[AFTER])),
        },
    };
    let encoded = |key: &[u8]| {
        let mut out = prefix.clone();
        index.collation.encode(key, &mut out);
        out
    };
    let (start, end, inclusive_end) = match &params.selection {
        ViewSelection::Keys(keys) => {
            let range = |key: &Vec<u8>| {
                let key = encoded(key);
                let end = Bound::Excluded(followed(&key, &[AFTER]));
                KeyRange { start: Bound::Included(key), end }
            };
            let mut ranges: Vec<_> = keys.iter().map(range).collect();
            if params.descending {
                ranges.reverse();
            }
            return Ok(ranges);
        }
        ViewSelection::Range { start, end, inclusive_end } => (start, end, *inclusive_end),
    };
    let start = start.as_ref().map(|bound| (encoded(&bound.key), bound.id.as_deref()));
    let end = end.as_ref().map(|bound| (encoded(&bound.key), bound.id.as_deref()));
    if let (Some((start, _)), Some((end, _))) = (&start, &end) {
        check_order(start, end, params.descending)?;
    }
    let range = match params.descending {
        false => KeyRange {
            start: start.map_or(whole.start, low_start),
            end: end.map_or(whole.end, |end| high_end(end, inclusive_end)),
        },
        true => KeyRange {
            start: end.map_or(whole.start, |end| low_end(end, inclusive_end)),
            end: start.map_or(whole.end, high_start),
        },
    };
    Ok(vec![range])
}

/// What the rows of the partition asked for begin with.
pub(super) fn partition_prefix(params: &QueryParams) -> Vec<u8> {
    let mut prefix = Vec::new();
    if let Some(partition) = &params.partition {
        put_partition(partition, &mut prefix);
    }
    prefix
}

fn check_order(start: &[u8], end: &[u8], descending: bool) -> Result<()> {
    let (wrong, advice) = match descending {
        false => (start > end, "true"),
        true => (start < end, "false"),
    };
    match wrong {
        false => Ok(()),
        true => Err(Error::QueryParse(format!(
            "No rows can match your key range, reverse your start_key and end_key or set \
             descending={advice}"
        ))),
    }
}

pub(super) fn followed(bytes: &[u8], by: &[u8]) -> Vec<u8> {
    [bytes, by].concat()
}

type End<'e> = (Vec<u8>, Option<&'e str>);

/// The key and the id, up to where the number of a row stands.
fn with_id((mut key, id): End<'_>) -> Vec<u8> {
    if let Some(id) = id {
        put_id(id, &mut key);
    }
    key
}

/// Ascending from here.
fn low_start(start: End<'_>) -> Bound<Vec<u8>> {
    Bound::Included(with_id(start))
}

/// Ascending up to here.
fn high_end(end: End<'_>, inclusive: bool) -> Bound<Vec<u8>> {
    let at = with_id(end);
    Bound::Excluded(if inclusive { followed(&at, &[AFTER]) } else { at })
}

/// Descending from here.
fn high_start(start: End<'_>) -> Bound<Vec<u8>> {
    Bound::Excluded(followed(&with_id(start), &[AFTER]))
}

/// Descending down to here.
fn low_end(end: End<'_>, inclusive: bool) -> Bound<Vec<u8>> {
    let at = with_id(end);
    Bound::Included(if inclusive { at } else { followed(&at, &[AFTER]) })
}
