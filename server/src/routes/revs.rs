//! `/{db}/_revs_diff`, `_missing_revs`: which revisions are not here; and `_revs_limit`.

use std::sync::Arc;

use settee_engine::json::{Value, write_string};
use settee_engine::{Database, RevsDiff, RevsRequest};

use super::{blocking, body, users};
use crate::http::{Failure, Outcome, Reply, Request};

/// POST `/{db}/_revs_diff`.
pub(crate) async fn revs_diff(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let asked = Asked::read(request, database).await?;
    let database = Arc::clone(database);
    let json = blocking::run(move || {
        let mut json = b"{".to_vec();
        for diff in asked.diffs(&database)? {
            member(&diff.id, &mut json);
            json.extend_from_slice(b"{\"missing\":");
            body::write_revisions(&diff.missing, &mut json);
            if !diff.possible_ancestors.is_empty() {
                json.extend_from_slice(b",\"possible_ancestors\":");
                body::write_revisions(&diff.possible_ancestors, &mut json);
            }
            json.push(b'}');
        }
        json.push(b'}');
        Ok(json)
    });
    Ok(Reply::json(200, json.await?))
}

/// POST `/{db}/_missing_revs`.
pub(crate) async fn missing_revs(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let asked = Asked::read(request, database).await?;
    let database = Arc::clone(database);
    let json = blocking::run(move || {
        let mut json = b"{\"missing_revs\":{".to_vec();
        for diff in asked.diffs(&database)? {
            member(&diff.id, &mut json);
            body::write_revisions(&diff.missing, &mut json);
        }
        json.extend_from_slice(b"}}");
        Ok(json)
    });
    Ok(Reply::json(200, json.await?))
}

/// Begins a member of an object that was opened just before, or has members already.
fn member(name: &str, json: &mut Vec<u8>) {
    if json.last() != Some(&b'{') {
        json.push(b',');
    }
    write_string(name, json);
    json.push(b':');
}

/// What is asked of documents that may be read, and of others, which are as good as not there.
struct Asked {
    readable: Vec<RevsRequest>,
    hidden: Vec<RevsRequest>,
}

impl Asked {
    async fn read(request: &mut Request, database: &Arc<Database>) -> Result<Self, Failure> {
        let members = body::typed_object(request).await?;
        let entries = members.iter().map(|(id, list)| {
            let revs = body::revisions(list, "Invalid revisions, must be a list")?;
            Ok(RevsRequest { id: id.to_owned(), revs })
        });
        let entries: Vec<_> = entries.collect::<Result<_, Failure>>()?;
        let (readable, hidden) =
            entries.into_iter().partition(|asked| users::may_read(request, database, &asked.id));
        Ok(Self { readable, hidden })
    }

    fn diffs(self, database: &Arc<Database>) -> settee_engine::Result<Vec<RevsDiff>> {
        let mut diffs = database.read()?.revs_diff(&self.readable)?;
        let unknown = |RevsRequest { id, revs }| RevsDiff {
            id,
            missing: revs,
            possible_ancestors: Vec::new(),
        };
        let hidden = self.hidden.into_iter().filter(|asked| !asked.revs.is_empty());
        diffs.extend(hidden.map(unknown));
        Ok(diffs)
    }
}

/// GET `/{db}/_revs_limit`.
pub(crate) async fn get_limit(_request: &mut Request, database: &Arc<Database>) -> Outcome {
    Ok(Reply::json(200, database.revs_limit().to_string()))
}

/// PUT `/{db}/_revs_limit`.
pub(crate) async fn put_limit(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let value = Value::parse(&request.body.bytes().await?)?;
    let limit = value.as_u64().filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Failure::bad_request("invalid_revs_limit"))?;
    let database = Arc::clone(database);
    blocking::run(move || database.set_revs_limit(limit)).await?;
    Ok(Reply::ok(200))
}
