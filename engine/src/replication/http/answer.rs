//! What came back: whole or piece by piece, with a limit on bytes and on time.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, StatusCode, header::CONTENT_ENCODING};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{sync::SemaphorePermit, time::timeout};

use super::inflate::Inflater;
use crate::replication::error::{ReplicationError, Side};

/// An answer whose body may still be on its way.
pub(in crate::replication) struct Answer<'r> {
    pub(in crate::replication) status: StatusCode,
    pub(in crate::replication) headers: HeaderMap,
    pub(in crate::replication) body: AnswerBody,
    /// One of the connections that the replication may have.
    pub(super) _permit: Option<SemaphorePermit<'r>>,
}

impl Answer<'_> {
    /// The whole body.
    ///
    /// # Errors
    /// [`ReplicationError::BadAnswer`] if it is longer than `limit` bytes; otherwise as
    /// [`AnswerBody::piece`].
    pub(in crate::replication) async fn bytes(
        mut self,
        limit: usize,
    ) -> Result<Bytes, ReplicationError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(self.body.senseless(format!("it is longer than {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// The body of an answer.
pub(in crate::replication) struct AnswerBody {
    side: Side,
    url: String,
    timeout: Duration,
    body: Incoming,
    inflater: Option<Inflater>,
    /// Compressed bytes that have arrived.
    packed: Bytes,
    /// Decoded bytes that were put back.
    put_back: VecDeque<Bytes>,
    ended: bool,
}

impl AnswerBody {
    pub(super) fn new(
        side: Side,
        url: String,
        timeout: Duration,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Self {
        let gzip = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        AnswerBody {
            side,
            url,
            timeout,
            body,
            inflater: gzip.then(Inflater::new),
            packed: Bytes::new(),
            put_back: VecDeque::new(),
            ended: false,
        }
    }

    /// The next bytes; `None` at the end. May be dropped and called again.
    ///
    /// # Errors
    /// [`ReplicationError::Timeout`] if nothing comes for too long, [`ReplicationError::Connection`] if
    /// the connection breaks.
    pub(in crate::replication) async fn piece(
        &mut self,
    ) -> Result<Option<Bytes>, ReplicationError> {
        loop {
            if let Some(piece) = self.ready_piece()? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            let frame = timeout(self.timeout, self.body.frame()).await;
            let frame = frame.map_err(|_| self.timed_out())?;
            self.take(frame)?;
        }
    }

    /// The next bytes if they are here already.
    ///
    /// # Errors
    /// As [`AnswerBody::piece`].
    pub(in crate::replication) fn piece_now(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        loop {
            if let Some(piece) = self.ready_piece()? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().now_or_never() {
                Some(frame) => self.take(frame)?,
                None => return Ok(None),
            }
        }
    }

    /// Decoded bytes out of what has arrived.
    fn ready_piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        loop {
            if let Some(piece) = self.put_back.pop_front() {
                return Ok(Some(piece));
            }
            if self.packed.is_empty() {
                return Ok(None);
            }
            let piece = match &mut self.inflater {
                None => std::mem::take(&mut self.packed),
                Some(inflater) => {
                    let piece = inflater.piece(&mut self.packed);
                    piece.map_err(|error| self.senseless(format!("its gzip is broken: {error}")))?
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn take(
        &mut self,
        frame: Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>,
    ) -> Result<(), ReplicationError> {
        match frame {
            Some(Ok(frame)) => self.packed = frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return Err(ReplicationError::Connection {
                    side: self.side,
                    url: self.url.clone(),
                    problem: error.to_string(),
                });
            }
            None => {
                self.ended = true;
                if let Some(mut inflater) = self.inflater.take() {
                    let rest = inflater.finish();
                    let rest = rest
                        .map_err(|error| self.senseless(format!("its gzip is broken: {error}")))?;
                    if !rest.is_empty() {
                        self.put_back.push_back(rest);
                    }
                }
            }
        }
        Ok(())
    }

    pub(in crate::replication) fn senseless(&self, problem: String) -> ReplicationError {
        ReplicationError::BadAnswer { side: self.side, url: self.url.clone(), problem }
    }

    fn timed_out(&self) -> ReplicationError {
        ReplicationError::Timeout { side: self.side, url: self.url.clone(), waited: self.timeout }
    }
}
