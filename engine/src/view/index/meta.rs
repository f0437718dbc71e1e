//! What an index file says about itself.
//!
//! ```text
//! version 2, uuid of the database 16, signature 16, sequence n, purge sequence n, mark (see `mark`),
//! rows when it was last loaded as a whole n, bytes of the file then n,
//! version of the collation bytes, number of reductions n, each as its text bytes
//! ```

use settee_storage::Seq;

use super::mark::Mark;
use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::Result,
    sequence::Uuid,
    view::{definition::Signature, reduce::ReduceSpec},
};

/// Version of all that an index holds; an index of another version is made anew.
const VERSION: u8 = 2;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexMeta {
    pub(crate) uuid: Uuid,
    pub(crate) signature: Signature,
    /// The database's sequence whose documents the index holds.
    pub(crate) seq: Seq,
    /// The purges it has taken note of.
    pub(crate) purge_seq: u64,
    /// The newest change it has seen.
    pub(crate) mark: Mark,
    pub(crate) loaded_rows: u64,
    pub(crate) loaded_bytes: u64,
    pub(crate) collation_version: String,
    pub(crate) reducers: Vec<ReduceSpec>,
}

impl IndexMeta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.uuid.0);
        out.extend_from_slice(&self.signature.0);
        put_varint(&mut out, self.seq);
        put_varint(&mut out, self.purge_seq);
        self.mark.encode(&mut out);
        put_varint(&mut out, self.loaded_rows);
        put_varint(&mut out, self.loaded_bytes);
        put_bytes(&mut out, self.collation_version.as_bytes());
        put_varint(&mut out, self.reducers.len() as u64);
        for reducer in &self.reducers {
            put_bytes(&mut out, reducer.to_string().as_bytes());
        }
        out
    }

    /// Reads it back; `None` for a version this build does not read.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        let mut reader = Reader::new(bytes, "header of an index");
        if reader.byte()? != VERSION {
            return Ok(None);
        }
        let (uuid, signature) = (Uuid(reader.array()?), Signature(reader.array()?));
        let (seq, purge_seq) = (reader.varint()?, reader.varint()?);
        let mark = Mark::decode(&mut reader)?;
        let (loaded_rows, loaded_bytes) = (reader.varint()?, reader.varint()?);
        let collation_version = reader.text()?.to_owned();
        let mut reducers = Vec::new();
        for _ in 0..reader.count()? {
            reducers.push(ReduceSpec::parse(reader.text()?).map_err(|_| reader.damaged())?);
        }
        Ok(Some(IndexMeta {
            uuid,
            signature,
            seq,
            purge_seq,
            mark,
            loaded_rows,
            loaded_bytes,
            collation_version,
            reducers,
        }))
    }

    /// About how many bytes of the file hold what the index is now, given its rows.
    pub(crate) fn active_bytes(&self, rows: u64, file_bytes: u64) -> u64 {
        match self.loaded_bytes.checked_div(self.loaded_rows) {
            Some(each) => rows.saturating_mul(each.max(1)).min(file_bytes),
            None => file_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back() {
        let meta = IndexMeta {
            uuid: Uuid([1; 16]),
            signature: Signature([2; 16]),
            seq: 300,
            purge_seq: 4,
            mark: Mark::default(),
            loaded_rows: 10,
            loaded_bytes: 5000,
            collation_version: "49.1".into(),
            reducers: vec![ReduceSpec::Sum, ReduceSpec::JavaScript("function(){}".into())],
        };
        let bytes = meta.encode();
        assert_eq!(IndexMeta::decode(&bytes).unwrap(), Some(meta.clone()));
        assert_eq!(IndexMeta::decode(&[9]).unwrap(), None);
        for cut in 1..bytes.len() {
            assert!(IndexMeta::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!((meta.active_bytes(5, 9000), meta.active_bytes(5, 100)), (2500, 100));
    }
}
