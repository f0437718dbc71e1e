//! CouchDB's dialect of ini files: reading one, and changing one value in it while all the rest,
//! comments included, stays as it is.
//!
//! * A section begins with `[name]`; what stands before the first one is ignored.
//! * A pair is `key = value`, blanks around `=` are optional. A key may hold `=` itself when the
//!   separator is written with blanks: the first ` = ` counts, or else the first `=`.
//! * `;` at the start of a line begins a comment, and ` ;` (or tab and `;`) begins one after a
//!   value; a `;` without a blank before it belongs to the value.
//! * `key =` with nothing behind it is ignored: it doesn't unset an earlier file's value.

/// One pair and the section it stands in.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair<'t> {
    /// The section.
    pub section: &'t str,
    /// The key.
    pub key: &'t str,
    /// The value, without the comment behind it; never empty.
    pub value: &'t str,
}

/// What one line says.
enum Line<'t> {
    Section(&'t str),
    Pair {
        key: &'t str,
        value: &'t str,
    },
    /// A comment, a blank line, or text that means nothing.
    Other,
}

/// The pairs of a text in order.
///
/// ```
/// use settee_server::config::ini;
///
/// let pairs: Vec<_> = ini::pairs("[log]\nlevel = info ; or debug\n").collect();
/// assert_eq!((pairs[0].section, pairs[0].key, pairs[0].value), ("log", "level", "info"));
/// ```
pub fn pairs(text: &str) -> impl Iterator<Item = Pair<'_>> {
    let mut section = None;
    text.lines().filter_map(move |line| match read(line) {
        Line::Section(name) => {
            section = Some(name);
            None
        }
        Line::Pair { key, value } if !value.is_empty() => {
            Some(Pair { section: section?, key, value })
        }
        _ => None,
    })
}

fn read(line: &str) -> Line<'_> {
    let line = line.trim_start_matches('\u{feff}');
    if line.starts_with(';') {
        return Line::Other;
    }
    let line = without_comment(line).trim();
    if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Line::Section(name.trim());
    }
    match line.split_once(" = ").or_else(|| line.split_once('=')) {
        Some((key, value)) if !key.trim().is_empty() => {
            Line::Pair { key: key.trim(), value: value.trim() }
        }
        _ => Line::Other,
    }
}

fn without_comment(line: &str) -> &str {
    let comment = [" ;", "\t;"].iter().filter_map(|mark| line.find(mark)).min();
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

/// The text with one value set (or, with `None`, removed): the key's line is replaced where it
/// stands, a new key goes to the end of its section, a new section to the end of the text.
///
/// ```
/// use settee_server::config::ini;
///
/// let text = ini::with("[a] ; first\nx = 1\n\n[b]\ny = 2\n", "a", "z", Some("3"));
/// assert_eq!(text, "[a] ; first\nx = 1\nz = 3\n\n[b]\ny = 2\n");
/// ```
#[must_use]
pub fn with(text: &str, section: &str, key: &str, value: Option<&str>) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let place = find(&lines, section, key);
    let pair = value.map(|value| format!("{key} = {value}"));
    let header = format!("[{section}]");
    match (place, pair.as_deref()) {
        (Place::Key(at), Some(pair)) => {
            if let Some(line) = lines.get_mut(at) {
                *line = pair;
            }
        }
        (Place::Key(at), None) => drop(lines.remove(at)),
        (Place::EndOfSection(at), Some(pair)) => lines.insert(at, pair),
        (Place::Nowhere, Some(pair)) => {
            if lines.last().is_some_and(|last| !last.trim().is_empty()) {
                lines.push("");
            }
            lines.extend([header.as_str(), pair]);
        }
        (_, None) => {}
    }
    let mut out = lines.join("\n");
    out.push('\n');
    out
}

enum Place {
    /// The line of the key. The last one of several, for it is the one in effect.
    Key(usize),
    /// Behind the last pair of the section.
    EndOfSection(usize),
    Nowhere,
}

fn find(lines: &[&str], section: &str, key: &str) -> Place {
    let mut inside = false;
    let mut place = Place::Nowhere;
    for (at, line) in lines.iter().enumerate() {
        match read(line) {
            Line::Section(name) => {
                inside = name == section;
                if inside && !matches!(place, Place::Key(_)) {
                    place = Place::EndOfSection(at + 1);
                }
            }
            Line::Pair { key: found, .. } if inside && found == key => place = Place::Key(at),
            Line::Pair { .. } if inside && !matches!(place, Place::Key(_)) => {
                place = Place::EndOfSection(at + 1);
            }
            _ => {}
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what one line in section `s` means: `Some((key, value))` or nothing.
    fn check(line: &str, expected: Option<(&str, &str)>) {
        let text = format!("[s]\n{line}\n");
        let found = pairs(&text).next().map(|pair| (pair.key, pair.value));
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn pairs_in_all_spellings() {
        check("a = b", Some(("a", "b")));
        check("a=b", Some(("a", "b")));
        check("a =b", Some(("a", "b")));
        check("  a\t=\tb  ", Some(("a", "b")));
        check("a = b = c", Some(("a", "b = c")));
        check("a=b=c", Some(("a", "b=c")));
        check("a=b = c", Some(("a=b", "c")));
        check("rsa:x = -----BEGIN\\n+/==", Some(("rsa:x", "-----BEGIN\\n+/==")));
        check("name = two words", Some(("name", "two words")));
    }

    #[test]
    fn comments() {
        check("; a = b", None);
        check("a = b ; c", Some(("a", "b")));
        check("a = b\t; c", Some(("a", "b")));
        check("a = b;c", Some(("a", "b;c")));
        check("a = ; c", None);
        check("# = x", Some(("#", "x")));
    }

    #[test]
    fn what_means_nothing_is_skipped() {
        check("", None);
        check("a", None);
        check("= b", None);
        check("a =", None);
        assert_eq!(pairs("a = b\n").count(), 0, "before the first section");
        assert_eq!(pairs("[x]\r\na = b\r\n").next().unwrap().value, "b", "lines may end in CRLF");
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let text = "; head\n[a]\n; about x\nx = 1 ; old\n[b]\nx = 2\n";
        assert_eq!(with(text, "a", "x", Some("9")), "; head\n[a]\n; about x\nx = 9\n[b]\nx = 2\n");
        assert_eq!(with(text, "a", "x", None), "; head\n[a]\n; about x\n[b]\nx = 2\n");
    }

    #[test]
    fn new_keys_and_sections_find_their_place() {
        assert_eq!(with("", "a", "x", Some("1")), "[a]\nx = 1\n");
        assert_eq!(with("[a]\nx = 1", "b", "y", Some("2")), "[a]\nx = 1\n\n[b]\ny = 2\n");
        assert_eq!(with("[a]\n\n[b]\n", "a", "x", Some("1")), "[a]\nx = 1\n\n[b]\n");
        assert_eq!(with("[a]\nx = 1\n", "a", "gone", None), "[a]\nx = 1\n");
    }

    #[test]
    fn of_repeated_keys_the_last_is_changed() {
        let text = with("[a]\nx = 1\n[b]\n[a]\nx = 2\n", "a", "x", Some("3"));
        assert_eq!(text, "[a]\nx = 1\n[b]\n[a]\nx = 3\n");
    }

    proptest::proptest! {
        #[test]
        fn what_is_set_is_read_back(
            text in "(\\[[a-c]\\]\n|[x-z] = [a-z;= ]{0,6}\n|;.{0,5}\n|\n){0,12}",
            section in "[a-d]", key in "[w-z]", value in "[!-:<-~]{1,8}",
        ) {
            let before: Vec<String> = others(&text, &section, &key);
            let changed = with(&text, &section, &key, Some(&value));
            let found = pairs(&changed).filter(|p| p.section == section && p.key == key).last();
            proptest::prop_assert_eq!(found.map(|p| p.value), Some(value.as_str()));
            proptest::prop_assert_eq!(before, others(&changed, &section, &key));
        }
    }

    fn others(text: &str, section: &str, key: &str) -> Vec<String> {
        pairs(text)
            .filter(|pair| pair.section != section || pair.key != key)
            .map(|pair| format!("{pair:?}"))
            .collect()
    }
}
