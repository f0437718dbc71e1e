//! `[replicator]` and `[replicator.shares]`: which replications run when, and what holds for those that don't
//! say otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use settee_engine::replication::Defaults;

use super::layers::{ConfigError, Layers};
use super::settings::Options;
use crate::replicator::Rules;

/// The most a database may be given in `[replicator.shares]`.
const MAX_SHARES: u32 = 1000;

/// The options of the replicator.
#[derive(Clone, Debug)]
pub struct ReplicatorSettings {
    /// Limits and times of the scheduler.
    pub rules: Rules,
    /// What holds for replications that don't say otherwise.
    pub defaults: Defaults,
    /// `update_docs`: whether a replication that has started or failed says so in its document.
    pub update_docs: bool,
    /// `verify_ssl_certificates`.
    pub verify_certificates: bool,
    /// Whether `auth_plugins` asks for cookies first.
    pub use_sessions: bool,
    /// `ssl_trusted_certificates_file`: certificates to trust besides those the system trusts.
    pub trusted_certificates: Option<String>,
}

impl ReplicatorSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let options = Options { layers, sections: &["replicator"] };
        Ok(Self {
            rules: rules(layers, &options)?,
            defaults: defaults(&options)?,
            update_docs: options.flag("update_docs")?,
            verify_certificates: options.flag("verify_ssl_certificates")?,
            use_sessions: options.text("auth_plugins").is_none_or(|list| list.contains("session")),
            trusted_certificates: options
                .text("ssl_trusted_certificates_file")
                .filter(|path| !path.is_empty()),
        })
    }
}

fn rules(layers: &Layers, options: &Options<'_>) -> Result<Rules, ConfigError> {
    let health_threshold: u64 = options.number("health_threshold")?;
    Ok(Rules {
        max_jobs: options.number("max_jobs")?,
        // A turn without end of turns would be all that is done.
        interval: options.number("interval").map(|interval: u64| interval.max(1))?,
        max_churn: options.number("max_churn")?,
        startup_jitter: options.number("startup_jitter")?,
        max_history: options.number("max_history")?,
        min_backoff: options.number("min_backoff")?,
        max_backoff: options.number("max_backoff")?,
        health_threshold: health_threshold.saturating_mul(1000),
        stuck_after: options.number("stuck_after")?,
        shares: shares(layers)?,
    })
}

fn shares(layers: &Layers) -> Result<BTreeMap<String, u32>, ConfigError> {
    const SECTION: &str = "replicator.shares";
    let read = |(database, text): (String, String)| match text.parse() {
        Ok(shares) if (1..=MAX_SHARES).contains(&shares) => Ok((database, shares)),
        _ => Err(ConfigError::value(SECTION, &database, &text, "not a number from 1 to 1000")),
    };
    layers.section(SECTION).into_iter().map(read).collect()
}

fn defaults(options: &Options<'_>) -> Result<Defaults, ConfigError> {
    let time = |key: &str| options.number(key).map(Duration::from_millis);
    Ok(Defaults {
        workers: options.number("worker_processes")?,
        batch_rows: options.number("worker_batch_size")?,
        connections: options.number("http_connections")?,
        connection_timeout: time("connection_timeout")?,
        retries: options.number("retries_per_request")?,
        checkpoint_interval: time("checkpoint_interval")?,
        use_checkpoints: options.flag("use_checkpoints")?,
        use_bulk_get: options.flag("use_bulk_get")?,
        endpoint_protocols: options.list("valid_endpoint_protocols"),
        proxy_protocols: options.list("valid_proxy_protocols"),
        local: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_couchdbs() {
        let settings = ReplicatorSettings::read(&Layers::built_in()).unwrap();
        assert_eq!(settings.rules, Rules::default());
        let (built_in, library) = (&settings.defaults, Defaults::default());
        assert_eq!(format!("{built_in:?}"), format!("{library:?}"));
        assert!(settings.verify_certificates && !settings.update_docs);
    }

    #[test]
    fn shares_and_nonsense() {
        let text = "[replicator]\nmax_jobs = 7\n[replicator.shares]\n_replicator = 200\nx/_replicator = 1\n";
        let settings = ReplicatorSettings::read(&Layers::with(text)).unwrap();
        assert_eq!(settings.rules.max_jobs, 7);
        assert_eq!(settings.rules.shares.len(), 2);
        for wrong in [
            "[replicator]\nmax_jobs = many\n",
            "[replicator]\nupdate_docs = maybe\n",
            "[replicator.shares]\n_replicator = 0\n",
            "[replicator.shares]\n_replicator = 1001\n",
        ] {
            assert!(ReplicatorSettings::read(&Layers::with(wrong)).is_err(), "{wrong}");
        }
    }
}
