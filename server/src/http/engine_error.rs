//! The one place where the engine's errors become answers.

use http::StatusCode;
use settee_engine::Error;
use settee_engine::error::Absence;
use settee_engine::find::FindError;
use settee_engine::javascript::JsError;
use settee_engine::multipart::MultipartError;
use settee_engine::replication::{ReplicationError, RequestError};

use super::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let reason = error.to_string();
        match error {
            Error::Shared(error) => Self::from(&**error),
            Error::QueryParse(_) => Self::query_parse_error(reason),
            Error::InvalidReduceValue(_) => server_error("invalid_value", reason),
            Error::UnknownQueryLanguage(_) => server_error("unknown_query_language", reason),
            Error::IndexingFailed(_) => server_error("indexing_failed", reason),
            Error::IllegalDatabaseName(_) => bad("illegal_database_name", reason),
            Error::DatabaseNameTooLong(_) => bad("database_name_too_long", reason),
            Error::DatabaseExists => {
                Self::new(StatusCode::PRECONDITION_FAILED, "file_exists", reason)
            }
            Error::DatabaseNotFound => Self::no_database(),
            Error::InvalidJson => Self::invalid_json(),
            Error::BadRequest(_)
            | Error::InvalidRev
            | Error::AttachmentLength(_)
            | Error::InvalidAttachmentData(_)
            | Error::MalformedSequence => Self::bad_request(reason),
            Error::IllegalDocId(_) => bad("illegal_docid", reason),
            Error::IllegalPartition(_) => bad("illegal_partition", reason),
            Error::DocValidation(_) => bad("doc_validation", reason),
            Error::InvalidDesignDoc(_) => bad("invalid_design_doc", reason),
            Error::Md5Mismatch => bad("content_md5_mismatch", reason),
            Error::Selector(_) => bad("invalid_selector", reason),
            Error::Find(error) => from_query(error, reason),
            Error::Conflict => Self::conflict(),
            Error::NotFound(Absence::Revision) => {
                Self::new(StatusCode::CONFLICT, "not_found", reason)
            }
            Error::NotFound(_) => Self::not_found(reason),
            Error::MissingStub { .. } | Error::PreviousRevisionMissing(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "missing_stub", reason)
            }
            Error::DocumentTooLarge(_) => too_large("document_too_large", reason),
            Error::AttachmentTooLarge(_) => too_large("attachment_too_large", reason),
            Error::Forbidden(_) => Self::forbidden(reason),
            Error::Unauthorized(_) => Self::unauthorized(reason),
            Error::MissingKey(_) => Self::not_found(reason),
            Error::JavaScript(error) => from_function(error),
            Error::Overloaded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason)
            }
            Error::Storage(settee_storage::Error::NoRoom { .. }) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "insufficient_storage", reason)
            }
            other => from_trouble(other),
        }
    }
}

fn bad(error: &'static str, reason: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, error, reason)
}

fn from_query(error: &FindError, reason: String) -> Failure {
    let status = match error {
        FindError::ServiceUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        FindError::SavingConflict => StatusCode::INTERNAL_SERVER_ERROR,
        FindError::IndexNotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    Failure::new(status, error.id(), reason)
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::from(&Error::Find(error))
    }
}

impl From<MultipartError> for Failure {
    fn from(error: MultipartError) -> Self {
        Self::bad_request(error.to_string())
    }
}

fn server_error(error: &'static str, reason: String) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, reason)
}

fn too_large(error: &'static str, reason: String) -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, reason)
}

/// What a function of a design document threw: some errors mean a status, the others are its failure.
fn from_function(error: &JsError) -> Failure {
    let status = match (error, error.id()) {
        (JsError::Compilation(_), _) | (_, "bad_request") => StatusCode::BAD_REQUEST,
        (JsError::Missing, _) | (_, "not_found") => StatusCode::NOT_FOUND,
        (_, "unauthorized") => StatusCode::UNAUTHORIZED,
        (_, "forbidden") => StatusCode::FORBIDDEN,
        (_, "method_not_allowed") => StatusCode::METHOD_NOT_ALLOWED,
        (_, "not_acceptable") => StatusCode::NOT_ACCEPTABLE,
        (_, "conflict") => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::info!(%error, "a function of a design document failed");
    }
    Failure::new(status, error.id().to_owned(), error.to_string())
}

/// What isn't the client's doing: told in short to them, in full to the log.
fn from_trouble(error: &Error) -> Failure {
    if let Error::Storage(settee_storage::Error::Closed) = error {
        // It was deleted, or the server is stopping, after the request had opened it.
        return Failure::no_database();
    }
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "a request failed");
    if let Error::Storage(settee_storage::Error::Full { .. }) = error {
        let reason = "database_dir is too full";
        return Failure::new(StatusCode::INSUFFICIENT_STORAGE, "insufficient_storage", reason);
    }
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", error.to_string())
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let reason = error.to_string();
        match error {
            RequestError::InvalidEndpoint | RequestError::InvalidProxy => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_replication", reason)
            }
            _ => Self::bad_request(reason),
        }
    }
}

impl From<ReplicationError> for Failure {
    fn from(error: ReplicationError) -> Self {
        Self::from(&error)
    }
}

impl From<&ReplicationError> for Failure {
    fn from(error: &ReplicationError) -> Self {
        match error {
            ReplicationError::Invalid(error) => error.clone().into(),
            ReplicationError::FilterFetch(reason) => Self::not_found(reason.clone()),
            ReplicationError::Unauthorized { .. } => Self::unauthorized(error.reason()),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), error.reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, expected: &str) {
        assert_eq!(Failure::from(error).to_string(), expected);
    }

    #[test]
    fn answers_are_those_of_couchdb() {
        check(Error::Conflict, "409 conflict: Document update conflict.");
        check(Error::NotFound(Absence::Deleted), "404 not_found: deleted");
        check(Error::NotFound(Absence::Revision), "409 not_found: missing_rev");
        check(Error::InvalidRev, "400 bad_request: Invalid rev format");
        check(Error::DocumentTooLarge("id".into()), "413 document_too_large: id");
        check(
            Error::MissingStub { id: "d".into(), name: "a".into() },
            "412 missing_stub: Invalid attachment stub in d for a",
        );
        check(
            Error::DatabaseExists,
            "412 file_exists: The database could not be created, the file already exists.",
        );
    }

    #[test]
    fn a_full_disk_is_told_apart_from_damage() {
        let full = settee_storage::Error::Full { path: "a.settee".into() };
        assert_eq!(Failure::from(Error::from(full)).status(), 507);
        assert_eq!(Failure::from(Error::Damaged("document")).status(), 500);
    }
}
