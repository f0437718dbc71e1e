//! The changes of a database behind a URL: one answer that is read while it arrives, opened again where
//! it broke off.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::sleep;

use super::RemotePeer;
use crate::{
    json::{Object, Value},
    replication::{
        error::ReplicationError,
        filter::{Filter, param_text},
        http::{Answer, AnswerBody, Call, Payload, Remote},
        peer::{
            Result, Rows,
            rows::{Row, RowSplitter, parse_row},
        },
        request::Replication,
    },
};

/// The shortest time between two signs of life of a feed.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);
/// The wait before a feed is opened again that broke off; it doubles as long as nothing comes.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a feed is opened again without having brought anything.
const MAX_IDLE_BREAKS: u32 = 10;

/// Parameters of views, whose values are JSON in a request for changes by a view.
const VIEW_PARAMETERS: [&str; 12] = [
    "key",
    "keys",
    "startkey",
    "start_key",
    "endkey",
    "end_key",
    "descending",
    "group",
    "group_level",
    "inclusive_end",
    "reduce",
    "limit",
];

/// The changes of a database behind a URL, as one replication wants them.
pub(in crate::replication) struct RemoteFeed {
    remote: Arc<Remote>,
    continuous: bool,
    style: &'static str,
    filter: Filter,
    since: Value,
    open: Option<Open>,
    /// Rows that have been read and not asked for.
    rows: VecDeque<Row>,
    is_done: bool,
    /// How often it broke off since the last row.
    breaks: u32,
}

/// An answer that is being read.
struct Open {
    body: AnswerBody,
    splitter: RowSplitter,
    /// It has brought changes.
    brought: bool,
}

impl RemotePeer {
    pub(in crate::replication) fn changes(
        &self,
        since: &Value,
        replication: &Replication,
    ) -> RemoteFeed {
        RemoteFeed {
            remote: Arc::clone(&self.remote),
            continuous: replication.continuous,
            style: if replication.winning_revs_only { "main_only" } else { "all_docs" },
            filter: replication.filter.clone(),
            since: since.clone(),
            open: None,
            rows: VecDeque::new(),
            is_done: false,
            breaks: 0,
        }
    }
}

impl RemoteFeed {
    /// See [`super::super::Feed::next`].
    pub(in crate::replication) async fn next(&mut self, most: usize) -> Result<Option<Rows>> {
        loop {
            self.read_now(most)?;
            if !self.rows.is_empty() {
                return Ok(Some(self.take(most)));
            }
            if self.is_done {
                return Ok(None);
            }
            self.read_more().await?;
        }
    }

    /// Takes rows that are here.
    fn take(&mut self, most: usize) -> Rows {
        let mut rows = Rows::default();
        while rows.changes.len() < most
            && let Some(row) = self.rows.pop_front()
        {
            match row {
                Row::Change { change, seq } => {
                    rows.changes.push(change);
                    // Some sources name the sequence of each few rows only.
                    if seq != Value::Null {
                        rows.seq = Some(seq);
                    }
                }
                Row::LastSeq(seq) => rows.seq = Some(seq),
            }
        }
        if let Some(seq) = &rows.seq {
            self.since = seq.clone();
        }
        rows
    }

    /// Reads what has arrived, without waiting.
    fn read_now(&mut self, most: usize) -> Result<()> {
        while self.rows.len() < most {
            let Some(open) = &mut self.open else { return Ok(()) };
            match open.body.piece_now() {
                Ok(Some(piece)) => self.push(&piece)?,
                // The end, or a break, is found out by waiting for more.
                Ok(None) | Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for more, opening the feed if need be.
    async fn read_more(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return self.open_feed().await };
        match open.body.piece().await {
            Ok(Some(piece)) => self.push(&piece),
            Ok(None) => self.ended().await,
            Err(error @ ReplicationError::BadAnswer { .. }) => Err(error),
            Err(error) => self.broke_off(error).await,
        }
    }

    fn push(&mut self, piece: &Bytes) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if !piece.is_empty() && piece.iter().all(u8::is_ascii_whitespace) {
            // A heartbeat: the connection was good, however long ago the last row came.
            self.breaks = 0;
        }
        open.splitter.push(piece);
        while let Some(row) =
            open.splitter.next_row().map_err(|problem| self.remote.senseless(problem))?
        {
            let row = parse_row(&row).map_err(|problem| self.remote.senseless(problem))?;
            open.brought |= matches!(row, Row::Change { .. });
            self.breaks = 0;
            self.rows.push_back(row);
        }
        Ok(())
    }

    /// The answer has come to its end.
    async fn ended(&mut self) -> Result<()> {
        let Some(Open { splitter, brought, .. }) = self.open.take() else { return Ok(()) };
        if !splitter.is_complete() {
            let (side, url) = (self.remote.side, format!("{}_changes", self.remote.url()));
            let problem = "the feed ended in the middle of a row".to_owned();
            return self.broke_off(ReplicationError::Connection { side, url, problem }).await;
        }
        match self.continuous {
            false => self.is_done = true,
            // With a heartbeat it should not end, but may; again and again, but not at once.
            true if !brought => sleep(FIRST_WAIT).await,
            true => {}
        }
        Ok(())
    }

    async fn broke_off(&mut self, error: ReplicationError) -> Result<()> {
        self.open = None;
        self.breaks += 1;
        if self.breaks > MAX_IDLE_BREAKS {
            return Err(error);
        }
        sleep((FIRST_WAIT * 2u32.saturating_pow(self.breaks - 1)).min(LONGEST_WAIT)).await;
        Ok(())
    }

    async fn open_feed(&mut self) -> Result<()> {
        let call = self.call();
        let remote = Arc::clone(&self.remote);
        let answer = remote.open(&call).await?;
        if answer.status != StatusCode::OK {
            let status = answer.status;
            let (side, url) = (remote.side, remote.url().to_owned());
            let body = answer.bytes(64 * 1024).await?;
            return Err(match status {
                StatusCode::UNAUTHORIZED => ReplicationError::Unauthorized { side, url },
                StatusCode::FORBIDDEN => ReplicationError::Forbidden { side, url },
                StatusCode::NOT_FOUND if self.filter.name().is_some() => {
                    ReplicationError::FilterFetch(String::from_utf8_lossy(&body).into_owned())
                }
                StatusCode::NOT_FOUND => ReplicationError::DatabaseNotFound { side, url },
                status => remote.unexpected(&call, status, &body),
            });
        }
        let Answer { body, .. } = answer;
        let splitter = match self.continuous {
            true => RowSplitter::lines(),
            false => RowSplitter::array(),
        };
        self.open = Some(Open { body, splitter, brought: false });
        Ok(())
    }

    fn call(&self) -> Call {
        let heartbeat = (self.remote.timeout() / 3).max(SHORTEST_HEARTBEAT).as_millis().to_string();
        let mut call = Call::get("_changes")
            .param("feed", if self.continuous { "continuous" } else { "normal" })
            .param("style", self.style)
            .param("since", &param_text(&self.since))
            .param(if self.continuous { "heartbeat" } else { "timeout" }, &heartbeat);
        // Compressed, a row could wait for the next one.
        call.gzip = !self.continuous;
        if let Some(name) = self.filter.name() {
            call = call.param("filter", &name);
        }
        match &self.filter {
            Filter::DocIds(ids) => {
                let ids: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
                with_body(call, "doc_ids", ids.into())
            }
            Filter::Selector(selector) => with_body(call, "selector", selector.clone()),
            filter => with_params(call, filter),
        }
    }
}

fn with_body(mut call: Call, name: &str, value: Value) -> Call {
    let mut body = Object::new();
    body.insert(name, value);
    call.method = Method::POST;
    call.payload = Payload::Json(Value::from(body).to_json().into());
    call
}

/// Adds the parameters of a filter, but none that the feed itself has.
fn with_params(mut call: Call, filter: &Filter) -> Call {
    const OWN: [&str; 6] = ["feed", "style", "since", "heartbeat", "timeout", "filter"];
    let by_view = matches!(filter, Filter::View { .. });
    let params = filter.query_params().into_iter().flat_map(Object::iter);
    for (name, value) in params.filter(|(name, _)| !OWN.contains(name)) {
        let text = match by_view && VIEW_PARAMETERS.contains(&name) {
            true => String::from_utf8(value.to_json()).unwrap_or_default(),
            false => param_text(value),
        };
        call = call.param(name, &text);
    }
    call
}
