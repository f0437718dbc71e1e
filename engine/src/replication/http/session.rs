//! Logging in: a cookie spares the server checking a password with every request.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, header::SET_COOKIE};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::replication::{endpoint::Credentials, error::ReplicationError};

/// The cookie of a session.
const COOKIE_NAME: &str = "AuthSession";
/// How long a session is believed in that does not say how long it is good for.
const ASSUMED_AGE: Duration = Duration::from_secs(550);
/// How long a server that knows no sessions is not asked again.
const WITHOUT: Duration = Duration::from_secs(600);
/// Sessions that are remembered.
const MAX_SESSIONS: usize = 1024;

/// How one replication presents itself to one side.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The last request carried a cookie.
    pub(super) used_cookie: bool,
    /// A session was refused and another one was asked for.
    pub(super) renewed: bool,
    /// Sessions do not work here.
    pub(super) basic_only: bool,
}

/// What is known of one server and one user.
#[derive(Default)]
struct Slot {
    /// Held by the one who logs in.
    logging_in: tokio::sync::Mutex<()>,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    /// `None` if the server gives none.
    cookie: Option<HeaderValue>,
    until: Instant,
}

impl Slot {
    fn remembered(&self) -> Option<Known> {
        self.known.lock().clone().filter(|known| known.until > Instant::now())
    }
}

/// The sessions of all replications, by server and credentials.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<(String, Credentials), Arc<Slot>>>);

impl Sessions {
    /// The cookie to send; `None` if this server gives none. `log_in` asks it.
    pub(super) async fn cookie<F>(
        &self,
        origin: &str,
        credentials: &Credentials,
        log_in: impl Fn() -> F,
    ) -> Result<Option<HeaderValue>, ReplicationError>
    where
        F: Future<Output = Result<Response<Incoming>, ReplicationError>>,
    {
        let slot = self.slot(origin, credentials);
        if let Some(known) = slot.remembered() {
            return Ok(known.cookie);
        }
        let _logging_in = slot.logging_in.lock().await;
        // Somebody else may have done it meanwhile.
        if let Some(known) = slot.remembered() {
            return Ok(known.cookie);
        }
        let (cookie, age) = session(&log_in().await?).unzip();
        let until = Instant::now() + age.unwrap_or(WITHOUT);
        *slot.known.lock() = Some(Known { cookie: cookie.clone(), until });
        Ok(cookie)
    }

    /// Forgets a session that was refused.
    pub(super) fn forget(&self, origin: &str, credentials: &Credentials) {
        *self.slot(origin, credentials).known.lock() = None;
    }

    fn slot(&self, origin: &str, credentials: &Credentials) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if slots.len() >= MAX_SESSIONS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry((origin.to_owned(), credentials.clone())).or_default())
    }
}

/// The cookie of an answer, and for how long to use it: nine tenths of its age.
fn session(response: &Response<Incoming>) -> Option<(HeaderValue, Duration)> {
    if !response.status().is_success() {
        return None;
    }
    let cookies = response.headers().get_all(SET_COOKIE);
    cookies.iter().filter_map(|cookie| cookie.to_str().ok()).find_map(parse)
}

fn parse(cookie: &str) -> Option<(HeaderValue, Duration)> {
    let mut parts = cookie.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    if name != COOKIE_NAME || value.is_empty() {
        return None;
    }
    let mut sent = HeaderValue::try_from(format!("{COOKIE_NAME}={value}")).ok()?;
    sent.set_sensitive(true);
    let age = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let seconds = value.parse::<u32>().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(u64::from(seconds)))
    });
    Some((sent, age.map_or(ASSUMED_AGE, |age| age * 9 / 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read() {
        let (cookie, age) =
            parse("AuthSession=YWRh; Version=1; Max-Age=600; Path=/; HttpOnly").unwrap();
        assert_eq!((cookie.to_str().unwrap(), age.as_secs()), ("AuthSession=YWRh", 540));
        assert_eq!(parse("AuthSession=x").unwrap().1, ASSUMED_AGE);
        for other in ["", "AuthSession=", "Other=x; Max-Age=1"] {
            assert!(parse(other).is_none());
        }
    }
}
