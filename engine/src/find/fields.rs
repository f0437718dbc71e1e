//! Keeping some fields of a document, each at its place.

use super::{
    FieldPath, SelectorError,
    path::{Found, Part},
};

/// Fields to be kept of a document.
///
/// ```
/// use settee_engine::find::Fields;
///
/// let fields = Fields::parse(["_id", "address.city", "no.such"])?;
/// let mut kept = Vec::new();
/// fields.write(br#"{"_id":"a","name":"Ada","address":{"city":"London","zip":1}}"#, &mut kept);
/// assert_eq!(kept, br#"{"_id":"a","address":{"city":"London"}}"#);
/// # Ok::<(), settee_engine::find::SelectorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    kept: Vec<Kept>,
}

/// A member, with what of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    part: Part,
    /// Nothing stands for all of it.
    inner: Option<Fields>,
}

impl Fields {
    /// Reads fields' names.
    ///
    /// # Errors
    /// [`SelectorError::InvalidFieldName`].
    pub fn parse<'f>(names: impl IntoIterator<Item = &'f str>) -> Result<Self, SelectorError> {
        let mut fields = Fields::default();
        for name in names {
            fields.add(FieldPath::parse(name)?.spelled_parts());
        }
        Ok(fields)
    }

    fn add(&mut self, parts: &[Part]) {
        let Some((part, rest)) = parts.split_first() else { return };
        let at = self.kept.iter().position(|kept| kept.part == *part).unwrap_or_else(|| {
            let inner = Some(Fields::default());
            self.kept.push(Kept { part: part.clone(), inner });
            self.kept.len() - 1
        });
        let Some(kept) = self.kept.get_mut(at) else { return };
        match &mut kept.inner {
            Some(inner) if !rest.is_empty() => inner.add(rest),
            // Whoever asks for the whole and for a part of it gets the whole.
            inner => *inner = None,
        }
    }

    /// Appends an object with these fields of `document`, which is text in the scanner's spelling. Items of
    /// arrays become members of objects.
    pub fn write(&self, document: &[u8], out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_members(document, out);
        out.push(b'}');
    }

    fn write_members(&self, value: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        for kept in &self.kept {
            let Found::Value(found) = kept.part.find(value) else { continue };
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(&kept.part.spelled);
            out.extend_from_slice(b"\":");
            match &kept.inner {
                None => out.extend_from_slice(found),
                Some(inner) => {
                    out.push(b'{');
                    let empty = out.len();
                    inner.write_members(found, out);
                    match out.len() > empty {
                        true => out.push(b'}'),
                        false => out.truncate(before),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(names: &[&str]) -> String {
        let document = br#"{"_id":"a","b":{"c":1,"d":[2,{"e":3}]},"f.g":4,"\"":5,"n":null}"#;
        let mut out = Vec::new();
        Fields::parse(names.iter().copied()).unwrap().write(document, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_kept_at_their_places() {
        assert_eq!(kept(&[]), "{}");
        assert_eq!(kept(&["n", "_id", "n"]), r#"{"n":null,"_id":"a"}"#);
        assert_eq!(kept(&["b.c", "n", "b.d.1.e"]), r#"{"b":{"c":1,"d":{"1":{"e":3}}},"n":null}"#);
        assert_eq!(kept(&["b.x", r"f\.g", "\""]), r#"{"f.g":4,"\"":5}"#);
        assert_eq!(kept(&["x", "b.x.y", "n.x", "b.d.7"]), "{}");
    }

    #[test]
    fn the_whole_wins_over_its_parts() {
        let whole = r#"{"b":{"c":1,"d":[2,{"e":3}]}}"#;
        assert_eq!(kept(&["b", "b.c"]), whole);
        assert_eq!(kept(&["b.c", "b", "b.d"]), whole);
    }
}
