//! Bodies: read under a limit and not too slowly, charged to the budget as they grow, drained when they are refused.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout, timeout_at};

use crate::buffer::Buffer;
use crate::encoding::too_large;
use crate::error::{Kind, Refusal};
use crate::framing::{Broken, Framing};
use crate::head::{Encoding, content_encoding, content_length, media_type};
use crate::limit::Lease;
use crate::settings::Limits;

/// How much of a refused body is read and forgotten after its answer is sent, and for how long: closing the connection on
/// bytes that are still coming would reset it, and the client would never see why it was refused.
const DRAIN_BYTES: usize = 128 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Capacity that a `Content-Length` gets before its bytes are there.
const TRUSTED_LENGTH: usize = 256 << 10;

/// A body as it was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: Buffer,
    encoding: Encoding,
    lease: Lease,
}

/// A decompressed body. Its `Debug` shows no byte of it.
pub(crate) struct Plain {
    pub(crate) bytes: Buffer,
    pub(crate) lease: Lease,
}

impl Sent {
    /// Reads a body whose `Content-Type` is one of `media_types`. Headers are checked before a byte of it is read.
    pub(crate) async fn read(
        headers: &HeaderMap,
        body: &mut Body,
        media_types: &[&'static str],
        limits: &Limits,
        lease: Lease,
    ) -> Result<Self, Refusal> {
        check_media_type(headers, media_types)?;
        Self::read_untyped(headers, body, limits, lease).await
    }

    /// The same where the path, or other headers, say what the body is.
    pub(crate) async fn read_untyped(
        headers: &HeaderMap,
        body: &mut Body,
        limits: &Limits,
        lease: Lease,
    ) -> Result<Self, Refusal> {
        let encoding = encoding(headers)?;
        let most = limits.body_bytes;
        let announced = content_length(headers);
        if announced.is_some_and(|length| length > most as u64) {
            return Err(too_large("as sent", most));
        }
        let mut reading = Reading::new(limits, lease, announced.map_or(0, |length| length as usize));
        while let Some(data) = reading.next(body).await? {
            reading.take(&data)?;
        }
        Ok(Self { bytes: reading.bytes, encoding, lease: reading.lease })
    }

    /// Reads the one message of a unary gRPC call; `encoding` is that of the messages that say they are compressed.
    pub(crate) async fn message(
        encoding: Encoding,
        body: &mut Body,
        limits: &Limits,
        lease: Lease,
    ) -> Result<Self, Refusal> {
        let most = limits.body_bytes;
        let mut reading = Reading::new(limits, lease, 0);
        let mut framing = Framing::new(most);
        while let Some(data) = reading.next(body).await? {
            reading.take(framing.next(&data).map_err(|why| broken(why, most))?)?;
        }
        let encoding = match framing.end().map_err(|why| broken(why, most))? {
            false => Encoding::Identity,
            true if encoding != Encoding::Identity => encoding,
            true => return Err(broken(Broken::Flag, most)),
        };
        Ok(Self { bytes: reading.bytes, encoding, lease: reading.lease })
    }

    /// The same again, at the charge of another lease.
    pub(crate) fn copy(&self, mut lease: Lease) -> Result<Self, Refusal> {
        lease.grow(self.bytes.len())?;
        let mut bytes = lease.buffer(self.bytes.len(), self.bytes.len());
        bytes.extend_from_slice(&self.bytes);
        Ok(Self { bytes, encoding: self.encoding, lease })
    }

    /// The bytes as sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The body itself, if it has at most `most` bytes.
    pub(crate) fn decompress(self, most: usize) -> Result<Plain, Refusal> {
        let Self { bytes, encoding, mut lease } = self;
        let bytes = encoding.decompress(bytes, most, &mut lease)?;
        Ok(Plain { bytes, lease })
    }
}

/// Reads and forgets what is left of a refused body, as far as that is reasonable. What comes after meets a closed connection.
pub(crate) async fn drain(body: &mut Body) {
    let drain = async {
        let mut left = DRAIN_BYTES;
        while left > 0 && !body.is_end_stream() {
            match body.frame().await {
                Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len)),
                Some(Err(_)) | None => break,
            }
        }
    };
    let _ = timeout(DRAIN_TIME, drain).await;
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plain({} bytes)", self.bytes.len())
    }
}

/// A body on its way into memory.
struct Reading<'a> {
    limits: &'a Limits,
    lease: Lease,
    started: Instant,
    received: u64,
    bytes: Buffer,
}

impl<'a> Reading<'a> {
    /// `expected` is what its length says, 0 if nothing does.
    fn new(limits: &'a Limits, lease: Lease, expected: usize) -> Self {
        let bytes = lease.buffer(expected, TRUSTED_LENGTH);
        Self { limits, lease, started: Instant::now(), received: 0, bytes }
    }

    /// The next bytes, if they come in time: every byte received buys time for the next ones.
    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Refusal> {
        let deadline = self.started + self.limits.body_time(self.received);
        loop {
            let frame =
                timeout_at(deadline, body.frame()).await.map_err(|_| Refusal::again("the body came too slowly"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| Refusal::malformed("the body broke off or is not framed as HTTP asks"))?;
            if let Ok(data) = frame.into_data() {
                self.received += data.len() as u64;
                return Ok(Some(data));
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let most = self.limits.body_bytes;
        if data.len() > most - self.bytes.len() {
            return Err(too_large("as sent", most));
        }
        self.lease.grow(data.len())?;
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

fn check_media_type(headers: &HeaderMap, wanted: &[&'static str]) -> Result<(), Refusal> {
    if media_type(headers).is_some_and(|found| wanted.contains(&found.as_str())) {
        return Ok(());
    }
    let message = format!("the Content-Type is not one that is taken here: send {}", wanted.join(" or "));
    Err(Refusal::new(Kind::UnsupportedMedia, message))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    content_encoding(headers).ok_or_else(|| {
        let names = Encoding::NAMES.join(", ");
        let message = format!("the Content-Encoding is not one that is taken here: send one of {names}");
        Refusal::new(Kind::UnsupportedMedia, message)
    })
}

fn broken(why: Broken, most: usize) -> Refusal {
    match why {
        Broken::TooLong => too_large("as sent", most),
        Broken::TooMuch => Refusal::malformed("an Export call has one message, and there are bytes after it"),
        Broken::TooLittle => Refusal::malformed("the gRPC message is shorter than it says, or there is none"),
        Broken::Flag => Refusal::malformed("the message is compressed, and grpc-encoding does not say how"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderValue;
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    use super::*;
    use crate::limit::Budget;

    #[test]
    fn content_encodings_that_nobody_reads_are_refused_with_what_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(encoding(&headers), Ok(Encoding::Identity));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("GZIP"));
        assert_eq!(encoding(&headers), Ok(Encoding::Gzip));
        for other in ["br", "gzip, gzip"] {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(other));
            let refusal = encoding(&headers).unwrap_err();
            assert_eq!(refusal.kind, Kind::UnsupportedMedia);
            assert!(refusal.message.contains("identity, gzip, deflate, zstd"), "{}", refusal.message);
        }
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(encoding(&headers).is_err(), "two headers are two codings");
    }

    /// The message of a body that comes in pieces of `size`.
    async fn message_of(sent: &[u8], size: usize, limits: &Limits) -> Result<Sent, Refusal> {
        let pieces: Vec<_> = sent.chunks(size).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
        let mut body = Body::from_stream(futures::stream::iter(pieces));
        Sent::message(Encoding::Gzip, &mut body, limits, Budget::new(1 << 20).lease()).await
    }

    #[tokio::test]
    async fn a_grpc_message_is_read_however_it_is_cut() {
        let limits = Limits::default();
        let sent = [&[0, 0, 0, 0, 11], b"the message".as_slice()].concat();
        for size in 1..=sent.len() {
            let message = message_of(&sent, size, &limits).await.unwrap();
            assert_eq!((message.bytes.as_slice(), message.encoding), (b"the message".as_slice(), Encoding::Identity));
        }
        let empty = message_of(&[1, 0, 0, 0, 0], 2, &limits).await.unwrap();
        assert_eq!((empty.len(), empty.encoding), (0, Encoding::Gzip));
    }

    #[tokio::test]
    async fn a_grpc_message_is_what_it_says_or_malformed() {
        let limits = Limits { body_bytes: 100, ..Limits::default() };
        for (what, sent) in [
            ("nothing", &[] as &[u8]),
            ("half a prefix", &[0, 0, 0]),
            ("less than it says", &[0, 0, 0, 0, 3, 1, 2]),
            ("more than it says", &[0, 0, 0, 0, 1, 1, 2]),
            ("two messages", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("a flag that nobody knows", &[2, 0, 0, 0, 0]),
        ] {
            for size in 1..=7 {
                assert_eq!(message_of(sent, size, &limits).await.unwrap_err().kind, Kind::Malformed, "{what}");
            }
        }
        let refusal = message_of(&[0, 0, 0, 0, 101], 5, &limits).await.unwrap_err();
        assert_eq!(refusal.kind, Kind::TooLarge, "before a byte of it came");
        let mut body = Body::from(vec![1, 0, 0, 0, 0]);
        let unnamed = Sent::message(Encoding::Identity, &mut body, &limits, Budget::new(1).lease()).await;
        assert_eq!(unnamed.unwrap_err().kind, Kind::Malformed);
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_to_come_again() {
        let limits = Limits { body_seconds: 1, body_bytes_per_second: 10, ..Limits::default() };
        let trickle = futures::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Some((Ok::<_, Infallible>(vec![0; 1]), sent + 1))
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let mut body = Body::from_stream(trickle);
        let started = Instant::now();
        let read = Sent::read(&headers, &mut body, &["text/plain"], &limits, Budget::new(1 << 20).lease()).await;
        assert_eq!(read.unwrap_err().kind, Kind::Unavailable);
        // Three bytes at most came in the first second, and each bought a tenth of one.
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
}
