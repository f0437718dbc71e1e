//! Entity tags of answers that are not one document.

use md5::{Digest, Md5};
use settee_engine::{Database, Reader};

/// The tag of anything read from this moment of a database: it changes with every write.
pub(crate) fn of_database(database: &Database, reader: &Reader) -> String {
    of(&[&database.uuid().0, &reader.seq().to_be_bytes()])
}

/// The tag of some state, given as bytes: 128 bits in base 36, as CouchDB writes them.
pub(crate) fn of(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        // Lengths keep neighbouring parts apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    base36(u128::from_be_bytes(hash.finalize().into()))
}

fn base36(mut number: u128) -> String {
    let mut digits = Vec::with_capacity(25);
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0').to_ascii_uppercase());
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_base_36() {
        assert_eq!(base36(0), "0");
        assert_eq!(base36(35), "Z");
        assert_eq!(base36(36), "10");
        assert_eq!(base36(u128::MAX), "F5LXX1ZZ5PNORYNQGLHZMSP33");
    }

    #[test]
    fn tags_tell_states_apart() {
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_eq!(of(&[b"ab"]), of(&[b"ab"]));
    }
}
