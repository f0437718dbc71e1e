//! Answers as scripts, for pages that load data with a `<script>` element (`[chttpd] allow_jsonp`).
//!
//! Whatever a signed-in visitor may read, such a script tells to any page: that is why it is off unless
//! somebody switches it on.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{Failure, Query, Reply};
use crate::config::Settings;

/// Comes first, so that nobody but this server decides about the first bytes.
const OPENING: &str = "/* CouchDB */";

/// The longest name of a function that is taken, in bytes.
const MAX_CALLBACK_BYTES: usize = 256;

/// The function that the answer is to call, if one is asked for and that is allowed.
///
/// # Errors
///
/// 400 `invalid_callback` for what could be more than a function's name.
pub(super) fn callback(query: &Query, settings: &Settings) -> Result<Option<String>, Failure> {
    if !settings.allow_jsonp {
        return Ok(None);
    }
    let Some(name) = query.text("callback").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._[]".contains(&byte);
    match name.len() <= MAX_CALLBACK_BYTES && name.bytes().all(allowed) {
        true => Ok(Some(name.into_owned())),
        false => Err(Failure::bad_request("invalid_callback")),
    }
}

/// Makes JSON a script that calls the function with it; leaves what isn't JSON as it is.
pub(super) fn wrap(mut reply: Reply, callback: &str) -> Reply {
    if !reply.is_json {
        return reply;
    }
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/javascript"));
    let before = Bytes::from(format!("{OPENING}{callback}("));
    reply.body = reply.body.between(before, Bytes::from_static(b");\n"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ReplyBody;

    fn asked(query: &str, allow_jsonp: bool) -> Result<Option<String>, String> {
        let settings = Settings { allow_jsonp, ..Settings::default() };
        callback(&Query::parse(query).unwrap(), &settings)
            .map_err(|failure| failure.reason().to_owned())
    }

    #[test]
    fn names_of_functions_and_nothing_else() {
        assert_eq!(asked("callback=f", false), Ok(None));
        assert_eq!(asked("callback=%3Cx%3E", false), Ok(None));
        assert_eq!(asked("callback=", true), Ok(None));
        assert_eq!(asked("callback=my.f_1[0]", true), Ok(Some("my.f_1[0]".to_owned())));
        for bad in ["f()", "f;g", "f%28", "%3Cx%3E", "f%0a", "f*/", "%C3%A9", &"f".repeat(257)] {
            let refused = Err("invalid_callback".to_owned());
            assert_eq!(asked(&format!("callback={bad}"), true), refused, "{bad}");
        }
    }

    #[test]
    fn json_is_wrapped_and_other_contents_are_not() {
        let text = |reply: Reply| match reply.body {
            ReplyBody::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            ReplyBody::Stream(_) => unreachable!("it was whole"),
        };
        let wrapped = wrap(Reply::json(200, r#"{"a":1}"#), "f");
        assert_eq!(wrapped.headers["content-type"], "application/javascript");
        assert_eq!(text(wrapped), "/* CouchDB */f({\"a\":1});\n");
        let stored = ReplyBody::Whole(Bytes::from_static(b"{}"));
        let stored = wrap(Reply::with_body(200, super::super::JSON, stored), "f");
        assert_eq!(stored.headers["content-type"], "application/json");
        assert_eq!(text(stored), "{}");
    }
}
