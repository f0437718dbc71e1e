//! Numbers and byte strings as they are written inside frames: little-endian, or variable-length with
//! seven bits a byte. Reading treats its input as hostile: nothing is believed before it is checked.

/// Most bytes a variable-length number takes.
pub(crate) const MAX_VARINT_BYTES: usize = 10;

/// Appends a variable-length number: seven bits a byte, low bits first, the top bit means "more".
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A length in memory as a number on disk.
pub(crate) fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The first eight bytes as a number that orders as they do; missing ones count as zeros. Kept beside the place of
/// a key, so that most comparisons touch no other memory.
pub(crate) fn head(key: &[u8]) -> u64 {
    u64::from_be_bytes(match key.first_chunk() {
        Some(head) => *head,
        None => {
            let mut head = [0; size_of::<u64>()];
            head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            head
        }
    })
}

/// Reads a byte slice from front to back. Every method returns `None` when the bytes do not suffice or
/// are not in their one valid form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Input(bytes)
    }

    /// What has not been read yet.
    pub(crate) fn rest(self) -> &'b [u8] {
        self.0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for index in 0..MAX_VARINT_BYTES {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index;
            // The tenth byte has room for one bit only.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A variable-length number that is a length in memory.
    pub(crate) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// A length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = self.size()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_strings_come_back(numbers: Vec<u64>, text: Vec<u8>) {
            let mut out = Vec::new();
            for number in &numbers {
                put_varint(&mut out, *number);
            }
            put_bytes(&mut out, &text);
            let mut input = Input::new(&out);
            for number in &numbers {
                prop_assert_eq!(input.varint(), Some(*number));
            }
            prop_assert_eq!(input.bytes(), Some(text.as_slice()));
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn short_and_overlong_input_is_refused() {
        assert_eq!(Input::new(&[]).varint(), None);
        assert_eq!(Input::new(&[0x80]).varint(), None);
        assert_eq!(Input::new(&[0xff; 11]).varint(), None);
        let mut most = vec![0xff; 9];
        most.push(1);
        assert_eq!(Input::new(&most).varint(), Some(u64::MAX));
        assert_eq!(Input::new(&[5, 1, 2]).bytes(), None);
        assert_eq!(Input::new(&[1, 2, 3]).u32(), None);
    }
}
