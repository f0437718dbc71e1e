//! `/{db}`: creating, describing and deleting databases, and documents posted to them.

use std::sync::Arc;

use serde_json::json;
use settee_engine::{Database, Document, Props};

use super::{blocking, body, write};
use crate::http::{Failure, Outcome, Reply, Request};

/// The version CouchDB gives of its own file format.
const DISK_FORMAT_VERSION: u32 = 8;

/// The most ranges (`q`) a database may claim to be cut into.
const MAX_RANGES: u32 = 1024;

/// PUT `/{db}`.
pub(crate) async fn create(request: &mut Request, name: &str) -> Outcome {
    let props = props(request, name)?;
    let databases = Arc::clone(request.app.databases());
    let owned = name.to_owned();
    blocking::run(move || databases.create(&owned, props)).await?;
    Ok(Reply::ok(201).with_location(&request.absolute_uri(&[name])))
}

fn props(request: &Request, name: &str) -> Result<Props, Failure> {
    let mut props = Props::default();
    if let Some(q) = positive(request, "q")? {
        if q > MAX_RANGES {
            let reason = format!("The `q` value should not be larger than {MAX_RANGES}.");
            return Err(Failure::bad_request(reason));
        }
        props.q = q;
    }
    // One machine holds one copy, however many are asked for; the number is checked all the same.
    positive(request, "n")?;
    if let Some(placement) = request.query.text("placement")
        && !placement.contains(':')
    {
        let reason = "The `placement` value should be in a format `zone:n`.";
        return Err(Failure::bad_request(reason));
    }
    if request.query.bytes("engine").is_some_and(|engine| engine != b"couch") {
        return Err(Failure::bad_request("invalid_engine_extension"));
    }
    props.partitioned = match request.query.bytes("partitioned") {
        None | Some(b"false") => false,
        Some(b"true") => true,
        Some(_) => return Err(Failure::bad_request("Invalid `partitioned` parameter")),
    };
    if props.partitioned && name.starts_with('_') {
        return Err(Failure::bad_request("Cannot partition a system database"));
    }
    Ok(props)
}

fn positive(request: &Request, name: &str) -> Result<Option<u32>, Failure> {
    let Some(text) = request.query.text(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Failure::bad_request(format!("The `{name}` value should be a positive integer."))),
    }
}

/// DELETE `/{db}`.
pub(crate) async fn delete(request: &mut Request, name: &str) -> Outcome {
    if request.query.bytes("rev").is_some() {
        return Err(Failure::bad_request(
            "You tried to DELETE a database with a ?=rev parameter. \
             Did you mean to DELETE a document instead?",
        ));
    }
    let databases = Arc::clone(request.app.databases());
    let name = name.to_owned();
    blocking::run(move || databases.delete(&name)).await?;
    Ok(Reply::ok(200))
}

/// GET `/{db}`.
pub(crate) async fn info(_request: &mut Request, database: &Arc<Database>) -> Outcome {
    Ok(Reply::value(200, &info_value(database)?))
}

/// What a database says of itself, members in CouchDB's order.
pub(crate) fn info_value(database: &Database) -> Result<serde_json::Value, Failure> {
    let info = database.info()?;
    let props = database.props();
    Ok(json!({
        "instance_start_time": database.instance_start_time().to_string(),
        "db_name": database.name(),
        "purge_seq": database.sequence_text(info.purge_seq),
        "update_seq": database.sequence_text(info.update_seq),
        "sizes": {
            "file": info.sizes.file,
            "external": info.sizes.external,
            "active": info.sizes.active,
        },
        "props": if props.partitioned { json!({"partitioned": true}) } else { json!({}) },
        "doc_del_count": info.doc_del_count,
        "doc_count": info.doc_count,
        "disk_format_version": DISK_FORMAT_VERSION,
        "compact_running": database.compact_running(),
        "cluster": {"q": props.q, "n": 1, "w": 1, "r": 1},
    }))
}

/// POST `/{db}`: a document, whose id is made up if it brings none.
pub(crate) async fn create_document(request: &mut Request, database: &Arc<Database>) -> Outcome {
    request.require_json_type()?;
    let bytes = request.body.bytes().await?;
    let mut document = Document::parse(&bytes, None, &write::limits(request))?;
    if document.id.is_empty() {
        document.id = request.app.new_uuid();
    }
    let id = document.id.clone();
    if write::is_batched(request) {
        write::later(request, database, document, write::mode(request))?;
        return Ok(Reply::value(202, &json!({"ok": true, "id": id})));
    }
    let rev = write::one(request, database, document, write::mode(request)).await?;
    let uri = request.absolute_uri(&[database.name(), &id]);
    Ok(Reply::json(201, body::written(&id, &rev.to_string())).with_location(&uri))
}

/// POST `/{db}/_ensure_full_commit`: every write was durable before it was answered.
pub(crate) async fn ensure_full_commit(request: &mut Request, database: &Arc<Database>) -> Outcome {
    request.require_json_type()?;
    let started = database.instance_start_time().to_string();
    Ok(Reply::value(201, &json!({"ok": true, "instance_start_time": started})))
}

/// POST `/{db}/_compact`: answered at once, done in the background.
pub(crate) async fn compact(request: &mut Request, database: &Arc<Database>) -> Outcome {
    request.require_json_type()?;
    database.start_compaction()?;
    Ok(Reply::ok(202))
}

/// GET `/{db}/_shards`: the ranges that `q` would cut the database into, all on this node.
pub(crate) async fn shards(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let node = request.app.node_name();
    let ranges = ranges(database.props().q);
    let shards = ranges.into_iter().map(|(first, last)| (range_text(first, last), json!([node])));
    let shards: serde_json::Map<String, serde_json::Value> = shards.collect();
    Ok(Reply::value(200, &json!({"shards": shards})))
}

/// GET `/{db}/_shards/{id}`: the range a document falls into, by the CRC-32 of its id, or of its
/// partition in a partitioned database.
pub(crate) async fn shards_of(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
) -> Outcome {
    let props = database.props();
    let key = match id.split_once(':') {
        Some((partition, _)) if props.partitioned && !id.starts_with('_') => partition,
        _ => id,
    };
    let hash = crc32(key.as_bytes());
    let range = ranges(props.q).into_iter().find(|(first, last)| (*first..=*last).contains(&hash));
    let (first, last) = range.ok_or_else(|| Failure::internal("no range covers this id"))?;
    let node = request.app.node_name();
    Ok(Reply::value(200, &json!({"range": range_text(first, last), "nodes": [node]})))
}

fn range_text(first: u32, last: u32) -> String {
    format!("{first:08x}-{last:08x}")
}

/// The 32-bit hash space in `q` equal parts; the last takes what the division leaves.
fn ranges(q: u32) -> Vec<(u32, u32)> {
    let q = q.max(1);
    let width = (u64::from(u32::MAX) + 1) / u64::from(q);
    let bound = |part: u32| u32::try_from(width * u64::from(part)).unwrap_or(u32::MAX);
    let last = |part: u32| if part + 1 == q { u32::MAX } else { bound(part + 1) - 1 };
    (0..q).map(|part| (bound(part), last(part))).collect()
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_hash_space_without_gaps() {
        assert_eq!(ranges(1), [(0, u32::MAX)]);
        assert_eq!(ranges(2), [(0, 0x7fff_ffff), (0x8000_0000, u32::MAX)]);
        for q in [3, 7, 8, 100] {
            let ranges = ranges(q);
            assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, u32::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{q}");
        }
    }

    #[test]
    fn the_hash_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
