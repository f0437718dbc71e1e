//! The parameters of a changes request.
//!
//! Unlike everywhere else, their names are compared without case, and the last of several values
//! counts.

use std::time::Duration;

use settee_engine::changes::Style;

use crate::http::{Failure, Query};

/// `heartbeat=true` means this many milliseconds.
const DEFAULT_HEARTBEAT_MS: u64 = 60_000;

/// How the feed is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Feed {
    /// What there is, then the end.
    #[default]
    Normal,
    /// What there is; if that is nothing, what comes first.
    Longpoll,
    /// What there is and all that comes, one row a line.
    Continuous,
    /// The same as server-sent events.
    EventSource,
}

/// What the query string asks for. Sequence and filter are checked later, against the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params {
    pub(super) feed: Feed,
    pub(super) since: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) descending: bool,
    pub(super) style: Style,
    pub(super) include_docs: bool,
    pub(super) conflicts: bool,
    pub(super) attachments: bool,
    pub(super) att_encoding_info: bool,
    pub(super) filter: Option<String>,
    pub(super) view: Option<String>,
    pub(super) doc_ids: Option<Vec<u8>>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) seq_interval: Option<u64>,
}

impl Params {
    pub(super) fn parse(query: &Query) -> Result<Self, Failure> {
        let mut params = Self::default();
        for (name, value) in query.iter() {
            params.set(&name.to_ascii_lowercase(), value)?;
        }
        Ok(params)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        let text = || String::from_utf8_lossy(value).into_owned();
        let is_true = value == b"true";
        match name {
            "feed" => self.feed = feed(value)?,
            "since" | "last-event-id" => self.since = Some(text()),
            "limit" => self.limit = Some(limit(value)?),
            "descending" => self.descending = is_true,
            "style" => self.style = style(value)?,
            "include_docs" => self.include_docs = is_true,
            "conflicts" => self.conflicts = is_true,
            "attachments" => self.attachments = is_true,
            "att_encoding_info" => self.att_encoding_info = is_true,
            "filter" => self.filter = Some(text()),
            "view" => self.view = Some(text()),
            "doc_ids" => self.doc_ids = Some(value.to_vec()),
            "heartbeat" => self.heartbeat = heartbeat(value)?,
            "timeout" => self.timeout = Some(timeout(value)?),
            "seq_interval" => self.seq_interval = Some(seq_interval(value)?),
            _ => {}
        }
        Ok(())
    }
}

fn feed(value: &[u8]) -> Result<Feed, Failure> {
    match value {
        b"normal" => Ok(Feed::Normal),
        b"longpoll" => Ok(Feed::Longpoll),
        b"continuous" | b"live" => Ok(Feed::Continuous),
        b"eventsource" => Ok(Feed::EventSource),
        _ => Err(Failure::bad_request(
            "Supported `feed` types: normal, continuous, live, longpoll, eventsource",
        )),
    }
}

fn style(value: &[u8]) -> Result<Style, Failure> {
    match value {
        b"main_only" => Ok(Style::MainOnly),
        b"all_docs" => Ok(Style::AllDocs),
        _ => Err(Failure::bad_request("Supported `style` values: main_only, all_docs")),
    }
}

fn integer(value: &[u8]) -> Option<i64> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn limit(value: &[u8]) -> Result<u64, Failure> {
    let number = integer(value).ok_or_else(|| {
        Failure::bad_request("The limit parameter should be a non-negative integer")
    })?;
    u64::try_from(number)
        .map_err(|_| Failure::bad_request("The limit value should be a non-negative integer"))
}

/// `false` switches it off, as its absence does.
fn heartbeat(value: &[u8]) -> Result<Option<Duration>, Failure> {
    let milliseconds = match value {
        b"true" => return Ok(Some(Duration::from_millis(DEFAULT_HEARTBEAT_MS))),
        b"false" => return Ok(None),
        number => integer(number).ok_or_else(|| {
            Failure::bad_request(
                "Invalid heartbeat value. Expecting a positive integer value (in milliseconds).",
            )
        })?,
    };
    match u64::try_from(milliseconds) {
        Ok(milliseconds) if milliseconds > 0 => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(Failure::bad_request(
            "The heartbeat value should be a positive integer (in milliseconds).",
        )),
    }
}

fn timeout(value: &[u8]) -> Result<Duration, Failure> {
    let milliseconds = integer(value).and_then(|number| u64::try_from(number).ok());
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        Failure::bad_request(
            "The timeout value should be a non-negative integer (in milliseconds).",
        )
    })
}

fn seq_interval(value: &[u8]) -> Result<u64, Failure> {
    match integer(value).and_then(|number| u64::try_from(number).ok()) {
        Some(interval) if interval > 0 => Ok(interval),
        _ => Err(Failure::new(
            http::StatusCode::BAD_REQUEST,
            "invalid_seq_interval",
            String::from_utf8_lossy(value).into_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Params, Failure> {
        Params::parse(&Query::parse(query).unwrap())
    }

    fn check_refused(query: &str, reason: &str) {
        assert_eq!(parse(query).unwrap_err().reason(), reason, "{query}");
    }

    #[test]
    fn names_are_read_without_case_and_the_last_value_counts() {
        let params = parse("LIMIT=1&Include_Docs=true&limit=2&foo=bar&FEED=live").unwrap();
        let expected = Params {
            limit: Some(2),
            include_docs: true,
            feed: Feed::Continuous,
            ..Params::default()
        };
        assert_eq!(params, expected);
    }

    #[test]
    fn only_the_word_true_switches_on() {
        let params = parse("descending=TRUE&include_docs=1&conflicts=true").unwrap();
        assert_eq!(params, Params { conflicts: true, ..Params::default() });
    }

    #[test]
    fn heartbeats() {
        let beat = |query| parse(query).unwrap().heartbeat;
        assert_eq!(beat("heartbeat=true"), Some(Duration::from_secs(60)));
        assert_eq!(beat("heartbeat=150"), Some(Duration::from_millis(150)));
        assert_eq!(beat("heartbeat=false"), None);
        let positive = "The heartbeat value should be a positive integer (in milliseconds).";
        check_refused("heartbeat=0", positive);
        check_refused("heartbeat=-5", positive);
        check_refused(
            "heartbeat=x",
            "Invalid heartbeat value. Expecting a positive integer value (in milliseconds).",
        );
    }

    #[test]
    fn values_that_are_refused() {
        check_refused(
            "feed=nosuch",
            "Supported `feed` types: normal, continuous, live, longpoll, eventsource",
        );
        check_refused("limit=-1", "The limit value should be a non-negative integer");
        check_refused("limit=x", "The limit parameter should be a non-negative integer");
        assert_eq!(parse("seq_interval=0").unwrap_err().error(), "invalid_seq_interval");
        assert_eq!(parse("timeout=x").unwrap_err().status(), 400);
        assert_eq!(parse("style=nosuch").unwrap_err().status(), 400);
    }
}
