//! A database behind a URL as an end of a replication.
//!
//! * this file: opening, checkpoints, comparing revisions
//! * `feed`: changes
//! * `fetch`: reading revisions
//! * `single`: reading one with its attachments
//! * `write`: writing revisions

mod feed;
mod fetch;
mod single;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::{Change, Key, Log, Opened, Result, Wanted};
use crate::{
    document::{write_list, write_rev},
    json::{Object, Value, raw, write_string},
    replication::{
        context::Context,
        endpoint::RemoteEndpoint,
        error::{ReplicationError, Side},
        filter::param_text,
        http::{Call, Remote, encode_id},
        request::Replication,
    },
    revision::Rev,
};
pub(in crate::replication) use feed::RemoteFeed;

/// Longest answer that says something about a database or a checkpoint, in bytes.
const SMALL_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest answer about missing revisions, and longest design document, in bytes.
const MEDIUM_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A database behind a URL.
pub(in crate::replication) struct RemotePeer {
    remote: Arc<Remote>,
    bulk: fetch::BulkGet,
    /// Room for one large document.
    large: Arc<Semaphore>,
}

impl RemotePeer {
    pub(in crate::replication) fn new(
        side: Side,
        endpoint: &RemoteEndpoint,
        replication: &Replication,
        context: &Context,
    ) -> Result<Self> {
        let remote = Remote::new(side, endpoint, replication, &context.clients)?;
        let bulk = fetch::BulkGet::new(replication.use_bulk_get);
        Ok(RemotePeer { remote: Arc::new(remote), bulk, large: Arc::new(Semaphore::new(1)) })
    }

    fn refused(&self, status: StatusCode) -> Option<ReplicationError> {
        let (side, url) = (self.remote.side, self.remote.url().to_owned());
        match status {
            StatusCode::UNAUTHORIZED => Some(ReplicationError::Unauthorized { side, url }),
            StatusCode::FORBIDDEN => Some(ReplicationError::Forbidden { side, url }),
            _ => None,
        }
    }

    /// Makes an error of an answer that is none of those expected.
    fn failed(&self, call: &Call, status: StatusCode, body: &[u8]) -> ReplicationError {
        self.refused(status).unwrap_or_else(|| self.remote.unexpected(call, status, body))
    }

    fn json(&self, body: &[u8]) -> Result<Value> {
        Value::parse(body).map_err(|_| self.remote.senseless("no JSON"))
    }

    pub(super) async fn create(&self, params: &Object) -> Result<()> {
        let mut call = Call::new(Method::PUT, "");
        for (name, value) in params.iter() {
            call = call.param(name, &param_text(value));
        }
        let (status, _) = self.remote.call(&call, SMALL_ANSWER_BYTES).await?;
        self.refused(status).map_or(Ok(()), Err)
    }

    pub(super) async fn open(&self) -> Result<Opened> {
        let (status, body) = self.remote.call(&Call::get(""), SMALL_ANSWER_BYTES).await?;
        if let Some(error) = self.refused(status) {
            return Err(error);
        }
        let (side, url) = (self.remote.side, self.remote.url().to_owned());
        let none = || ReplicationError::DatabaseNotFound { side, url };
        let info = Value::parse(&body).ok().filter(|_| status == StatusCode::OK);
        let info = info.ok_or_else(none.clone())?;
        match (info.get("update_seq"), info.get("instance_start_time")) {
            (Some(seq), Some(instance)) => {
                Ok(Opened { update_seq: seq.clone(), instance: param_text(instance) })
            }
            _ => Err(none()),
        }
    }

    pub(super) async fn commit(&self) -> Result<String> {
        let call = Call::post("_ensure_full_commit", Vec::new());
        let (status, body) = self.remote.call(&call, SMALL_ANSWER_BYTES).await?;
        if !status.is_success() {
            let reason = format!("Failure on {} commit: {status}", self.remote.side);
            return Err(ReplicationError::Checkpoint { side: self.remote.side, reason });
        }
        let answer = self.json(&body)?;
        Ok(answer.get("instance_start_time").map_or_else(String::new, param_text))
    }

    pub(super) async fn log(&self, id: &str) -> Result<Option<Log>> {
        let document = self.document(&format!("_local/{id}")).await?;
        Ok(document.as_ref().and_then(Log::read))
    }

    pub(super) async fn document(&self, id: &str) -> Result<Option<Value>> {
        let call = Call::get(encode_id(id));
        let (status, body) = self.remote.call(&call, MEDIUM_ANSWER_BYTES).await?;
        match status {
            StatusCode::OK => self.json(&body).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.failed(&call, status, &body)),
        }
    }

    pub(super) async fn put_log(&self, id: &str, log: &Log) -> Result<String> {
        let path = format!("_local/{id}");
        let mut members = Object::new();
        members.insert("_id", path.as_str());
        if let Some(rev) = &log.rev {
            members.insert("_rev", rev.as_str());
        }
        let own = log.body.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let members: Object = members.into_iter().chain(own).collect();
        let mut call = Call::post(path.as_str(), Value::from(members).to_json());
        call.method = Method::PUT;
        call.delay_commit = true;
        let (status, body) = self.remote.call(&call, SMALL_ANSWER_BYTES).await?;
        match status {
            StatusCode::CONFLICT => self.own_log(id, log).await,
            status if status.is_success() => {
                let answer = self.json(&body)?;
                let rev = answer.get("rev").and_then(Value::as_str);
                rev.map(str::to_owned).ok_or_else(|| self.remote.senseless("a write without rev"))
            }
            status => match self.refused(status) {
                Some(error) => Err(error),
                None => Err(self.checkpoint_error(&String::from_utf8_lossy(&body))),
            },
        }
    }

    /// After a conflict: whether it was this write that came through, and only its answer was lost.
    async fn own_log(&self, id: &str, written: &Log) -> Result<String> {
        match self.log(id).await? {
            Some(Log { rev: Some(rev), body }) if body == written.body => Ok(rev),
            _ => Err(self.checkpoint_error("conflict")),
        }
    }

    fn checkpoint_error(&self, reason: &str) -> ReplicationError {
        let side = self.remote.side;
        let reason = reason.trim();
        let reason = format!("Error updating the {side} checkpoint document: {reason}");
        ReplicationError::Checkpoint { side, reason }
    }

    pub(super) async fn pending(&self, since: &Value) -> Result<Option<u64>> {
        let call = Call::get("_changes").param("since", &param_text(since)).param("limit", "0");
        let (status, body) = self.remote.call(&call, SMALL_ANSWER_BYTES).await?;
        if status != StatusCode::OK {
            return Ok(None);
        }
        Ok(self.json(&body)?.get("pending").and_then(Value::as_u64))
    }

    pub(super) async fn missing(&self, changes: Vec<Change>) -> Result<Vec<Wanted>> {
        let call = Call::post("_revs_diff", revs_diff_request(&changes));
        let (status, body) = self.remote.call(&call, MEDIUM_ANSWER_BYTES).await?;
        if status != StatusCode::OK {
            return Err(self.failed(&call, status, &body));
        }
        let answer = self.minified(&body)?;
        let wrong = || self.remote.senseless("no difference of revisions");
        if !answer.starts_with(b"{") {
            return Err(wrong());
        }
        let mut wanted = Vec::new();
        for (id, diff) in raw::members(&answer) {
            let id = text_of(id);
            let missing = raw::member(diff, "missing").and_then(revs_of).ok_or_else(wrong)?;
            let ancestors = match raw::member(diff, "possible_ancestors") {
                Some(list) => revs_of(list).ok_or_else(wrong)?,
                None => Vec::new(),
            };
            for rev in missing {
                let key = Key { id: id.clone(), rev };
                wanted.push(Wanted { key, ancestors: ancestors.clone() });
            }
        }
        Ok(wanted)
    }

    /// An answer in the scanner's spelling.
    fn minified(&self, body: &Bytes) -> Result<Vec<u8>> {
        crate::json::minify(body).map_err(|_| self.remote.senseless("no JSON"))
    }
}

fn text_of(spelled: &[u8]) -> String {
    crate::json::unescape(std::str::from_utf8(spelled).unwrap_or_default()).into_owned()
}

fn revs_of(list: &[u8]) -> Option<Vec<Rev>> {
    let rev = |rev| Rev::parse(text_of(raw::string(rev)?).as_bytes()).ok();
    raw::items(list).map(rev).collect()
}

fn write_revs<'r>(revs: impl IntoIterator<Item = &'r Rev>, out: &mut Vec<u8>) {
    write_list(revs, out, write_rev);
}

fn revs_diff_request(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::with_capacity(changes.len() * 64);
    out.push(b'{');
    for (at, change) in changes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&change.id, &mut out);
        out.push(b':');
        write_revs(&change.revs, &mut out);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_differences() {
        let rev = |text: &str| Rev::parse(text.as_bytes()).unwrap();
        let changes = [
            Change { id: "a\"".into(), revs: vec![rev("1-a"), rev("2-b")] },
            Change { id: "b".into(), revs: vec![] },
        ];
        let expected = br#"{"a\"":["1-a","2-b"],"b":[]}"#;
        assert_eq!(revs_diff_request(&changes), expected);
        assert_eq!(revs_of(br#"["1-a","2-b"]"#).unwrap(), changes[0].revs);
        assert_eq!(revs_of(br#"["x"]"#), None);
    }
}
