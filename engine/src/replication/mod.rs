//! Replication: bringing the changes of one database into another, once or continuously.
//!
//! * `request`, `endpoint`, `filter`: a replication as it is asked for
//! * `id`, `selector`: the name its checkpoints are kept under
//! * `context`: what all replications of a server share
//! * `progress`, `outcome`, `error`: how far it is, how it ended
//! * `job`, `run`: one run, from opening both sides to the last checkpoint
//! * `mover`: moving the revisions of a batch; `tracker`: up to where everything is written
//! * `checkpoint`: what both sides are told of it
//! * `peer`: the two ends; `http`: requests to other servers
//!
//! This is the only part of the crate that needs an async runtime (tokio) and speaks HTTP. Databases
//! of this server are read and written directly.

mod checkpoint;
mod context;
mod endpoint;
mod error;
mod filter;
mod http;
mod id;
mod job;
mod mover;
mod outcome;
mod peer;
mod progress;
mod request;
mod run;
mod selector;
mod tracker;

pub use context::{Access, AccessRules, Context, HttpSettings, ServerIdentity, Unrestricted};
pub use endpoint::{Credentials, Endpoint, LocalEndpoint, Proxy, RemoteEndpoint};
pub use error::{ReplicationError, RequestError, Side};
pub use filter::Filter;
pub use id::{REPLICATION_ID_VERSION, ReplicationId, replication_id};
pub use job::Job;
pub use outcome::Outcome;
pub use progress::{Control, Progress, Stats};
pub use request::{Cancel, Defaults, LocalNames, Replication};
