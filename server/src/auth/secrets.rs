//! What cookies are signed with, and were signed with until lately.

use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::cookie::{self, Claim};
use crate::config::Settings;

/// Former secrets that are remembered, at most.
const MAX_FORMER: usize = 8;

/// The secret of the configuration, and those it has replaced: they are good for the cookies they have
/// signed as long as these would have lived.
#[derive(Default)]
pub(super) struct CookieSecrets(RwLock<Secrets>);

#[derive(Default)]
struct Secrets {
    current: Option<String>,
    former: Vec<(String, Instant)>,
}

impl CookieSecrets {
    /// Sets the secret that cookies are signed with from now on.
    pub(super) fn set(&self, secret: Option<&str>) {
        let mut secrets = self.0.write();
        if secrets.current.as_deref() == secret {
            return;
        }
        if let Some(former) = secrets.current.take() {
            secrets.former.insert(0, (former, Instant::now()));
            secrets.former.truncate(MAX_FORMER);
        }
        secrets.current = secret.map(str::to_owned);
    }

    /// The value of a cookie issued `now`; `None` if there is no secret.
    pub(super) fn sign(
        &self,
        name: &str,
        salt: &str,
        settings: &Settings,
        now: u64,
    ) -> Option<String> {
        let function = *settings.accounts.hash_algorithms.first()?;
        let secrets = self.0.read();
        Some(cookie::issue(name, secrets.current.as_deref()?, salt, function, now))
    }

    /// Whether the claim was signed by this server.
    pub(super) fn signed(&self, claim: &Claim, salt: &str, settings: &Settings) -> bool {
        let life = Duration::from_secs(settings.cookie_timeout_s);
        let secrets = self.0.read();
        let former = secrets.former.iter().filter(|(_, replaced)| replaced.elapsed() < life);
        let all = secrets.current.iter().chain(former.map(|(secret, _)| secret));
        let functions = &settings.accounts.hash_algorithms;
        all.into_iter().any(|secret| claim.is_genuine(secret, salt, functions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_is_good_for_a_while() {
        let (secrets, mut settings) = (CookieSecrets::default(), Settings::default());
        assert_eq!(secrets.sign("anna", "salt", &settings, 0), None);
        secrets.set(Some("old"));
        let old = Claim::parse(&secrets.sign("anna", "salt", &settings, 0).unwrap()).unwrap();
        secrets.set(Some("new"));
        let new = Claim::parse(&secrets.sign("anna", "salt", &settings, 0).unwrap()).unwrap();
        assert!(secrets.signed(&old, "salt", &settings) && secrets.signed(&new, "salt", &settings));
        settings.cookie_timeout_s = 0;
        assert!(
            !secrets.signed(&old, "salt", &settings) && secrets.signed(&new, "salt", &settings)
        );
    }

    #[test]
    fn memory_is_bounded() {
        let secrets = CookieSecrets::default();
        for n in 0..100 {
            secrets.set(Some(&n.to_string()));
        }
        assert_eq!(secrets.0.read().former.len(), MAX_FORMER);
    }
}
