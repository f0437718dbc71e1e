//! How bodies are packed in one compaction: with the dictionary the database has, or a new one if that
//! would do much better.

use std::sync::Arc;

use settee_storage::{Direction, Snapshot, Store, update};

use crate::{
    document::{
        ChangeEntry, Summary,
        packed::{Dictionaries, Dictionary, MIN_BODY_BYTES, Packer, is_packed, packed_with},
    },
    error::Result,
};

/// Most bodies that are looked at beforehand. A dictionary is trained from every other one, and the rest
/// shows what it is worth.
const MAX_SAMPLES: u64 = 1000;
/// Most bytes of one body, and of all, that are looked at.
const MAX_SAMPLE_BYTES: usize = 4 * 1024;
const MAX_ALL_SAMPLES_BYTES: usize = 512 * 1024;
/// A new dictionary takes the place of the old one if it leaves less than so many eighths of what the old
/// one leaves. As long as the old one leaves no more than it did when it was new, by the same
/// measure, none is trained.
const BETTER_EIGHTHS: u64 = 7;

/// How the bodies of one compaction are packed.
pub(crate) struct Packing {
    /// Where dictionaries of old bodies are.
    snapshot: Arc<dyn Snapshot>,
    dictionaries: Dictionaries,
    goal: Goal,
}

/// What becomes of bodies.
enum Goal {
    Text,
    Packed { dictionary: Option<Dictionary>, number: u32 },
}

impl Packing {
    /// Chooses a dictionary for what `store` holds and, if it is a new one, stores it there: a compaction
    /// takes it along, and if that one fails, the next one finds it.
    pub(crate) fn prepare(store: &Arc<dyn Store>, is_wanted: bool) -> Result<Self> {
        let snapshot = store.snapshot()?;
        let dictionaries = Dictionaries::default();
        let goal = match is_wanted {
            false => Goal::Text,
            true => {
                let samples = samples(&*snapshot, &dictionaries)?;
                let known = Dictionary::all(&*snapshot)?;
                let (chosen, is_new) = choose(known, &samples)?;
                if let Some(chosen) = chosen.as_ref().filter(|_| is_new) {
                    let (key, value) = (chosen.key(), chosen.encode());
                    update(store, move |edit| edit.put_meta(&key, &value))?;
                }
                let number = chosen.as_ref().map_or(0, Dictionary::number);
                Goal::Packed { dictionary: chosen, number }
            }
        };
        Ok(Packing { snapshot, dictionaries, goal })
    }

    /// The number of the dictionary that the new file needs, 0 for none.
    pub(crate) fn number(&self) -> u32 {
        match &self.goal {
            Goal::Text => 0,
            Goal::Packed { number, .. } => *number,
        }
    }

    /// The same with what one thread packs by, which is made when it is needed.
    pub(crate) fn with<'p>(&'p self, packer: &'p mut Option<Packer>) -> BodyPacker<'p> {
        BodyPacker { packing: self, packer }
    }

    fn unpack(&self, body: &[u8]) -> Result<Vec<u8>> {
        self.dictionaries.unpack(body, &*self.snapshot)
    }
}

/// Packs bodies on one thread.
pub(crate) struct BodyPacker<'p> {
    packing: &'p Packing,
    packer: &'p mut Option<Packer>,
}

impl BodyPacker<'_> {
    /// What is stored in place of a body; `None` if it stays as it is.
    pub(crate) fn pack(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>> {
        let packing = self.packing;
        match (&packing.goal, is_packed(body)) {
            (Goal::Text, false) => Ok(None),
            (Goal::Text, true) => packing.unpack(body).map(Some),
            (Goal::Packed { dictionary, .. }, false) => self.pack_text(body, dictionary.as_ref()),
            (Goal::Packed { number, .. }, true) if packed_with(body) == Some(*number) => Ok(None),
            (Goal::Packed { dictionary, .. }, true) => {
                let text = packing.unpack(body)?;
                let packed = self.pack_text(&text, dictionary.as_ref())?;
                Ok(Some(packed.unwrap_or(text)))
            }
        }
    }

    fn pack_text(
        &mut self,
        text: &[u8],
        dictionary: Option<&Dictionary>,
    ) -> Result<Option<Vec<u8>>> {
        let packer = match self.packer.take() {
            Some(packer) => packer,
            None => Packer::new(dictionary)?,
        };
        Ok(self.packer.insert(packer).pack(text))
    }
}

/// The dictionary for bodies like these, and whether it is a new one.
fn choose(known: Vec<Dictionary>, samples: &[Vec<u8>]) -> Result<(Option<Dictionary>, bool)> {
    let mut best = None::<(u64, Dictionary)>;
    for dictionary in known {
        let left = permille(Some(&dictionary), samples)?;
        if best.as_ref().is_none_or(|(least, _)| left < *least) {
            best = Some((left, dictionary));
        }
    }
    if let Some((left, dictionary)) = &best
        && left * BETTER_EIGHTHS <= dictionary.permille * 8
    {
        return Ok((best.map(|(_, dictionary)| dictionary), false));
    }
    let learnt = samples.iter().step_by(2).map(|body| &body[..]);
    if let Some(bytes) = Dictionary::train(learnt) {
        let mut new = Dictionary { permille: 0, bytes };
        new.permille = permille(Some(&new), samples)?;
        let rival = match &best {
            Some((left, _)) => *left,
            None => permille(None, samples)?,
        };
        if new.number() != 0 && new.permille * 8 < rival * BETTER_EIGHTHS {
            return Ok((Some(new), true));
        }
    }
    Ok((best.map(|(_, dictionary)| dictionary), false))
}

/// What is left of a thousand bytes of those bodies that no dictionary was trained from.
fn permille(dictionary: Option<&Dictionary>, samples: &[Vec<u8>]) -> Result<u64> {
    let mut packer = Packer::new(dictionary)?;
    let (mut before, mut after) = (0, 0);
    for body in samples.iter().skip(1).step_by(2) {
        before += body.len() as u64;
        after += packer.pack(body).map_or(body.len(), |packed| packed.len()) as u64;
    }
    Ok((after * 1000).checked_div(before).unwrap_or(1000))
}

/// Bodies of documents from all over the database.
fn samples(snapshot: &dyn Snapshot, dictionaries: &Dictionaries) -> Result<Vec<Vec<u8>>> {
    let (mut bodies, mut bytes, mut reached) = (Vec::new(), 0, 0);
    for part in 0..MAX_SAMPLES {
        let since = u128::from(snapshot.seq()) * u128::from(part) / u128::from(MAX_SAMPLES);
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        if since < reached {
            continue;
        }
        let mut changes = snapshot.changes(since, Direction::Forward)?;
        let Some(change) = changes.next()? else { break };
        reached = change.seq;
        let blob = snapshot.blob(ChangeEntry::decode(change.value)?.winner.body)?;
        let mut body = match Summary::decode(&blob)?.stored_body {
            packed if is_packed(packed) => dictionaries.unpack(packed, snapshot)?,
            text => text.to_vec(),
        };
        body.truncate(MAX_SAMPLE_BYTES);
        if body.len() >= MIN_BODY_BYTES {
            bytes += body.len();
            bodies.push(body);
        }
        if bytes >= MAX_ALL_SAMPLES_BYTES {
            break;
        }
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(kind: &str) -> Vec<Vec<u8>> {
        let body = |n: usize| {
            format!(r#"{{"{kind}":{n},"a_{kind}_text":"the words of every {kind}","x":{}}}"#, n * n)
        };
        (0..400).map(|n| body(n).into_bytes()).collect()
    }

    #[test]
    fn a_dictionary_is_kept_until_another_does_much_better() {
        let (orders, people) = (bodies("order"), bodies("person"));
        let (Some(first), true) = choose(Vec::new(), &orders).unwrap() else { panic!("none") };
        let (kept, is_new) = choose(vec![first.clone()], &orders).unwrap();
        assert_eq!((kept, is_new), (Some(first.clone()), false));
        let (Some(second), true) = choose(vec![first.clone()], &people).unwrap() else {
            panic!("none")
        };
        // Of several, the one that fits.
        let (kept, is_new) = choose(vec![first.clone(), second], &orders).unwrap();
        assert_eq!((kept, is_new), (Some(first), false));
        assert_eq!(choose(Vec::new(), &orders[..10]).unwrap(), (None, false));
    }
}
