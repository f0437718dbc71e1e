//! A replication with its id: finding the id out, and running it.

use super::{
    context::Context,
    error::{ReplicationError, RequestError, Side},
    filter::Filter,
    id::{ReplicationId, replication_id},
    outcome::Outcome,
    peer::Peer,
    progress::Control,
    request::Replication,
    run::Run,
};
use crate::json::Value;

/// A replication with its id, ready to run, as often as need be.
///
/// ```
/// use settee_engine::{
///     Caller, Databases, Document, Props, WriteMode, document::Limits, json::Value,
///     replication::{Context, Control, Defaults, Job, LocalNames, Replication, ServerIdentity},
/// };
///
/// let databases = Databases::in_memory();
/// let animals = databases.create("animals", Props::default())?;
/// let cat = Document::parse(br#"{"legs":4}"#, Some("cat"), &Limits::default())?;
/// animals.write(vec![cat], WriteMode::Interactive)?;
///
/// let local = LocalNames { url: "http://localhost:5984".into(), caller: Caller::admin() };
/// let defaults = Defaults { local: Some(local), ..Defaults::default() };
/// let body = br#"{"source": "animals", "target": "copy", "create_target": true}"#;
/// let replication = Replication::parse(&Value::parse(body)?, &defaults).unwrap();
///
/// let context = Context::new(databases.clone(), ServerIdentity::default());
/// let outcome = Job::run_blocking(replication, &context, &Control::new()).unwrap();
/// assert_eq!(outcome.to_answer().get("ok"), Some(&Value::Bool(true)));
/// assert_eq!(databases.get("copy")?.info()?.doc_count, 1);
/// # Ok::<(), settee_engine::Error>(())
/// ```
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
            Filter::Function { design, name, .. } => {
                Some(filter_code(&replication, context, design, name).await?)
            }
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
        let opened = tokio::select! {
            biased;
            () = control.stopped() => return Ok(Outcome::stopped()),
            opened = Run::open(self, context, control) => opened?,
        };
        opened.run().await
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

/// The text of a filter function of the source.
async fn filter_code(
    replication: &Replication,
    context: &Context,
    design: &str,
    name: &str,
) -> Result<String, ReplicationError> {
    let url = replication.source.url();
    let source = Peer::new(Side::Source, replication, context)?;
    let document = source.document(&format!("_design/{design}")).await.map_err(|error| {
        ReplicationError::FilterFetch(format!(
            "Could not open source database `{url}`: {}",
            error.reason()
        ))
    })?;
    let document = document.ok_or_else(|| {
        let reason = format!(
            "Couldn't open document `_design/{design}` from source database `{url}`: not_found"
        );
        ReplicationError::FilterFetch(reason)
    })?;
    let code = document.get("filters").and_then(|filters| filters.get(name));
    code.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
        let reason = format!(
            "Couldn't parse filter code from document {design} on `{url}`: missing json key: {name}"
        );
        ReplicationError::FilterFetch(reason)
    })
}
