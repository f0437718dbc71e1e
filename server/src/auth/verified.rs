//! Passwords that were verified lately, so that not every request costs a PBKDF2.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::RwLock;
use sha2::Sha256;

use super::StoredPassword;

/// Users whose password is remembered, at most.
const MAX_REMEMBERED: usize = 1024;

/// Remembers a keyed MAC of each user's password, under a key that lives and dies with the
/// process. It is bound to the stored hash's salt: a new password is verified anew.
pub(super) struct VerifiedPasswords {
    keyed: Hmac<Sha256>,
    macs: RwLock<HashMap<String, [u8; 32]>>,
}

impl VerifiedPasswords {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Self { keyed: Hmac::new(&key.into()), macs: RwLock::default() })
    }

    /// Whether this password was verified for this user against this hash before.
    pub(super) fn contains(&self, name: &str, password: &str, stored: &StoredPassword) -> bool {
        let mac = self.mac(password, stored);
        let macs = self.macs.read();
        macs.get(name).is_some_and(|known| mac.verify_slice(known).is_ok())
    }

    pub(super) fn insert(&self, name: &str, password: &str, stored: &StoredPassword) {
        let mac = self.mac(password, stored).finalize().into_bytes().into();
        let mut macs = self.macs.write();
        if macs.len() >= MAX_REMEMBERED && !macs.contains_key(name) {
            // Rare, and whoever is forgotten pays for one more hash.
            macs.clear();
        }
        macs.insert(name.to_owned(), mac);
    }

    fn mac(&self, password: &str, stored: &StoredPassword) -> Hmac<Sha256> {
        let salt = stored.salt();
        let salt_len = u64::try_from(salt.len()).unwrap_or(u64::MAX);
        self.keyed
            .clone()
            .chain_update(salt_len.to_be_bytes())
            .chain_update(salt)
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
    fn memory_is_bounded() {
        let verified = VerifiedPasswords::new().unwrap();
        let stored = StoredPassword::new("a", 1).unwrap();
        for n in 0..3 * MAX_REMEMBERED {
            verified.insert(&n.to_string(), "a", &stored);
        }
        assert!(verified.macs.read().len() <= MAX_REMEMBERED);
    }
}
