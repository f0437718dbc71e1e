//! The body of a request: whole, or chunk by chunk as it comes.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::Failure;

/// The most a body may hold that is gathered in memory, in bytes, whatever `max_http_request_size`
/// allows. Attachments stream and are not bound by it.
pub const MAX_GATHERED_BYTES: u64 = 1 << 30;

/// How long a client may take to send the next piece of a body. As CouchDB.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(300);

/// After this time of waiting for a body, it must have come at the rate below: who sends a byte now and then
/// holds a connection, and what has come so far, for nothing.
const RATE_GRACE: Duration = Duration::from_secs(120);

/// Bytes of a body that must come in a second, on average over the time it was waited for.
const MIN_RATE: u64 = 100;

/// What is set aside for a body before its first byte has come, in bytes, at most: a client may
/// announce any length it likes.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// Inflated bytes made at a time.
const INFLATE_STEP_BYTES: usize = 64 << 10;

/// The body of one request. Reading past the limit given at the start fails with 413.
///
/// `Expect: 100-continue` is answered when the first byte is asked for.
pub struct Body {
    incoming: Option<Incoming>,
    /// Bytes that were read before.
    held: Option<Bytes>,
    encoding: Encoding,
    limit: u64,
    taken: u64,
    spent: Duration,
}

/// How the bytes of a body are coded (`Content-Encoding`).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Unknown(String),
}

impl Body {
    /// The body that comes with these headers, of `limit` bytes at most.
    pub fn new(incoming: Incoming, headers: &HeaderMap, limit: u64) -> Self {
        let encoding = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity" | b"") => Encoding::Identity,
            Some(b"gzip") => Encoding::Gzip,
            Some(other) => Encoding::Unknown(String::from_utf8_lossy(other).into_owned()),
        };
        Self {
            incoming: Some(incoming),
            held: None,
            encoding,
            limit,
            taken: 0,
            spent: Duration::ZERO,
        }
    }

    /// A body without bytes.
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// A body that is there already.
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            incoming: None,
            held: Some(bytes).filter(|bytes| !bytes.is_empty()),
            encoding: Encoding::Identity,
            limit: 0,
            taken: 0,
            spent: Duration::ZERO,
        }
    }

    /// The number of bytes still to come, if the client announced it.
    pub fn announced_bytes(&self) -> Option<u64> {
        let held = self.held.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.incoming.as_ref().map_or(Some(held), |incoming| incoming.size_hint().exact())
    }

    /// Whether nothing of it is left to be read.
    pub(super) fn is_read(&self) -> bool {
        self.incoming.as_ref().is_none_or(|incoming| incoming.is_end_stream())
    }

    /// Reads what is left, up to `most` bytes, and forgets it.
    pub(super) async fn drain(&mut self, most: u64) {
        self.limit = self.limit.min(self.taken.saturating_add(most));
        while let Ok(Some(_)) = self.chunk().await {}
    }

    /// Time spent waiting for the body's bytes.
    pub fn time_spent(&self) -> Duration {
        self.spent
    }

    /// The next bytes as they came, `None` at the end. `Content-Encoding` is left to the caller.
    ///
    /// # Errors
    ///
    /// 413 past the limit; 400 when the client breaks off or its chunks are malformed; 408 when
    /// nothing comes for five minutes, or too little over a longer time.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(incoming) = &mut self.incoming else { return Ok(self.held.take()) };
        if incoming.size_hint().lower().saturating_add(self.taken) > self.limit {
            return Err(Failure::too_large());
        }
        let started = Instant::now();
        let data = loop {
            let frame = tokio::time::timeout(CHUNK_TIMEOUT, incoming.frame());
            match frame.await.map_err(|_| Failure::body_timeout())? {
                None => break None,
                Some(Err(_)) => return Err(broken_off()),
                // Trailers mean nothing here.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => break Some(data),
                    Err(_) => {}
                },
            }
        };
        self.spent += started.elapsed();
        let Some(data) = data else {
            self.incoming = None;
            return Ok(None);
        };
        self.taken = self.taken.saturating_add(data.len() as u64);
        if self.spent > RATE_GRACE && self.taken < self.spent.as_secs().saturating_mul(MIN_RATE) {
            return Err(Failure::body_timeout());
        }
        if self.taken > self.limit { Err(Failure::too_large()) } else { Ok(Some(data)) }
    }

    /// The whole body, inflated if it came as gzip.
    ///
    /// # Errors
    ///
    /// As [`Self::chunk`]; 400 for broken gzip; 415 for another `Content-Encoding`; 413 past
    /// [`MAX_GATHERED_BYTES`], before or after inflating.
    pub async fn bytes(&mut self) -> Result<Bytes, Failure> {
        if let Encoding::Unknown(name) = &self.encoding {
            let reason = format!("{name} is not a supported content encoding.");
            return Err(Failure::bad_content_type(reason));
        }
        self.limit = self.limit.min(MAX_GATHERED_BYTES);
        let raw = self.gather().await?;
        match self.encoding {
            Encoding::Gzip => inflate(&raw, self.limit).map(Bytes::from),
            _ => Ok(raw),
        }
    }

    async fn gather(&mut self) -> Result<Bytes, Failure> {
        let announced = self.announced_bytes();
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if announced == Some(first.len() as u64) {
            return Ok(first);
        }
        let reserved = announced.unwrap_or(0).min(MAX_RESERVED_BYTES);
        let mut all = BytesMut::with_capacity(usize::try_from(reserved).unwrap_or(0));
        all.extend_from_slice(&first);
        while let Some(more) = self.chunk().await? {
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }
}

fn broken_off() -> Failure {
    Failure::bad_request("The request body ended before it was complete.")
}

fn inflate(gzip: &[u8], limit: u64) -> Result<Vec<u8>, Failure> {
    const WINDOW_BITS: u8 = 15;
    let broken = || Failure::bad_request("Request body is not properly gzipped.");
    let mut inflater = Decompress::new_gzip(WINDOW_BITS);
    let mut out = Vec::new();
    loop {
        out.reserve(INFLATE_STEP_BYTES);
        let consumed = usize::try_from(inflater.total_in()).map_err(|_| broken())?;
        let rest = gzip.get(consumed..).unwrap_or_default();
        let before = (inflater.total_in(), inflater.total_out());
        let status =
            inflater.decompress_vec(rest, &mut out, FlushDecompress::None).map_err(|_| broken())?;
        if out.len() as u64 > limit {
            return Err(Failure::too_large());
        }
        match status {
            Status::StreamEnd => return Ok(out),
            _ if before == (inflater.total_in(), inflater.total_out()) => return Err(broken()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_comes_back_whole() {
        let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(inflate(&gzip(&data), u64::MAX).unwrap(), data);
        assert_eq!(inflate(&gzip(b""), 0).unwrap(), b"");
    }

    #[test]
    fn broken_gzip_is_a_bad_request() {
        let good = gzip(b"some text that is long enough to be cut");
        for cut in 0..good.len() {
            assert!(inflate(&good[..cut], u64::MAX).is_err(), "cut at {cut}");
        }
        assert!(inflate(b"not gzip at all", u64::MAX).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert_eq!(inflate(&bomb, 1 << 20).unwrap_err().status(), 413);
    }
}
