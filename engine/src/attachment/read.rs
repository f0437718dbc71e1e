//! Reading attachments back, whole or in part, as stored or decoded, piece by piece.

use std::{
    fmt,
    io::{self, Cursor, Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

use settee_storage::{BlobRef, Snapshot, store::StreamReader};

use super::gzip;
use crate::{
    database::Database,
    document::{AttachmentPlace, AttachmentRecord, Encoding},
    error::{Error, Result},
    read::Reader,
    revision::Rev,
};

/// An attachment that was found. It keeps the snapshot it was found in, so its bytes stay readable
/// whatever happens to the document.
pub struct FoundAttachment {
    rev: Rev,
    record: AttachmentRecord,
    snapshot: Arc<dyn Snapshot>,
    database: Arc<Database>,
}

impl fmt::Debug for FoundAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundAttachment").field("record", &self.record).finish_non_exhaustive()
    }
}

/// An attachment's bytes.
pub struct AttachmentReader {
    bytes: Box<dyn Read + Send>,
    /// A database is not closed while somebody reads from it.
    _database: Arc<Database>,
}

impl Read for AttachmentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl FoundAttachment {
    pub(crate) fn new(reader: &Reader, rev: Rev, record: AttachmentRecord) -> Self {
        let (snapshot, database) = (Arc::clone(&reader.snapshot), Arc::clone(&reader.database));
        FoundAttachment { rev, record, snapshot, database }
    }

    /// The revision it was found in.
    #[must_use]
    pub fn rev(&self) -> &Rev {
        &self.rev
    }

    /// Name, type, digest, lengths.
    #[must_use]
    pub fn record(&self) -> &AttachmentRecord {
        &self.record
    }

    /// The bytes as stored: compressed, if [`AttachmentRecord::encoding`] says so.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stored(&self) -> Result<AttachmentReader> {
        Ok(self.reader(self.open()?))
    }

    /// The bytes as they once came, decompressed on the way.
    ///
    /// # Errors
    /// Those of the store.
    pub fn identity(&self) -> Result<AttachmentReader> {
        let stored = self.open()?;
        Ok(match self.record.encoding {
            Encoding::Identity => self.reader(stored),
            Encoding::Gzip => self.reader(gzip::decompressor(stored)),
        })
    }

    /// Part of the stored bytes, as far as there are any.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stored_range(&self, range: Range<u64>) -> Result<AttachmentReader> {
        let mut stored = self.open()?;
        stored.seek(SeekFrom::Start(range.start)).map_err(|_| Error::Damaged("attachment"))?;
        Ok(self.reader(stored.take(range.end.saturating_sub(range.start))))
    }

    fn reader(&self, bytes: impl Read + Send + 'static) -> AttachmentReader {
        AttachmentReader { bytes: Box::new(bytes), _database: Arc::clone(&self.database) }
    }

    fn open(&self) -> Result<Box<dyn StreamReader>> {
        Ok(match self.record.place {
            AttachmentPlace::Stream(at) => self.snapshot.stream(at)?,
            AttachmentPlace::Blob(at) => Box::new(Cursor::new(self.blob(at)?)),
        })
    }

    /// Blobs hold small attachments only.
    fn blob(&self, at: BlobRef) -> Result<Vec<u8>> {
        Ok(self.snapshot.blob(at)?.to_vec())
    }
}
