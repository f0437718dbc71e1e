//! A thousand replications that have nothing to do.

use serde_json::json;

use super::support::Settee;
use super::{count, create, eventually, start_with};

/// Replications; smaller in CI, `SETTEE_JOBS=1000` makes them as many as the promise.
fn jobs() -> usize {
    std::env::var("SETTEE_JOBS").map_or(200, |jobs| jobs.parse().unwrap())
}

/// Processor time that a process has used, in clock ticks; nothing where that can't be known.
fn ticks(server: &Settee) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[test]
fn idle_replications_cost_next_to_nothing_and_still_move_what_comes() {
    let jobs = jobs();
    let server = start_with("max_jobs = 2000\nstartup_jitter = 500\n");
    create(&server, &["a"]);
    let docs: Vec<_> = (0..jobs)
        .map(|n| {
            json!({"_id": format!("j{n}"), "continuous": true,
        "source": super::url(&server, "a"), "target": super::url(&server, &format!("t{n}")),
        "create_target": true, "use_checkpoints": false})
        })
        .collect();
    server.ask("POST", "/_replicator/_bulk_docs", &json!({"docs": docs}).to_string()).expect(201);
    let running = || {
        let stats =
            server.ask("GET", "/_node/_local/_stats/couch_replicator/jobs/running", "").json();
        stats["value"].as_u64().unwrap_or(0)
    };
    eventually("all run", || (running() == jobs as u64).then_some(()));
    let last = format!("t{}", jobs - 1);
    eventually("the last has its target", || {
        (server.ask("GET", &format!("/{last}"), "").status == 200).then_some(())
    });
    let requests = || {
        let path = "/_node/_local/_stats/couchdb/httpd/requests/value";
        server.ask("GET", path, "").json().as_u64().unwrap()
    };
    eventually("nothing is asked for any longer", || {
        let before = requests();
        std::thread::sleep(std::time::Duration::from_secs(1));
        (requests() - before < 5).then_some(())
    });
    let before = ticks(&server);
    std::thread::sleep(std::time::Duration::from_secs(3));
    if let (Some(before), Some(after)) = (before, ticks(&server)) {
        // A figure, not a condition: how long a tick is and what else runs is the machine's affair.
        eprintln!("{jobs} idle continuous replications used {} clock ticks in 3 s", after - before);
    }
    super::fill(&server, "a", "d", 1);
    for n in 0..jobs {
        let target = format!("t{n}");
        eventually("the document is everywhere", || (count(&server, &target) == 1).then_some(()));
    }
}
