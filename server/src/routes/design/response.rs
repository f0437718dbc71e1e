//! From the response object of a function to an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use settee_engine::json::Value;

use crate::http::{Failure, Reply, ReplyBody, Request};

/// Status and headers of an answer, and its body if the response object has one.
pub(super) struct Response {
    /// What the function said, or else `None`.
    pub(super) code: Option<u16>,
    headers: Vec<(String, String)>,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Response {
    /// Reads a response object.
    pub(super) fn read(object: &Value) -> Result<Self, Failure> {
        let mut response = Response {
            code: None,
            headers: Vec::new(),
            content_type: "text/html; charset=utf-8",
            body: Vec::new(),
        };
        let members = object.as_object().ok_or_else(|| invalid(object))?;
        for (name, value) in members.iter() {
            response.set(name, value)?;
        }
        Ok(response)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        match name {
            "" | "stop" => {}
            "code" => self.code = Some(status(value)?),
            "json" => {
                self.content_type = "application/json";
                self.body = value.to_json();
            }
            "body" => self.body = text(value).into_bytes(),
            "base64" => {
                let bytes = STANDARD.decode(text(value)).map_err(|_| invalid(value))?;
                self.content_type = "application/binary";
                self.body = bytes;
            }
            "headers" => {
                let headers = value.as_object().ok_or_else(|| invalid(value))?;
                self.headers =
                    headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
            }
            other => {
                return Err(Failure::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "external_response_error",
                    format!("Invalid data from external server: {other}: {}", text(value)),
                ));
            }
        }
        Ok(())
    }

    /// The answer; `code` is the status if the function gave none.
    pub(super) fn into_reply(mut self, request: &Request, code: u16) -> Result<Reply, Failure> {
        let body = ReplyBody::Whole(Bytes::from(std::mem::take(&mut self.body)));
        self.into_reply_with(request, code, body)
    }

    /// The same with another body.
    pub(super) fn into_reply_with(
        self,
        request: &Request,
        code: u16,
        body: ReplyBody,
    ) -> Result<Reply, Failure> {
        let mut reply = Reply::empty(self.code.unwrap_or(code))
            .with_text_header(CONTENT_TYPE, self.content_type);
        if let Some(policy) = &request.app.settings().showlist_csp {
            reply = reply.with_text_header(CONTENT_SECURITY_POLICY, policy);
        }
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| invalid(&Value::from(name.as_str())))?;
            reply = reply.with_text_header(name, value);
        }
        reply.body = body;
        Ok(reply)
    }
}

/// Statuses that can end a request.
fn status(value: &Value) -> Result<u16, Failure> {
    let code = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    code.and_then(|code| u16::try_from(code).ok())
        .filter(|code| (200..=599).contains(code))
        .ok_or_else(|| invalid(value))
}

/// A string as it is, any other value as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => String::from_utf8_lossy(&other.to_json()).into_owned(),
    }
}

fn invalid(value: &Value) -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "external_response_error",
        format!("Invalid data from external server: {}", text(value)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Response, Failure> {
        Response::read(&Value::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn bodies_come_in_three_forms() {
        let body = |text| {
            let response = read(text).unwrap();
            (response.content_type, String::from_utf8(response.body).unwrap())
        };
        assert_eq!(body(r#"{"body":"x"}"#), ("text/html; charset=utf-8", "x".into()));
        assert_eq!(body(r#"{"json":{"a":1}}"#), ("application/json", "{\"a\":1}".into()));
        assert_eq!(body(r#"{"base64":"aGVsbG8="}"#), ("application/binary", "hello".into()));
        assert_eq!(body("{}").1, "");
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for text in
            ["5", r#"{"bdy":"x"}"#, r#"{"code":99}"#, r#"{"base64":"?"}"#, r#"{"headers":[]}"#]
        {
            assert_eq!(read(text).err().unwrap().error(), "external_response_error", "{text}");
        }
        assert_eq!(read(r#"{"code":"418"}"#).unwrap().code, Some(418));
    }
}
