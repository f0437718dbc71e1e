//! The options about accounts: who may come in how, and what they find.

use std::collections::BTreeMap;
use std::sync::Arc;

use fancy_regex::Regex;
use http::HeaderName;

use super::layers::{ConfigError, Layers};
use super::settings::Options;
use super::term::Term;

/// Options of `[chttpd] authentication_handlers`, `[chttpd_auth]`, `[jwt_auth]`, `[jwt_keys]`,
/// `[jwt_issuers]` and `[couch_peruser]`.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// `[chttpd] authentication_handlers`, in the order in which they are asked.
    pub handlers: Vec<Handler>,
    /// `[chttpd] all_dbs_lists_readable_only`: whether those who are no server administrators are told
    /// only the databases that they may read, once they are told any.
    pub list_readable_only: bool,
    /// `[chttpd_auth] hash_algorithms`: the first signs cookies, all are accepted in cookies and proxy
    /// tokens.
    pub hash_algorithms: Vec<HashFunction>,
    /// How new passwords of users are stored.
    pub passwords: PasswordPolicy,
    /// `[chttpd_auth] min_iterations` and `max_iterations`: a hash with other numbers lets nobody in.
    pub iterations: (u32, u32),
    /// `[chttpd_auth] upgrade_hash_on_auth`.
    pub upgrade_hashes: bool,
    /// `[chttpd_auth] public_fields`: what everybody may read of a user document.
    pub public_fields: Vec<String>,
    /// `[chttpd_auth] allow_conflicted_user_docs`.
    pub allow_conflicted: bool,
    /// Authentication by a proxy's headers.
    pub proxy: ProxySettings,
    /// Authentication by JSON Web Tokens.
    pub jwt: JwtSettings,
    /// Databases of users.
    pub per_user: PerUserSettings,
}

/// A way of finding out who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The cookie of `/_session`.
    Cookie,
    /// Name and password.
    Basic,
    /// The headers of a proxy that has found out already.
    Proxy,
    /// A JSON Web Token.
    Jwt,
}

impl Handler {
    const ALL: [Self; 4] = [Self::Cookie, Self::Basic, Self::Proxy, Self::Jwt];

    /// What `/_session` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Basic => "default",
            Self::Proxy => "proxy",
            Self::Jwt => "jwt",
        }
    }

    /// The handler of a function such as `cookie_authentication_handler`.
    fn parse(function: &str) -> Option<Self> {
        let name = function.strip_suffix("_authentication_handler")?;
        Self::ALL.into_iter().find(|handler| handler.name() == name)
    }
}

/// A hash function inside HMAC or PBKDF2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashFunction {
    const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The function of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    /// Its name in CouchDB.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of its output.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How passwords are hashed, and which ones are good enough.
#[derive(Clone, Debug)]
pub struct PasswordPolicy {
    /// `[chttpd_auth] password_scheme`.
    pub scheme: PasswordScheme,
    /// `[chttpd_auth] pbkdf2_prf`.
    pub prf: HashFunction,
    /// `[chttpd_auth] iterations`.
    pub iterations: u32,
    /// `[chttpd_auth] password_regexp`: what a new password must match, and what is said if it doesn't.
    pub rules: Arc<[(Regex, String)]>,
}

/// The form of a stored password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordScheme {
    /// PBKDF2.
    Pbkdf2,
    /// One round of SHA-1, as CouchDB 1 had it.
    Simple,
}

/// Options of proxy authentication.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// `[chttpd_auth] proxy_use_secret`.
    pub use_secret: bool,
    /// `[chttpd_auth] x_auth_username`.
    pub username: HeaderName,
    /// `[chttpd_auth] x_auth_roles`.
    pub roles: HeaderName,
    /// `[chttpd_auth] x_auth_token`.
    pub token: HeaderName,
}

/// Options of authentication by tokens.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// `[jwt_auth] required_claims`: a claim's name, and the value it must have if one is given.
    pub required_claims: Vec<(String, Option<String>)>,
    /// Where the roles are: `[jwt_auth] roles_claim_path`, or the one name of `roles_claim_name`.
    pub roles_path: Vec<String>,
    /// `[jwt_auth] audience`: the audiences of which a token must name one; none if empty.
    pub audience: Vec<String>,
    /// `[jwt_keys]`: `kind:kid` and key.
    pub keys: BTreeMap<String, String>,
    /// `[jwt_issuers]`: any name, and the URL of an issuer that publishes its keys.
    pub issuers: Vec<String>,
}

/// Options of `[couch_peruser]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerUserSettings {
    /// `enable`.
    pub enabled: bool,
    /// `delete_dbs`: whether a user's database goes with the user.
    pub delete: bool,
    /// `q` of new databases.
    pub q: u32,
    /// `database_prefix`.
    pub prefix: String,
}

impl AccountSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let http = Options::http(layers);
        let auth = Options { layers, sections: &["chttpd_auth", "couch_httpd_auth"] };
        Ok(Self {
            handlers: handlers(&http)?,
            list_readable_only: http.flag("all_dbs_lists_readable_only")?,
            hash_algorithms: hash_algorithms(&auth)?,
            passwords: PasswordPolicy::read(&auth)?,
            iterations: (auth.number("min_iterations")?, auth.number("max_iterations")?),
            upgrade_hashes: auth.flag("upgrade_hash_on_auth")?,
            public_fields: auth.list("public_fields"),
            allow_conflicted: auth.flag("allow_conflicted_user_docs")?,
            proxy: ProxySettings::read(&auth)?,
            jwt: JwtSettings::read(layers)?,
            per_user: PerUserSettings::read(layers)?,
        })
    }
}

fn handlers(http: &Options<'_>) -> Result<Vec<Handler>, ConfigError> {
    let key = "authentication_handlers";
    let text = http.text(key).unwrap_or_default();
    let wrong = || http.wrong(key, &text, "not a list of {module, handler} that Settee knows");
    let terms = Term::list(&text).ok_or_else(wrong)?;
    let handler = |term: &Term| {
        let function = term.pair().map(|(_, function)| function).or_else(|| term.text());
        function.and_then(Handler::parse).ok_or_else(wrong)
    };
    terms.iter().map(handler).collect()
}

/// Functions that this version doesn't have are passed over, as long as there is one that it has.
fn hash_algorithms(auth: &Options<'_>) -> Result<Vec<HashFunction>, ConfigError> {
    let key = "hash_algorithms";
    let known: Vec<_> =
        auth.list(key).iter().filter_map(|name| HashFunction::parse(name)).collect();
    match known.is_empty() {
        true => Err(auth.wrong(
            key,
            &auth.text(key).unwrap_or_default(),
            "none of sha, sha224, sha256, sha384 and sha512",
        )),
        false => Ok(known),
    }
}

impl PasswordPolicy {
    fn read(auth: &Options<'_>) -> Result<Self, ConfigError> {
        let text = |key| auth.text(key).unwrap_or_default();
        let (scheme, prf) = (text("password_scheme"), text("pbkdf2_prf"));
        Ok(Self {
            scheme: match scheme.as_str() {
                "pbkdf2" => PasswordScheme::Pbkdf2,
                "simple" => PasswordScheme::Simple,
                _ => return Err(auth.wrong("password_scheme", &scheme, "not pbkdf2 or simple")),
            },
            prf: HashFunction::parse(&prf).ok_or_else(|| {
                auth.wrong("pbkdf2_prf", &prf, "none of sha, sha224, sha256, sha384 and sha512")
            })?,
            iterations: auth.number("iterations")?,
            rules: password_rules(auth)?,
        })
    }
}

fn password_rules(auth: &Options<'_>) -> Result<Arc<[(Regex, String)]>, ConfigError> {
    let key = "password_regexp";
    let Some(text) = auth.text(key) else { return Ok(Arc::new([])) };
    let wrong = || auth.wrong(key, &text, "not a list of \"regex\" or {\"regex\", \"message\"}");
    let rule = |term: &Term| {
        let (pattern, message) = match term.text() {
            Some(pattern) => (pattern, ""),
            None => term.pair().ok_or_else(wrong)?,
        };
        Ok((Regex::new(pattern).map_err(|_| wrong())?, message.to_owned()))
    };
    Term::list(&text).ok_or_else(wrong)?.iter().map(rule).collect()
}

impl ProxySettings {
    fn read(auth: &Options<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            use_secret: auth.flag("proxy_use_secret")?,
            username: auth.header_name("x_auth_username")?,
            roles: auth.header_name("x_auth_roles")?,
            token: auth.header_name("x_auth_token")?,
        })
    }
}

impl JwtSettings {
    fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let options = Options { layers, sections: &["jwt_auth"] };
        let roles_path = match options.text("roles_claim_path") {
            Some(path) => claim_path(&path),
            None => options.text("roles_claim_name").into_iter().collect(),
        };
        Ok(Self {
            required_claims: required_claims(&options)?,
            roles_path,
            audience: options.list("audience"),
            keys: layers.section("jwt_keys"),
            issuers: layers.section("jwt_issuers").into_values().collect(),
        })
    }
}

fn required_claims(options: &Options<'_>) -> Result<Vec<(String, Option<String>)>, ConfigError> {
    let key = "required_claims";
    let text = options.text(key).unwrap_or_default();
    let wrong = || options.wrong(key, &text, "not a list of claims or {claim, \"value\"}");
    let claim = |term: &Term| match (term.text(), term.pair()) {
        (Some(name), _) => Ok((name.to_owned(), None)),
        (None, Some((name, value))) => Ok((name.to_owned(), Some(value.to_owned()))),
        (None, None) => Err(wrong()),
    };
    Term::list(&text).ok_or_else(wrong)?.iter().map(claim).collect()
}

/// The names in `a.b\.c`: dots separate them unless a backslash stands before.
fn claim_path(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '.' => names.push(String::new()),
            _ => {
                let escaped = char == '\\' && chars.peek() == Some(&'.');
                let char = if escaped { chars.next().unwrap_or(char) } else { char };
                names.last_mut().into_iter().for_each(|name| name.push(char));
            }
        }
    }
    names
}

impl PerUserSettings {
    fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let options = Options { layers, sections: &["couch_peruser"] };
        let prefix = options.text("database_prefix").unwrap_or_default();
        // Behind the prefix come hexadecimal digits only, so a name is legal if this one is.
        if settee_engine::name::check_database(&format!("{prefix}0")).is_err() {
            return Err(options.wrong(
                "database_prefix",
                &prefix,
                "no database's name begins like this",
            ));
        }
        Ok(Self {
            enabled: options.flag("enable")?,
            delete: options.flag("delete_dbs")?,
            q: options.number("q")?,
            prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AccountSettings, ConfigError> {
        AccountSettings::read(&Layers::with(text))
    }

    #[test]
    fn what_is_built_in() {
        let settings = read("").unwrap();
        assert_eq!(settings.handlers, [Handler::Cookie, Handler::Basic]);
        assert_eq!(settings.hash_algorithms, [HashFunction::Sha256, HashFunction::Sha1]);
        assert_eq!(settings.jwt.required_claims, [("exp".to_owned(), None)]);
        assert_eq!(settings.jwt.roles_path, ["_couchdb.roles"]);
        assert!(settings.proxy.use_secret && settings.list_readable_only);
        assert_eq!(settings.per_user.prefix, "userdb-");
    }

    #[test]
    fn handlers_as_couchdb_names_them() {
        let list = "[chttpd]\nauthentication_handlers = {chttpd_auth, jwt_authentication_handler}, \
                    {chttpd_auth, proxy_authentication_handler}\n";
        assert_eq!(read(list).unwrap().handlers, [Handler::Jwt, Handler::Proxy]);
        assert!(read("[chttpd]\nauthentication_handlers = {a, b}\n").is_err());
    }

    #[test]
    fn paths_of_claims() {
        assert_eq!(claim_path("a.b"), ["a", "b"]);
        assert_eq!(claim_path(r"my\.org.roles"), ["my.org", "roles"]);
    }

    #[test]
    fn rules_for_passwords() {
        let text =
            "[chttpd_auth]\npassword_regexp = [{\".{3,}\", \"Too short.\"}, \"^(?=.*[0-9])\"]\n";
        let rules = read(text).unwrap().passwords.rules;
        assert_eq!((rules.len(), rules[0].1.as_str()), (2, "Too short."));
        assert!(rules[1].0.is_match("a1").unwrap() && !rules[1].0.is_match("a").unwrap());
        assert!(read("[chttpd_auth]\npassword_regexp = [\"(\"]\n").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "[chttpd_auth]\npassword_scheme = rot13\n",
            "[chttpd_auth]\npbkdf2_prf = md5\n",
            "[chttpd_auth]\nhash_algorithms = crc32\n",
            "[jwt_auth]\nrequired_claims = {iss\n",
            "[couch_peruser]\ndatabase_prefix = User-\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
