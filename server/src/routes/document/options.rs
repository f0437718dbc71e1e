//! The query string of a document read.

use settee_engine::json::Value;
use settee_engine::{AttachmentForm, GetOptions, OpenRevs, Rev, ShowOptions};

use crate::http::{Failure, Query};
use crate::routes::body;

/// Which revision to read, and how to show it. Flags are on only if they are the word `true`.
pub(super) fn get_options(query: &Query) -> Result<GetOptions, Failure> {
    Ok(GetOptions {
        rev: rev(query)?,
        latest: query.is_true("latest"),
        deleted: query.is_true("deleted"),
        show: show_options(query)?,
    })
}

/// How to show documents. Attachments that are wanted in full are [`AttachmentForm::Inline`].
pub(in crate::routes) fn show_options(query: &Query) -> Result<ShowOptions, Failure> {
    let meta = query.is_true("meta");
    let atts_since = match query.bytes("atts_since") {
        Some(json) => Some(body::revisions(&Value::parse(json)?, "Invalid list of revisions")?),
        None => None,
    };
    let in_full = query.is_true("attachments") || atts_since.is_some();
    Ok(ShowOptions {
        revs: query.is_true("revs"),
        revs_info: meta || query.is_true("revs_info"),
        local_seq: query.is_true("local_seq"),
        conflicts: meta || query.is_true("conflicts"),
        deleted_conflicts: meta || query.is_true("deleted_conflicts"),
        attachments: if in_full { AttachmentForm::Inline } else { AttachmentForm::Stub },
        atts_since,
        att_encoding_info: query.is_true("att_encoding_info"),
    })
}

/// The revision in `?rev=`.
pub(in crate::routes) fn rev(query: &Query) -> Result<Option<Rev>, Failure> {
    Ok(query.bytes("rev").map(Rev::parse).transpose()?)
}

/// Which revisions to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All leaves.
    All,
    /// These.
    These(Vec<Rev>),
}

impl Wanted {
    /// The same in the engine's words.
    pub(super) fn as_open_revs(&self) -> OpenRevs<'_> {
        match self {
            Self::All => OpenRevs::All,
            Self::These(revs) => OpenRevs::These(revs),
        }
    }
}

/// The revisions in `?open_revs=`. An empty list asks for the document as if there were none.
pub(super) fn open_revs(query: &Query) -> Result<Option<Wanted>, Failure> {
    match query.bytes("open_revs") {
        None => Ok(None),
        Some(b"all") => Ok(Some(Wanted::All)),
        Some(json) => {
            let revs = body::revisions(&Value::parse(json)?, "Invalid list of revisions")?;
            Ok((!revs.is_empty()).then_some(Wanted::These(revs)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<GetOptions, Failure> {
        get_options(&Query::parse(query).unwrap())
    }

    #[test]
    fn meta_is_three_options_in_one() {
        let show = parse("meta=true").unwrap().show;
        assert!(show.revs_info && show.conflicts && show.deleted_conflicts && !show.revs);
        assert_eq!(parse("meta=1&revs=TRUE&conflicts=").unwrap(), GetOptions::default());
    }

    #[test]
    fn attachments_since_revisions_are_wanted_in_full() {
        let show = parse("atts_since=[]").unwrap().show;
        assert_eq!(show.atts_since, Some(Vec::new()));
        assert_eq!(show.attachments, AttachmentForm::Inline);
    }

    #[test]
    fn refusals() {
        for (query, reason) in [
            ("rev=1", "Invalid rev format"),
            ("rev=", "Invalid rev format"),
            ("atts_since=x", "invalid UTF-8 JSON"),
            ("atts_since=[\"x\"]", "Invalid rev format"),
        ] {
            assert_eq!(parse(query).unwrap_err().reason(), reason, "{query}");
        }
        let refused = |query| open_revs(&Query::parse(query).unwrap()).unwrap_err();
        assert_eq!(refused("open_revs=nonsense").reason(), "invalid UTF-8 JSON");
        assert_eq!(refused("open_revs={\"a\":1}").reason(), "Invalid list of revisions");
        let empty = open_revs(&Query::parse("open_revs=[]").unwrap()).unwrap();
        assert!(empty.is_none());
    }
}
