//! What has happened to a job.

use std::collections::VecDeque;

use super::rules::Millis;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    pub(crate) at: Millis,
    pub(crate) kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Started,
    Stopped,
    Crashed(String),
}

impl EventKind {
    /// CouchDB's word for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Crashed(_) => "crashed",
        }
    }
}

/// The last events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(VecDeque<Event>);

impl History {
    pub(super) fn note(&mut self, at: Millis, kind: EventKind, max: usize) {
        self.0.push_front(Event { at, kind });
        self.0.truncate(max.max(1));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.0.iter()
    }

    /// The newest one.
    pub(crate) fn last(&self) -> Option<&Event> {
        self.0.front()
    }

    /// Whether it has run at all.
    pub(crate) fn has_run(&self) -> bool {
        self.0.iter().any(|event| event.kind != EventKind::Added)
    }

    /// What the job crashed with, if that was the last thing that happened to it.
    pub(crate) fn crash(&self) -> Option<&str> {
        match &self.last()?.kind {
            EventKind::Crashed(reason) => Some(reason),
            _ => None,
        }
    }
}
