//! Staging: an attachment's bytes on their way into the store, ahead of the document that will refer
//! to them. They are digested, compressed and counted as they pass and never held whole in memory.

use std::{
    io::{self, Write},
    sync::Arc,
};

use flate2::write::MultiGzDecoder;
use settee_storage::StreamWriter;

use super::{AttachmentSettings, StagedAttachment, StagedPlace, digest::Hasher, gzip::Compressor};
use crate::{
    database::Database,
    document::Encoding,
    error::{Error, LengthMismatch, Result},
    name,
};

/// What a client announced about an attachment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageOptions {
    /// How the bytes come. What comes as gzip is stored as it is.
    pub encoding: Encoding,
    /// How many bytes will come, if known.
    pub length: Option<u64>,
    /// MD5 of the bytes that will come, if known.
    pub md5: Option<[u8; 16]>,
}

/// Takes an attachment's bytes. Dropped before [`AttachmentWriter::finish`], it leaves nothing but
/// bytes nobody refers to.
pub struct AttachmentWriter {
    name: String,
    settings: Arc<AttachmentSettings>,
    options: StageOptions,
    received: u64,
    /// Digest of the bytes as sent, if there is one to compare with and they are not stored so.
    sent: Option<Hasher>,
    sink: Sink,
}

enum Sink {
    /// Stored as sent.
    Plain(Stored),
    /// Sent and stored as gzip; the length when decoded is counted on the way.
    Gzip(Stored, MultiGzDecoder<Count>),
    /// Compressed on the way.
    Compress(Compressor<Stored>),
}

/// The stored bytes: digested and counted on their way into the stream.
struct Stored {
    stream: Box<dyn StreamWriter>,
    hasher: Hasher,
    len: u64,
}

impl Stored {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl Write for Stored {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(Error::Storage(error)) => Err(io::Error::other(error)),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is written to it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gets a storage error out of the wrapping it needed to pass through the compressor.
fn unwrapped(error: io::Error) -> Error {
    match error.downcast::<settee_storage::Error>() {
        Ok(error) => Error::Storage(error),
        Err(_) => Error::Damaged("compressed attachment"),
    }
}

impl Database {
    /// Begins an attachment that a later write will refer to by
    /// [`AttachmentSource::Staged`](crate::document::AttachmentSource).
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a name that is not allowed, [`Error::AttachmentTooLarge`] if the
    /// announced length is over the limit, those of the store.
    pub fn stage_attachment(
        &self,
        name: &str,
        content_type: &str,
        options: StageOptions,
    ) -> Result<AttachmentWriter> {
        name::check_attachment(name)?;
        let settings = self.shared.attachment_settings();
        settings.check_len(name, options.length.unwrap_or(0))?;
        let stream = Arc::clone(&self.store).stream()?;
        let stored = Stored { stream, hasher: Hasher::new(), len: 0 };
        let (sink, sent) = match options.encoding {
            Encoding::Gzip => (Sink::Gzip(stored, MultiGzDecoder::new(Count(0))), None),
            Encoding::Identity if settings.compresses(content_type) => {
                let compress = Sink::Compress(Compressor::new(stored, settings.level));
                (compress, options.md5.map(|_| Hasher::new()))
            }
            Encoding::Identity => (Sink::Plain(stored), None),
        };
        Ok(AttachmentWriter { name: name.to_owned(), settings, options, received: 0, sent, sink })
    }
}

impl AttachmentWriter {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::AttachmentLength`] if more come than announced, [`Error::AttachmentTooLarge`], those
    /// of the store. The attachment is lost then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.received += bytes.len() as u64;
        if self.options.length.is_some_and(|length| self.received > length) {
            return Err(Error::AttachmentLength(LengthMismatch::Longer));
        }
        self.settings.check_len(&self.name, self.received)?;
        if let Some(sent) = &mut self.sent {
            sent.update(bytes);
        }
        match &mut self.sink {
            Sink::Plain(stored) => stored.put(bytes),
            Sink::Gzip(stored, inflated) => {
                // What does not inflate is kept all the same, as CouchDB does.
                let _ = inflated.write_all(bytes);
                stored.put(bytes)
            }
            Sink::Compress(compressor) => compressor.write_all(bytes).map_err(unwrapped),
        }
    }

    /// Ends the attachment.
    ///
    /// # Errors
    /// [`Error::AttachmentLength`] if fewer bytes came than announced, [`Error::Md5Mismatch`] if they
    /// have another digest than announced, those of the store.
    pub fn finish(self) -> Result<StagedAttachment> {
        if self.options.length.is_some_and(|length| self.received < length) {
            return Err(Error::AttachmentLength(LengthMismatch::Shorter));
        }
        let (stored, encoding, identity_len) = match self.sink {
            Sink::Plain(stored) => (stored, Encoding::Identity, self.received),
            Sink::Gzip(stored, inflated) => {
                let Count(len) = inflated.finish().unwrap_or(Count(self.received));
                (stored, Encoding::Gzip, len)
            }
            Sink::Compress(compressor) => {
                (compressor.finish().map_err(unwrapped)?, Encoding::Gzip, self.received)
            }
        };
        let digest = stored.hasher.finish();
        let sent = self.sent.map_or(digest, Hasher::finish);
        if self.options.md5.is_some_and(|announced| announced != sent && announced != digest) {
            return Err(Error::Md5Mismatch);
        }
        let place = StagedPlace::Stream(stored.stream.finish()?);
        Ok(StagedAttachment { digest, encoding, stored_len: stored.len, identity_len, place })
    }
}
