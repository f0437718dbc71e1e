//! Time-based one-time passwords (RFC 6238), as user documents ask for them.

use settee_engine::json::Value;
use subtle::ConstantTimeEq as _;

use super::hash;
use crate::config::HashFunction;

/// A token's life, in seconds.
const STEP_S: u64 = 30;

/// The longest key that is read, in characters.
const MAX_KEY_CHARS: usize = 512;

/// The secret behind a user's one-time passwords.
#[derive(Clone)]
pub(super) struct Totp {
    key: Vec<u8>,
    function: HashFunction,
    digits: u32,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp").finish_non_exhaustive()
    }
}

impl Totp {
    /// Reads `{"key": base32, "algorithm": "sha", "length": 6}`.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let key = value.get("key")?.as_str().filter(|key| key.len() <= MAX_KEY_CHARS)?;
        let function = match value.get("algorithm") {
            None => HashFunction::Sha1,
            Some(name) => HashFunction::parse(name.as_str()?)?,
        };
        let digits = match value.get("length") {
            None => 6,
            Some(length) => u32::try_from(length.as_u64()?).ok()?,
        };
        let known =
            matches!(function, HashFunction::Sha1 | HashFunction::Sha256 | HashFunction::Sha512);
        let key = base32(key).filter(|key| !key.is_empty())?;
        (known && (6..=8).contains(&digits)).then_some(Self { key, function, digits })
    }

    /// Whether this is the token of now (seconds since 1970), or of half a minute before or after.
    pub(super) fn accepts(&self, token: &str, now: u64) -> bool {
        let step = now / STEP_S;
        let steps = [step.saturating_sub(1), step, step.saturating_add(1)];
        let same = |step: u64| bool::from(self.token(step).as_bytes().ct_eq(token.as_bytes()));
        steps.into_iter().fold(false, |accepted, step| accepted | same(step))
    }

    fn token(&self, step: u64) -> String {
        let mac = hash::hmac(self.function, &self.key, &step.to_be_bytes());
        let offset = mac.last().map_or(0, |last| usize::from(last & 15));
        let chunk = mac.get(offset..).and_then(|rest| rest.first_chunk()).copied();
        let number = u32::from_be_bytes(chunk.unwrap_or_default()) & 0x7fff_ffff;
        let digits = usize::try_from(self.digits).unwrap_or_default();
        format!("{:0digits$}", number % 10u32.pow(self.digits))
    }
}

/// Decodes base32 (RFC 4648), padded or not.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut buffer) = (Vec::new(), 0, 0u32);
    for char in text.trim_end_matches('=').bytes() {
        let value = match char.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        buffer = buffer << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totp(json: &str) -> Option<Totp> {
        Totp::read(&Value::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn tokens_of_rfc_6238() {
        // The RFC's key is "12345678901234567890".
        let key = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let totp = totp(&format!(r#"{{"key":"{key}","length":8}}"#)).unwrap();
        for (now, token) in
            [(59, "94287082"), (1_111_111_109, "07081804"), (2_000_000_000, "69279037")]
        {
            assert!(totp.accepts(token, now), "{now}");
            assert!(totp.accepts(token, now + STEP_S));
            assert!(!totp.accepts(token, now + 3 * STEP_S));
        }
        assert!(!totp.accepts("", 59));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            "{}",
            r#"{"key":""}"#,
            r#"{"key":"1"}"#,
            r#"{"key":"AAAA","algorithm":"md5"}"#,
            r#"{"key":"AAAA","length":40}"#,
        ] {
            assert!(totp(json).is_none(), "{json}");
        }
    }
}
