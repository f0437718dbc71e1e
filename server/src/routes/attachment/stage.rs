//! An attachment's bytes on their way from the network into the store.
//!
//! Writing may wait for the disk, so it happens on blocking threads, one short turn at a time: a slow
//! client holds no thread between its bytes. The next bytes are received while the last are written,
//! and no more than that is held in memory.

use std::sync::Arc;

use bytes::Bytes;
use settee_engine::attachment::StagedAttachment;
use settee_engine::{AttachmentWriter, Database, Error, StageOptions};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::Failure;

/// Bytes gathered for one turn of writing.
const TURN_BYTES: usize = 256 * 1024;

/// An attachment being received.
pub(in crate::routes) struct Stage {
    writer: Writer,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

/// Who writes.
enum Writer {
    /// Nobody yet.
    Planned(Plan),
    /// A turn that hands the writer back.
    Writing(JoinHandle<Result<AttachmentWriter, Error>>),
    /// A turn failed, and its failure was reported.
    Failed,
}

/// What is needed to begin.
struct Plan {
    database: Arc<Database>,
    name: String,
    content_type: String,
    options: StageOptions,
}

impl Plan {
    fn begin(self) -> Result<AttachmentWriter, Error> {
        self.database.stage_attachment(&self.name, &self.content_type, self.options)
    }
}

impl Stage {
    /// Begins an attachment; nothing is written before enough bytes have come.
    pub(in crate::routes) fn new(
        database: &Arc<Database>,
        name: &str,
        content_type: &str,
        options: StageOptions,
    ) -> Self {
        let plan = Plan {
            database: Arc::clone(database),
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            options,
        };
        Self { writer: Writer::Planned(plan), gathered: Vec::new(), gathered_bytes: 0 }
    }

    /// Takes the next bytes; waits while earlier ones are still being written.
    pub(in crate::routes) async fn put(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes < TURN_BYTES {
            return Ok(());
        }
        let pieces = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let begin = self.turn().await?;
        self.writer = Writer::Writing(spawn_blocking(move || write(begin()?, &pieces)));
        Ok(())
    }

    /// Writes what is left and returns the attachment, ready to be referred to by a document.
    pub(in crate::routes) async fn finish(mut self) -> Result<StagedAttachment, Failure> {
        let begin = self.turn().await?;
        let pieces = self.gathered;
        let last = spawn_blocking(move || write(begin()?, &pieces)?.finish());
        Ok(last.await.map_err(|_| lost())??)
    }

    /// Waits for the turn under way, and returns what gives the next one its writer.
    async fn turn(
        &mut self,
    ) -> Result<Box<dyn FnOnce() -> Result<AttachmentWriter, Error> + Send>, Failure> {
        match std::mem::replace(&mut self.writer, Writer::Failed) {
            Writer::Planned(plan) => Ok(Box::new(move || plan.begin())),
            Writer::Writing(turn) => {
                let writer = turn.await.map_err(|_| lost())??;
                Ok(Box::new(move || Ok(writer)))
            }
            Writer::Failed => Err(lost()),
        }
    }
}

fn write(mut writer: AttachmentWriter, pieces: &[Bytes]) -> Result<AttachmentWriter, Error> {
    for piece in pieces {
        writer.write(piece)?;
    }
    Ok(writer)
}

fn lost() -> Failure {
    Failure::internal("receiving the attachment failed inside the server")
}
