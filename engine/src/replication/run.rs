//! One run of a replication: opening both sides, finding out where to begin, moving the changes with
//! several workers, checkpoints.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, timeout},
};

use super::{
    REPLICATION_ID_VERSION,
    checkpoint::{Session, compare, stats_of},
    context::Context,
    error::{ReplicationError, RequestError, Side},
    filter::Filter,
    id::base_id,
    job::Job,
    mover::Mover,
    outcome::Outcome,
    peer::{Feed, Log, Opened, Peer, Rows},
    progress::{Control, Progress},
    tracker::Tracker,
};
use crate::json::{Object, Value};

/// Batches that are read ahead of the workers.
const AHEAD: usize = 2;
/// How long the last checkpoint of a replication that is told to stop may take.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);
/// The shortest time between two questions about how much is left.
const PENDING_INTERVAL: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, ReplicationError>;

/// A replication that runs.
pub(super) struct Run<'j> {
    job: &'j Job,
    control: Control,
    source: End,
    target: End,
    session: Session,
    /// What to answer: the last checkpoint.
    checkpoint: Object,
    /// Up to which a checkpoint says that everything is written.
    committed: Value,
    /// Up to which everything is written.
    through: Value,
    /// There is nothing to do, as far as the source said when it was opened.
    is_up_to_date: bool,
    pending_asked: Instant,
}

/// One side, and what is known of it.
struct End {
    peer: Arc<Peer>,
    instance: String,
    log: Log,
}

impl<'j> Run<'j> {
    /// Opens both sides and compares their checkpoints.
    pub(super) async fn open(job: &'j Job, context: &Context, control: &Control) -> Result<Self> {
        let replication = &job.replication;
        let source = Arc::new(Peer::new(Side::Source, replication, context)?);
        let target = Arc::new(Peer::new(Side::Target, replication, context)?);
        let (source_opened, target_opened) = tokio::try_join!(source.open(), async {
            if replication.create_target {
                target.create(&replication.create_target_params).await?;
            }
            target.open().await
        })?;
        let (source_log, target_log) =
            tokio::try_join!(find_log(&source, job, context), find_log(&target, job, context))?;
        let common = compare(&source_log.body, &target_log.body);
        let progress = control.progress();
        if let Some(last) = common.history.first() {
            progress.resume(&stats_of(last));
        }
        let start = common.seq.or_else(|| replication.since_seq.clone());
        let start = start.unwrap_or_else(|| Value::from(0u64));
        progress.set_checkpointed(start.clone());
        progress.set_through_seq(start.clone());
        progress.set_source_seq(start.clone());
        let session = Session {
            id: random_id()?,
            started: SystemTime::now(),
            start_seq: start.clone(),
            history: common.history,
            by_doc_ids: matches!(replication.filter, Filter::DocIds(_)),
        };
        let mut checkpoint = Object::new();
        checkpoint.insert("no_changes", true);
        for (name, value) in source_log.body.iter() {
            checkpoint.insert(name, value.clone());
        }
        let Opened { update_seq, instance } = source_opened;
        Ok(Run {
            job,
            control: control.clone(),
            is_up_to_date: !replication.continuous && update_seq == start,
            source: End { peer: source, instance, log: source_log },
            target: End { peer: target, instance: target_opened.instance, log: target_log },
            session,
            checkpoint,
            committed: start.clone(),
            through: start,
            pending_asked: Instant::now(),
        })
    }

    /// Runs to the end.
    pub(super) async fn run(mut self) -> Result<Outcome> {
        let stopped = match self.is_up_to_date {
            true => false,
            false => self.move_changes().await?,
        };
        if stopped {
            // It is tried; who stops a replication does not want to wait for a server that is gone.
            match timeout(LAST_CHECKPOINT, self.write_checkpoint()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the last checkpoint was not written"),
                Err(_) => tracing::warn!("the last checkpoint took too long"),
            }
        } else {
            self.write_checkpoint().await?;
        }
        Ok(Outcome { stopped, checkpoint: self.checkpoint })
    }

    /// Moves changes until there are no more, or it is told to stop; says whether it was.
    async fn move_changes(&mut self) -> Result<bool> {
        let replication = &self.job.replication;
        let mut rows = self.read_ahead();
        let mover = Arc::new(Mover::new(
            (Arc::clone(&self.source.peer), Arc::clone(&self.target.peer)),
            Arc::clone(self.control.progress()),
            replication.connections,
            replication.retries,
        ));
        let control = self.control.clone();
        let mut workers: JoinSet<(u64, Result<()>)> = JoinSet::new();
        let mut tracker = Tracker::default();
        let mut due = None;
        let mut is_read = false;
        while !(is_read && workers.is_empty()) {
            tokio::select! {
                () = control.stopped() => return Ok(true),
                Some(done) = workers.join_next() => {
                    let (number, result) = done.map_err(|error| {
                        ReplicationError::Internal(format!("a worker failed: {error}"))
                    })?;
                    result?;
                    self.batch_done(tracker.done(number), workers.is_empty());
                    if due.is_none() && self.through != self.committed {
                        due = Some(time::Instant::now() + replication.checkpoint_interval);
                    }
                }
                batch = rows.recv(), if !is_read && workers.len() < replication.workers => {
                    match batch {
                        None => is_read = true,
                        Some(batch) => {
                            let Rows { changes, seq } = batch?;
                            if let Some(seq) = &seq {
                                self.control.progress().set_source_seq(seq.clone());
                            }
                            let (number, mover) = (tracker.begin(seq), Arc::clone(&mover));
                            workers.spawn(async move { (number, mover.batch(changes).await) });
                        }
                    }
                }
                () = sleep_until(due), if due.is_some() => {
                    due = None;
                    self.write_checkpoint().await?;
                }
            }
        }
        Ok(false)
    }

    /// Reads the feed on a task of its own, a little ahead.
    fn read_ahead(&self) -> Ahead {
        let (sender, rows) = mpsc::channel(AHEAD);
        let source = Arc::clone(&self.source.peer);
        let (since, replication) = (self.through.clone(), self.job.replication.clone());
        let most = replication.batch_rows;
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let read = async {
                let mut feed = match &*source {
                    Peer::Local(peer) => {
                        Feed::Local(Box::new(peer.changes(&since, &replication).await?))
                    }
                    Peer::Remote(peer) => {
                        Feed::Remote(Box::new(peer.changes(&since, &replication)))
                    }
                };
                while let Some(rows) = feed.next(most).await? {
                    if sender.send(Ok(rows)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = read.await {
                // Who has gone away does not need the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ahead { rows, _reader: reader }
    }

    fn batch_done(&mut self, reached: Option<Value>, is_idle: bool) {
        let progress = Arc::clone(self.control.progress());
        if let Some(seq) = reached {
            progress.set_through_seq(seq.clone());
            self.through = seq;
        }
        if self.pending_asked.elapsed() < PENDING_INTERVAL {
            return;
        }
        self.pending_asked = Instant::now();
        if is_idle && self.job.replication.continuous {
            return progress.set_pending(Some(0));
        }
        ask_pending(Arc::clone(&self.source.peer), progress, self.through.clone());
    }

    /// Writes a checkpoint into both databases, if there is anything new to say.
    async fn write_checkpoint(&mut self) -> Result<()> {
        if !self.job.replication.use_checkpoints {
            self.checkpoint = Object::new();
            self.checkpoint.insert("use_checkpoints", false);
            return Ok(());
        }
        if self.through == self.committed {
            return Ok(());
        }
        self.commit().await?;
        let progress = self.control.progress();
        let log = self.session.checkpoint(&self.through, &progress.stats(), SystemTime::now());
        let id = &self.job.id.base;
        self.source.log.body = log.clone();
        self.source.log.rev = Some(self.source.peer.put_log(id, &self.source.log).await?);
        self.target.log.body = log.clone();
        self.target.log.rev = Some(self.target.peer.put_log(id, &self.target.log).await?);
        self.checkpoint = log;
        self.committed = self.through.clone();
        progress.set_checkpointed(self.committed.clone());
        Ok(())
    }

    /// Makes both sides durable, and sure that they are the ones that were opened.
    async fn commit(&self) -> Result<()> {
        let (source, target) =
            tokio::try_join!(self.source.peer.commit(), self.target.peer.commit())?;
        let of_source = is_another(&self.source.instance, &source);
        let of_target = is_another(&self.target.instance, &target);
        match of_source || of_target {
            true => Err(ReplicationError::DatabaseChanged { of_source, of_target }),
            false => Ok(()),
        }
    }
}

/// Whether a database says that it is not the one that was opened. Some always say `0`.
fn is_another(opened: &str, now: &str) -> bool {
    opened != now && opened != "0" && now != "0"
}

/// Rows that are read ahead. Dropping it ends the reading.
struct Ahead {
    rows: mpsc::Receiver<Result<Rows>>,
    _reader: JoinSet<()>,
}

impl Ahead {
    async fn recv(&mut self) -> Option<Result<Rows>> {
        self.rows.recv().await
    }
}

async fn sleep_until(due: Option<time::Instant>) {
    if let Some(due) = due {
        time::sleep_until(due).await;
    }
}

/// Asks how much is left, while the replication goes on.
fn ask_pending(source: Arc<Peer>, progress: Arc<Progress>, since: Value) {
    tokio::spawn(async move {
        // What is not known is not shown.
        if let Ok(pending) = source.pending(&since).await {
            progress.set_pending(pending);
        }
    });
}

/// The checkpoint document of one side; one that was written under an older id is taken over.
async fn find_log(peer: &Peer, job: &Job, context: &Context) -> Result<Log> {
    if let Some(log) = peer.log(&job.id.base).await? {
        return Ok(log);
    }
    for version in (1..REPLICATION_ID_VERSION).rev() {
        let code = job.filter_code.as_deref();
        let id = base_id(&job.replication, &context.server, code, version)
            .map_err(|error| RequestError::bad(error.to_string()))?;
        if let Some(old) = peer.log(&id).await? {
            let mut log = Log { rev: None, body: old.body };
            if job.replication.use_checkpoints {
                log.rev = Some(peer.put_log(&job.id.base, &log).await?);
            }
            return Ok(log);
        }
    }
    Ok(Log::default())
}

/// 32 random hexadecimal digits.
fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| ReplicationError::Internal(crate::Error::NoRandomness.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
