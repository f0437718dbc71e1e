//! What `_active_tasks` shows of a replication that runs.

use serde_json::{Value, json};
use settee_engine::replication::Control;

use super::work::Work;

/// What doesn't change while it runs.
pub(super) fn description(work: &Work) -> Value {
    let replication = &work.job.replication;
    json!({
        "replication_id": &*work.id,
        "database": work.database(),
        "doc_id": work.doc_id(),
        "user": work.user,
        "source": replication.source.url(),
        "target": replication.target.url(),
        "continuous": replication.continuous,
        "checkpoint_interval":
            u64::try_from(replication.checkpoint_interval.as_millis()).unwrap_or(u64::MAX),
    })
}

/// What does.
pub(super) fn progress(control: &Control) -> Value {
    let text = settee_engine::json::Value::Object(control.progress().snapshot()).to_json();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The members of an object, as the list of tasks takes them.
pub(super) fn members(object: &Value) -> impl Iterator<Item = (&str, Value)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value.clone()))
}
