//! `_stats`.

use std::cmp::Ordering;

use super::number::Num;
use crate::json::raw;

/// The five figures of one number of each value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    sum: Num,
    count: Num,
    min: Num,
    max: Num,
    sumsqr: Num,
}

/// Figures so far: of numbers, or of each place of arrays of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Stats {
    /// No value so far.
    #[default]
    Empty,
    Number(Box<Figures>),
    Array(Vec<Figures>),
    /// A value was none of these; what CouchDB says then.
    Failed(String),
}

impl Figures {
    fn of(num: Num) -> Self {
        let sumsqr = num.squared();
        Figures { sum: num.clone(), count: Num::Int(1), min: num.clone(), max: num, sumsqr }
    }

    /// A number, or figures that somebody computed before.
    fn read(json: &[u8]) -> Option<Self> {
        if let Some(num) = Num::parse(json) {
            return Some(Figures::of(num));
        }
        let figure = |name| raw::member(json, name).and_then(Num::parse);
        Some(Figures {
            sum: figure("sum")?,
            count: figure("count")?,
            min: figure("min")?,
            max: figure("max")?,
            sumsqr: figure("sumsqr")?,
        })
    }

    fn add(&mut self, num: &Num) {
        self.sum = self.sum.add(num);
        self.count = self.count.add(&Num::Int(1));
        self.sumsqr = self.sumsqr.add(&num.squared());
        if num.compare(&self.min) == Ordering::Less {
            self.min = num.clone();
        }
        if num.compare(&self.max) == Ordering::Greater {
            self.max = num.clone();
        }
    }

    fn join(&mut self, other: &Figures) {
        self.sum = self.sum.add(&other.sum);
        self.count = self.count.add(&other.count);
        self.sumsqr = self.sumsqr.add(&other.sumsqr);
        if other.min.compare(&self.min) == Ordering::Less {
            self.min = other.min.clone();
        }
        if other.max.compare(&self.max) == Ordering::Greater {
            self.max = other.max.clone();
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let figures = [
            ("{\"sum\":", &self.sum),
            (",\"count\":", &self.count),
            (",\"min\":", &self.min),
            (",\"max\":", &self.max),
            (",\"sumsqr\":", &self.sumsqr),
        ];
        for (name, num) in figures {
            out.extend_from_slice(name.as_bytes());
            num.write(out);
        }
        out.push(b'}');
    }
}

impl Stats {
    /// Adds a value, or other figures, given as JSON.
    pub(super) fn add(&mut self, json: &[u8]) {
        // What nearly all values are.
        if let Stats::Number(figures) = self
            && let Some(num) = Num::parse(json)
        {
            return figures.add(&num);
        }
        let added = match (&mut *self, Stats::read(json)) {
            (Stats::Failed(_), _) => true,
            (_, None) => false,
            (empty @ Stats::Empty, Some(value)) => {
                *empty = value;
                true
            }
            (Stats::Number(figures), Some(Stats::Number(value))) => {
                figures.join(&value);
                true
            }
            (Stats::Array(all), Some(Stats::Array(values))) if all.len() == values.len() => {
                all.iter_mut().zip(&values).for_each(|(figures, value)| figures.join(value));
                true
            }
            _ => false,
        };
        if !added {
            *self = Stats::Failed(format!(
                "The _stats function requires that map values be numbers or arrays of numbers, \
                 not '{}'",
                shown(json)
            ));
        }
    }

    fn read(json: &[u8]) -> Option<Self> {
        match json.first() {
            Some(b'[') => {
                raw::items(json).map(Figures::read).collect::<Option<_>>().map(Stats::Array)
            }
            _ => Figures::read(json).map(|figures| Stats::Number(Box::new(figures))),
        }
    }

    /// The figures as JSON; `null` if there are none.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Stats::Empty | Stats::Failed(_) => out.extend_from_slice(b"null"),
            Stats::Number(figures) => figures.write(out),
            Stats::Array(all) => {
                out.push(b'[');
                for (at, figures) in all.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    figures.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// A value as CouchDB's messages show it: strings as Erlang's binaries.
fn shown(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    if text.starts_with('"') { format!("<<{text}>>") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(values: &[&str]) -> Stats {
        let mut stats = Stats::default();
        values.iter().for_each(|value| stats.add(value.as_bytes()));
        stats
    }

    fn written(values: &[&str]) -> String {
        let mut out = Vec::new();
        stats(values).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn figures_of_numbers_of_arrays_and_of_figures() {
        let two = r#"{"sum":6,"count":2,"min":2,"max":4,"sumsqr":20}"#;
        assert_eq!(written(&["2", "4"]), two);
        assert_eq!(
            written(&[two, "-1.5"]),
            r#"{"sum":4.5,"count":3,"min":-1.5,"max":4,"sumsqr":22.25}"#
        );
        assert_eq!(
            written(&["[1,2]", "[3,4]"]),
            r#"[{"sum":4,"count":2,"min":1,"max":3,"sumsqr":10},{"sum":6,"count":2,"min":2,"max":4,"sumsqr":20}]"#
        );
    }

    #[test]
    fn other_values_are_refused() {
        let reason =
            "The _stats function requires that map values be numbers or arrays of numbers, not ";
        for (values, shown) in [
            (&["\"x\""][..], "'<<\"x\">>'"),
            (&["1", "null"], "'null'"),
            (&["[1]", "[1,2]"], "'[1,2]'"),
            (&["[1]", "2"], "'2'"),
        ] {
            assert_eq!(stats(values), Stats::Failed(format!("{reason}{shown}")));
        }
    }
}
