//! What clients send in bodies.

use settee_engine::{
    Document,
    document::{Limits, parse_bulk},
    find::Selector,
    json::{Value, minify},
};

/// JSON: the scanner and the value reader agree on what is JSON and what it says.
pub fn json(input: &[u8]) {
    let minified = minify(input);
    assert_eq!(minified.is_ok(), Value::parse(input).is_ok(), "the two readers disagree");
    if let Ok(text) = minified {
        assert_eq!(minify(&text).expect("minified JSON is JSON"), text);
        let value = Value::parse(&text).expect("minified JSON is JSON");
        assert_eq!(Value::parse(&value.to_json()).expect("written JSON is JSON"), value);
    }
}

/// A document as a client sends it is taken or refused, and what is taken of it is JSON.
pub fn document(input: &[u8]) {
    if let Ok(document) = Document::parse(input, Some("id"), &Limits::default()) {
        assert_eq!(document.id, "id");
        assert!(minify(document.body.as_bytes()).is_ok(), "a body that is no JSON");
    }
}

/// The body of `_bulk_docs`.
pub fn bulk(input: &[u8]) {
    if let Ok(request) = parse_bulk(input, &Limits::default()) {
        assert!(request.docs.iter().all(|doc| minify(doc.body.as_bytes()).is_ok()));
    }
}

/// A selector, a zero byte, and a document to hold against it.
pub fn selector(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(selector), Some(document)) = (parts.next(), parts.next()) else { return };
    let Ok(selector) = Value::parse(selector) else { return };
    let Ok(document) = minify(document) else { return };
    if let Ok(selector) = Selector::parse(&selector) {
        let _ = selector.matches(&document);
    }
}
