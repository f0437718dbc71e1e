//! The little of ASN.1's distinguished encoding that public keys need.

/// Tags of the elements that are read.
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// What `SubjectPublicKeyInfo` (RFC 5280, 4.1) says.
pub(super) struct PublicKeyInfo<'d> {
    /// The object id of the algorithm.
    pub(super) algorithm: &'d [u8],
    /// What is said of it besides: the object id of a curve, for instance.
    pub(super) parameter: Option<&'d [u8]>,
    /// The key.
    pub(super) key: &'d [u8],
}

/// Reads a `SubjectPublicKeyInfo`; `None` if it is none.
pub(super) fn public_key_info(der: &[u8]) -> Option<PublicKeyInfo<'_>> {
    let (info, rest) = element(SEQUENCE, der)?;
    let (identifier, key) = element(SEQUENCE, info)?;
    let (algorithm, parameters) = element(OBJECT_ID, identifier)?;
    let parameter = element(OBJECT_ID, parameters).map(|(parameter, _)| parameter);
    let (bits, after) = element(BIT_STRING, key)?;
    let (unused, key) = bits.split_first()?;
    let whole = *unused == 0 && after.is_empty() && rest.is_empty();
    whole.then_some(PublicKeyInfo { algorithm, parameter, key })
}

/// The content of the first element, if it has this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    match first {
        short @ 0..=0x7f => rest.split_at_checked(usize::from(*short)),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest.split_at_checked(length)
        }
        // No key is longer than 64 KiB.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_and_nothing_else() {
        let der = [0x30, 12, 0x30, 6, 0x06, 1, 9, 0x06, 1, 7, 0x03, 2, 0, 5];
        let info = public_key_info(&der).unwrap();
        assert_eq!(
            (info.algorithm, info.parameter, info.key),
            (&[9][..], Some(&[7][..]), &[5][..])
        );
        for end in 0..der.len() {
            assert!(public_key_info(&der[..end]).is_none());
        }
        assert!(public_key_info(&[&der[..], &[0]].concat()).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = public_key_info(&bytes);
        }
    }
}
