//! What can go wrong in the engine, one variant for each answer of CouchDB's.
//!
//! The text of a variant is the `reason` CouchDB gives; which status and `error` belong to it is the
//! server's business, and follows from the variant alone.

use std::sync::Arc;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a document, revision or attachment was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is no such document or revision, or its body is gone.
    Missing,
    /// The document's winning revision is a tombstone.
    Deleted,
    /// The document is there, the attachment is not.
    Attachment,
    /// A write of an attachment named a revision that is not there.
    Revision,
    /// The design document is there, the view is not.
    NamedView,
}

impl Absence {
    fn reason(self) -> &'static str {
        match self {
            Absence::Missing => "missing",
            Absence::Deleted => "deleted",
            Absence::Attachment => "Document is missing attachment",
            Absence::Revision => "missing_rev",
            Absence::NamedView => "missing_named_view",
        }
    }
}

/// An attachment was not as long as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthMismatch {
    /// Fewer bytes came than were announced.
    Shorter,
    /// More bytes came than were announced.
    Longer,
}

impl LengthMismatch {
    fn word(self) -> &'static str {
        match self {
            LengthMismatch::Shorter => "shorter",
            LengthMismatch::Longer => "longer",
        }
    }
}

/// A request the engine does not carry out. Nothing has changed when one of these is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database's name has other characters than allowed, or begins with none of a–z.
    #[error(
        "Name: '{0}'. Only lowercase characters (a-z), digits (0-9), and any of the characters \
         _, $, (, ), +, -, and / are allowed. Must begin with a letter."
    )]
    IllegalDatabaseName(String),
    /// A segment of the database's name does not fit into a file name.
    #[error("At least one path segment of `{0}` is too long.")]
    DatabaseNameTooLong(String),
    /// A database of this name is already there.
    #[error("The database could not be created, the file already exists.")]
    DatabaseExists,
    /// There is no database of this name.
    #[error("Database does not exist.")]
    DatabaseNotFound,
    /// The text is not JSON, or not UTF-8.
    #[error("invalid UTF-8 JSON")]
    InvalidJson,
    /// A request that is JSON, but not of the shape asked for.
    #[error("{0}")]
    BadRequest(String),
    /// The document's id is not allowed.
    #[error("{0}")]
    IllegalDocId(String),
    /// The id does not fit a partitioned database, or a partition's name is not allowed.
    #[error("{0}")]
    IllegalPartition(String),
    /// A member of the document that begins with an underscore is unknown or has the wrong type.
    #[error("{0}")]
    DocValidation(String),
    /// A design document that says something this database cannot do.
    #[error("{0}")]
    InvalidDesignDoc(String),
    /// A revision that is not of the form `generation-id`.
    #[error("Invalid rev format")]
    InvalidRev,
    /// The write does not name a revision that may be followed.
    #[error("Document update conflict.")]
    Conflict,
    /// What was asked for is not there.
    #[error("{}", .0.reason())]
    NotFound(Absence),
    /// A stub names an attachment that the parent revision does not have.
    #[error("Invalid attachment stub in {id} for {name}")]
    MissingStub {
        /// The document's id.
        id: String,
        /// The attachment's name.
        name: String,
    },
    /// A stub was sent, but the parent revision's body is gone.
    #[error("Previous revision missing for document {0}")]
    PreviousRevisionMissing(String),
    /// The body (without specials and attachments) is over the limit; carries the document's id.
    #[error("{0}")]
    DocumentTooLarge(String),
    /// The attachment is over the limit; carries its name.
    #[error("{0}")]
    AttachmentTooLarge(String),
    /// The bytes of an attachment do not have the digest announced for them.
    #[error("Possible message corruption.")]
    Md5Mismatch,
    /// The bytes of an attachment are more or fewer than announced.
    #[error("attachment {} than expected", .0.word())]
    AttachmentLength(LengthMismatch),
    /// An attachment's inline data is not base64; carries its name.
    #[error("Invalid attachment data for {0}")]
    InvalidAttachmentData(String),
    /// An update sequence that this server never issued.
    #[error("Malformed sequence supplied in 'since' parameter.")]
    MalformedSequence,
    /// Parameters of a query that make no sense, by themselves or together.
    #[error("{0}")]
    QueryParse(String),
    /// A value of a view that its reduction cannot take.
    #[error("{0}")]
    InvalidReduceValue(String),
    /// A design document's functions are in a language that nobody here speaks.
    #[error("{0}")]
    UnknownQueryLanguage(String),
    /// An index could not be built; nothing is wrong with what is stored.
    #[error("{0}")]
    IndexingFailed(String),
    /// What went wrong for several requests at once.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// A selector that cannot be evaluated.
    #[error(transparent)]
    Selector(#[from] crate::find::SelectorError),
    /// A query or an index that cannot be had.
    #[error(transparent)]
    Find(#[from] crate::find::FindError),
    /// The write was refused by a rule; the text is the rule's.
    #[error("{0}")]
    Forbidden(String),
    /// The write was refused by a rule that asks for another user; the text is the rule's.
    #[error("{0}")]
    Unauthorized(String),
    /// A design document does not have this member.
    #[error("missing json key: {0}")]
    MissingKey(String),
    /// A function of a design document failed.
    #[error(transparent)]
    JavaScript(#[from] crate::javascript::JsError),
    /// A value read from the store is not one that the engine writes.
    #[error("the stored {0} is damaged: restore the database from a backup or a replica")]
    Damaged(&'static str),
    /// Too much of something waits already; the text says of what. Later it may go.
    #[error("{0}: try again later")]
    Overloaded(&'static str),
    /// The system gives no random bytes, so nothing new can be told from everything else.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] settee_storage::Error),
}
