//! Which attachments are compressed, and how long one may be.

use super::gzip::{CompressibleTypes, DEFAULT_LEVEL};
use crate::error::{Error, Result};

/// Longest attachment unless told otherwise, in bytes (`[couchdb] max_attachment_size`).
pub const DEFAULT_MAX_ATTACHMENT_BYTES: u64 = 1 << 30;

/// The settings that attachments are written by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentSettings {
    /// Types that are stored compressed (`[attachments] compressible_types`).
    pub compressible: CompressibleTypes,
    /// zlib level from 1 to 9; 0 stores everything as it is (`[attachments] compression_level`).
    pub level: u32,
    /// Longest attachment, in bytes as sent.
    pub max_bytes: u64,
}

impl Default for AttachmentSettings {
    fn default() -> Self {
        AttachmentSettings {
            compressible: CompressibleTypes::default(),
            level: DEFAULT_LEVEL,
            max_bytes: DEFAULT_MAX_ATTACHMENT_BYTES,
        }
    }
}

impl AttachmentSettings {
    /// Whether an attachment of this type that comes uncompressed is compressed.
    #[must_use]
    pub fn compresses(&self, content_type: &str) -> bool {
        self.level > 0 && self.compressible.contains(content_type)
    }

    /// That an attachment may be this long.
    ///
    /// # Errors
    /// [`Error::AttachmentTooLarge`].
    pub fn check_len(&self, name: &str, len: u64) -> Result<()> {
        match len <= self.max_bytes {
            true => Ok(()),
            false => Err(Error::AttachmentTooLarge(name.to_owned())),
        }
    }
}
