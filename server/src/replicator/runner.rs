//! Carrying replications out with the engine.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use settee_engine::document::Limits;
use settee_engine::replication::{
    Context, Control, HttpSettings, Job, Outcome, Replication, ReplicationError, ServerIdentity,
};
use settee_engine::{Caller, Databases, Error, Result, replication};

use super::is_replicator_database;
use super::work::{Boxed, Runner};
use crate::auth::users::is_users_database;
use crate::auth::{is_admin_by, is_member_by};
use crate::config::Settings;

/// Runs replications in the engine.
pub(super) struct EngineRunner {
    databases: Arc<Databases>,
    context: RwLock<(Made, Context)>,
}

/// What a context was made from: as long as it doesn't change, connections are kept.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    http: HttpSettings,
    limits: Limits,
    uuid: String,
}

impl Made {
    fn of(settings: &Settings) -> Self {
        let replicator = &settings.replicator;
        Self {
            http: HttpSettings {
                verify_certificates: replicator.verify_certificates,
                trusted_certificates: replicator.trusted_certificates.clone().map(PathBuf::from),
                use_sessions: replicator.use_sessions,
                ..HttpSettings::default()
            },
            limits: Limits {
                document_bytes: settings.max_document_size,
                attachment_bytes: settings.max_attachment_size,
                id_bytes: usize::try_from(settings.max_document_id_length).unwrap_or(usize::MAX),
            },
            uuid: settings.uuid.clone().unwrap_or_default(),
        }
    }

    fn context(&self, databases: &Arc<Databases>, port: u16) -> Context {
        let server = ServerIdentity { uuid: self.uuid.clone(), host_name: String::new(), port };
        let rights = Arc::new(Rights(Arc::clone(databases)));
        Context::new(Arc::clone(databases), server)
            .with_access(rights)
            .with_limits(self.limits)
            .with_http(self.http.clone())
    }
}

impl EngineRunner {
    pub(super) fn new(databases: Arc<Databases>, settings: &Settings) -> Self {
        let made = Made::of(settings);
        let context = made.context(&databases, settings.port);
        Self { databases, context: RwLock::new((made, context)) }
    }

    pub(super) fn configure(&self, settings: &Settings) {
        let made = Made::of(settings);
        if self.context.read().0 != made {
            let context = made.context(&self.databases, settings.port);
            *self.context.write() = (made, context);
        }
    }

    fn context(&self) -> Context {
        self.context.read().1.clone()
    }
}

impl Runner for EngineRunner {
    fn prepare(&self, replication: Replication) -> Boxed<Result<Job, ReplicationError>> {
        let context = self.context();
        Box::pin(async move { Job::prepare(replication, &context).await })
    }

    fn run(&self, job: &Job, control: Control) -> Boxed<Result<Outcome, ReplicationError>> {
        let (context, job) = (self.context(), job.clone());
        Box::pin(async move { job.run(&context, &control).await })
    }
}

/// Who may do what in the databases of this server: what they may do over HTTP.
#[derive(Debug)]
struct Rights(Arc<Databases>);

impl replication::AccessRules for Rights {
    fn check(&self, caller: &Caller, database: &str, access: replication::Access) -> Result<()> {
        use replication::Access;
        let server_admin = || allow(caller, caller.is_admin(), "You are not a server admin.");
        let admin = || -> Result<()> {
            let admin = is_admin_by(&self.0.security(database)?, caller);
            allow(caller, admin, "You are not a db or server admin.")
        };
        match access {
            Access::Create => server_admin(),
            // What they show of their documents depends on who reads, which a replication doesn't know of.
            Access::Read if is_users_database(database) => server_admin(),
            Access::Read if is_replicator_database(database) => admin(),
            Access::Read | Access::Write => {
                let member = is_member_by(&self.0.security(database)?, caller);
                allow(caller, member, "You are not allowed to access this db.")
            }
            Access::WriteDesign => admin(),
        }
    }
}

fn allow(caller: &Caller, allowed: bool, reason: &str) -> Result<()> {
    match (allowed, caller.name()) {
        (true, _) => Ok(()),
        (false, None) => Err(Error::Unauthorized(reason.to_owned())),
        (false, Some(_)) => Err(Error::Forbidden(reason.to_owned())),
    }
}
