//! Documents and jobs together, with a runner that replicates nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use settee_engine::document::{Document, Limits};
use settee_engine::json::{Object, Value};
use settee_engine::replication::{
    Context, Control, Defaults, Job, Outcome, Replication, ReplicationError, ServerIdentity, Side,
};
use settee_engine::{Caller, Database, Databases, Error, GetOptions, Props, WriteMode};

use super::documents::{DocKey, DocState, DocumentSettings, Documents};
use super::jobs::{JobEvent, Jobs};
use super::schedule::{Rules, State};
use super::work::{Boxed, Origin, Runner, Work};

/// Does what the host of the source is called: `done`, `idle`, `fails`, `panics`, `busy` (which limits how often
/// it may be asked), `unknown` (whose id can't be found out), or `deaf`, who doesn't stop when told to.
#[derive(Default)]
struct Actor {
    /// The sources that were run, in order.
    ran: Mutex<Vec<String>>,
    /// With how many connections each of them was to run.
    connections: Mutex<Vec<usize>>,
    /// Hosts that are well now, whatever they are called.
    healed: Mutex<bool>,
}

fn host(replication: &Replication) -> String {
    replication.source.url().split('/').nth(2).unwrap_or_default().to_owned()
}

impl Runner for Actor {
    fn prepare(&self, replication: Replication) -> Boxed<Result<Job, ReplicationError>> {
        let fails = host(&replication) == "unknown" && !*self.healed.lock();
        let context = Context::new(Databases::in_memory(), ServerIdentity::default());
        Box::pin(async move {
            if fails {
                return Err(ReplicationError::FilterFetch("no filter".to_owned()));
            }
            Job::prepare(replication, &context).await
        })
    }

    fn run(&self, job: &Job, control: Control) -> Boxed<Result<Outcome, ReplicationError>> {
        let host = host(&job.replication);
        let healed = *self.healed.lock();
        self.ran.lock().push(host.clone());
        self.connections.lock().push(job.replication.connections);
        Box::pin(async move {
            match host.as_str() {
                "done" => {}
                _ if healed => {}
                "fails" => return Err(ReplicationError::Internal("no luck".to_owned())),
                "busy" => {
                    let (side, url) = (Side::Source, host);
                    return Err(ReplicationError::RateLimited { side, url });
                }
                "panics" => panic!("as the test wants it"),
                _ => control.stopped().await,
            }
            Ok(Outcome { stopped: control.is_stopped(), checkpoint: Object::new() })
        })
    }
}

struct World {
    databases: Arc<Databases>,
    database: Arc<Database>,
    actor: Arc<Actor>,
    jobs: Arc<Jobs>,
    documents: Arc<Documents>,
}

/// Fast enough for a test.
fn rules() -> Rules {
    Rules { min_backoff: 20, max_backoff: 20, ..Rules::default() }
}

impl World {
    fn new(rules: Rules, update_docs: bool) -> Self {
        let databases = Databases::in_memory();
        let database = databases.create("x/_replicator", Props::default()).unwrap();
        let actor = Arc::new(Actor::default());
        let known: Arc<Mutex<Option<Arc<Documents>>>> = Arc::default();
        let told = Arc::clone(&known);
        let observer = Box::new(move |work: &Arc<Work>, event: JobEvent| {
            let documents = told.lock().clone();
            documents.into_iter().for_each(|documents| documents.job_event(work, event.clone()));
        });
        let runner: Arc<dyn Runner> = Arc::<Actor>::clone(&actor);
        let tasks = Arc::clone(databases.tasks());
        let jobs = Jobs::new(rules.clone(), Arc::clone(&runner), tasks, observer);
        let settings = DocumentSettings { defaults: Defaults::default(), rules, update_docs };
        let (documents, mut to_follow) =
            Documents::new(Arc::clone(&databases), runner, Arc::clone(&jobs), settings);
        *known.lock() = Some(Arc::clone(&documents));
        tokio::spawn(Arc::clone(&jobs).drive(std::future::pending()));
        let following = Arc::clone(&documents);
        tokio::spawn(async move { following.follow(&mut to_follow).await });
        documents.notice(&database);
        Self { databases, database, actor, jobs, documents }
    }

    fn put(&self, json: &str) {
        let document = Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
        let admin = Caller::admin();
        let written = self.database.write_as(&admin, vec![document], WriteMode::Interactive);
        written.unwrap().remove(0).unwrap();
    }

    /// Puts a document that replicates from a host of this name.
    fn order(&self, id: &str, host: &str, more: &str) {
        self.put(&format!(
            r#"{{"_id":"{id}","source":"http://{host}/s","target":"http://t/t"{more}}}"#
        ));
    }

    fn read(&self, id: &str) -> Option<Value> {
        let reader = self.database.read().unwrap();
        let found = match reader.get(id, &GetOptions::default()) {
            Err(Error::NotFound(_)) => return None,
            found => found.unwrap(),
        };
        let mut text = Vec::new();
        found.write_json(&mut text).unwrap();
        Some(Value::parse(&text).unwrap())
    }

    fn member(&self, id: &str, name: &str) -> Option<String> {
        self.read(id)?.get(name)?.as_str().map(str::to_owned)
    }

    /// Writes a document again with another member, or deletes it.
    fn change(&self, id: &str, change: impl FnOnce(&mut Object)) {
        let mut members = self.read(id).unwrap().as_object().cloned().unwrap();
        change(&mut members);
        self.put(&String::from_utf8(Value::Object(members).to_json()).unwrap());
    }

    fn delete(&self, id: &str) {
        self.change(id, |members| members.insert("_deleted", true));
    }

    fn key(id: &str) -> DocKey {
        DocKey { database: "x/_replicator".into(), id: id.into() }
    }

    fn state(&self, id: &str) -> Option<&'static str> {
        Some(match self.documents.entry(&Self::key(id))?.state {
            DocState::Initializing => "initializing",
            DocState::Error(_) => "error",
            DocState::Completed(_) => "completed",
            DocState::Failed(_) => "failed",
            DocState::Job(work) => match self.jobs.with(&work.id, |job| job.state())? {
                State::Pending => "pending",
                State::Running => "running",
                State::Crashing => "crashing",
            },
        })
    }

    async fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..3000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to this: {what}");
    }

    async fn wait_for(&self, id: &str, state: Option<&str>) {
        self.wait(&format!("{id} is {state:?}"), |world| world.state(id) == state).await;
    }

    async fn wait_written(&self, id: &str, state: &str) {
        let is_written =
            |world: &Self| world.member(id, "_replication_state").as_deref() == Some(state);
        self.wait(&format!("{id} says {state}"), is_written).await;
    }

    fn ran(&self) -> usize {
        self.actor.ran.lock().len()
    }
}

#[tokio::test]
async fn a_one_shot_is_done_once_and_says_so() {
    let world = World::new(rules(), false);
    world.order("d", "done", "");
    world.wait_written("d", "completed").await;
    world.wait_for("d", None).await;
    let document = world.read("d").unwrap();
    assert!(document.get("_replication_stats").is_some());
    assert_eq!(world.member("d", "_replication_state_time").unwrap().len(), 20);
    assert_eq!((world.ran(), world.jobs.counts()), (1, [0, 0, 0]));
    // What says that it is done is not done again; cleared, it is.
    world.change("d", |members| members.insert("note", "x"));
    world.change("d", |members| {
        for name in ["_replication_state", "_replication_state_time", "_replication_stats"] {
            members.remove(name);
        }
    });
    world.wait("it ran again", |world| world.ran() == 2).await;
    world.wait_written("d", "completed").await;
}

#[tokio::test]
async fn documents_that_make_no_sense_fail_for_good() {
    let world = World::new(rules(), false);
    world.put(r#"{"_id":"local","source":"a","target":"http://t/t"}"#);
    world.put(r#"{"_id":"none","target":"http://t/t"}"#);
    world.order("word", "done", r#","continuous":"yes""#);
    for (id, reason) in [
        ("local", "local_endpoints_not_supported"),
        ("none", "Missing replicator database"),
        ("word", "parameter `continuous` must be a boolean"),
    ] {
        world.wait_written(id, "failed").await;
        assert_eq!(world.member(id, "_replication_state_reason").as_deref(), Some(reason));
        world.wait_for(id, None).await;
    }
    assert_eq!(world.ran(), 0);
}

#[tokio::test]
async fn who_orders_the_same_again_fails_and_says_who_was_first() {
    let world = World::new(rules(), false);
    world.order("a", "idle", "");
    world.wait_for("a", Some("running")).await;
    world.order("b", "idle", "");
    world.wait_written("b", "failed").await;
    let reason = world.member("b", "_replication_state_reason").unwrap();
    let expected = "` specified by document `b` already started, triggered by document `a` from db \
                    `x/_replicator`";
    assert!(reason.starts_with("Replication `") && reason.ends_with(expected), "{reason}");
    assert_eq!(world.state("a"), Some("running"));
}

#[tokio::test]
async fn edits_restart_and_deletions_end() {
    let world = World::new(rules(), false);
    world.order("a", "idle", r#","continuous":true"#);
    world.wait_for("a", Some("running")).await;
    // Another target is another replication; the same with a note is one, too.
    world.change("a", |members| members.insert("target", "http://t/u"));
    world
        .wait("it runs anew", |world| world.ran() == 2 && world.state("a") == Some("running"))
        .await;
    world.change("a", |members| members.insert("note", "x"));
    world
        .wait("it runs anew", |world| world.ran() == 3 && world.state("a") == Some("running"))
        .await;
    assert_eq!(world.jobs.counts(), [0, 1, 0]);
    world.delete("a");
    world.wait_for("a", None).await;
    world.wait("no job is left", |world| world.jobs.counts() == [0, 0, 0]).await;
    world.order("b", "idle", "");
    world.wait_for("b", Some("running")).await;
    world.databases.delete("x/_replicator").unwrap();
    world.wait_for("b", None).await;
    assert_eq!(world.jobs.counts(), [0, 0, 0]);
}

#[tokio::test]
async fn failures_are_tried_again_until_it_works() {
    let world = World::new(rules(), false);
    world.order("a", "fails", "");
    world.order("b", "panics", "");
    world.wait("both have failed often", |world| world.ran() > 6).await;
    assert!(world.member("a", "_replication_state").is_none());
    *world.actor.healed.lock() = true;
    world.wait_written("a", "completed").await;
    world.wait_written("b", "completed").await;
}

#[tokio::test]
async fn a_job_with_a_server_that_limits_it_goes_on_with_fewer_connections() {
    let world = World::new(rules(), false);
    world.order("a", "busy", "");
    world.wait("it has failed more than once", |world| world.ran() > 2).await;
    *world.actor.healed.lock() = true;
    world.wait_written("a", "completed").await;
    let connections = world.actor.connections.lock().clone();
    assert!(connections[1] < connections[0], "{connections:?}");
    assert!(connections[1..].iter().all(|count| *count == connections[1]), "{connections:?}");
}

#[tokio::test]
async fn a_touch_or_a_word_tries_again_at_once() {
    let patient = Rules { min_backoff: 3_600_000, max_backoff: 3_600_000, ..Rules::default() };
    let world = World::new(patient, false);
    world.order("a", "fails", "");
    world.order("u", "unknown", "");
    world.wait_for("a", Some("crashing")).await;
    world.wait_for("u", Some("error")).await;
    world.change("a", |_| {});
    world.wait("it ran again", |world| world.ran() == 2).await;
    world.wait_for("a", Some("crashing")).await;
    *world.actor.healed.lock() = true;
    assert!(world.documents.retry(&World::key("a")) && world.documents.retry(&World::key("u")));
    assert!(!world.documents.retry(&World::key("x")));
    world.wait_written("a", "completed").await;
    world.wait_written("u", "completed").await;
}

#[tokio::test]
async fn states_are_written_if_that_is_wanted() {
    let world = World::new(rules(), true);
    world.order("a", "idle", "");
    world.wait_written("a", "triggered").await;
    assert!(world.member("a", "_replication_id").is_some());
    world.order("b", "fails", "");
    world.wait_written("b", "error").await;
    assert!(world.member("b", "_replication_state_reason").unwrap().contains("no luck"));
    assert_eq!(world.state("a"), Some("running"), "its own writing starts nothing anew");
    // Without that, what an older server has written is taken out.
    let world = World::new(rules(), false);
    world.order("c", "idle", r#","_replication_state":"triggered","_replication_id":"x""#);
    world.wait("it is cleared", |world| world.member("c", "_replication_state").is_none()).await;
    world.wait_for("c", Some("running")).await;
    assert_eq!(world.ran(), 1);
}

#[tokio::test]
async fn a_request_waits_for_its_end_and_a_document_for_the_request() {
    let world = World::new(rules(), false);
    let job = |host: &str| {
        let body = format!(r#"{{"source":"http://{host}/s","target":"http://t/t"}}"#);
        let body = Value::parse(body.as_bytes()).unwrap();
        world.actor.prepare(Replication::parse(&body, &Defaults::default()).unwrap())
    };
    let ordered = |job| Work::new(job, Origin::Request, None);
    let work = ordered(job("done").await.unwrap());
    let outcome = work.outcome();
    world.jobs.add(&work).ok().unwrap();
    assert!(!outcome.await.as_ref().as_ref().unwrap().stopped);

    let work = ordered(job("fails").await.unwrap());
    let outcome = work.outcome();
    world.jobs.add(&work).ok().unwrap();
    assert!(outcome.await.is_err());
    world.wait("it is not tried again", |world| world.jobs.counts() == [0, 0, 0]).await;

    let work = ordered(job("idle").await.unwrap());
    let outcome = work.outcome();
    world.jobs.add(&work).ok().unwrap();
    assert!(world.jobs.add(&ordered(job("idle").await.unwrap())).is_err());
    world.order("d", "idle", "");
    world.wait_for("d", Some("error")).await;
    assert!(world.jobs.remove(&work) && !world.jobs.remove(&work));
    assert!(outcome.await.as_ref().as_ref().unwrap().stopped);
    world.wait_for("d", Some("running")).await;
}

#[tokio::test]
async fn every_document_of_a_database_becomes_a_job() {
    let world = World::new(rules(), false);
    for n in 0..250 {
        world.order(&format!("i{n}"), &format!("idle{n}"), "");
    }
    world.wait("all run", |world| world.jobs.counts()[1] == 250).await;
    // Most wait a little before they begin.
    let some_began = |world: &World| world.databases.tasks().list().len() >= 20;
    world.wait("the first have begun", some_began).await;
}
