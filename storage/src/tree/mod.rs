//! Immutable, checksummed nodes and the copy-on-write B+tree over them.
//!
//! A tree is a [`Root`]; its nodes lie wherever a [`Pages`] finds them and a [`Sink`] puts them. Nodes
//! are never changed: [`merge`] writes new ones and refers to the old ones it kept, so every root ever
//! made stays readable. What keys and values mean must not be known here: an index says how its entries
//! are summed ([`Reduce`]), and that is all.
//!
//! * `node_ref`: references to nodes, the roots of trees
//! * `pages`: where nodes come from and where they go
//! * `reduce`: sums kept in inner nodes
//! * `node`: the layout of a node and the reader that searches it in place
//! * `read`: points, sums; `fold`: sums of many neighbouring ranges; `cursor`: ranges, both directions
//! * `pending`, `levels`: packing entries into nodes, level by level
//! * `write`: building a tree in one pass, merging changes into one
//! * `verify`: checking a whole tree; `raw`: nodes as they are written, for tools

mod cursor;
mod fold;
mod levels;
mod node;
mod node_ref;
mod pages;
mod pending;
mod raw;
mod read;
mod reduce;
#[cfg(test)]
mod tests;
mod verify;
mod write;

pub use cursor::Cursor;
pub use fold::{Fold, Step};
pub use node_ref::{MAX_HEIGHT, NodeRef, Root};
pub use pages::{NodeBuffer, Page, Pages, Sink};
pub(crate) use raw::{RawNode, RawValue};
pub use read::{Near, Tree, TreeValue};
pub use reduce::{CountEntries, Malformed, NoSum, Reduce};
pub use verify::TreeShape;
pub use write::{Builder, MAX_ENTRY_KEY_BYTES, MAX_ENTRY_VALUE_BYTES, build, merge};
