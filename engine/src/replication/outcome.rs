//! What a replication that ended has to say.

use crate::json::{Object, Value};

/// How a run ended that did not fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// It was told to stop.
    pub stopped: bool,
    /// The last checkpoint: `session_id`, `source_last_seq`, `replication_id_version`, `history`; with
    /// `no_changes` if there was nothing to write.
    pub checkpoint: Object,
}

impl Outcome {
    /// Stopped before anything was done.
    pub(super) fn stopped() -> Self {
        Outcome { stopped: true, checkpoint: Object::new() }
    }

    /// The body of the answer to `_replicate`.
    #[must_use]
    pub fn to_answer(&self) -> Object {
        let mut answer = Object::new();
        if self.stopped {
            answer.insert("ok", "stopped");
            return answer;
        }
        answer.insert("ok", true);
        for (name, value) in self.checkpoint.iter() {
            answer.insert(name, Value::clone(value));
        }
        answer
    }
}
