//! `X-Couch-Request-ID`: the name by which a request is found again in logs.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// The longest id that is taken from a client, in bytes.
const MAX_BYTES: usize = 36;

/// Hexadecimal digits of an id made here.
const DIGITS: usize = 10;

/// The client's own id if it is a sensible one, or else a new one.
pub(super) fn of(given: Option<&HeaderValue>) -> HeaderValue {
    match given.filter(|value| is_sensible(value.as_bytes())) {
        Some(value) => value.clone(),
        None => new(),
    }
}

fn is_sensible(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(plain)
}

/// Ids need to be told apart, not to be hard to guess: a counter, scattered by a hash that is keyed
/// anew in each process.
fn new() -> HeaderValue {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static SCATTER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut bits = SCATTER.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut id = [b'0'; DIGITS];
    for digit in &mut id {
        *digit = match u8::try_from(bits & 15).unwrap_or(0) {
            small @ 0..=9 => b'0' + small,
            letter => b'a' + letter - 10,
        };
        bits >>= 4;
    }
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0000000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensible_ids_are_echoed_and_others_replaced() {
        let echoed = HeaderValue::from_static("My_id-7");
        assert_eq!(of(Some(&echoed)), echoed);
        for odd in ["", "a b", "x;y", &"a".repeat(37)] {
            let odd = HeaderValue::from_str(odd).unwrap();
            assert_eq!(of(Some(&odd)).len(), DIGITS, "{odd:?}");
        }
        assert_ne!(of(None), of(None));
    }
}
