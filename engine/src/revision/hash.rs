//! The id of a new revision: the MD5 of the edit, spelled as the Erlang term CouchDB hashes.
//!
//! The term is the list `[Deleted, ParentGeneration, ParentId, Body, Attachments]`; how it is spelled is
//! `term`'s business.

use std::cell::RefCell;

use md5::{Digest, Md5};

use super::{
    Rev,
    term::{
        NIL, VERSION, write_atom, write_binary, write_json, write_list_head, write_text,
        write_tuple_head, write_unsigned,
    },
};
use crate::document::Body;

/// A buffer that has grown beyond this many bytes is not kept for the next edit.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// What an attachment contributes to a revision's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentDigest<'a> {
    /// Its name, its media type and the MD5 of its stored bytes.
    Known {
        /// Its name.
        name: &'a str,
        /// Its media type.
        content_type: &'a str,
        /// MD5 of its stored bytes.
        md5: [u8; 16],
    },
    /// Nothing but its existence: so CouchDB counts attachments in the write that brings a deleted
    /// document back without naming its tombstone.
    Undefined,
}

/// The id of the revision that an edit makes: its body and attachments (in the document's order), put
/// on top of `parent`.
///
/// ```
/// use settee_engine::{Rev, document::Body, revision::revision_id};
///
/// let first = revision_id(false, None, &Body::empty(), &[]);
/// let first = Rev::new(1, settee_engine::RevId::Hash(first));
/// assert_eq!(first.to_string(), "1-967a00dff5e02add41819138abb3284d");
/// ```
#[must_use]
pub fn revision_id(
    deleted: bool,
    parent: Option<&Rev>,
    body: &Body,
    attachments: &[AttachmentDigest<'_>],
) -> [u8; 16] {
    thread_local! {
        static TERM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    TERM.with_borrow_mut(|out| {
        out.clear();
        out.reserve(body.as_bytes().len() * 3 / 2);
        write_edit(deleted, parent, body, attachments, out);
        let id = Md5::digest(&*out).into();
        if out.capacity() > MAX_KEPT_BYTES {
            *out = Vec::new();
        }
        id
    })
}

/// A JSON value in the scanner's spelling as Erlang's external term format.
pub(crate) fn external_term(json: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    write_text(json, &mut out);
    out
}

/// The name CouchDB generates for an index over fields: the SHA-1 of its definition and of the options it was
/// asked for with, as a term.
pub(crate) fn index_name(
    definition: &Body,
    design: Option<&str>,
    name: Option<&str>,
    partitioned: Option<bool>,
    w: u64,
) -> String {
    let mut out = vec![VERSION];
    write_tuple_head(2, &mut out);
    let mut term = Vec::new();
    write_json(definition, &mut term);
    out.extend_from_slice(&term);
    write_list_head(6, &mut out);
    let option = |option: &[u8], out: &mut Vec<u8>| {
        write_tuple_head(2, out);
        write_atom(option, out);
    };
    let named = |text: Option<&str>, out: &mut Vec<u8>| match text {
        Some(text) => write_binary(text.as_bytes(), out),
        None => write_atom(b"auto_name", out),
    };
    option(b"ddoc", &mut out);
    named(design, &mut out);
    option(b"def", &mut out);
    out.extend_from_slice(&term);
    option(b"name", &mut out);
    named(name, &mut out);
    option(b"partitioned", &mut out);
    let partitioned: &[u8] = match partitioned {
        None => b"db_default",
        Some(true) => b"true",
        Some(false) => b"false",
    };
    write_atom(partitioned, &mut out);
    option(b"type", &mut out);
    write_binary(b"json", &mut out);
    option(b"w", &mut out);
    write_unsigned(w, &mut out);
    out.push(NIL);
    sha1::Sha1::digest(&out).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_edit(
    deleted: bool,
    parent: Option<&Rev>,
    body: &Body,
    attachments: &[AttachmentDigest<'_>],
    out: &mut Vec<u8>,
) {
    out.push(VERSION);
    write_list_head(5, out);
    write_atom(if deleted { b"true" } else { b"false" }, out);
    match parent {
        None => (0..2).for_each(|_| write_unsigned(0, out)),
        Some(parent) => {
            write_unsigned(parent.generation, out);
            write_binary(parent.id.as_bytes(), out);
        }
    }
    write_json(body, out);
    write_attachments(attachments, out);
    out.push(NIL);
}

/// Appends the list of attachments, which CouchDB builds back to front.
fn write_attachments(attachments: &[AttachmentDigest<'_>], out: &mut Vec<u8>) {
    if attachments.is_empty() {
        return out.push(NIL);
    }
    write_list_head(attachments.len() as u32, out);
    for attachment in attachments.iter().rev() {
        write_tuple_head(3, out);
        match attachment {
            AttachmentDigest::Known { name, content_type, md5 } => {
                write_binary(name.as_bytes(), out);
                write_binary(content_type.as_bytes(), out);
                write_binary(md5, out);
            }
            AttachmentDigest::Undefined => (0..3).for_each(|_| write_atom(b"undefined", out)),
        }
    }
    out.push(NIL);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::term::magnitude, *};

    fn term(json: &str) -> Vec<u8> {
        let body = Body::parse(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        write_edit(false, None, &body, &[], &mut out);
        out
    }

    /// The term of the member `x` of a body.
    #[track_caller]
    fn check(json: &str, expected: &[u8]) {
        let term = term(&format!("{{\"x\":{json}}}"));
        // Version, list of five, `false`, two zeros, the body up to its only value …
        let front = [1 + 5 + 8 + 2 + 2, 2 + 5 + 2 + 5 + 1].iter().sum();
        // … and behind it the ends of the body's list, of no attachments, of the whole.
        assert_eq!(&term[front..term.len() - 3], expected, "{json}");
    }

    #[test]
    fn integers_of_all_sizes() {
        check("255", &[97, 255]);
        check("256", &[98, 0, 0, 1, 0]);
        check("-1", &[98, 255, 255, 255, 255]);
        check("2147483648", &[110, 4, 0, 0, 0, 0, 128]);
        check("-2147483649", &[110, 4, 1, 1, 0, 0, 128]);
        check("18446744073709551616", &[110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let digits = format!("1{}", "0".repeat(700));
        let large = term(&format!("{{\"x\":{digits}}}"));
        // 10^700 has 2326 bits: 291 bytes, one of them zero for each of its factors 256.
        assert!(large.windows(5).any(|bytes| bytes == [111, 0, 0, 1, 35]));
    }

    #[test]
    fn arrays_of_bytes_are_strings() {
        check("[]", &[106]);
        check("[0,255]", &[107, 0, 2, 0, 255]);
        check("[0,256]", &[108, 0, 0, 0, 2, 97, 0, 98, 0, 0, 1, 0, 106]);
        check("[1.0]", &[108, 0, 0, 0, 1, 70, 63, 240, 0, 0, 0, 0, 0, 0, 106]);
        check("[[1],[]]", &[108, 0, 0, 0, 2, 107, 0, 1, 1, 106, 106]);
        check("[{}]", &[108, 0, 0, 0, 1, 104, 1, 106, 106]);
        let long = |length: usize| term(&format!("{{\"x\":[{}]}}", vec!["7"; length].join(",")));
        assert!(long(65535).len() < 70_000 && long(65536).len() > 130_000);
    }

    #[test]
    fn strings_and_literals() {
        check(r#""a\"\u0001\né""#, &[109, 0, 0, 0, 6, b'a', b'"', 1, b'\n', 0xc3, 0xa9]);
        check("null", b"d\0\x04null");
        check("-0.0", &[70, 128, 0, 0, 0, 0, 0, 0, 0]);
        check("0.0", &[70, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn large_integers_are_converted_exactly() {
        let mut bytes = magnitude("340282366920938463463374607431768211455");
        bytes.truncate(16);
        assert_eq!(bytes, [255; 16]);
        assert_eq!(
            magnitude("1000000000000000000000")[..9],
            1_000_000_000_000_000_000_000u128.to_le_bytes()[..9]
        );
    }

    proptest! {
        #[test]
        fn damaged_bodies_do_no_harm(text in r#"[{}\[\]":,a0-9.\\ -]{0,40}"#, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for text in [text.into_bytes(), bytes] {
                let _ = revision_id(false, None, &Body::from_stored(text), &[]);
            }
        }
    }
}
