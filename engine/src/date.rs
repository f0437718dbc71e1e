//! Times as they are written into checkpoints, documents and headers.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_PER_DAY: u64 = 86_400;

/// A moment in UTC.
struct Moment {
    year: u64,
    month: u64,
    day: u64,
    weekday: u64,
    second: u64,
}

impl Moment {
    /// `since` in seconds since 1970.
    fn of(since: u64) -> Self {
        let days = since / SECONDS_PER_DAY;
        // Years that begin in March, so that a leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Moment {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            weekday: days % 7,
            second: since % SECONDS_PER_DAY,
        }
    }

    fn clock(&self) -> String {
        let Moment { second, .. } = self;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// Whole seconds since 1970; 0 for what was before.
#[must_use]
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since 1970 as `Thu, 01 Jan 1970 00:00:00 GMT`.
#[must_use]
pub fn rfc1123(seconds: u64) -> String {
    let moment = Moment::of(seconds);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, moment.weekday), name(&MONTHS, moment.month - 1));
    format!("{weekday}, {:02} {month} {:04} {} GMT", moment.day, moment.year, moment.clock())
}

/// `1970-01-01T00:00:00Z`
#[must_use]
pub fn iso8601(time: SystemTime) -> String {
    let moment = Moment::of(seconds(time));
    format!("{:04}-{:02}-{:02}T{}Z", moment.year, moment.month, moment.day, moment.clock())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(seconds: u64, rfc: &str, iso: &str) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((&*rfc1123(super::seconds(time)), &*iso8601(time)), (rfc, iso));
    }

    #[test]
    fn known_moments() {
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z");
        check(1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT", "2024-02-29T23:59:59Z");
        check(4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT", "2100-01-01T00:00:00Z");
    }
}
