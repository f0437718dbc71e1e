//! Slowing down those who guess passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::config::{LockoutMode, Settings};
use crate::http::Failure;

/// Who guesses whose password, against which hash: a new password is a new start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Guesser {
    address: IpAddr,
    name: String,
    salt: String,
}

#[derive(Clone, Copy, Debug)]
struct Guesses {
    count: u32,
    first: Instant,
}

/// Counts wrong passwords, for each address and user.
#[derive(Default)]
pub(super) struct Lockout {
    guesses: RwLock<HashMap<Guesser, Guesses>>,
}

impl Lockout {
    /// Refuses whoever has guessed too often lately, be the password right this time or not.
    pub(super) fn check(
        &self,
        address: IpAddr,
        name: &str,
        salt: &str,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let guesses = self.guesses.read();
        if guesses.is_empty() || settings.lockout_mode == LockoutMode::Off {
            return Ok(());
        }
        let Some(known) = guesses.get(&guesser(address, name, salt)) else { return Ok(()) };
        if known.count < settings.lockout_threshold || is_over(known, settings) {
            return Ok(());
        }
        tracing::warn!(%address, name, "too many wrong passwords");
        match settings.lockout_mode {
            LockoutMode::Enforce => Err(Failure::forbidden(
                "Account is temporarily locked due to multiple authentication failures",
            )),
            LockoutMode::Warn | LockoutMode::Off => Ok(()),
        }
    }

    /// Remembers a wrong password.
    pub(super) fn count(&self, address: IpAddr, name: &str, salt: &str, settings: &Settings) {
        if settings.lockout_mode == LockoutMode::Off {
            return;
        }
        let mut guesses = self.guesses.write();
        if guesses.len() >= settings.lockout_max_objects {
            guesses.retain(|_, known| !is_over(known, settings));
        }
        if guesses.len() >= settings.lockout_max_objects {
            // So many guessers at a time: rather forget them all than grow without end.
            guesses.clear();
        }
        let fresh = Guesses { count: 0, first: Instant::now() };
        let known = guesses.entry(guesser(address, name, salt)).or_insert(fresh);
        if is_over(known, settings) {
            *known = fresh;
        }
        known.count = known.count.saturating_add(1);
    }
}

fn guesser(address: IpAddr, name: &str, salt: &str) -> Guesser {
    Guesser { address, name: name.to_owned(), salt: salt.to_owned() }
}

fn is_over(guesses: &Guesses, settings: &Settings) -> bool {
    guesses.first.elapsed() >= Duration::from_millis(settings.lockout_lifetime_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);

    fn guessed(times: u32, settings: &Settings) -> Lockout {
        let lockout = Lockout::default();
        for _ in 0..times {
            lockout.count(HERE, "anna", "salt", settings);
        }
        lockout
    }

    #[test]
    fn the_fifth_wrong_password_locks() {
        let settings = Settings::default();
        let check = |times, address, name, salt| {
            guessed(times, &settings).check(address, name, salt, &settings).is_ok()
        };
        assert!(check(4, HERE, "anna", "salt"));
        assert!(!check(5, HERE, "anna", "salt"));
        assert!(check(5, THERE, "anna", "salt"));
        assert!(check(5, HERE, "otto", "salt"));
        assert!(check(5, HERE, "anna", "new salt"));
    }

    #[test]
    fn it_passes_and_can_be_switched_off() {
        let mut settings = Settings::default();
        let lockout = guessed(9, &settings);
        settings.lockout_mode = LockoutMode::Warn;
        assert!(lockout.check(HERE, "anna", "salt", &settings).is_ok());
        settings.lockout_mode = LockoutMode::Enforce;
        settings.lockout_lifetime_ms = 0;
        assert!(lockout.check(HERE, "anna", "salt", &settings).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let settings = Settings { lockout_max_objects: 10, ..Settings::default() };
        let lockout = Lockout::default();
        for n in 0..100 {
            lockout.count(HERE, &n.to_string(), "salt", &settings);
        }
        assert!(lockout.guesses.read().len() <= 10);
    }
}
