//! What can go wrong with a replication, and on which side.

use std::{fmt, sync::Arc, time::Duration};

/// One end of a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where revisions are read.
    Source,
    /// Where they are written.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

/// A request for a replication that makes no sense. The text is CouchDB's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A parameter has the wrong type, or does not go with another.
    #[error("{0}")]
    BadRequest(String),
    /// The URL of the source or target cannot be used.
    #[error("endpoint has an invalid url")]
    InvalidEndpoint,
    /// The URL of a proxy cannot be used.
    #[error("proxy has an invalid url")]
    InvalidProxy,
    /// A database is named without a URL where that is not allowed.
    #[error("local_endpoints_not_supported")]
    LocalEndpoint,
    /// The source or the target is missing.
    #[error("Missing replicator database")]
    MissingEndpoint,
}

impl RequestError {
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        RequestError::BadRequest(reason.into())
    }
}

/// Why a replication failed. The text says what happened on which side and what to do about it;
/// [`ReplicationError::code`] and [`ReplicationError::reason`] are what CouchDB says.
///
/// A replication that failed can be started again: it goes on from its last checkpoint.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.sentence())]
#[non_exhaustive]
pub enum ReplicationError {
    /// There is no database there, or what is there is none.
    DatabaseNotFound {
        /// Where.
        side: Side,
        /// Its URL, without password.
        url: String,
    },
    /// The side wants other credentials (401).
    Unauthorized {
        /// Which side.
        side: Side,
        /// Its URL, without password.
        url: String,
    },
    /// The credentials do not suffice (403).
    Forbidden {
        /// Which side.
        side: Side,
        /// Its URL, without password.
        url: String,
    },
    /// A request was answered with an error that retrying does not help against, or did not.
    Http {
        /// Which side.
        side: Side,
        /// The request's method.
        method: String,
        /// The request's URL, without password.
        url: String,
        /// The status of the answer.
        status: u16,
        /// What the answer said, shortened.
        answer: String,
    },
    /// The host's name has no address.
    NameResolution {
        /// Which side.
        side: Side,
        /// Its URL, without password.
        url: String,
    },
    /// No connection could be made, or it broke, as often as it was tried.
    Connection {
        /// Which side.
        side: Side,
        /// The request's URL, without password.
        url: String,
        /// What the network said.
        problem: String,
    },
    /// Nothing came for too long.
    Timeout {
        /// Which side.
        side: Side,
        /// The request's URL, without password.
        url: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The side asked again and again to be left alone (429).
    RateLimited {
        /// Which side.
        side: Side,
        /// Its URL, without password.
        url: String,
    },
    /// The side answered something that no database server says.
    BadAnswer {
        /// Which side.
        side: Side,
        /// The request's URL, without password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The function that filters could not be had from the source.
    FilterFetch(String),
    /// A database was deleted and made anew, or replaced by another, meanwhile.
    DatabaseChanged {
        /// The source was.
        of_source: bool,
        /// The target was.
        of_target: bool,
    },
    /// A checkpoint could not be written.
    Checkpoint {
        /// Where.
        side: Side,
        /// Why.
        reason: String,
    },
    /// The target refused a document for a reason that is not the document's.
    DocumentWrite {
        /// Its id.
        id: String,
        /// What the target said.
        reason: String,
    },
    /// The source lists a revision and does not have it.
    MissingRevision {
        /// The document's id.
        id: String,
        /// The revision.
        rev: String,
    },
    /// A database of this server failed.
    Local {
        /// Which side.
        side: Side,
        /// What failed.
        error: Arc<crate::Error>,
    },
    /// The request cannot be carried out as it is.
    Invalid(RequestError),
    /// The machinery itself failed.
    Internal(String),
}

/// What failed, in CouchDB's words, and what a person can do.
struct Account {
    code: &'static str,
    reason: String,
    advice: &'static str,
}

const CHECK_URL: &str = "check that the URL names a database and that the server is reachable";
const CHECK_CREDENTIALS: &str = "check the user name and the password, and what this user may do";
const WAIT: &str = "it is tried again later; if it stays so, look at that server and the network";
const RESTARTS: &str = "it starts again from the last checkpoint that both sides agree on";

impl ReplicationError {
    /// CouchDB's word for it, the `error` of an answer.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.account().code
    }

    /// The `reason` of an answer.
    #[must_use]
    pub fn reason(&self) -> String {
        self.account().reason
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.account().advice
    }

    /// The side that failed, if it was one.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        use ReplicationError as E;
        match self {
            E::DatabaseNotFound { side, .. }
            | E::Unauthorized { side, .. }
            | E::Forbidden { side, .. }
            | E::Http { side, .. }
            | E::NameResolution { side, .. }
            | E::Connection { side, .. }
            | E::Timeout { side, .. }
            | E::RateLimited { side, .. }
            | E::BadAnswer { side, .. }
            | E::Checkpoint { side, .. }
            | E::Local { side, .. } => Some(*side),
            E::FilterFetch(_) | E::MissingRevision { .. } => Some(Side::Source),
            E::DocumentWrite { .. } => Some(Side::Target),
            E::DatabaseChanged { .. } | E::Invalid(_) | E::Internal(_) => None,
        }
    }

    fn sentence(&self) -> String {
        let Account { reason, advice, .. } = self.account();
        match self.side() {
            Some(side) => format!("{side}: {reason}: {advice}"),
            None => format!("{reason}: {advice}"),
        }
    }

    fn account(&self) -> Account {
        use ReplicationError as E;
        let (code, reason, advice) = match self {
            E::DatabaseNotFound { url, .. } => {
                ("db_not_found", format!("could not open {url}"), CHECK_URL)
            }
            E::Unauthorized { url, .. } => {
                let reason = format!("unauthorized to access or create database {url}");
                ("unauthorized", reason, CHECK_CREDENTIALS)
            }
            E::Forbidden { url, .. } => {
                ("forbidden", format!("not allowed to access {url}"), CHECK_CREDENTIALS)
            }
            E::Http { method, url, status, answer, .. } => {
                let reason = format!("{method} {url} was answered with {status} {answer}");
                ("http_error_code", reason, WAIT)
            }
            E::NameResolution { url, .. } => {
                ("nxdomain", format!("could not resolve {url}"), "check the name of the host")
            }
            E::Connection { url, problem, .. } => {
                ("conn_failed", format!("no connection for {url}: {problem}"), WAIT)
            }
            E::Timeout { url, waited, .. } => {
                let reason = format!("no answer from {url} within {} s", waited.as_secs_f32());
                ("timeout", reason, WAIT)
            }
            E::RateLimited { url, .. } => {
                let reason = format!("{url} takes no more requests for the moment");
                ("max_backoff", reason, WAIT)
            }
            E::BadAnswer { url, problem, .. } => {
                let reason = format!("{url} gave an answer that makes no sense: {problem}");
                ("bad_answer", reason, CHECK_URL)
            }
            E::FilterFetch(reason) => {
                let advice = "check that the source has the design document and the function";
                ("filter_fetch_error", reason.clone(), advice)
            }
            E::DatabaseChanged { of_source, of_target } => {
                ("checkpoint_commit_failure", changed(*of_source, *of_target), RESTARTS)
            }
            E::Checkpoint { reason, .. } => ("checkpoint_commit_failure", reason.clone(), WAIT),
            E::DocumentWrite { id, reason } => {
                let reason = format!("document {id} was not written: {reason}");
                ("doc_write_failed", reason, "see what the target says about this document")
            }
            E::MissingRevision { id, rev } => {
                let reason = format!("revision {rev} of document {id} is listed, but not there");
                ("missing_doc", reason, WAIT)
            }
            E::Local { error, .. } => {
                ("internal_server_error", error.to_string(), "see the log of this server")
            }
            E::Invalid(error) => ("bad_request", error.to_string(), "change the request"),
            E::Internal(reason) => {
                ("internal_server_error", reason.clone(), "see the log of this server")
            }
        };
        Account { code, reason, advice }
    }
}

fn changed(source: bool, target: bool) -> String {
    let which = match (source, target) {
        (true, true) => "source and target",
        (true, false) => "source",
        (false, _) => "target",
    };
    format!("instance_start_time on {which} database has changed since last checkpoint.")
}

impl From<RequestError> for ReplicationError {
    fn from(error: RequestError) -> Self {
        ReplicationError::Invalid(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_what_and_what_to_do() {
        let url = "http://h/db/".to_owned();
        let error = ReplicationError::DatabaseNotFound { side: Side::Target, url };
        assert_eq!(
            (error.code(), &*error.reason()),
            ("db_not_found", "could not open http://h/db/")
        );
        assert_eq!(error.to_string(), format!("target: could not open http://h/db/: {CHECK_URL}"));
        let error = ReplicationError::DatabaseChanged { of_source: true, of_target: false };
        let reason = "instance_start_time on source database has changed since last checkpoint.";
        assert_eq!((error.code(), &*error.reason()), ("checkpoint_commit_failure", reason));
    }
}
