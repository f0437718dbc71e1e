//! How a document is to be shown, shared by single reads, listings and feeds.

use crate::revision::Rev;

/// How attachments appear in a document's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachmentForm {
    /// `"stub":true` and the length.
    #[default]
    Stub,
    /// `"data"`: base64 of the identity bytes.
    Inline,
    /// `"follows":true`: the bytes travel behind the text, in [`FoundDocument::following`](crate::FoundDocument::following) order.
    Follows,
}

/// What a document's text carries beside its body.
///
/// The default is what a plain read shows: `_id`, `_rev`, the body, stubs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShowOptions {
    /// `_revisions`.
    pub revs: bool,
    /// `_revs_info`.
    pub revs_info: bool,
    /// `_local_seq`.
    pub local_seq: bool,
    /// `_conflicts`, if there are any.
    pub conflicts: bool,
    /// `_deleted_conflicts`, if there are any.
    pub deleted_conflicts: bool,
    /// The form of attachments.
    pub attachments: AttachmentForm,
    /// Only attachments added after the newest of these that the document descends from get the form
    /// of [`ShowOptions::attachments`]; the others are stubs. Empty revisions mean all of them.
    pub atts_since: Option<Vec<Rev>>,
    /// `encoding` and `encoded_length` of compressed attachments.
    pub att_encoding_info: bool,
}

impl ShowOptions {
    /// Whether more than body, revision and stubs is asked for (such an answer carries no `ETag` if it
    /// has any of it).
    #[must_use]
    pub fn asks_for_meta(&self) -> bool {
        self.revs || self.revs_info || self.local_seq || self.conflicts || self.deleted_conflicts
    }
}

/// Which revision to read, and how to show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// This revision instead of the winner; deleted ones, too.
    pub rev: Option<Rev>,
    /// Reads the winner whatever [`GetOptions::rev`] names, as CouchDB 3.5 does.
    pub latest: bool,
    /// The winner even if it is a tombstone.
    pub deleted: bool,
    /// How to show it.
    pub show: ShowOptions,
}
