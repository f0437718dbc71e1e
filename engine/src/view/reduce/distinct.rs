//! `_approx_count_distinct`: HyperLogLog of precision 11 over the keys, with the registers that CouchDB has:
//! the first 11 bits of the SHA-1 of a key's external term choose one, the zeros that the next 11 begin with
//! and one more are its value. So counts of up to about 1,800 different keys are CouchDB's to the digit; beyond,
//! CouchDB corrects its estimate by a table of measured biases instead, and both are off by 2.3 % or so
//! (the standard error of 2,048 registers is 1.04 / √2048).
//!
//! ```text
//! few registers that are not zero   01, for each: number 2 big-endian, value 1
//! many                              02, all of them, a byte each
//! ```

use sha1::{Digest, Sha1};

use crate::revision::external_term;

/// Bits of a digest that choose a register.
const PRECISION: u32 = 11;
const REGISTERS: usize = 1 << PRECISION;
/// With so many registers in use, all of them are written.
const DENSE_FROM: usize = REGISTERS / 3;
const SPARSE: u8 = 1;
const DENSE: u8 = 2;

/// The sketch of a set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sketch {
    registers: Vec<u8>,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch { registers: vec![0; REGISTERS] }
    }
}

impl Sketch {
    /// Adds a key, as JSON.
    pub(super) fn add(&mut self, key: &[u8]) {
        let digest = Sha1::digest(external_term(key));
        let bits = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let register = (bits >> (u64::BITS - PRECISION)) as usize;
        // The bit behind those that count ends the run of zeros.
        let rest = bits << PRECISION | 1 << (u64::BITS - PRECISION - 1);
        self.raise(register, rest.leading_zeros() as u8 + 1);
    }

    fn raise(&mut self, register: usize, value: u8) {
        if let Some(known) = self.registers.get_mut(register) {
            *known = (*known).max(value);
        }
    }

    /// Adds a sketch that [`Sketch::encode`] wrote; false if the bytes are none.
    pub(super) fn join(&mut self, encoded: &[u8]) -> bool {
        match encoded.split_first() {
            Some((&SPARSE, rest)) if rest.len() % 3 == 0 => {
                for [high, low, value] in rest.as_chunks().0 {
                    self.raise(usize::from(u16::from_be_bytes([*high, *low])), *value);
                }
                true
            }
            Some((&DENSE, rest)) if rest.len() == REGISTERS => {
                for (register, value) in rest.iter().enumerate() {
                    self.raise(register, *value);
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let used = || self.registers.iter().enumerate().filter(|(_, value)| **value > 0);
        if used().count() >= DENSE_FROM {
            out.push(DENSE);
            return out.extend_from_slice(&self.registers);
        }
        out.push(SPARSE);
        for (register, value) in used() {
            // There are fewer registers than numbers of 16 bits.
            out.extend_from_slice(&(register as u16).to_be_bytes());
            out.push(*value);
        }
    }

    /// About how many different keys were added.
    pub(super) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let zeros = self.registers.iter().filter(|value| **value == 0).count();
        let inverse: f64 = self.registers.iter().map(|value| 2f64.powi(-i32::from(*value))).sum();
        let alpha = 0.7213 / (1.0 + 1.079 / registers);
        let raw = alpha * registers * registers / inverse;
        // The estimate is biased as long as many registers are empty; their number says more then.
        let estimate = if raw <= 2.5 * registers && zeros > 0 {
            registers * (registers / zeros as f64).ln()
        } else {
            raw
        };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(keys: std::ops::Range<u32>) -> Sketch {
        let mut sketch = Sketch::default();
        keys.for_each(|key| sketch.add(format!("\"key {key}\"").as_bytes()));
        sketch
    }

    #[test]
    fn few_are_counted_exactly_and_many_nearly() {
        for few in [0, 1, 5, 8, 20] {
            assert_eq!(sketch(0..few).estimate(), u64::from(few));
        }
    }

    /// Over many sets the error is what so many registers should have, and is not all to one side. The sets
    /// are always the same, so the outcome is, too.
    #[test]
    fn many_are_counted_with_the_error_of_the_method() {
        const SETS: u32 = 40;
        let standard = 1.04 / (REGISTERS as f64).sqrt();
        for many in [1_500, 4_000, 8_000, 30_000] {
            let errors: Vec<f64> = (0..SETS)
                .map(|set| sketch(set * many..(set + 1) * many).estimate() as f64)
                .map(|estimate| estimate / f64::from(many) - 1.0)
                .collect();
            let mean = errors.iter().sum::<f64>() / f64::from(SETS);
            let square = errors.iter().map(|error| error * error).sum::<f64>() / f64::from(SETS);
            // Forty errors scatter: their root mean square by a ninth, their mean by a sixth of one.
            assert!(square.sqrt() < standard * 1.35, "{many}: {}", square.sqrt());
            assert!(mean.abs() < standard * 0.5, "{many}: {mean}");
        }
    }

    /// Registers by hand, from the definition.
    #[test]
    fn registers_are_those_of_couchdb() {
        // SHA-1 of 83 61 01, the term of 1, and so on.
        for key in ["1", "\"a\"", "[1,\"b\"]", "{\"a\":1.5}"] {
            let digest = Sha1::digest(external_term(key.as_bytes()));
            let bits: String = digest.iter().map(|byte| format!("{byte:08b}")).collect();
            let register = usize::from_str_radix(&bits[..11], 2).unwrap();
            let zeros = bits[11..22].chars().take_while(|bit| *bit == '0').count();
            let mut sketch = Sketch::default();
            sketch.add(key.as_bytes());
            let used: Vec<_> = (0..REGISTERS).filter(|at| sketch.registers[*at] > 0).collect();
            assert_eq!(
                (used, usize::from(sketch.registers[register])),
                (vec![register], zeros + 1)
            );
        }
        assert_eq!(external_term(b"1"), [0x83, 0x61, 1]);
        assert_eq!(external_term(b"\"a\""), [0x83, 0x6d, 0, 0, 0, 1, b'a']);
    }

    #[test]
    fn sketches_are_joined_and_read_back() {
        for (a, b) in [(0..10, 5..20), (0..3000, 1000..4000), (0..10, 0..5000)] {
            let (mut joined, other) = (sketch(a.clone()), sketch(b.clone()));
            let mut bytes = Vec::new();
            other.encode(&mut bytes);
            assert!(joined.join(&bytes));
            assert_eq!(joined, sketch(a.start..a.end.max(b.end)));
        }
        assert!(!Sketch::default().join(&[]) && !Sketch::default().join(&[DENSE, 1]));
    }
}
