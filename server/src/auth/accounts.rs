//! Finding out who a request comes from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::HeaderMap;
use settee_engine::caller::ADMIN_ROLE;
use settee_engine::{Database, Databases, Rev};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::jwt::Tokens;
use super::lockout::Lockout;
use super::secrets::CookieSecrets;
use super::totp::Totp;
use super::users::{self, Account, Directory, UsersHook};
use super::verified::VerifiedPasswords;
use super::{StoredPassword, User, basic, cookie, proxy, upgrade};
use crate::config::{Config, Handler, Settings};
use crate::http::Failure;

/// User documents that are being written at a time, those that bring no password included: hashing holds
/// a thread for a good part of a second, and whoever makes accounts must not take them all.
const USER_WRITES_AT_A_TIME: usize = 4;

const INCORRECT: &str = "Name or password is incorrect.";

/// The server's accounts: the administrators of `[admins]` and the users of `_users`.
pub struct Accounts {
    admins: ArcSwap<HashMap<String, Arc<StoredPassword>>>,
    users: Directory,
    hook: Arc<UsersHook>,
    secrets: CookieSecrets,
    tokens: Tokens,
    verified: VerifiedPasswords,
    lockout: Lockout,
    hashing: Semaphore,
    user_writes: Semaphore,
}

/// Who a request comes from, and how that is known.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The handler that recognised them.
    pub handler: Option<Handler>,
    /// A fresh value for a cookie that has lived a tenth of its life.
    pub fresh_cookie: Option<String>,
}

impl Identity {
    /// Somebody whom this handler has recognised.
    pub(super) fn known(user: User, handler: Handler) -> Self {
        Self { user, handler: Some(handler), fresh_cookie: None }
    }
}

/// What somebody gives to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'c> {
    /// The name.
    pub name: &'c str,
    /// The password.
    pub password: &'c str,
    /// The one-time password of those who have a second factor.
    pub token: Option<&'c str>,
}

/// Somebody who has an account.
pub(super) struct Known {
    pub(super) user: User,
    pub(super) password: Option<Arc<StoredPassword>>,
    pub(super) totp: Option<Arc<Totp>>,
    /// The revision of the user document that the password is from.
    pub(super) document: Option<Rev>,
}

impl Known {
    fn admin(name: &str, password: Arc<StoredPassword>, account: Option<&Account>) -> Self {
        let roles = account.into_iter().flat_map(|account| account.roles.iter().cloned());
        let user = User::new(name, [Arc::from(ADMIN_ROLE)].into_iter().chain(roles));
        Self { user, password: Some(password), totp: None, document: None }
    }

    /// Those who have no password don't log in.
    fn with_password(mut self) -> Option<(Self, Arc<StoredPassword>)> {
        let stored = self.password.take()?;
        Some((self, stored))
    }

    fn user(name: &str, account: &Account) -> Self {
        Self {
            user: User::new(name, account.roles.iter().cloned()),
            password: account.password.clone(),
            totp: account.totp.clone(),
            document: Some(account.rev.clone()),
        }
    }
}

impl Accounts {
    /// The accounts of this configuration, and the rules of the users' database among these databases.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new(config: &Config, databases: &Arc<Databases>) -> Result<Self, getrandom::Error> {
        let settings = config.settings();
        let hook = Arc::new(UsersHook::new(settings.accounts.passwords.clone()));
        for name in [users::USERS, users_database(&settings)] {
            databases.set_write_hook(name, Arc::<UsersHook>::clone(&hook));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let accounts = Self {
            admins: ArcSwap::default(),
            users: Directory::new(Arc::clone(databases)),
            hook,
            secrets: CookieSecrets::default(),
            tokens: Tokens::default(),
            verified: VerifiedPasswords::new()?,
            lockout: Lockout::default(),
            // Whoever guesses passwords must not take all cores.
            hashing: Semaphore::new((cores / 2).max(1)),
            user_writes: Semaphore::new(USER_WRITES_AT_A_TIME),
        };
        accounts.reload(config, &settings);
        Ok(accounts)
    }

    /// Puts the configuration into effect. Values of `[admins]` that aren't hashes (yet) let nobody in.
    pub fn reload(&self, config: &Config, settings: &Settings) {
        let read = |(name, value): (String, String)| match StoredPassword::parse(&value) {
            Ok(Some(stored)) => Some((name, Arc::new(stored))),
            _ => {
                tracing::warn!(name, "this administrator's password hash can't be read");
                None
            }
        };
        let admins = config.section("admins").into_iter().filter_map(read).collect();
        self.admins.store(Arc::new(admins));
        self.users.configure(users_database(settings), settings.accounts.allow_conflicted);
        self.hook.set_policy(settings.accounts.passwords.clone());
        self.secrets.set(settings.cookie_secret.as_deref());
        self.tokens.configure(&settings.accounts.jwt);
        if settings.accounts.handlers.contains(&Handler::Proxy)
            && !settings.accounts.proxy.use_secret
        {
            tracing::warn!(
                "proxy authentication without a secret lets everybody in who reaches the server: set \
                 [chttpd_auth] proxy_use_secret = true"
            );
        }
    }

    /// Finds the user behind a request's headers: the first whom one of the configured handlers
    /// recognises, or else nobody.
    ///
    /// # Errors
    ///
    /// 401 for a wrong name or password; 400 for a cookie, header or token that can't be read.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        settings: &Settings,
    ) -> Result<Identity, Failure> {
        for handler in &settings.accounts.handlers {
            let found = match handler {
                Handler::Cookie => self.by_cookie(headers, settings)?,
                Handler::Basic => self.by_password(headers, peer, settings).await?,
                Handler::Proxy => proxy::identify(headers, settings),
                Handler::Jwt => self.tokens.identify(headers, settings).await?,
            };
            if let Some(identity) = found {
                return Ok(identity);
            }
        }
        Ok(Identity::default())
    }

    async fn by_password(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        settings: &Settings,
    ) -> Result<Option<Identity>, Failure> {
        let Some((name, password)) = basic::credentials(headers)? else { return Ok(None) };
        let credentials = Credentials { name: &name, password: &password, token: None };
        let user =
            self.log_in(credentials, client_address(headers, peer, settings), settings).await?;
        Ok(Some(Identity::known(user, Handler::Basic)))
    }

    /// The user of this name and password, who asks from this address.
    ///
    /// # Errors
    ///
    /// 401 `Name or password is incorrect.`; 403 after too many wrong ones, or when the password is stored
    /// in a way that the configuration doesn't accept.
    pub async fn log_in(
        &self,
        credentials: Credentials<'_>,
        client: IpAddr,
        settings: &Settings,
    ) -> Result<User, Failure> {
        let name = credentials.name;
        let Some((known, stored)) = self.find(name)?.and_then(Known::with_password) else {
            self.take_the_time(credentials.password, settings).await;
            return Err(Failure::unauthorized(INCORRECT));
        };
        self.lockout.check(client, name, stored.salt(), settings)?;
        check_iterations(&stored, settings)?;
        if !self.proves(credentials, &known, &stored).await {
            self.lockout.count(client, name, stored.salt(), settings);
            return Err(Failure::unauthorized(INCORRECT));
        }
        if let Some(rev) = known.document
            && settings.accounts.upgrade_hashes
            && stored.is_weaker_than(&settings.accounts.passwords)
        {
            upgrade::begin(self.users.database()?, name, &rev, credentials.password);
        }
        Ok(known.user)
    }

    /// Whether these are the account's password and, if it asks for one, its one-time password.
    async fn proves(
        &self,
        Credentials { name, password, token }: Credentials<'_>,
        known: &Known,
        stored: &Arc<StoredPassword>,
    ) -> bool {
        let remembered = self.verified.contains(name, password, stored);
        let right = remembered || self.verify(password, stored).await;
        let second = known
            .totp
            .as_ref()
            .is_none_or(|totp| token.is_some_and(|token| totp.accepts(token, now())));
        if right && second && !remembered {
            self.verified.insert(name, password, stored);
        }
        right && second
    }

    async fn verify(&self, password: &str, stored: &Arc<StoredPassword>) -> bool {
        let Ok(_permit) = self.hashing.acquire().await else { return false };
        let (password, stored) = (password.to_owned(), stored.clone());
        tokio::task::spawn_blocking(move || stored.verify(&password)).await.unwrap_or(false)
    }

    /// Takes as long for a name that nobody has as for a wrong password, so that the time doesn't tell
    /// names apart; unless the server is busy with passwords already, which it must not be made to be by
    /// names that cost nothing to make up.
    async fn take_the_time(&self, password: &str, settings: &Settings) {
        let Ok(_permit) = self.hashing.try_acquire() else { return };
        let (password, policy) = (password.to_owned(), settings.accounts.passwords.clone());
        let hash = move || drop(StoredPassword::hash(&password, &policy, Some("")));
        drop(tokio::task::spawn_blocking(hash).await);
    }

    fn by_cookie(
        &self,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<Option<Identity>, Failure> {
        let Some(claim) = cookie::claim(headers)? else { return Ok(None) };
        let left = claim.issued().saturating_add(settings.cookie_timeout_s).saturating_sub(now());
        if left == 0 {
            return Ok(None);
        }
        let Some(known) = self.find(claim.name())? else { return Ok(None) };
        let Some(stored) = &known.password else { return Ok(None) };
        if !self.secrets.signed(&claim, stored.salt(), settings) {
            return Ok(None);
        }
        let life = settings.cookie_timeout_s;
        let mut identity = Identity::known(known.user, Handler::Cookie);
        if left < life - life / 10 {
            identity.fresh_cookie = self.secrets.sign(claim.name(), stored.salt(), settings, now());
        }
        Ok(Some(identity))
    }

    /// A cookie for a user who has just logged in; `None` for one who is gone again.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn issue_cookie(
        &self,
        user: &User,
        settings: &Settings,
    ) -> Result<Option<String>, Failure> {
        let Some(name) = user.name() else { return Ok(None) };
        let Some(known) = self.find(name)? else { return Ok(None) };
        let stored = known.password.as_ref();
        Ok(stored.and_then(|stored| self.secrets.sign(name, stored.salt(), settings, now())))
    }

    /// Who has this name: an administrator of `[admins]`, whose roles a user document may add to, or a
    /// user of the users' database.
    fn find(&self, name: &str) -> Result<Option<Known>, Failure> {
        let admin = self.admins.load().get(name).cloned();
        let account = self.users.find(name)?;
        Ok(match (admin, account) {
            (Some(password), account) => Some(Known::admin(name, password, account.as_deref())),
            (None, Some(account)) => Some(Known::user(name, &account)),
            (None, None) => None,
        })
    }

    /// Waits for its turn to write to a database, if it is one that only few may write to at a time.
    pub(crate) async fn turn_to_write(&self, database: &Database) -> Option<SemaphorePermit<'_>> {
        match users::is_users_database(database.name()) {
            true => self.user_writes.acquire().await.ok(),
            false => None,
        }
    }
}

/// The name of the database that accounts are in.
pub(crate) fn users_database(settings: &Settings) -> &str {
    settings.authentication_db.as_deref().unwrap_or(users::USERS)
}

fn check_iterations(stored: &StoredPassword, settings: &Settings) -> Result<(), Failure> {
    let (least, most) = settings.accounts.iterations;
    match stored.iterations() {
        Some(few) if few < least => {
            Err(Failure::forbidden("Iteration count is too low for this server"))
        }
        Some(many) if many > most => {
            Err(Failure::forbidden("Iteration count is too high for this server"))
        }
        _ => Ok(()),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The address a request comes from: the last in the header that `[chttpd] peer_header` names, for then every
/// request comes through a proxy that sets it. Otherwise a proxy on this machine speaks for others in
/// `X-Forwarded-For`; what anyone else says about whom they speak for proves nothing.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, settings: &Settings) -> IpAddr {
    let values = match &settings.peer_header {
        Some(name) => headers.get_all(name),
        None if peer.is_loopback() => headers.get_all("x-forwarded-for"),
        None => return peer,
    };
    // What the nearest proxy has added stands last, also where it has added a line.
    let last = values.iter().next_back().and_then(|value| value.to_str().ok());
    let address = last.and_then(|list| list.rsplit(',').next()).map(str::trim);
    address.and_then(|address| address.parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;
    use crate::config::HashFunction;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.1.1.1, 2.2.2.2".parse().unwrap());
        let there: IpAddr = "3.3.3.3".parse().unwrap();
        let settings = Settings::default();
        assert_eq!(client_address(&headers, HERE, &settings).to_string(), "2.2.2.2");
        assert_eq!(client_address(&headers, there, &settings), there);
        assert_eq!(client_address(&HeaderMap::new(), HERE, &settings), HERE);
        headers.append("x-forwarded-for", "4.4.4.4".parse().unwrap());
        assert_eq!(client_address(&headers, HERE, &settings).to_string(), "4.4.4.4");
    }

    #[test]
    fn the_header_of_the_configuration_is_believed_and_no_other() {
        let peer_header = Some(http::HeaderName::from_static("x-real-ip"));
        let settings = Settings { peer_header, ..Settings::default() };
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.1.1.1".parse().unwrap());
        let there: IpAddr = "3.3.3.3".parse().unwrap();
        for peer in [HERE, there] {
            assert_eq!(client_address(&headers, peer, &settings), peer);
        }
        headers.insert("x-real-ip", "2001:db8::1".parse().unwrap());
        for peer in [HERE, there] {
            assert_eq!(client_address(&headers, peer, &settings).to_string(), "2001:db8::1");
        }
        headers.insert("x-real-ip", "nonsense".parse().unwrap());
        assert_eq!(client_address(&headers, there, &settings), there);
    }

    fn accounts(password: &str) -> (Accounts, Settings) {
        let config = Config::load(vec![], &[]).unwrap();
        let hash = StoredPassword::new(password, 10).unwrap().to_string();
        config.set("admins", "anna", Some(&hash), false).unwrap();
        config.set("chttpd_auth", "secret", Some("s3cret"), false).unwrap();
        (Accounts::new(&config, &Databases::in_memory()).unwrap(), config.settings())
    }

    fn cookie_header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("AuthSession={value}").parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn passwords_let_in_whom_they_should() {
        let (accounts, settings) = accounts("secret");
        let log_in = async |name, password| {
            let credentials = Credentials { name, password, token: None };
            let user = accounts.log_in(credentials, HERE, &settings).await;
            user.map_or_else(|failure| failure.status().as_u16(), |user| u16::from(user.is_admin()))
        };
        for _ in 0..2 {
            assert_eq!(log_in("anna", "secret").await, 1);
            assert_eq!(log_in("anna", "wrong").await, 401);
            assert_eq!(log_in("otto", "secret").await, 401);
        }
        for _ in 0..3 {
            assert_eq!(log_in("anna", "wrong").await, 401);
        }
        assert_eq!(log_in("anna", "secret").await, 403, "after five wrong ones nothing helps");
    }

    #[tokio::test]
    async fn cookies_live_and_are_renewed() {
        let (accounts, settings) = accounts("secret");
        let salt = accounts.admins.load()["anna"].salt().to_owned();
        let aged =
            |age: u64| cookie::issue("anna", "s3cret", &salt, HashFunction::Sha256, now() - age);
        for (age, known, renewed) in [(0, true, false), (120, true, true), (600, false, false)] {
            let headers = cookie_header(&aged(age));
            let identity = accounts.identify(&headers, HERE, &settings).await.unwrap();
            assert_eq!(identity.user.is_admin(), known, "{age} s old");
            assert_eq!(identity.fresh_cookie.is_some(), renewed, "{age} s old");
        }
    }

    #[tokio::test]
    async fn bad_cookies() {
        let (accounts, settings) = accounts("secret");
        let forged =
            cookie_header(&cookie::issue("anna", "guess", "salt", HashFunction::Sha256, now()));
        let identity = accounts.identify(&forged, HERE, &settings).await.unwrap();
        assert_eq!(identity.user, User::default());
        let garbage =
            accounts.identify(&cookie_header("garbage"), HERE, &settings).await.unwrap_err();
        assert_eq!(garbage.status(), 400);
    }
}
