//! Content negotiation, as far as the API needs it: does the client take this type or coding?

/// Whether an `Accept` header admits a media type such as `multipart/mixed`.
///
/// No header admits everything. Otherwise the most specific entry that covers the type decides
/// (`multipart/mixed` before `multipart/*` before `*/*`), and a weight of zero refuses it.
pub(crate) fn accepts_type(header: Option<&str>, wanted: &str) -> bool {
    let Some(header) = header else { return true };
    let any_of_main = wanted.split_once('/').map(|(main, _)| format!("{main}/*"));
    let specificity = |range: &str| match range {
        range if range.eq_ignore_ascii_case(wanted) => Some(3),
        range if any_of_main.as_deref().is_some_and(|any| range.eq_ignore_ascii_case(any)) => {
            Some(2)
        }
        "*/*" | "*" => Some(1),
        _ => None,
    };
    decide(header, specificity).unwrap_or(false)
}

/// Whether an `Accept-Encoding` header admits gzip. No header does not: compressed bytes go only to
/// those who ask for them.
pub(crate) fn accepts_gzip(header: Option<&str>) -> bool {
    let specificity = |coding: &str| match coding {
        coding if coding.eq_ignore_ascii_case("gzip") => Some(2),
        "*" => Some(1),
        _ => None,
    };
    header.and_then(|header| decide(header, specificity)).unwrap_or(false)
}

/// The verdict of the most specific entry that says anything.
fn decide(header: &str, specificity: impl Fn(&str) -> Option<u8>) -> Option<bool> {
    let verdicts = header.split(',').filter_map(|entry| {
        let (range, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        Some((specificity(range.trim())?, has_weight(parameters)))
    });
    verdicts.max_by_key(|(specific, _)| *specific).map(|(_, admitted)| admitted)
}

/// Whether the `q` among the parameters is above zero; without one it is 1.
fn has_weight(parameters: &str) -> bool {
    let weight = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    weight.is_none_or(|value| value.parse::<f32>().is_ok_and(|weight| weight > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_type(header: &str, wanted: &str, expected: bool) {
        assert_eq!(accepts_type(Some(header), wanted), expected, "{header}: {wanted}");
    }

    #[test]
    fn media_types() {
        check_type("multipart/mixed", "multipart/mixed", true);
        check_type("application/json, Multipart/Related;q=0.5", "multipart/related", true);
        check_type("application/json", "multipart/mixed", false);
        check_type("*/*", "multipart/mixed", true);
        check_type("multipart/*", "multipart/mixed", true);
        check_type("multipart/mixed;q=0, */*", "multipart/mixed", false);
        check_type("*/*;q=0", "multipart/mixed", false);
        check_type("", "multipart/mixed", false);
        assert!(accepts_type(None, "multipart/mixed"));
    }

    #[test]
    fn gzip() {
        assert!(accepts_gzip(Some("gzip")));
        assert!(accepts_gzip(Some("deflate, GZIP;q=0.1")));
        assert!(accepts_gzip(Some("*")));
        assert!(!accepts_gzip(Some("gzip;q=0, *")));
        assert!(!accepts_gzip(Some("deflate")));
        assert!(!accepts_gzip(None));
    }
}
