//! Writing revisions to a database behind a URL.

use std::{collections::VecDeque, io, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;

use super::{MEDIUM_ANSWER_BYTES, RemotePeer, SMALL_ANSWER_BYTES};
use crate::{
    json::Value,
    multipart::{Boundary, PartHead, attachment_head},
    replication::{
        error::ReplicationError,
        http::{Call, Payload, RequestBody, StreamedBody, encode_id},
        peer::{
            Key, Parcel, Result, Written,
            attached::{Attached, Part},
        },
    },
};

/// What became of one request with many documents.
enum Stored {
    /// They were taken, but for some that the target refused.
    Yes { failures: u64 },
    /// They are too much at once.
    TooLarge,
    /// One of them has a stub for what the target does not have.
    MissingStub,
}

impl RemotePeer {
    /// See [`super::super::Peer::write`].
    pub(in crate::replication) async fn write(&self, parcels: Vec<Parcel>) -> Result<Written> {
        let mut written = Written::default();
        let mut batches = vec![parcels];
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.store(&batch).await? {
                Stored::Yes { failures } => {
                    written.failures += failures;
                    written.written += (batch.len() as u64).saturating_sub(failures);
                }
                Stored::TooLarge if batch.len() == 1 => {
                    let id = batch.first().map(|parcel| &*parcel.key().id);
                    self.log_refusal(id, "the document is too large for the target");
                    written.failures += 1;
                }
                Stored::TooLarge => {
                    let rest = batch.split_off(batch.len() / 2);
                    batches.extend([rest, batch]);
                }
                Stored::MissingStub => {
                    let (stubs, plain) = batch.into_iter().partition(has_stubs);
                    let stubs: Vec<Parcel> = stubs;
                    written.without_stubs.extend(stubs.iter().map(|parcel| parcel.key().clone()));
                    batches.push(plain);
                }
            }
        }
        Ok(written)
    }

    async fn store(&self, batch: &[Parcel]) -> Result<Stored> {
        let mut call = Call::post("_bulk_docs", bulk_docs(batch)?);
        call.delay_commit = true;
        let (status, body) = self.remote.call(&call, MEDIUM_ANSWER_BYTES).await?;
        match status.as_u16() {
            200..=202 | 417 => Ok(Stored::Yes { failures: self.failures(&body)? }),
            413 => Ok(Stored::TooLarge),
            412 if batch.iter().any(has_stubs) => Ok(Stored::MissingStub),
            _ => Err(self.failed(&call, status, &body)),
        }
    }

    /// How many documents the target refused.
    fn failures(&self, body: &Bytes) -> Result<u64> {
        let answer = self.json(body)?;
        let results = answer.as_array();
        let results = results.ok_or_else(|| self.remote.senseless("no list of results"))?;
        let mut failures = 0;
        for result in results {
            if let Some(error) = result.get("error").and_then(Value::as_str) {
                let reason = result.get("reason").and_then(Value::as_str).unwrap_or_default();
                let id = result.get("id").and_then(Value::as_str);
                self.log_refusal(id, &format!("{error}: {reason}"));
                failures += 1;
            }
        }
        Ok(failures)
    }

    fn log_refusal(&self, id: Option<&str>, error: &str) {
        let target = self.remote.url();
        tracing::warn!(id, target, error, "a replicated document was not written");
    }

    /// See [`super::super::Peer::write_attached`].
    pub(in crate::replication) async fn write_attached(
        &self,
        attached: Attached,
    ) -> Result<Written> {
        let key = attached.key.clone();
        let mut call = Call::new(Method::PUT, encode_id(&key.id)).param("new_edits", "false");
        call.delay_commit = true;
        let (status, body) = if attached.parts.is_empty() {
            call.payload = Payload::Json(attached.json);
            self.remote.call(&call, SMALL_ANSWER_BYTES).await?
        } else {
            self.remote.send_stream(&call, related(attached), SMALL_ANSWER_BYTES).await?
        };
        self.single_result(key, status, &body)
    }

    fn single_result(&self, key: Key, status: StatusCode, body: &Bytes) -> Result<Written> {
        let answer = Value::parse(body).unwrap_or(Value::Null);
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let (error, reason) = (text("error"), text("reason"));
        let is_refusal = match status.as_u16() {
            // A conflict means that it is there already.
            200..=202 | 409 => return Ok(Written::one(true)),
            412 if error == "missing_stub" => {
                return Ok(Written { without_stubs: vec![key], ..Written::default() });
            }
            401 | 403 | 413 | 415 => true,
            400 => reason.starts_with("Attachment name "),
            _ => false,
        };
        if is_refusal {
            self.log_refusal(Some(&key.id), &format!("{status} {error}: {reason}"));
            return Ok(Written::one(false));
        }
        let reason = format!("{status} {error}: {reason}");
        Err(ReplicationError::DocumentWrite { id: key.id, reason })
    }
}

fn has_stubs(parcel: &Parcel) -> bool {
    matches!(parcel, Parcel::Text { stubs: true, .. })
}

fn bulk_docs(batch: &[Parcel]) -> Result<Vec<u8>> {
    let length: usize = batch.iter().map(|parcel| parcel.bytes() + 1).sum();
    let mut out = Vec::with_capacity(length + 64);
    out.extend_from_slice(b"{\"new_edits\":false,\"docs\":[");
    for (at, parcel) in batch.iter().enumerate() {
        let Parcel::Text { json, .. } = parcel else {
            return Err(ReplicationError::Internal("a document that is no text".into()));
        };
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(json);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// What comes next of a body.
enum Step {
    Text(Bytes),
    /// So many bytes of attachments.
    Data(u64),
}

/// A body that is made while it is sent.
struct Body {
    steps: VecDeque<Step>,
    attached: Attached,
    /// Attachment bytes that have arrived.
    rest: Bytes,
    /// When a piece was last taken.
    taken: Arc<Mutex<Instant>>,
}

/// A document and its attachments as `multipart/related`.
fn related(attached: Attached) -> StreamedBody {
    let mut random = [0; 16];
    // Without random bytes the boundary is one that no content has either.
    let _ = getrandom::fill(&mut random);
    let boundary = Boundary::new(random);
    let mut steps = VecDeque::new();
    let mut text = boundary.open().into_bytes();
    let head = PartHead::new().header("Content-Type", "application/json").finish();
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(&attached.json);
    for Part { name, content_type, gzip, length } in &attached.parts {
        text.extend_from_slice(boundary.next().as_bytes());
        let head = attachment_head(name, content_type, *length, gzip.then_some("gzip"));
        text.extend_from_slice(head.as_bytes());
        steps.push_back(Step::Text(std::mem::take(&mut text).into()));
        steps.push_back(Step::Data(*length));
    }
    text.extend_from_slice(boundary.next().as_bytes());
    text.extend_from_slice(Boundary::CLOSE.as_bytes());
    steps.push_back(Step::Text(text.into()));
    let length = steps.iter().map(|step| match step {
        Step::Text(text) => text.len() as u64,
        Step::Data(length) => *length,
    });
    let length = length.sum();
    let taken = Arc::new(Mutex::new(Instant::now()));
    let body = Body { steps, attached, rest: Bytes::new(), taken: Arc::clone(&taken) };
    let content_type = boundary.content_type("related");
    StreamedBody { content_type, length, body: body.boxed(), taken }
}

impl Body {
    fn boxed(self) -> RequestBody {
        let frames = stream::unfold(self, |mut body| async move {
            let piece = body.piece().await?;
            Some((piece.map(Frame::data), body))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        *self.taken.lock() = Instant::now();
        loop {
            match self.steps.pop_front()? {
                Step::Text(text) => return Some(Ok(text)),
                Step::Data(0) => {}
                Step::Data(left) => {
                    let piece = match self.data(left).await {
                        Ok(piece) => piece,
                        Err(error) => return Some(Err(error)),
                    };
                    self.steps.push_front(Step::Data(left - piece.len() as u64));
                    return Some(Ok(piece));
                }
            }
        }
    }

    /// Some bytes of attachments, `most` at the most.
    async fn data(&mut self, most: u64) -> io::Result<Bytes> {
        while self.rest.is_empty() {
            self.rest = match self.attached.piece().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let length = self.rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.rest.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::Rev;

    fn key() -> Key {
        Key { id: "x".into(), rev: Rev::parse(b"1-a").unwrap() }
    }

    #[tokio::test]
    async fn a_document_with_attachments_has_the_length_announced() {
        let (sender, data) = mpsc::channel(4);
        let part = |name: &str, length, gzip| Part {
            name: name.into(),
            content_type: "text/plain".into(),
            gzip,
            length,
        };
        let parts = vec![part("a", 3, false), part("b", 0, true), part("c", 4, false)];
        let json = Bytes::from_static(b"{}");
        let attached = Attached { key: key(), json, parts, data, _place: None };
        sender.send(Ok(Bytes::from_static(b"abccc"))).await.unwrap();
        sender.send(Ok(Bytes::from_static(b"cc"))).await.unwrap();
        let StreamedBody { length, body, .. } = related(attached);
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(sent.len() as u64, length);
        let text = String::from_utf8(sent.to_vec()).unwrap();
        assert!(
            text.contains("\r\n\r\nabc\r\n--") && text.contains("\r\n\r\ncccc\r\n--"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn attachments_that_break_off_break_the_request_off() {
        let (sender, data) = mpsc::channel(4);
        let part = Part { name: "a".into(), content_type: String::new(), gzip: false, length: 3 };
        let json = Bytes::from_static(b"{}");
        let attached = Attached { key: key(), json, parts: vec![part], data, _place: None };
        sender.send(Ok(Bytes::from_static(b"ab"))).await.unwrap();
        drop(sender);
        let StreamedBody { body, .. } = related(attached);
        assert!(body.collect().await.is_err());
    }
}
