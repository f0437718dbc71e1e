//! CouchDB's tree of statistics: a leaf is `{value, type, desc}`.

use serde_json::{Map, Value, json};

use super::histogram::{PERCENTILES, Summary, count_f64};
use super::{Metrics, process::Usage};
use crate::replicator::ReplicatorCounts;

fn counter(value: u64, desc: &str) -> Value {
    json!({"value": value, "type": "counter", "desc": desc})
}

fn gauge(value: u64, desc: &str) -> Value {
    json!({"value": value, "type": "gauge", "desc": desc})
}

/// The whole tree. What isn't counted here isn't in it.
pub fn tree(metrics: &Metrics, replicator: &ReplicatorCounts) -> Value {
    let method = |(name, count): (&str, u64)| {
        (name.to_owned(), counter(count, &format!("number of HTTP {name} requests")))
    };
    let status = |(status, count): (usize, u64)| {
        (status.to_string(), counter(count, &format!("number of HTTP {status} responses")))
    };
    let methods: Map<String, Value> = metrics.by_method().map(method).collect();
    let statuses: Map<String, Value> = metrics.by_status().map(status).collect();
    json!({"couch_replicator": self::replicator(replicator), "couchdb": {
        "httpd": {
            "requests": counter(metrics.requests(), "number of HTTP requests"),
            "bulk_requests": counter(metrics.bulk_requests.get(), "number of bulk requests"),
            "aborted_requests": counter(metrics.aborted.get(), "number of aborted requests"),
            "clients_requesting_changes":
                gauge(metrics.changes_feeds.get(), "number of clients following changes"),
            "running_requests": gauge(metrics.running.get(), "number of requests being answered"),
            "connections": gauge(metrics.connections.get(), "number of connections"),
            "connections_refused":
                counter(metrics.turned_away.get(), "number of connections refused for want of a place"),
        },
        "httpd_request_methods": methods,
        "httpd_status_codes": statuses,
        "request_time": histogram(&metrics.request_time().summary()),
        "open_os_files": gauge(Usage::now().open_files, "number of open files and connections"),
    }})
}

fn replicator(counts: &ReplicatorCounts) -> Value {
    json!({
        "docs": {
            "db_changes": counter(counts.document_changes, "number of changes in replicator databases"),
            "completed_state_updates":
                counter(counts.completed_documents, "number of documents whose replication is done"),
            "failed_state_updates":
                counter(counts.failed_documents, "number of documents that can't be replications"),
        },
        "jobs": {
            "adds": counter(counts.adds, "number of jobs added"),
            "duplicate_adds": counter(counts.duplicate_adds, "number of jobs added again"),
            "removes": counter(counts.removes, "number of jobs removed"),
            "starts": counter(counts.starts, "number of jobs started"),
            "stops": counter(counts.stops, "number of jobs stopped"),
            "crashes": counter(counts.crashes, "number of jobs crashed"),
            "running": gauge(counts.running, "number of jobs that run"),
            "pending": gauge(counts.pending, "number of jobs that wait to run"),
            "crashed": gauge(counts.crashed, "number of jobs that wait after a crash"),
            "total": gauge(counts.total(), "number of jobs"),
        },
    })
}

/// The part of the tree at this path; `null` when there is none.
pub fn at(tree: Value, path: &[String]) -> Value {
    path.iter().fold(tree, |mut tree, name| tree.get_mut(name).map_or(Value::Null, Value::take))
}

fn histogram(summary: &Summary) -> Value {
    let percentiles: Vec<Value> = PERCENTILES
        .iter()
        .map(|(name, part)| json!([name, summary.percentile_ms(*part)]))
        .collect();
    let buckets: Vec<Value> = summary.buckets.iter().map(|(end, n)| json!([end, n])).collect();
    let weighted = |f: fn(f64) -> f64| -> f64 {
        let all = summary.buckets.iter().map(|(end, n)| f(*end) * count_f64(*n)).sum::<f64>();
        if summary.count == 0 { 0.0 } else { all / count_f64(summary.count) }
    };
    let harmonic = weighted(f64::recip);
    let value = json!({
        "min": summary.buckets.first().map_or(0.0, |(end, _)| *end),
        "max": summary.max_ms,
        "arithmetic_mean": summary.mean_ms(),
        "geometric_mean": if summary.count == 0 { 0.0 } else { weighted(f64::ln).exp() },
        "harmonic_mean": if harmonic > 0.0 { harmonic.recip() } else { 0.0 },
        "median": summary.percentile_ms(0.5),
        "variance": summary.variance(),
        "standard_deviation": summary.variance().sqrt(),
        "percentile": percentiles,
        "histogram": buckets,
        "n": summary.count,
    });
    json!({"value": value, "type": "histogram", "desc": "length of a request in milliseconds"})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_tree_has_couchdbs_leaves() {
        let metrics = Metrics::default();
        metrics.answered("GET", 200, Duration::from_millis(4), true);
        metrics.answered("PROPFIND", 405, Duration::from_millis(4), false);
        let counts = ReplicatorCounts { pending: 2, running: 1, ..ReplicatorCounts::default() };
        let tree = tree(&metrics, &counts);
        let leaf = |path: &str| {
            let path: Vec<String> = path.split('/').map(str::to_owned).collect();
            at(tree.clone(), &path)
        };
        assert_eq!(leaf("couchdb/httpd_request_methods/GET/value"), 1);
        assert_eq!(leaf("couchdb/httpd_status_codes/405/type"), "counter");
        assert_eq!(leaf("couchdb/request_time/value/n"), 2);
        assert_eq!(leaf("couchdb/nothing/here"), Value::Null);
        assert_eq!(leaf("couch_replicator/jobs/total/value"), 3);
        assert_eq!(leaf("couchdb/httpd/aborted_requests/value"), 1);
    }
}
