//! The metrics as text for Prometheus, under the names that CouchDB gives them.

use std::fmt::Write as _;
use std::time::Duration;

use super::Metrics;
use super::histogram::PERCENTILES;
use super::process::Usage;
use crate::replicator::ReplicatorCounts;

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=2.0";

/// The text.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, value: impl std::fmt::Display) {
        self.head(name, kind);
        self.line(name, "", value);
    }
}

/// All metrics.
pub fn text(metrics: &Metrics, replicator: &ReplicatorCounts, uptime: Duration) -> String {
    let mut text = Text::default();
    text.single("couchdb_uptime_seconds", "counter", uptime.as_secs());
    text.single("couchdb_httpd_requests_total", "counter", metrics.requests());
    text.single("couchdb_httpd_bulk_requests_total", "counter", metrics.bulk_requests.get());
    text.single("couchdb_httpd_aborted_requests_total", "counter", metrics.aborted.get());
    text.head("couchdb_httpd_request_methods", "counter");
    for (method, count) in metrics.by_method() {
        text.line("couchdb_httpd_request_methods", &format!("{{method=\"{method}\"}}"), count);
    }
    text.head("couchdb_httpd_status_codes", "counter");
    for (status, count) in metrics.by_status() {
        text.line("couchdb_httpd_status_codes", &format!("{{code=\"{status}\"}}"), count);
    }
    request_time(metrics, &mut text);
    text.single("couchdb_httpd_clients_requesting_changes", "gauge", metrics.changes_feeds.get());
    text.single("settee_running_requests", "gauge", metrics.running.get());
    text.single("settee_connections", "gauge", metrics.connections.get());
    text.single("settee_connections_refused_total", "counter", metrics.turned_away.get());
    self::replicator(replicator, &mut text);
    process(&mut text);
    text.0
}

fn request_time(metrics: &Metrics, text: &mut Text) {
    const NAME: &str = "couchdb_request_time_seconds";
    let summary = metrics.request_time().summary();
    text.head(NAME, "summary");
    for (_, part) in PERCENTILES {
        let seconds = summary.percentile_ms(part) / 1e3;
        text.line(NAME, &format!("{{quantile=\"{part}\"}}"), seconds);
    }
    text.line(&format!("{NAME}_sum"), "", summary.sum_ms / 1e3);
    text.line(&format!("{NAME}_count"), "", summary.count);
}

fn replicator(counts: &ReplicatorCounts, text: &mut Text) {
    for (name, count) in [
        ("docs_db_changes", counts.document_changes),
        ("docs_completed_state_updates", counts.completed_documents),
        ("docs_failed_state_updates", counts.failed_documents),
        ("jobs_adds", counts.adds),
        ("jobs_duplicate_adds", counts.duplicate_adds),
        ("jobs_removes", counts.removes),
        ("jobs_starts", counts.starts),
        ("jobs_stops", counts.stops),
        ("jobs_crashes", counts.crashes),
    ] {
        text.single(&format!("couchdb_couch_replicator_{name}_total"), "counter", count);
    }
    for (name, count) in [
        ("running", counts.running),
        ("pending", counts.pending),
        ("crashed", counts.crashed),
        ("total", counts.total()),
    ] {
        text.single(&format!("couchdb_couch_replicator_jobs_{name}"), "gauge", count);
    }
}

fn process(text: &mut Text) {
    let usage = Usage::now();
    text.single("process_resident_memory_bytes", "gauge", usage.resident_bytes);
    text.single("process_open_fds", "gauge", usage.open_files);
    text.single("process_threads", "gauge", usage.threads);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let metrics = Metrics::default();
        metrics.answered("PUT", 201, Duration::from_millis(4), true);
        let text = text(&metrics, &ReplicatorCounts::default(), Duration::from_secs(7));
        for line in text.lines() {
            let number =
                line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(line.starts_with("# TYPE ") || number, "{line}");
        }
        assert!(text.contains("couchdb_httpd_status_codes{code=\"201\"} 1\n"), "{text}");
        assert!(text.contains("couchdb_httpd_request_methods{method=\"PUT\"} 1\n"), "{text}");
        assert!(text.contains("couchdb_request_time_seconds_count 1\n"), "{text}");
    }
}
