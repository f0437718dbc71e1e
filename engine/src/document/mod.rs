//! Documents: reading them from JSON, what is stored of them, and writing them back.
//!
//! * [`incoming`]: a document as a client sends it, with every structural check
//! * [`bulk`]: many of them in one request
//! * [`body`]: the JSON text that is stored
//! * [`summary`]: the blob stored for one revision: the body and what it says of its attachments
//! * [`entry`]: what the two indexes hold about a document
//! * [`splice`]: writing a document out by copying text
//!
//! Nothing here reads or writes a store, and nothing knows of requests.

pub mod body;
pub mod bulk;
pub mod entry;
pub mod incoming;
pub(crate) mod packed;
pub mod splice;
pub mod summary;

pub use body::Body;
pub use bulk::{BulkRequest, parse_bulk};
pub use entry::{ChangeEntry, DocHead, OtherLeaf, Winner, encode_change, encode_doc};
pub use incoming::{AttachmentSource, DEFAULT_CONTENT_TYPE, Document, IncomingAttachment, Limits};
pub(crate) use splice::write_list;
pub use splice::{AttachmentView, DocumentView, RevStatus, write_rev};
pub use summary::{AttachmentPlace, AttachmentRecord, Encoding, Summary, encode_summary};
