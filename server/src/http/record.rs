//! What is left of a request when its answer has been sent: a line in the access log, and the counts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::guard::Running;
use super::stream::Abort;
use super::{ReplyBody, Request};
use crate::app::App;
use crate::logging;
use crate::metrics::{Metrics, Present};

/// The body of an answer, which knows when the last of it was taken, or when it broke off.
pub(super) struct Exchange {
    body: ReplyBody,
    record: Record,
}

/// The request and its answer, as they are recorded at the end.
pub(super) struct Record {
    app: Arc<App>,
    line: logging::AccessLine,
    started: Instant,
    complete: bool,
    /// What is said of a request while it is being answered.
    _present: (Present, Option<Present>),
    _running: Running,
}

impl Record {
    /// A request that has just been read.
    pub(super) fn begin(
        request: &Request,
        method: &http::Method,
        started: Instant,
        running: Running,
    ) -> Self {
        let metrics = request.app.metrics();
        let present = (metrics.running.enter(), count_by_path(request, metrics));
        Self {
            app: Arc::clone(&request.app),
            line: logging::AccessLine::of(request, method),
            started,
            complete: false,
            _present: present,
            _running: running,
        }
    }

    /// The answer, of which this is the record.
    pub(super) fn attach(
        mut self,
        request: &Request,
        response: hyper::Response<ReplyBody>,
    ) -> hyper::Response<Exchange> {
        self.line.answered(request, &response);
        response.map(|body| {
            self.complete = body.is_empty() || request.head_only;
            Exchange { body, record: self }
        })
    }
}

/// Counts what is known by its path.
fn count_by_path(request: &Request, metrics: &Metrics) -> Option<Present> {
    let path = request.uri.path();
    if path.ends_with("/_bulk_docs") {
        metrics.bulk_requests.add();
    }
    path.ends_with("/_changes").then(|| metrics.changes_feeds.enter())
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.app.metrics().answered(self.line.method(), self.line.status(), took, self.complete);
        self.line.write(took, self.complete);
    }
}

impl Body for Exchange {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.record.complete = true,
            Poll::Ready(Some(Ok(frame))) => {
                let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.record.line.sent(sent);
                // hyper doesn't ask again once it knows that this was all.
                self.record.complete = self.body.is_empty();
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
