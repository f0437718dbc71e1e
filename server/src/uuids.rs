//! Ids for new documents, as `[uuids]` says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::config::{Settings, UuidAlgorithm, UuidFormat};

/// Hexadecimal digits of a sequential id that stay the same for a while; six more count.
const PREFIX_DIGITS: usize = 26;

/// A sequential id's counter from which a new beginning is drawn.
const COUNTER_END: u32 = 0xff_f000;

/// The largest step between two sequential ids.
const MAX_STEP: u32 = 0xffd;

/// Random bytes drawn from the system at a time.
const POOL_BYTES: usize = 4096;

/// Makes ids.
///
/// ```
/// use settee_server::config::Settings;
/// use settee_server::uuids::Uuids;
///
/// let uuids = Uuids::new().unwrap();
/// let (one, two) = (uuids.next(&Settings::default()), uuids.next(&Settings::default()));
/// assert!(one < two && one.len() == 32);
/// ```
pub struct Uuids {
    state: Mutex<State>,
}

struct State {
    pool: Vec<u8>,
    prefix: String,
    counter: u32,
    last_micros: u128,
}

impl Uuids {
    /// A maker with its own random beginning.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut state =
            State { pool: Vec::new(), prefix: String::new(), counter: COUNTER_END, last_micros: 0 };
        state.refill()?;
        Ok(Self { state: Mutex::new(state) })
    }

    /// The next id.
    pub fn next(&self, settings: &Settings) -> String {
        let mut state = self.state.lock();
        match settings.uuid_algorithm {
            UuidAlgorithm::Sequential => state.sequential(),
            UuidAlgorithm::Random => format!("{:032x}", state.random_128()),
            UuidAlgorithm::UtcRandom => {
                let micros = state.micros();
                format!("{micros:014x}{:018x}", state.random_128() >> 56)
            }
            UuidAlgorithm::UtcId => {
                let micros = state.micros();
                format!("{micros:014x}{}", settings.utc_id_suffix)
            }
            UuidAlgorithm::V4 => write(versioned(state.random_128(), 4), settings.uuid_format),
            UuidAlgorithm::V7 => {
                let millis = since_1970().as_millis() << 80;
                let random = state.random_128() >> 48;
                write(versioned(millis | random, 7), settings.uuid_format)
            }
        }
    }
}

impl State {
    fn sequential(&mut self) -> String {
        if self.counter >= COUNTER_END {
            let random = format!("{:032x}", self.random_128());
            self.prefix = random.get(..PREFIX_DIGITS).unwrap_or_default().to_owned();
            self.counter = 0;
        }
        let step = u32::try_from(self.random_128() % u128::from(MAX_STEP)).unwrap_or(0);
        self.counter += 1 + step;
        format!("{}{:06x}", self.prefix, self.counter)
    }

    /// Microseconds since 1970, never the same twice.
    fn micros(&mut self) -> u128 {
        self.last_micros = since_1970().as_micros().max(self.last_micros + 1);
        self.last_micros
    }

    fn random_128(&mut self) -> u128 {
        // Without randomness ids could repeat, and a repeated id overwrites a stranger's document:
        // better no answer at all. A panic becomes a 500.
        #[expect(clippy::expect_used, reason = "explained above")]
        let random = self.take().expect("random numbers");
        u128::from_be_bytes(random)
    }

    fn take(&mut self) -> Result<[u8; 16], getrandom::Error> {
        loop {
            if let Some((rest, random)) = self.pool.split_last_chunk() {
                let (rest, random) = (rest.len(), *random);
                self.pool.truncate(rest);
                return Ok(random);
            }
            self.refill()?;
        }
    }

    fn refill(&mut self) -> Result<(), getrandom::Error> {
        self.pool.resize(POOL_BYTES, 0);
        getrandom::fill(&mut self.pool)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Sets version and variant as RFC 9562 lays them out.
fn versioned(bits: u128, version: u128) -> u128 {
    bits & !(0xf << 76 | 0b11 << 62) | version << 76 | 0b10 << 62
}

fn write(uuid: u128, format: UuidFormat) -> String {
    let hex = format!("{uuid:032x}");
    match format {
        UuidFormat::Base16 => hex,
        UuidFormat::Base36 => base36(uuid),
        UuidFormat::Rfc9562 => {
            let mut dashed = String::with_capacity(36);
            for (at, digit) in hex.chars().enumerate() {
                if matches!(at, 8 | 12 | 16 | 20) {
                    dashed.push('-');
                }
                dashed.push(digit);
            }
            dashed
        }
    }
}

/// 25 digits, enough for 128 bits.
fn base36(mut number: u128) -> String {
    let mut digits = ['0'; 25];
    for place in digits.iter_mut().rev() {
        let digit = u32::try_from(number % 36).ok().and_then(|digit| char::from_digit(digit, 36));
        *place = digit.unwrap_or('0');
        number /= 36;
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn many(algorithm: UuidAlgorithm, format: UuidFormat) -> Vec<String> {
        let mut settings = Settings::default();
        (settings.uuid_algorithm, settings.uuid_format) = (algorithm, format);
        settings.utc_id_suffix = "-here".to_owned();
        let uuids = Uuids::new().unwrap();
        let ids: Vec<_> = (0..20_000).map(|_| uuids.next(&settings)).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "no id comes twice");
        ids
    }

    fn is_hex(id: &str) -> bool {
        id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    #[test]
    fn sequential_ids_follow_each_other() {
        let ids = many(UuidAlgorithm::Sequential, UuidFormat::Base16);
        assert!(ids.iter().all(|id| is_hex(id)));
        let breaks = ids.windows(2).filter(|pair| pair[0][..26] != pair[1][..26]).count();
        assert!((1..10).contains(&breaks), "a new beginning now and then, not {breaks} times");
        for pair in ids.windows(2).filter(|pair| pair[0][..26] == pair[1][..26]) {
            assert!(pair[0] < pair[1]);
        }
    }

    #[test]
    fn ids_by_time() {
        let ids = many(UuidAlgorithm::UtcRandom, UuidFormat::Base16);
        assert!(ids.iter().all(|id| is_hex(id)));
        assert!(ids.is_sorted());
        let ids = many(UuidAlgorithm::UtcId, UuidFormat::Base16);
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 19 && id.ends_with("-here")));
        assert!(many(UuidAlgorithm::Random, UuidFormat::Base16).iter().all(|id| is_hex(id)));
    }

    #[test]
    fn versions_and_formats() {
        for (algorithm, version) in [(UuidAlgorithm::V4, "4"), (UuidAlgorithm::V7, "7")] {
            for id in many(algorithm, UuidFormat::Rfc9562) {
                let parts: Vec<_> = id.split('-').collect();
                assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
                assert!(parts[2].starts_with(version), "{id}");
                assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
            }
            assert!(many(algorithm, UuidFormat::Base16).iter().all(|id| is_hex(id)));
            assert!(many(algorithm, UuidFormat::Base36).iter().all(|id| id.len() == 25));
        }
        assert_eq!(base36(u128::MAX), "f5lxx1zz5pnorynqglhzmsp33");
        assert_eq!(base36(35), "000000000000000000000000z");
    }
}
