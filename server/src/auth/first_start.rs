//! Making sure that there is an administrator before the first request.

use super::StoredPassword;
use super::password::hex;
use crate::config::{Config, ConfigError, PasswordPolicy};

/// The name of the administrator made when nobody names one.
const DEFAULT_NAME: &str = "admin";

/// The administrator that a first start has made; the password is in no file and is never shown
/// again.
pub struct FirstAdmin {
    /// The name.
    pub name: &'static str,
    /// The password.
    pub password: String,
}

/// Hashes every plain password of `[admins]` (writing the hash back to the file), takes over the
/// name and password given by the environment, makes an administrator with a random password if
/// there is none, and makes the cookie secret and the server's uuid if they are missing.
///
/// # Errors
///
/// When the configuration can't be written, or the system has no random numbers to give.
pub fn ensure_admin(
    config: &Config,
    from_environment: Option<(&str, &str)>,
) -> Result<Option<FirstAdmin>, ConfigError> {
    for (section, key) in [("chttpd_auth", "secret"), ("couchdb", "uuid")] {
        if config.get(section, key).is_none() {
            config.set(section, key, Some(&random_hex()?), true)?;
        }
    }
    for (name, value) in config.section("admins") {
        if matches!(StoredPassword::parse(&value), Ok(None)) {
            set_password(config, &name, &value)?;
        }
    }
    if let Some((name, password)) = from_environment {
        // The same password keeps its hash, and with it the cookies bound to the hash's salt.
        let stored = config.get("admins", name).map(|value| StoredPassword::parse(&value));
        if !matches!(stored, Some(Ok(Some(stored))) if stored.verify(password)) {
            set_password(config, name, password)?;
        }
    }
    if !config.section("admins").is_empty() {
        return Ok(None);
    }
    let password = random_hex()?;
    set_password(config, DEFAULT_NAME, &password)?;
    Ok(Some(FirstAdmin { name: DEFAULT_NAME, password }))
}

/// Stores the hash of an administrator's password.
fn set_password(config: &Config, name: &str, password: &str) -> Result<(), ConfigError> {
    let policy = config.settings().accounts.passwords;
    let stored = StoredPassword::hash(password, &policy, None).map_err(ConfigError::Randomness)?;
    config.set("admins", name, Some(&stored.to_string()), true)?;
    Ok(())
}

/// What is to be stored for a value given for `[admins]`: `None` when it is a hash already.
///
/// # Errors
///
/// When it looks like a hash and isn't one, or the system has no random numbers to give.
pub(crate) fn hash_unless_hashed(
    value: &str,
    policy: &PasswordPolicy,
) -> Result<Option<String>, ConfigError> {
    match StoredPassword::parse(value) {
        Ok(Some(_)) => Ok(None),
        Ok(None) => {
            let stored = StoredPassword::hash(value, policy, None);
            let stored = stored.map_err(ConfigError::Randomness)?;
            Ok(Some(stored.to_string()))
        }
        Err(_) => Err(ConfigError::Text("value: not a password hash this version can read")),
    }
}

/// 128 random bits, as 32 digits.
fn random_hex() -> Result<String, ConfigError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(ConfigError::Randomness)?;
    Ok(hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: &str = "[chttpd_auth]\niterations = 10\n";

    fn config(text: &str) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.ini");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(vec![path], &[]).unwrap();
        (dir, config)
    }

    fn stored(config: &Config, name: &str) -> StoredPassword {
        StoredPassword::parse(&config.get("admins", name).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_first_start_makes_an_admin_and_a_second_one_doesnt() {
        let (dir, config) = config(FAST);
        let made = ensure_admin(&config, None).unwrap().unwrap();
        assert!(stored(&config, "admin").verify(&made.password));
        let text = std::fs::read_to_string(dir.path().join("local.ini")).unwrap();
        assert!(!text.contains(&made.password), "the password is in no file");
        config.reload().unwrap();
        assert!(ensure_admin(&config, None).unwrap().is_none());
    }

    #[test]
    fn plain_passwords_are_hashed_in_the_file() {
        let (dir, config) = config(&format!("{FAST}[admins]\n; the boss\nanna = secret\n"));
        assert!(ensure_admin(&config, None).unwrap().is_none());
        let text = std::fs::read_to_string(dir.path().join("local.ini")).unwrap();
        assert!(text.contains("; the boss\nanna = -pbkdf2:sha256-"), "{text}");
        assert!(stored(&config, "anna").verify("secret"));
    }

    #[test]
    fn the_environment_names_the_admin() {
        let (_dir, config) = config(FAST);
        assert!(ensure_admin(&config, Some(("otto", "pass"))).unwrap().is_none());
        let first = stored(&config, "otto");
        assert!(first.verify("pass"));
        ensure_admin(&config, Some(("otto", "pass"))).unwrap();
        assert_eq!(stored(&config, "otto"), first, "the same password keeps its hash");
        ensure_admin(&config, Some(("otto", "other"))).unwrap();
        assert!(stored(&config, "otto").verify("other"));
    }
}
