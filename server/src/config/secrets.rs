//! Options that hold secrets, and secrets given by the environment.

use std::{env, fs};

/// What is shown instead of a secret.
pub const MASK: &str = "********";

/// The longest file that is taken for a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Whether an option's value is never to be shown: not by `/_node/_local/_config`, not in the log,
/// not in an error. Password hashes of `[admins]` are shown to administrators, as in CouchDB.
pub fn is_secret(section: &str, key: &str) -> bool {
    match section {
        "chttpd_auth" | "couch_httpd_auth" => key == "secret",
        "ssl" | "replicator" => key == "password",
        "jwt_keys" => key.starts_with("hmac:"),
        _ => false,
    }
}

/// The secret that an environment variable holds, or the file that `VARIABLE_FILE` names, as
/// container platforms hand secrets over; the newline at such a file's end is not part of it.
///
/// # Errors
///
/// When both are given, the file can't be read, or the secret is not one line of text.
pub fn from_environment(variable: &str) -> Result<Option<String>, String> {
    let file_variable = format!("{variable}_FILE");
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    one_of(variable, given(variable), given(&file_variable))
}

fn one_of(
    variable: &str,
    value: Option<String>,
    file: Option<String>,
) -> Result<Option<String>, String> {
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(format!("{variable} and {variable}_FILE are both given; give one of them"));
        }
        (None, None) => return Ok(None),
        (Some(value), None) => value,
        (None, Some(path)) => {
            read(&path).map_err(|error| format!("{variable}_FILE: {path}: {error}"))?
        }
    };
    if secret.chars().any(char::is_control) {
        return Err(format!("{variable}: the value must be one line of text"));
    }
    Ok(Some(secret))
}

fn read(path: &str) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_SECRET_BYTES {
        return Err(format!("longer than {MAX_SECRET_BYTES} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_a_variable_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |text: &str| {
            let path = dir.path().join("secret");
            fs::write(&path, text).unwrap();
            Some(path.to_str().unwrap().to_owned())
        };
        assert_eq!(one_of("S", None, None), Ok(None));
        assert_eq!(one_of("S", Some("x".into()), None), Ok(Some("x".into())));
        assert_eq!(one_of("S", None, path("from a file\r\n")), Ok(Some("from a file".into())));
        assert!(one_of("S", Some("x".into()), path("y")).is_err());
        assert!(one_of("S", None, path("two\nlines\n")).is_err());
        assert!(one_of("S", None, Some("/no/such/file".into())).is_err());
        assert!(one_of("S", Some("x\r\ny".into()), None).is_err());
    }
}
