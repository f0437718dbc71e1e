//! `/{db}/_partition/{name}`: one partition of a partitioned database.

use std::sync::Arc;

use serde_json::json;
use settee_engine::{Database, Error};

use super::{all_docs, body};
use crate::http::{Failure, Outcome, Reply, Request};

/// The partition's name, if the database has partitions and one may be called that.
pub(crate) fn check(database: &Arc<Database>, name: &[u8]) -> Result<String, Failure> {
    if !database.props().partitioned {
        return Err(Failure::bad_request("database is not partitioned"));
    }
    let name = str::from_utf8(name)
        .map_err(|_| Error::IllegalPartition("Partition must be valid UTF-8".into()))?;
    database.check_partition(name)?;
    Ok(name.to_owned())
}

/// GET `/{db}/_partition/{name}`.
pub(crate) async fn info(
    _request: &mut Request,
    database: &Arc<Database>,
    partition: &str,
) -> Outcome {
    let info = database.partition_info(partition)?;
    Ok(Reply::value(
        200,
        &json!({
            "db_name": database.name(),
            "sizes": {"active": info.active, "external": info.external},
            "partition": partition,
            "doc_count": info.doc_count,
            "doc_del_count": info.doc_del_count,
        }),
    ))
}

/// GET `/{db}/_partition/{name}/_all_docs`.
pub(crate) async fn get_all_docs(
    request: &mut Request,
    database: &Arc<Database>,
    partition: &str,
) -> Outcome {
    all_docs::in_partition(request, database, partition, None).await
}

/// POST `/{db}/_partition/{name}/_all_docs`.
pub(crate) async fn post_all_docs(
    request: &mut Request,
    database: &Arc<Database>,
    partition: &str,
) -> Outcome {
    let members = body::typed_object(request).await?;
    all_docs::in_partition(request, database, partition, Some(&members)).await
}
