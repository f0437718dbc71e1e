//! Sort keys that were made lately. The strings that views are keyed by often come again and again (types, cities,
//! tags), and a sort key costs many times what finding it here does: building five views of which four are keyed by
//! strings, it was a seventh of the processor time.

use std::cell::RefCell;

/// Sort keys each thread remembers: 26 KiB.
const SLOTS: usize = 256;
/// Longest string that is remembered, in bytes.
const MAX_TEXT_BYTES: usize = 32;
/// Longest sort key that is remembered, in bytes.
const MAX_KEY_BYTES: usize = 64;

#[derive(Clone, Copy)]
struct Slot {
    text_len: u8,
    key_len: u8,
    text: [u8; MAX_TEXT_BYTES],
    key: [u8; MAX_KEY_BYTES],
}

/// Of no string: its length is none that is remembered.
const EMPTY: Slot =
    Slot { text_len: u8::MAX, key_len: 0, text: [0; MAX_TEXT_BYTES], key: [0; MAX_KEY_BYTES] };

thread_local! {
    static RECENT: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

impl Slot {
    fn key_of(&self, text: &[u8]) -> Option<&[u8]> {
        let known = self.text.get(..usize::from(self.text_len))?;
        if known == text { self.key.get(..usize::from(self.key_len)) } else { None }
    }

    fn remember(&mut self, text: &[u8], key: &[u8]) {
        let (Ok(text_len), Ok(key_len)) = (u8::try_from(text.len()), u8::try_from(key.len()))
        else {
            return;
        };
        if let (Some(text_slot), Some(key_slot)) =
            (self.text.get_mut(..text.len()), self.key.get_mut(..key.len()))
        {
            text_slot.copy_from_slice(text);
            key_slot.copy_from_slice(key);
            (self.text_len, self.key_len) = (text_len, key_len);
        }
    }
}

/// Appends the sort key of a string, which `make` appends if it is not remembered.
pub(super) fn sort_key(text: &str, out: &mut Vec<u8>, make: fn(&str, &mut Vec<u8>)) {
    if text.len() > MAX_TEXT_BYTES {
        return make(text, out);
    }
    RECENT.with_borrow_mut(|recent| {
        if recent.is_empty() {
            recent.resize(SLOTS, EMPTY);
        }
        let Some(slot) = recent.get_mut(place(text.as_bytes())) else { return make(text, out) };
        if let Some(key) = slot.key_of(text.as_bytes()) {
            return out.extend_from_slice(key);
        }
        let start = out.len();
        make(text, out);
        slot.remember(text.as_bytes(), out.get(start..).unwrap_or_default());
    });
}

/// Where a string would be remembered. (FNV-1a, over eight bytes at a time.)
fn place(text: &[u8]) -> usize {
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for chunk in text.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(byte, given)| *byte = *given);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
        hash ^= hash >> 29;
    }
    (hash ^ text.len() as u64) as usize % SLOTS
}
