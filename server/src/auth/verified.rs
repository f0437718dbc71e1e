//! Passwords that were verified lately, so that not every request costs a PBKDF2.

use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::RwLock;
use sha2::Sha256;

use super::StoredPassword;
use super::recent::Recent;

/// Users whose password is remembered, at most.
const MAX_REMEMBERED: usize = 10_000;

/// Remembers a keyed MAC of each user's password, under a key that lives and dies with the
/// process. It is bound to the stored hash: a new password is verified anew, even one that keeps its salt.
pub(super) struct VerifiedPasswords {
    keyed: Hmac<Sha256>,
    macs: RwLock<Recent<String, [u8; 32]>>,
}

impl VerifiedPasswords {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Self { keyed: Hmac::new(&key.into()), macs: RwLock::new(Recent::new(MAX_REMEMBERED)) })
    }

    /// Whether this password was verified for this user against this hash before.
    pub(super) fn contains(&self, name: &str, password: &str, stored: &StoredPassword) -> bool {
        let mac = self.mac(password, stored);
        let macs = self.macs.read();
        let known = macs.peek(name).copied();
        let fading = known.is_some() && macs.is_fading(name);
        drop(macs);
        let Some(known) = known else { return false };
        let same = mac.verify_slice(&known).is_ok();
        if same && fading {
            self.macs.write().insert(name.to_owned(), known);
        }
        same
    }

    pub(super) fn insert(&self, name: &str, password: &str, stored: &StoredPassword) {
        let mac = self.mac(password, stored).finalize().into_bytes().into();
        self.macs.write().insert(name.to_owned(), mac);
    }

    fn mac(&self, password: &str, stored: &StoredPassword) -> Hmac<Sha256> {
        let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
        let (salt, digest) = (stored.salt().as_bytes(), stored.digest());
        self.keyed
            .clone()
            .chain_update(length(salt))
            .chain_update(salt)
            .chain_update(length(digest))
            .chain_update(digest)
            .chain_update(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_against_the_same_hash_is_known() {
        let verified = VerifiedPasswords::new().unwrap();
        let (old, new) =
            (StoredPassword::new("a", 1).unwrap(), StoredPassword::new("a", 1).unwrap());
        verified.insert("anna", "a", &old);
        assert!(verified.contains("anna", "a", &old));
        assert!(!verified.contains("anna", "b", &old));
        assert!(!verified.contains("anna", "a", &new));
        assert!(!verified.contains("otto", "a", &old));
    }

    #[test]
    fn a_new_password_with_the_old_salt_is_verified_anew() {
        let policy = crate::config::Settings::default().accounts.passwords;
        let policy = crate::config::PasswordPolicy { iterations: 1, ..policy };
        let verified = VerifiedPasswords::new().unwrap();
        let old = StoredPassword::hash("a", &policy, Some("salt")).unwrap();
        let new = StoredPassword::hash("b", &policy, Some("salt")).unwrap();
        verified.insert("anna", "a", &old);
        assert!(!verified.contains("anna", "a", &new));
    }
}
