//! Engine calls that may wait for the disk or take long, on threads made for that.

use crate::http::Failure;

/// Runs an engine call on a blocking thread. A panic in it becomes a 500.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> settee_engine::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let span = tracing::Span::current();
    let result = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    Ok(result.map_err(|_| Failure::internal("the request failed inside the server"))??)
}
