//! The documents shown with rows.

use crate::{
    database::{GetOptions, ShowOptions},
    error::{Error, Result},
    json::{Value, raw},
    read::Reader,
    revision::Rev,
};

/// Appends the document of a row: the one that emitted it, or the one its value names by `_id`, perhaps in
/// the revision it names by `_rev`. `null` if that is not there.
pub(super) fn write(
    reader: &Reader,
    id: &str,
    value: &[u8],
    show: &ShowOptions,
    out: &mut Vec<u8>,
) -> Result<()> {
    let Some(linked) = raw::member(value, "_id") else {
        let options = GetOptions { show: show.clone(), ..GetOptions::default() };
        return write_found(reader, id, &options, out);
    };
    let Ok(Value::String(linked)) = Value::from_canonical(linked) else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let rev = raw::member(value, "_rev").and_then(raw::string);
    let rev = match rev.map(Rev::parse) {
        Some(Err(_)) => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        rev => rev.transpose()?,
    };
    write_found(reader, &linked, &GetOptions { rev, ..GetOptions::default() }, out)
}

fn write_found(reader: &Reader, id: &str, options: &GetOptions, out: &mut Vec<u8>) -> Result<()> {
    match reader.get(id, options) {
        Ok(found) => found.write_json(out),
        Err(Error::NotFound(_) | Error::IllegalDocId(_) | Error::IllegalPartition(_)) => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
