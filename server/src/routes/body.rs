//! Request bodies that are parameters rather than documents, and the small JSON answers to them.
//!
//! Documents never pass through here; the engine reads them from the bytes as they came.

use settee_engine::Rev;
use settee_engine::json::{Object, Value, write_string};

use crate::http::{Failure, Request};

/// Reads a JSON object.
pub(crate) fn object(bytes: &[u8]) -> Result<Object, Failure> {
    match Value::parse(bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(Failure::bad_request("Request body must be a JSON object")),
    }
}

/// The body of a request that must be declared as JSON and hold an object.
pub(crate) async fn typed_object(request: &mut Request) -> Result<Object, Failure> {
    request.require_json_type()?;
    object(&request.body.bytes().await?)
}

/// The strings of a JSON array; `None` if it is no array or holds anything else.
pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?;
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The revisions of a JSON array; `refusal` is said of anything that is no array.
pub(crate) fn revisions(value: &Value, refusal: &'static str) -> Result<Vec<Rev>, Failure> {
    let items = value.as_array().ok_or_else(|| Failure::bad_request(refusal))?;
    items.iter().map(revision).collect()
}

/// The revision in a JSON string.
pub(crate) fn revision(value: &Value) -> Result<Rev, Failure> {
    let text = value.as_str().ok_or(settee_engine::Error::InvalidRev)?;
    Ok(Rev::parse(text.as_bytes())?)
}

/// `["1-a","2-b"]`
pub(crate) fn write_revisions<'r>(revs: impl IntoIterator<Item = &'r Rev>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (position, rev) in revs.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(&rev.to_string(), out);
    }
    out.push(b']');
}

/// `{"ok":true,"id":…,"rev":…}`, the answer to a write.
pub(crate) fn written(id: &str, rev: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + rev.len() + 32);
    write_written(id, rev, &mut out);
    out
}

/// Appends the same.
pub(crate) fn write_written(id: &str, rev: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ok\":true,\"id\":");
    write_string(id, out);
    out.extend_from_slice(b",\"rev\":");
    write_string(rev, out);
    out.push(b'}');
}

/// `{"id":…,"error":…,"reason":…}`, what became of one document of many.
pub(crate) fn write_refusal(id: &str, rev: Option<&Rev>, failure: &Failure, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    write_string(id, out);
    if let Some(rev) = rev {
        out.extend_from_slice(b",\"rev\":");
        write_string(&rev.to_string(), out);
    }
    out.extend_from_slice(b",\"error\":");
    write_string(failure.error(), out);
    out.extend_from_slice(b",\"reason\":");
    write_string(failure.reason(), out);
    out.push(b'}');
}
