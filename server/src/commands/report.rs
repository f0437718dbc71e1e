//! What a person or a script sees of a command: progress on standard error, results on standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// How a command talks.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// Print results as JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Without a terminal a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

const STYLE_BYTES: &str = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
const STYLE_STREAM: &str = "{prefix} {spinner} {bytes} {bytes_per_sec}";
const STYLE_ITEMS: &str = "{prefix} {wide_bar} {pos}/{len} {per_sec} {eta} left";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    /// Bytes, and nobody knows of how many.
    BytesOfUnknown,
    Documents,
}

impl Output {
    /// Prints a result line as JSON.
    pub(super) fn print_json(&self, value: &Value) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{value}")
    }

    /// Begins to show how far a piece of work is.
    pub(super) fn progress(&self, what: &str, unit: Unit) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        let bar = (is_terminal && !self.quiet).then(|| bar(what, unit));
        Progress {
            what: what.to_owned(),
            unit,
            bar,
            is_quiet: self.quiet,
            started: Instant::now(),
            said: Instant::now(),
        }
    }
}

fn bar(what: &str, unit: Unit) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = match unit {
        Unit::Bytes => STYLE_BYTES,
        Unit::BytesOfUnknown => STYLE_STREAM,
        Unit::Documents => STYLE_ITEMS,
    };
    // The styles are constants; a test draws them.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar
}

/// Shows how far a piece of work is: a bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    what: String,
    unit: Unit,
    bar: Option<ProgressBar>,
    is_quiet: bool,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// `done` of `total`; a total of 0 is not known.
    pub(super) fn tell(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(total) {
                bar.set_length(total);
            }
            bar.set_position(done);
        } else if !self.is_quiet && self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            eprintln!("{}", self.line(done, total));
        }
    }

    fn line(&self, done: u64, total: u64) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = done as f64 / seconds;
        let amount = |number: u64| match self.unit {
            Unit::Bytes | Unit::BytesOfUnknown => bytes(number),
            Unit::Documents => format!("{number} documents"),
        };
        let per_second = amount(rate as u64);
        let left = match total.checked_sub(done) {
            Some(left) if total > 0 && rate > 0.0 => {
                format!(", {:.0} s left", left as f64 / rate)
            }
            _ => String::new(),
        };
        let of = if total > 0 { format!(" of {}", amount(total)) } else { String::new() };
        format!("{}: {}{of}, {per_second}/s{left}", self.what, amount(done))
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes as people say it.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (number as f64, "bytes");
    for larger in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "bytes" { format!("{number} bytes") } else { format!("{size:.1} {unit}") }
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn styles_are_understood() {
        for style in [STYLE_BYTES, STYLE_STREAM, STYLE_ITEMS] {
            assert!(ProgressStyle::with_template(style).is_ok(), "{style}");
        }
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let output = Output { json: false, quiet: true };
        let progress = output.progress("verify notes", Unit::Bytes);
        let line = progress.line(2048, 4096);
        assert!(line.starts_with("verify notes: 2.0 KiB of 4.0 KiB, "), "{line}");
        assert!(line.ends_with(" s left"), "{line}");
        assert!(!progress.line(2048, 0).contains("left"));
    }
}
