//! Replication: bringing the changes of one database into another, once or continuously.
//!
//! * `request`, `endpoint`, `filter`: a replication as it is asked for
//! * `id`, `selector`: the name its checkpoints are kept under
//! * `context`: what all replications of a server share
//! * `progress`, `outcome`, `error`: how far it is, how it ended
//! * `job`: one run
//!
//! This is the only part of the crate that needs an async runtime (tokio) and speaks HTTP. Databases
//! of this server are read and written directly.

mod context;
mod date;
mod endpoint;
mod error;
mod filter;
mod http;
mod id;
mod job;
mod outcome;
mod progress;
mod request;
mod selector;

pub use context::{Access, AccessRules, Context, HttpSettings, ServerIdentity, Unrestricted};
pub use date::iso8601;
pub use endpoint::{Credentials, Endpoint, LocalEndpoint, Proxy, RemoteEndpoint};
pub use error::{ReplicationError, RequestError, Side};
pub use filter::Filter;
pub use id::{REPLICATION_ID_VERSION, ReplicationId, replication_id};
pub use job::Job;
pub use outcome::Outcome;
pub use progress::{Control, Progress, Stats};
pub use request::{Cancel, Defaults, LocalNames, Replication};
