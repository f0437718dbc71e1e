//! A document with its attachments behind it: `multipart/related`.

use std::io;

use http::HeaderValue;
use settee_engine::FoundAttachment;
use settee_engine::document::Encoding;

use crate::http::multipart::writer::{Boundary, PartHead, attachment_head};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply};

/// A boundary that nobody can have foreseen.
pub(in crate::routes) fn new_boundary() -> Result<Boundary, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| Failure::internal("the system has no random numbers"))?;
    Ok(Boundary::new(random))
}

/// The answer to a read whose attachments follow the document; its length is known beforehand.
pub(super) async fn reply(json: Vec<u8>, following: Vec<FoundAttachment>) -> Outcome {
    let boundary = new_boundary()?;
    let content_type = HeaderValue::from_str(&boundary.content_type("related"))
        .map_err(|_| Failure::internal("boundary"))?;
    let related = Related { json, following, boundary };
    let length = related.length();
    let body = stream::produce(move |out| related.write(out).map(drop)).await?;
    Ok(Reply::with_body(200, content_type, body.with_len(length)))
}

/// A document laid out as `multipart/related`, the attachments not yet read.
pub(in crate::routes) struct Related {
    /// The document's text.
    pub(in crate::routes) json: Vec<u8>,
    /// What follows it, in order.
    pub(in crate::routes) following: Vec<FoundAttachment>,
    /// What stands between the parts.
    pub(in crate::routes) boundary: Boundary,
}

impl Related {
    fn length(&self) -> u64 {
        let delimiter = self.boundary.next().len();
        let document = self.boundary.open().len() + document_head().len() + self.json.len();
        let attachments = self.following.iter().map(|attachment| {
            (head(attachment).len() + delimiter) as u64 + attachment.record().stored_len
        });
        (document + delimiter + Boundary::CLOSE.len()) as u64 + attachments.sum::<u64>()
    }

    pub(in crate::routes) fn write(&self, out: &mut BlockingWriter) -> Result<Copied, Failure> {
        out.buffer().extend_from_slice(self.boundary.open().as_bytes());
        out.buffer().extend_from_slice(document_head().as_bytes());
        out.buffer().extend_from_slice(&self.json);
        for attachment in &self.following {
            out.buffer().extend_from_slice(self.boundary.next().as_bytes());
            out.buffer().extend_from_slice(head(attachment).as_bytes());
            if copy(&mut attachment.stored()?, out)? == Copied::ClientGone {
                return Ok(Copied::ClientGone);
            }
        }
        out.buffer().extend_from_slice(self.boundary.next().as_bytes());
        out.buffer().extend_from_slice(Boundary::CLOSE.as_bytes());
        Ok(Copied::All)
    }
}

fn document_head() -> String {
    PartHead::new().header("Content-Type", "application/json").finish()
}

fn head(attachment: &FoundAttachment) -> String {
    let record = attachment.record();
    let encoding = match record.encoding {
        Encoding::Gzip => Some("gzip"),
        Encoding::Identity => None,
    };
    attachment_head(&record.name, &record.content_type, record.stored_len, encoding)
}

/// How a copy to a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::routes) enum Copied {
    /// Everything is on its way.
    All,
    /// The client has gone away; there is nobody to write to.
    ClientGone,
}

/// Copies stored bytes to a client, as fast as it takes them.
pub(in crate::routes) fn copy(
    bytes: &mut impl io::Read,
    out: &mut BlockingWriter,
) -> Result<Copied, Failure> {
    match io::copy(bytes, out) {
        Ok(_) => Ok(Copied::All),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Copied::ClientGone),
        Err(error) => Err(Failure::internal(format!("reading an attachment failed: {error}"))),
    }
}
