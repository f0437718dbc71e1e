//! `/_db_updates`: what happened to the databases of this server. It is the changes feed of the database that
//! `global_changes` keeps, with rows of its own.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};
use settee_engine::{ChangeRow, ChangesEnd, ChangesQuery};

use super::params::{Feed, Params};
use super::{follow, normal, since};
use crate::global_changes::DATABASE;
use crate::http::{Failure, Outcome, Query, Request};

/// `heartbeat=true` means this many milliseconds.
const DEFAULT_HEARTBEAT_MS: u64 = 60_000;

/// What the rows of a feed say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Which documents changed.
    Changes,
    /// What happened to which database.
    Events,
}

impl Told {
    /// A row as it is sent; `None` for one that isn't.
    pub(super) fn row<'r>(self, row: &ChangeRow<'r>) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Changes => Some(Cow::Borrowed(row.json)),
            Self::Events => event(row.json).map(Cow::Owned),
        }
    }

    /// The last object of a feed.
    pub(super) fn summary(self, last_seq: &str, end: &ChangesEnd) -> String {
        match self {
            Self::Changes => format!("{{\"last_seq\":\"{last_seq}\",\"pending\":{}}}", end.pending),
            Self::Events => format!("{{\"last_seq\":\"{last_seq}\"}}"),
        }
    }
}

/// The event that a change tells of, if it tells of one: others may write to that database, too.
fn event(row: &[u8]) -> Option<Vec<u8>> {
    let row: Value = serde_json::from_slice(row).ok()?;
    let (kind, name) = row.get("id")?.as_str()?.split_once(':')?;
    let known = matches!(kind, "created" | "updated" | "deleted");
    if !known || row.get("deleted").is_some() {
        return None;
    }
    let event = json!({"db_name": name, "type": kind, "seq": row.get("seq")?});
    Some(event.to_string().into_bytes())
}

/// GET `/_db_updates`.
pub(in crate::routes) async fn db_updates(request: &mut Request) -> Outcome {
    let params = params(&request.query)?;
    request.app.global_changes().flush().await?;
    let database = request.app.database(DATABASE)?;
    let header = match params.feed {
        Feed::EventSource => request.header("last-event-id"),
        _ => None,
    };
    let query = ChangesQuery {
        since: since(&database, header.or(params.since.as_deref()))?,
        limit: params.limit,
        descending: params.descending,
        ..ChangesQuery::default()
    };
    match params.feed {
        Feed::Normal => normal(request, &database, query, Told::Events).await,
        _ => follow(request, &database, &params, query, Told::Events),
    }
}

fn params(query: &Query) -> Result<Params, Failure> {
    let mut params = Params::default();
    for (name, value) in query.iter() {
        match name {
            "feed" => params.feed = feed(value)?,
            "since" => params.since = Some(String::from_utf8_lossy(value).into_owned()),
            "limit" => params.limit = Some(integer(value)?),
            "descending" => params.descending = value == b"true",
            "timeout" => params.timeout = Some(Duration::from_millis(integer(value)?)),
            "heartbeat" => params.heartbeat = heartbeat(value)?,
            _ => {}
        }
    }
    Ok(params)
}

fn feed(value: &[u8]) -> Result<Feed, Failure> {
    match value {
        b"normal" => Ok(Feed::Normal),
        b"longpoll" => Ok(Feed::Longpoll),
        b"continuous" => Ok(Feed::Continuous),
        b"eventsource" => Ok(Feed::EventSource),
        _ => Err(Failure::bad_request(
            "Supported `feed` types: normal, continuous, longpoll, eventsource",
        )),
    }
}

fn heartbeat(value: &[u8]) -> Result<Option<Duration>, Failure> {
    let milliseconds = match value {
        b"true" => DEFAULT_HEARTBEAT_MS,
        b"false" => return Ok(None),
        // Without a pause there would be no end of heartbeats.
        number => integer(number)?.max(1),
    };
    Ok(Some(Duration::from_millis(milliseconds)))
}

fn integer(value: &[u8]) -> Result<u64, Failure> {
    let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Failure::bad_request("invalid_integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_tell_of_events() {
        let told = |row: &str| event(row.as_bytes()).map(|event| String::from_utf8(event).unwrap());
        let row = r#"{"seq":"3-x","id":"updated:a/b","changes":[{"rev":"1-a"}]}"#;
        let event = r#"{"db_name":"a/b","type":"updated","seq":"3-x"}"#;
        assert_eq!(told(row), Some(event.to_owned()));
        for row in [
            r#"{"seq":"3-x","id":"_design/x","changes":[]}"#,
            r#"{"seq":"3-x","id":"other:x","changes":[]}"#,
            r#"{"seq":"3-x","id":"created:x","changes":[],"deleted":true}"#,
        ] {
            assert_eq!(told(row), None, "{row}");
        }
    }

    #[test]
    fn parameters_that_are_refused() {
        for query in ["limit=-1", "limit=x", "timeout=x", "heartbeat=x", "heartbeat=-1"] {
            let refused = params(&Query::parse(query).unwrap()).unwrap_err();
            assert_eq!((refused.status().as_u16(), refused.reason()), (400, "invalid_integer"));
        }
        let refused = params(&Query::parse("feed=live").unwrap()).unwrap_err();
        let reason = "Supported `feed` types: normal, continuous, longpoll, eventsource";
        assert_eq!(refused.reason(), reason);
    }
}
