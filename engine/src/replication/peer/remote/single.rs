//! Reading one revision with its attachments, as `multipart/mixed`: a list of documents, each of them
//! `multipart/related` if attachments follow it.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{RemotePeer, write_revs};
use crate::{
    json::{minify, raw},
    multipart::{self, Event, MultipartError, Reader},
    replication::{
        error::ReplicationError,
        http::{AnswerBody, Call, Remote, encode, encode_id},
        peer::{
            Result, Wanted,
            attached::{Attached, AttachedItem, AttachedItems, PIECES, Part, parts_of},
        },
    },
    revision::Rev,
};

/// Longest document (without attachments that follow), in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// A document that is longer has to wait until no other such one is under way, in bytes.
const LARGE_BYTES: usize = 1024 * 1024;
/// Longest answer that is JSON as a whole, in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024 * 1024;
/// Longest list of known ancestors in a URL, in bytes. Leaving some out means sending more.
const MAX_SINCE_BYTES: usize = 4 * 1024;

type Items = mpsc::Sender<Result<AttachedItem>>;

impl RemotePeer {
    /// See [`super::super::Peer::fetch_single`].
    pub(in crate::replication) async fn fetch_single(
        &self,
        wanted: &Wanted,
    ) -> Result<AttachedItems> {
        let (remote, wanted) = (Arc::clone(&self.remote), wanted.clone());
        let room = Room(Arc::clone(&self.large));
        let (sender, items) = mpsc::channel(1);
        let reader = tokio::spawn(async move {
            if let Err(error) = read(&remote, &room, &wanted, &sender).await {
                // Who does not listen any more does not need the error either.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(AttachedItems { items, reader })
    }
}

/// Room for one large document.
struct Room(Arc<Semaphore>);

impl Room {
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// A document as it comes.
#[derive(Default)]
struct Text {
    json: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
}

impl Text {
    /// Takes some more of it, as soon as there is room.
    async fn push(&mut self, bytes: &[u8], remote: &Remote, room: &Room) -> Result<()> {
        let length = self.json.len() + bytes.len();
        if length > MAX_DOCUMENT_BYTES {
            let problem = format!("a document of more than {MAX_DOCUMENT_BYTES} bytes");
            return Err(remote.senseless(problem));
        }
        if length > LARGE_BYTES && self.place.is_none() {
            self.place = room.take().await;
        }
        self.json.extend_from_slice(bytes);
        Ok(())
    }

    /// In the scanner's spelling.
    fn minified(self, remote: &Remote) -> Result<(Bytes, Option<OwnedSemaphorePermit>)> {
        let json = minify(&self.json);
        let json = json.map_err(|_| remote.senseless("a document that is no JSON"))?;
        Ok((json.into(), self.place))
    }
}

fn call(wanted: &Wanted, with_since: bool) -> Call {
    let list = |revs: &[Rev]| {
        let mut out = Vec::new();
        write_revs(revs, &mut out);
        String::from_utf8(out).unwrap_or_default()
    };
    let mut call = Call::get(encode_id(&wanted.key.id))
        .param("revs", "true")
        .param("open_revs", &list(std::slice::from_ref(&wanted.key.rev)))
        .param("latest", "true");
    let mut since = wanted.ancestors.as_slice();
    while encode(&list(since)).len() > MAX_SINCE_BYTES {
        since = since.get(..since.len() / 2).unwrap_or_default();
    }
    if with_since && !since.is_empty() {
        call = call.param("atts_since", &list(since));
    }
    call.accept = "multipart/mixed";
    call.gzip = false;
    call
}

async fn read(remote: &Remote, room: &Room, wanted: &Wanted, items: &Items) -> Result<()> {
    let mut request = call(wanted, true);
    let mut answer = remote.open(&request).await?;
    if answer.status == StatusCode::URI_TOO_LONG {
        request = call(wanted, false);
        answer = remote.open(&request).await?;
    }
    let (side, url) = (remote.side, remote.url().to_owned());
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return missing(items).await,
        StatusCode::UNAUTHORIZED => return Err(ReplicationError::Unauthorized { side, url }),
        StatusCode::FORBIDDEN => return Err(ReplicationError::Forbidden { side, url }),
        status => {
            let body = answer.bytes(64 * 1024).await?;
            return Err(remote.unexpected(&request, status, &body));
        }
    }
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if content_type.starts_with("multipart/") {
        let mut outer = Outer::new(remote, room, &mut answer.body, &content_type)?;
        return outer.documents(wanted, items).await;
    }
    // How long it is turns out only when it is there.
    let place = room.take().await;
    let body = answer.bytes(MAX_JSON_BYTES).await?;
    read_json(remote, wanted, &body, items).await?;
    drop(place);
    Ok(())
}

async fn missing(items: &Items) -> Result<()> {
    let _ = items.send(Ok(AttachedItem::Missing)).await;
    Ok(())
}

/// Reads the answer of a source that does not know multipart.
async fn read_json(remote: &Remote, wanted: &Wanted, body: &Bytes, items: &Items) -> Result<()> {
    let mut body = body.clone();
    if memchr::memmem::find(&body, b"\"_attachments\"").is_some() {
        let mut request = call(wanted, false).param("attachments", "true");
        request.accept = "application/json";
        let (status, whole) = remote.call(&request, MAX_JSON_BYTES).await?;
        if status != StatusCode::OK {
            return Err(remote.unexpected(&request, status, &whole));
        }
        body = whole;
    }
    let list = minify(&body).map_err(|_| remote.senseless("no list of revisions"))?;
    for entry in raw::items(&list) {
        if let Some(document) = raw::member(entry, "ok") {
            send_plain(wanted, Bytes::copy_from_slice(document), None, items).await;
        } else {
            missing(items).await?;
        }
    }
    Ok(())
}

/// A document that nothing follows.
async fn send_plain(
    wanted: &Wanted,
    json: Bytes,
    place: Option<OwnedSemaphorePermit>,
    items: &Items,
) {
    let (_, data) = mpsc::channel(1);
    let (key, parts) = (wanted.key.clone(), Vec::new());
    let attached = Attached { key, json, parts, data, _place: place };
    let _ = items.send(Ok(AttachedItem::Document(attached))).await;
}

/// The parts of the whole answer.
struct Outer<'a> {
    remote: &'a Remote,
    room: &'a Room,
    body: &'a mut AnswerBody,
    reader: Reader,
}

impl<'a> Outer<'a> {
    fn new(
        remote: &'a Remote,
        room: &'a Room,
        body: &'a mut AnswerBody,
        content_type: &str,
    ) -> Result<Self> {
        let reader = Reader::new(content_type).map_err(|error| wrong(remote, error))?;
        Ok(Outer { remote, room, body, reader })
    }

    async fn event(&mut self) -> Result<Event> {
        loop {
            match self.reader.event().map_err(|error| wrong(self.remote, error))? {
                Event::NeedMore => match self.body.piece().await? {
                    Some(piece) => self.reader.push(&piece),
                    None => self.reader.finish(),
                },
                event => return Ok(event),
            }
        }
    }

    async fn documents(&mut self, wanted: &Wanted, items: &Items) -> Result<()> {
        loop {
            match self.event().await? {
                Event::Part(headers) => {
                    let content_type = headers.get("content-type").unwrap_or_default().to_owned();
                    if content_type.starts_with("multipart/") {
                        self.related(wanted, &content_type, items).await?;
                    } else {
                        let text = self.content().await?;
                        self.plain(wanted, &content_type, text, items).await?;
                    }
                }
                Event::End => return Ok(()),
                Event::Data(_) | Event::PartEnd | Event::NeedMore => {}
            }
        }
    }

    /// What is left of a part.
    async fn content(&mut self) -> Result<Text> {
        let mut text = Text::default();
        while let Event::Data(bytes) = self.event().await? {
            text.push(&bytes, self.remote, self.room).await?;
        }
        Ok(text)
    }

    async fn plain(
        &self,
        wanted: &Wanted,
        content_type: &str,
        text: Text,
        items: &Items,
    ) -> Result<()> {
        if multipart::parameter(content_type, "error").is_some() {
            return missing(items).await;
        }
        let (json, place) = text.minified(self.remote)?;
        send_plain(wanted, json, place, items).await;
        Ok(())
    }

    /// A document that attachments follow.
    async fn related(&mut self, wanted: &Wanted, content_type: &str, items: &Items) -> Result<()> {
        let reader = Reader::new(content_type).map_err(|error| wrong(self.remote, error))?;
        let mut inner = Inner { outer: self, reader, is_ended: false };
        let Event::Part(_) = inner.event().await? else {
            return Err(inner.outer.remote.senseless("a document without a body"));
        };
        let mut text = Text::default();
        while let Event::Data(bytes) = inner.event().await? {
            text.push(&bytes, inner.outer.remote, inner.outer.room).await?;
        }
        let remote = inner.outer.remote;
        let (json, place) = text.minified(remote)?;
        let parts = parts_of(&json).map_err(|problem| remote.senseless(problem))?;
        let (sender, data) = mpsc::channel(PIECES);
        let key = wanted.key.clone();
        let attached = Attached { key, json, parts: parts.clone(), data, _place: place };
        // If nobody takes it, the rest is passed over.
        let _ = items.send(Ok(AttachedItem::Document(attached))).await;
        let sent = inner.attachments(&parts, &sender).await;
        if let Err(error) = &sent {
            let _ = sender.send(Err(error.clone())).await;
        }
        drop(sender);
        sent?;
        inner.finish().await
    }
}

/// The parts of one document.
struct Inner<'o, 'a> {
    outer: &'o mut Outer<'a>,
    reader: Reader,
    /// The outer part has been read to its end.
    is_ended: bool,
}

impl Inner<'_, '_> {
    async fn event(&mut self) -> Result<Event> {
        loop {
            match self.reader.event().map_err(|error| wrong(self.outer.remote, error))? {
                Event::NeedMore if self.is_ended => self.reader.finish(),
                Event::NeedMore => match self.outer.event().await? {
                    Event::Data(bytes) => self.reader.push(&bytes),
                    _ => {
                        self.is_ended = true;
                        self.reader.finish();
                    }
                },
                event => return Ok(event),
            }
        }
    }

    async fn attachments(
        &mut self,
        parts: &[Part],
        sender: &mpsc::Sender<Result<Bytes>>,
    ) -> Result<()> {
        let mut parts = parts.iter();
        loop {
            match self.event().await? {
                Event::Part(headers) => {
                    let part = parts.next();
                    let name = headers.disposition("filename");
                    if name.is_some() && name.as_ref() != part.map(|part| &part.name) {
                        let problem = "attachments in another order than announced";
                        return Err(self.outer.remote.senseless(problem));
                    }
                }
                Event::Data(bytes) => {
                    // If nobody takes it, the rest is passed over.
                    let _ = sender.send(Ok(bytes)).await;
                }
                Event::End => return Ok(()),
                Event::PartEnd | Event::NeedMore => {}
            }
        }
    }

    /// Passes over what follows the closing delimiter.
    async fn finish(&mut self) -> Result<()> {
        while !self.is_ended {
            if !matches!(self.outer.event().await?, Event::Data(_)) {
                self.is_ended = true;
            }
        }
        Ok(())
    }
}

fn wrong(remote: &Remote, error: MultipartError) -> ReplicationError {
    match error {
        // The connection broke, or the server did.
        MultipartError::Truncated => ReplicationError::Connection {
            side: remote.side,
            url: remote.url().to_owned(),
            problem: error.to_string(),
        },
        other => remote.senseless(other.to_string()),
    }
}
