//! Which reduction a view asks for.

use std::fmt;

/// Greatest N of `_top_N` and `_bottom_N`.
pub const MAX_RANK: usize = 100;

/// A reduction, as a design document names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceSpec {
    /// `_count`: how many rows.
    Count,
    /// `_sum`: numbers, arrays and objects of numbers.
    Sum,
    /// `_stats`: sum, count, minimum, maximum, sum of squares.
    Stats,
    /// `_approx_count_distinct`: about how many different keys.
    ApproxCountDistinct,
    /// `_top_N`: the greatest different values.
    Top(usize),
    /// `_bottom_N`: the least different values.
    Bottom(usize),
    /// `_first`: the value of the first row.
    First,
    /// `_last`: the value of the last row.
    Last,
    /// A JavaScript function, by its source.
    JavaScript(String),
}

impl ReduceSpec {
    /// Reads the text of a design document. What follows the name of a built-in reduction is ignored.
    ///
    /// # Errors
    /// The reason CouchDB gives for a built-in reduction that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('_') {
            return Ok(ReduceSpec::JavaScript(text.to_owned()));
        }
        let ends = |char: char| !char.is_ascii_alphanumeric() && char != '_';
        let name = text.split(ends).next().unwrap_or_default();
        let rank = |digits: &str| match digits.parse::<usize>() {
            Ok(rank @ 1..=MAX_RANK) => Ok(rank),
            Ok(_) => Err(format!("rank value must be between 1 and {MAX_RANK}")),
            Err(_) => Err("invalid rank reducer".to_owned()),
        };
        match name {
            "_count" => Ok(ReduceSpec::Count),
            "_sum" => Ok(ReduceSpec::Sum),
            "_stats" => Ok(ReduceSpec::Stats),
            "_approx_count_distinct" => Ok(ReduceSpec::ApproxCountDistinct),
            "_first" => Ok(ReduceSpec::First),
            "_last" => Ok(ReduceSpec::Last),
            _ => match (name.strip_prefix("_top_"), name.strip_prefix("_bottom_")) {
                (Some(digits), _) => rank(digits).map(ReduceSpec::Top),
                (_, Some(digits)) => rank(digits).map(ReduceSpec::Bottom),
                _ => Err(format!("`{text}` is not a supported reduce function.")),
            },
        }
    }
}

impl fmt::Display for ReduceSpec {
    /// A text that [`ReduceSpec::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReduceSpec::Count => f.write_str("_count"),
            ReduceSpec::Sum => f.write_str("_sum"),
            ReduceSpec::Stats => f.write_str("_stats"),
            ReduceSpec::ApproxCountDistinct => f.write_str("_approx_count_distinct"),
            ReduceSpec::Top(rank) => write!(f, "_top_{rank}"),
            ReduceSpec::Bottom(rank) => write!(f, "_bottom_{rank}"),
            ReduceSpec::First => f.write_str("_first"),
            ReduceSpec::Last => f.write_str("_last"),
            ReduceSpec::JavaScript(source) => f.write_str(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_reductions_are_read_and_written() {
        for text in [
            "_count",
            "_sum",
            "_stats",
            "_approx_count_distinct",
            "_top_1",
            "_bottom_100",
            "_first",
            "_last",
            "function(k, v) { return 1 }",
        ] {
            assert_eq!(ReduceSpec::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ReduceSpec::parse("_sum of it all"), Ok(ReduceSpec::Sum));
        for (text, reason) in [
            ("_nosuch", "`_nosuch` is not a supported reduce function."),
            ("_top_0", "rank value must be between 1 and 100"),
            ("_bottom_101", "rank value must be between 1 and 100"),
            ("_top_x", "invalid rank reducer"),
        ] {
            assert_eq!(ReduceSpec::parse(text).unwrap_err(), reason);
        }
    }
}
