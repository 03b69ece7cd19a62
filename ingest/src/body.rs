//! Bodies: read under a limit, decompressed under another, charged to the budget as they grow.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use flate2::bufread::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::error::{Kind, Refusal};
use crate::limit::Lease;
use crate::settings::Limits;

/// How much of an unread body is swallowed after a refusal, and for how long: closing the connection on bytes that are
/// still coming would reset it, and the client would never see why it was refused.
const SWALLOW_BYTES: usize = 32 << 20;
const SWALLOW_TIME: Duration = Duration::from_secs(2);

/// Capacity per byte as sent that a gzip trailer may ask for before anything is decompressed.
const TRUSTED_RATIO: usize = 16;
/// Capacity that a `Content-Length` gets before its bytes are there.
const TRUSTED_LENGTH: usize = 256 << 10;
/// Least step by which a decompressed body grows.
const STEP: usize = 64 << 10;

/// What is accepted, for messages and `/v1/limits`.
pub(crate) const ENCODINGS: [&str; 2] = ["identity", "gzip"];

/// A body as it was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: Vec<u8>,
    encoding: Encoding,
    lease: Lease,
}

/// A decompressed body. Its `Debug` shows no byte of it.
pub(crate) struct Plain {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lease: Lease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

impl Sent {
    /// Reads a body whose `Content-Type` is `media_type`. Headers are checked before a byte of it is read.
    pub(crate) async fn read(
        headers: &HeaderMap,
        body: &mut Body,
        media_type: &'static str,
        limits: &Limits,
        mut lease: Lease,
    ) -> Result<Self, Refusal> {
        check_media_type(headers, media_type)?;
        let encoding = encoding(headers)?;
        let most = limits.body_bytes;
        let announced = announced(headers);
        if announced.is_some_and(|length| length > most as u64) {
            return Err(too_large("as sent", most));
        }
        let mut bytes = Vec::with_capacity(announced.map_or(0, |length| (length as usize).min(TRUSTED_LENGTH)));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::malformed("the body broke off or is not framed as HTTP asks"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > most - bytes.len() {
                return Err(too_large("as sent", most));
            }
            lease.grow(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Self { bytes, encoding, lease })
    }

    /// Bytes as sent.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The body itself, if it has at most `most` bytes.
    pub(crate) fn decompress(self, most: usize) -> Result<Plain, Refusal> {
        let Self { bytes, encoding, mut lease } = self;
        match encoding {
            Encoding::Identity if bytes.len() > most => Err(too_large("decompressed", most)),
            Encoding::Identity => Ok(Plain { bytes, lease }),
            Encoding::Gzip => Ok(Plain { bytes: gunzip(&bytes, most, &mut lease)?, lease }),
        }
    }
}

/// Reads and forgets what is left of a refused body, as far as that is reasonable.
pub(crate) async fn swallow(body: &mut Body) {
    let swallow = async {
        let mut left = SWALLOW_BYTES;
        while left > 0 && !body.is_end_stream() {
            match body.frame().await {
                Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(1, bytes::Bytes::len)),
                Some(Err(_)) | None => break,
            }
        }
    };
    // What is still coming after that meets a closed connection.
    let _ = tokio::time::timeout(SWALLOW_TIME, swallow).await;
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plain({} bytes)", self.bytes.len())
    }
}

/// The media type of a header, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

fn check_media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Refusal> {
    if media_type(headers).is_some_and(|found| found == wanted) {
        return Ok(());
    }
    let message = format!("the Content-Type is not one that is taken here: send {wanted}");
    Err(Refusal::new(Kind::UnsupportedMedia, message))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    match (first.as_deref(), values.next()) {
        (None | Some("" | "identity"), None) => Ok(Encoding::Identity),
        (Some("gzip" | "x-gzip"), None) => Ok(Encoding::Gzip),
        _ => {
            let message =
                format!("the Content-Encoding is not one that is taken here: send {}", ENCODINGS.join(" or "));
            Err(Refusal::new(Kind::UnsupportedMedia, message))
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(what: &str, most: usize) -> Refusal {
    let message = format!("the body {what} is larger than {most} bytes: send smaller batches");
    Refusal::new(Kind::TooLarge, message)
}

/// Decompresses step by step, so that memory and budget grow with what is really there.
fn gunzip(compressed: &[u8], most: usize, lease: &mut Lease) -> Result<Vec<u8>, Refusal> {
    let broken = |_| Refusal::malformed("the body is not the gzip that its Content-Encoding says");
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut plain = Vec::new();
    let mut filled = 0;
    let mut step = promised(compressed).min(most).max(STEP);
    loop {
        if filled == plain.len() {
            // One byte more than allowed shows whether there is more than allowed.
            let next = filled.saturating_add(step).min(most.saturating_add(1));
            lease.grow(next - filled)?;
            plain.resize(next, 0);
            step = next;
        }
        let read = decoder.read(&mut plain[filled..]).map_err(broken)?;
        filled += read;
        if filled > most {
            return Err(too_large("decompressed", most));
        }
        if read == 0 {
            plain.truncate(filled);
            return Ok(plain);
        }
    }
}

/// What the trailer says of the length, plus one byte so that the end is met without growing; believed within a ratio.
fn promised(compressed: &[u8]) -> usize {
    let length = compressed.last_chunk::<4>().map_or(0, |trailer| u32::from_le_bytes(*trailer) as usize);
    length.min(compressed.len().saturating_mul(TRUSTED_RATIO)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::limit::Budget;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_round_trips_at_every_size_near_a_step() {
        for size in [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, 1 << 20] {
            let plain: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let mut lease = Budget::new(4 << 20).lease();
            assert_eq!(gunzip(&gzip(&plain), size, &mut lease).unwrap(), plain, "{size}");
        }
    }

    #[test]
    fn one_byte_more_than_allowed_is_refused() {
        let mut lease = Budget::new(1 << 20).lease();
        let refusal = gunzip(&gzip(&[7; 1001]), 1000, &mut lease).unwrap_err();
        assert_eq!(refusal.kind, Kind::TooLarge);
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_takes_no_more_than_it() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < (64 << 20) / 900, "about 1000:1");
        let budget = Budget::new(8 << 20);
        let mut lease = budget.lease();
        assert_eq!(gunzip(&bomb, 4 << 20, &mut lease).unwrap_err().kind, Kind::TooLarge);
        assert!(budget.used() <= (4 << 20) + 1);
    }

    #[test]
    fn a_body_that_the_budget_cannot_hold_is_to_come_again() {
        let mut lease = Budget::new(100).lease();
        assert_eq!(gunzip(&gzip(&[1; 1000]), 10_000, &mut lease).unwrap_err().kind, Kind::Unavailable);
    }

    #[test]
    fn broken_gzip_is_malformed_wherever_it_breaks() {
        let whole = gzip(b"some text that is long enough to be cut anywhere");
        for cut in 1..whole.len() {
            let mut lease = Budget::new(1 << 20).lease();
            assert_eq!(gunzip(&whole[..cut], 1 << 16, &mut lease).unwrap_err().kind, Kind::Malformed, "cut at {cut}");
        }
    }

    #[test]
    fn content_encodings_that_nobody_reads_are_refused_with_what_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(encoding(&headers), Ok(Encoding::Identity));
        headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static("GZIP"));
        assert_eq!(encoding(&headers), Ok(Encoding::Gzip));
        for other in ["br", "zstd", "gzip, gzip"] {
            headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static(other));
            let refusal = encoding(&headers).unwrap_err();
            assert_eq!(refusal.kind, Kind::UnsupportedMedia);
            assert!(refusal.message.contains("identity or gzip"));
        }
    }
}
