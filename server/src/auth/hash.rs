//! HMAC and PBKDF2 over the hash functions that the configuration names.

use hmac::{Hmac, KeyInit as _, Mac as _};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::config::HashFunction;

/// Runs `$body` with `$hash` standing for the type of the function.
macro_rules! with_hash {
    ($function:expr, $hash:ident => $body:expr) => {
        match $function {
            HashFunction::Sha1 => {
                type $hash = Sha1;
                $body
            }
            HashFunction::Sha224 => {
                type $hash = Sha224;
                $body
            }
            HashFunction::Sha256 => {
                type $hash = Sha256;
                $body
            }
            HashFunction::Sha384 => {
                type $hash = Sha384;
                $body
            }
            HashFunction::Sha512 => {
                type $hash = Sha512;
                $body
            }
        }
    };
}

/// The message's authentication code.
pub(crate) fn hmac(function: HashFunction, key: &[u8], message: &[u8]) -> Vec<u8> {
    with_hash!(function, Hash => match Hmac::<Hash>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().to_vec(),
        // HMAC takes keys of any length.
        Err(_) => Vec::new(),
    })
}

/// Whether `code` is the message's authentication code. Takes the same time whatever comes out.
pub(crate) fn is_hmac(function: HashFunction, key: &[u8], message: &[u8], code: &[u8]) -> bool {
    with_hash!(function, Hash => Hmac::<Hash>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(message).verify_slice(code).is_ok()))
}

/// A key derived from a password, as long as the function's output.
pub(super) fn pbkdf2(
    function: HashFunction,
    password: &[u8],
    salt: &str,
    iterations: u32,
    bytes: usize,
) -> Vec<u8> {
    let mut key = vec![0; bytes];
    with_hash!(function, Hash => pbkdf2_hmac::<Hash>(password, salt.as_bytes(), iterations, &mut key));
    key
}
