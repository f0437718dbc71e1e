//! Bodies as compaction stores them: compressed, most of them with a dictionary of their database.
//!
//! ```text
//! packed     = 1:u8 number:4 length:varint frame               number 0: no dictionary
//! dictionary = meta key "dictionary/" number:4, big-endian
//!              its value: permille:varint dictionary
//! ```
//!
//! A body is a JSON object and begins with a brace, so a body that begins with 1 is a packed one. `frame`
//! is a frame of Zstandard, `number` the CRC-32 of the dictionary it needs, `permille` what that
//! dictionary made of a thousand bytes when it was new.
//!
//! Documents of one database are alike, and most are so small that a compressor has hardly begun when it is
//! at their end. A dictionary trained from some of them says beforehand what they have in common.
//! New edits are not packed: they are read soon, and a body that is about to be replaced is not worth it.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use settee_storage::{Direction, KeyRange, Snapshot};
use zstd::{
    bulk::Compressor,
    zstd_safe::{DCtx, DDict},
};

use crate::{
    codec::{Reader, put_varint},
    error::{Error, Result},
};

/// First byte of a packed body.
const PACKED: u8 = 1;
/// Before the number of a dictionary among the meta keys.
const DICTIONARY: &[u8] = b"dictionary/";

/// Level of zstd: its own default. Higher ones take four times as long for a twentieth.
const LEVEL: i32 = 3;
/// Bodies shorter than this stay as they are.
pub(crate) const MIN_BODY_BYTES: usize = 48;
/// Longest body that is packed, in bytes: it has to be unpacked whole to be read.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// A packed body is at most so many eighths as long as it was; otherwise it stays as it is.
const MAX_PART_OF_EIGHT: usize = 7;

/// Longest dictionary, in bytes. Longer ones packed the orders of the load tool no better.
const MAX_DICTIONARY_BYTES: usize = 8 * 1024;
/// Fewest bodies that a dictionary is trained from.
const MIN_SAMPLES: usize = 32;
/// A dictionary is at most this part of what it is trained from; a larger one knows it by heart.
const DICTIONARY_PART: usize = 8;

/// Dictionaries of one database that are held ready.
pub(crate) const MAX_READY: usize = 4;
/// Decoders that are held ready, some 100 KiB each.
const MAX_IDLE_DECODERS: usize = 16;

/// What is said of a database whose packed bodies cannot be read.
const DAMAGED: Error = Error::Damaged("dictionary of packed bodies");

/// Whether a stored body is packed.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    body.first() == Some(&PACKED)
}

/// The number of the dictionary that a body is packed with, 0 for none; `None` if it is not packed.
pub(crate) fn packed_with(body: &[u8]) -> Option<u32> {
    Packed::decode(body).ok().map(|packed| packed.number)
}

/// The number of the dictionary that a meta key is for, if it is for one.
pub(crate) fn dictionary_number(key: &[u8]) -> Option<u32> {
    key.strip_prefix(DICTIONARY)?.try_into().ok().map(u32::from_be_bytes)
}

/// A dictionary as a database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dictionary {
    /// What it made of a thousand bytes when it was new.
    pub(crate) permille: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Dictionary {
    /// Learns from bodies; `None` if there is too little to learn.
    pub(crate) fn train<'b>(bodies: impl Iterator<Item = &'b [u8]>) -> Option<Vec<u8>> {
        let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
        for body in bodies {
            bytes.extend_from_slice(body);
            sizes.push(body.len());
        }
        if sizes.len() < MIN_SAMPLES {
            return None;
        }
        let most = MAX_DICTIONARY_BYTES.min(bytes.len() / DICTIONARY_PART);
        zstd::dict::from_continuous(&bytes, &sizes, most).ok()
    }

    /// What bodies name it by: its CRC-32. 0 stands for none, and is never that of one that is used.
    pub(crate) fn number(&self) -> u32 {
        crc32fast::hash(&self.bytes)
    }

    /// The meta key it is kept under.
    pub(crate) fn key(&self) -> Vec<u8> {
        key_of(self.number())
    }

    /// What is kept there.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 2);
        put_varint(&mut out, self.permille);
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads what is kept under the key of this number.
    pub(crate) fn decode(number: u32, value: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(value, "dictionary of packed bodies");
        let permille = reader.varint()?;
        let dictionary = Dictionary { permille, bytes: reader.rest().to_vec() };
        if number == 0 || dictionary.number() != number { Err(DAMAGED) } else { Ok(dictionary) }
    }

    /// The dictionaries of a database, as far as they can be held ready.
    pub(crate) fn all(snapshot: &dyn Snapshot) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let mut keys = snapshot.metas(&KeyRange::prefix(DICTIONARY), Direction::Forward)?;
        while let Some((key, value)) = keys.next()?
            && found.len() < MAX_READY
        {
            let number = dictionary_number(key).ok_or(DAMAGED)?;
            found.push(Dictionary::decode(number, value)?);
        }
        Ok(found)
    }
}

fn key_of(number: u32) -> Vec<u8> {
    [DICTIONARY, &number.to_be_bytes()].concat()
}

/// Packs bodies.
pub(crate) struct Packer {
    /// Number of its dictionary, 0 for none.
    number: u32,
    compressor: Compressor<'static>,
}

impl Packer {
    /// With a dictionary or without one.
    pub(crate) fn new(dictionary: Option<&Dictionary>) -> Result<Self> {
        let bytes = dictionary.map_or(&[][..], |dictionary| &dictionary.bytes);
        let begin = || {
            let mut compressor = Compressor::with_dictionary(LEVEL, bytes)?;
            // Number and length stand in front of the frame, and a checksum over it in the reference.
            compressor.include_dictid(false)?;
            compressor.include_checksum(false)?;
            compressor.include_contentsize(false)?;
            Ok::<_, std::io::Error>(compressor)
        };
        let compressor = begin().map_err(|_| DAMAGED)?;
        Ok(Packer { number: dictionary.map_or(0, Dictionary::number), compressor })
    }

    /// The packed form of a text; `None` if that is not worth it.
    pub(crate) fn pack(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        if !(MIN_BODY_BYTES..=MAX_BODY_BYTES).contains(&text.len()) {
            return None;
        }
        let frame = self.compressor.compress(text).ok()?;
        let mut packed = Vec::with_capacity(frame.len() + 9);
        packed.push(PACKED);
        packed.extend_from_slice(&self.number.to_le_bytes());
        put_varint(&mut packed, text.len() as u64);
        packed.extend_from_slice(&frame);
        (packed.len() * 8 <= text.len() * MAX_PART_OF_EIGHT).then_some(packed)
    }
}

/// A packed body, taken apart.
struct Packed<'b> {
    number: u32,
    /// Length of the text.
    len: usize,
    frame: &'b [u8],
}

impl<'b> Packed<'b> {
    fn decode(body: &'b [u8]) -> Result<Self> {
        let mut reader = Reader::new(body, "packed document body");
        let mark = reader.byte()?;
        let (number, len) = (u32::from_le_bytes(reader.array()?), reader.varint()?);
        match usize::try_from(len) {
            Ok(len) if mark == PACKED && len <= MAX_BODY_BYTES => {
                Ok(Packed { number, len, frame: reader.rest() })
            }
            _ => Err(reader.damaged()),
        }
    }
}

/// The dictionaries of a database that were needed lately. What is kept here never gets stale, since a
/// dictionary's number says what is in it.
#[derive(Default)]
pub(crate) struct Dictionaries(RwLock<Vec<(u32, Arc<DDict<'static>>)>>);

impl std::fmt::Debug for Dictionaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dictionaries").field(&self.0.read().len()).finish()
    }
}

impl Dictionaries {
    /// The text of a packed body. `snapshot` is where the body was found.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not what [`Packer::pack`] writes or its dictionary is missing. Whatever the
    /// frame claims, no more is unpacked than a body may have.
    pub(crate) fn unpack(&self, body: &[u8], snapshot: &dyn Snapshot) -> Result<Vec<u8>> {
        let Packed { number, len, frame } = Packed::decode(body)?;
        let dictionary = match number {
            0 => None,
            number => Some(self.ready(number, snapshot)?),
        };
        let mut text = Vec::with_capacity(len);
        let mut decoder = idle_decoder();
        let unpacked = match &dictionary {
            None => decoder.decompress(&mut text, frame),
            Some(ready) => decoder.decompress_using_ddict(&mut text, frame, ready),
        };
        give_back(decoder);
        match unpacked {
            Ok(unpacked) if unpacked == len => Ok(text),
            _ => Err(Error::Damaged("packed document body")),
        }
    }

    fn ready(&self, number: u32, snapshot: &dyn Snapshot) -> Result<Arc<DDict<'static>>> {
        let find = |(known, _): &&(u32, Arc<DDict<'static>>)| *known == number;
        if let Some((_, ready)) = self.0.read().iter().find(find) {
            return Ok(Arc::clone(ready));
        }
        let stored = snapshot.meta(&key_of(number))?.ok_or(DAMAGED)?;
        let dictionary = Dictionary::decode(number, &stored)?;
        let ready = Arc::new(DDict::try_create(&dictionary.bytes).ok_or(DAMAGED)?);
        let mut known = self.0.write();
        if known.len() >= MAX_READY {
            known.remove(0);
        }
        known.push((number, Arc::clone(&ready)));
        Ok(ready)
    }
}

/// Decoders that nobody uses at the moment: making one takes longer than unpacking a small body, and one
/// for each thread that ever read would be many.
static IDLE_DECODERS: Mutex<Vec<DCtx<'static>>> = Mutex::new(Vec::new());

fn idle_decoder() -> DCtx<'static> {
    let idle = IDLE_DECODERS.lock().pop();
    idle.unwrap_or_else(DCtx::create)
}

fn give_back(decoder: DCtx<'static>) {
    let mut idle = IDLE_DECODERS.lock();
    if idle.len() < MAX_IDLE_DECODERS {
        idle.push(decoder);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;
    use settee_storage::{FileStore, Options, Store, update};

    use super::*;

    fn body(number: usize) -> Vec<u8> {
        format!(
            r#"{{"type":"order","number":{number},"customer":{{"name":"Customer {}"}},"note":"Please ring twice"}}"#,
            number * 7919 % 1000
        )
        .into_bytes()
    }

    /// Trained once: that takes longer than a test with it.
    fn trained() -> Dictionary {
        static TRAINED: OnceLock<Dictionary> = OnceLock::new();
        let train = || {
            let bodies: Vec<_> = (0..500).map(body).collect();
            let bytes = Dictionary::train(bodies.iter().map(|body| &body[..])).unwrap();
            Dictionary { permille: 300, bytes }
        };
        TRAINED.get_or_init(train).clone()
    }

    fn store(dictionary: &Dictionary) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = FileStore::in_memory(Options::default()).unwrap();
        let (key, value) = (dictionary.key(), dictionary.encode());
        update(&store, move |edit| edit.put_meta(&key, &value)).unwrap();
        store
    }

    #[test]
    fn small_bodies_that_are_alike_become_much_smaller() {
        let dictionary = trained();
        let snapshot = store(&dictionary).snapshot().unwrap();
        assert_eq!(Dictionary::all(&*snapshot).unwrap(), std::slice::from_ref(&dictionary));
        let mut packer = Packer::new(Some(&dictionary)).unwrap();
        let dictionaries = Dictionaries::default();
        for number in 1000..1100 {
            let packed = packer.pack(&body(number)).unwrap();
            assert_eq!(packed_with(&packed), Some(dictionary.number()));
            assert!(packed.len() * 2 < body(number).len());
            assert_eq!(dictionaries.unpack(&packed, &*snapshot).unwrap(), body(number));
        }
    }

    #[test]
    fn what_does_not_become_smaller_stays() {
        let mut packer = Packer::new(None).unwrap();
        assert!(packer.pack(b"{}").is_none());
        let mut state = 88_172_645_463_325_252u64;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(400)
        .collect();
        assert!(packer.pack(&random).is_none());
        assert!(packer.pack(&vec![b'x'; MAX_BODY_BYTES + 1]).is_none());
        assert!(packer.pack(&vec![b'x'; 1000]).is_some());
        assert!(Dictionary::train(std::iter::empty()).is_none());
    }

    /// A frame that claims little and holds much, or the other way round.
    #[test]
    fn a_length_that_is_not_the_texts_is_damage() {
        let text = vec![b'x'; 3_000_000];
        let packed = Packer::new(None).unwrap().pack(&text).unwrap();
        let snapshot = store(&trained()).snapshot().unwrap();
        let dictionaries = Dictionaries::default();
        assert_eq!(dictionaries.unpack(&packed, &*snapshot).unwrap(), text);
        let frame = Packed::decode(&packed).unwrap().frame;
        for claimed in [0, 100, 2_999_999, 3_000_001, MAX_BODY_BYTES as u64 + 1, u64::MAX] {
            let mut forged = vec![PACKED, 0, 0, 0, 0];
            put_varint(&mut forged, claimed);
            forged.extend_from_slice(frame);
            let unpacked = dictionaries.unpack(&forged, &*snapshot);
            assert!(matches!(unpacked, Err(Error::Damaged(_))), "{claimed}");
        }
    }

    #[test]
    fn a_dictionary_that_is_missing_or_another_is_damage() {
        let (dictionary, mut other) = (trained(), trained());
        other.bytes.push(0);
        let packed = Packer::new(Some(&other)).unwrap().pack(&body(1)).unwrap();
        let without = store(&dictionary).snapshot().unwrap();
        let unpacked = Dictionaries::default().unpack(&packed, &*without);
        assert!(matches!(unpacked, Err(Error::Damaged(_))));
        assert!(Dictionary::decode(other.number(), &dictionary.encode()).is_err());
        assert_eq!(Dictionary::decode(other.number(), &other.encode()).unwrap(), other);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), is_known in any::<bool>()) {
            let dictionary = trained();
            let snapshot = store(&dictionary).snapshot().unwrap();
            let number = if is_known { dictionary.number() } else { 0 };
            let packed = [&[PACKED], &number.to_le_bytes()[..], &[50], &bytes[..]].concat();
            let _ = Dictionaries::default().unpack(&packed, &*snapshot);
            let _ = Dictionaries::default().unpack(&bytes, &*snapshot);
            let _ = Dictionary::decode(number, &bytes);
        }
    }
}
