//! What a piece of work cost: time on the clock, and of the server's processors. The latter hardly depends on what
//! else the machine does.

use std::time::Instant;

use crate::{Outcome, report};

/// Since when something is measured.
pub(crate) struct Meter {
    pid: Option<u32>,
    start: Instant,
    busy: f64,
}

impl Meter {
    /// Begins; `pid` is the server's, if it runs on this machine.
    pub(crate) fn start(pid: Option<u32>) -> Self {
        Meter { pid, start: Instant::now(), busy: pid.map_or(0.0, processor_seconds) }
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Prints what is known of the work that was done by `count` things since the start, and returns the seconds.
    pub(crate) fn report(&self, name: &str, count: f64, unit: &str) -> f64 {
        let seconds = self.seconds();
        report(name, count / seconds, &format!("{unit}/s"));
        self.report_processor(name, count);
        seconds
    }

    /// Prints the server's processor time alone.
    pub(crate) fn report_processor(&self, name: &str, count: f64) {
        if let Some(pid) = self.pid {
            let busy = processor_seconds(pid) - self.busy;
            report(&format!("{name}: of the server"), busy / count * 1e6, "µs each");
        }
    }
}

/// Seconds that all threads of a process have had a processor; 0 where the system does not tell.
fn processor_seconds(pid: u32) -> f64 {
    /// Of Linux, on every architecture there is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = || -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name stands in brackets and may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
    };
    read().unwrap_or(0.0)
}
