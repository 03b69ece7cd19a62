//! Decompression of bodies under a limit, charged as it grows.

use std::io::{self, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use crate::buffer::Buffer;
use crate::error::{Kind, Refusal};
use crate::head::Encoding;
use crate::limit::Lease;

/// Capacity per byte as sent that a trailer or header may ask for before anything is decompressed.
const TRUSTED_RATIO: usize = 16;
/// Least step by which a decompressed body grows.
const STEP: usize = 64 << 10;
/// Largest zstd window: 8 MiB, as RFC 9659 has it for content codings. The decoder holds one beside the body.
const ZSTD_WINDOW_LOG: u32 = 23;

impl Encoding {
    /// What was compressed, if it has at most `most` bytes.
    pub(crate) fn decompress(self, bytes: Buffer, most: usize, lease: &mut Lease) -> Result<Buffer, Refusal> {
        match self {
            Self::Identity if bytes.len() > most => Err(too_large("decompressed", most)),
            Self::Identity => Ok(bytes),
            Self::Gzip => {
                let first = trusted(gzip_length(&bytes), bytes.len());
                unpack(&mut MultiGzDecoder::new(bytes.as_slice()), "gzip", first, most, lease)
            }
            Self::Deflate => unpack(&mut Inflate::new(&bytes), "zlib format of deflate", STEP, most, lease),
            Self::Zstd => {
                let first = trusted(zstd_length(&bytes), bytes.len());
                let mut decoder = zstd::Decoder::with_buffer(bytes.as_slice()).map_err(|_| crate::guard::bug())?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| crate::guard::bug())?;
                unpack(&mut decoder, "zstd with a window of at most 8 MiB", first, most, lease)
            }
        }
    }
}

pub(crate) fn too_large(what: &str, most: usize) -> Refusal {
    let message = format!("the body {what} is larger than {most} bytes: send smaller batches");
    Refusal::new(Kind::TooLarge, message)
}

/// Decompresses step by step, so that memory and budget grow with what is really there.
fn unpack(
    decoder: &mut impl Read,
    name: &str,
    first: usize,
    most: usize,
    lease: &mut Lease,
) -> Result<Buffer, Refusal> {
    let mut plain = lease.buffer(first, 0);
    let mut filled = 0;
    let mut step = first.max(STEP);
    loop {
        if filled == plain.len() {
            // One byte more than allowed shows whether there is more than allowed.
            let next = filled.saturating_add(step).min(most.saturating_add(1));
            lease.grow(next - filled)?;
            plain.resize(next, 0);
            step = next;
        }
        let read = decoder
            .read(&mut plain[filled..])
            .map_err(|_| Refusal::malformed(format!("the body is not the {name} that its encoding says")))?;
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

/// A promised length, plus one byte so that the end is met without growing; believed within a ratio.
fn trusted(promised: usize, compressed: usize) -> usize {
    promised.min(compressed.saturating_mul(TRUSTED_RATIO)).saturating_add(1)
}

fn gzip_length(compressed: &[u8]) -> usize {
    compressed.last_chunk::<4>().map_or(0, |trailer| u32::from_le_bytes(*trailer) as usize)
}

fn zstd_length(compressed: &[u8]) -> usize {
    let length = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten();
    length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX))
}

/// zlib format, read to its checksum: flate2's own reader takes a stream that was cut for one that ended.
struct Inflate<'a> {
    rest: &'a [u8],
    state: Decompress,
    ended: bool,
}

impl<'a> Inflate<'a> {
    fn new(compressed: &'a [u8]) -> Self {
        Self { rest: compressed, state: Decompress::new(true), ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.ended {
                return if self.rest.is_empty() { Ok(0) } else { Err(ErrorKind::InvalidData.into()) };
            }
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.rest, out, FlushDecompress::None)?;
            let (read, written) = (self.state.total_in() - read, self.state.total_out() - written);
            self.rest = self.rest.get(read as usize..).unwrap_or_default();
            self.ended = status == Status::StreamEnd;
            if written > 0 {
                return Ok(written as usize);
            }
            if read == 0 && !self.ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::limit::Budget;

    const COMPRESSED: [Encoding; 3] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

    fn compress(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => plain.to_vec(),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(plain, 3).unwrap(),
        }
    }

    fn decompress(encoding: Encoding, sent: &[u8], most: usize, lease: &mut Lease) -> Result<Vec<u8>, Refusal> {
        let mut bytes = lease.buffer(sent.len(), sent.len());
        bytes.extend_from_slice(sent);
        encoding.decompress(bytes, most, lease).map(|plain| plain.to_vec())
    }

    #[test]
    fn every_encoding_round_trips_at_every_size_near_a_step() {
        for encoding in COMPRESSED {
            for size in [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, 1 << 20] {
                let plain: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
                let mut lease = Budget::new(4 << 20).lease();
                let sent = compress(encoding, &plain);
                assert_eq!(decompress(encoding, &sent, size, &mut lease).unwrap(), plain, "{encoding:?} {size}");
            }
        }
    }

    #[test]
    fn members_and_frames_that_follow_each_other_are_one_body() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let sent = [compress(encoding, b"one "), compress(encoding, b"two")].concat();
            let mut lease = Budget::new(1 << 20).lease();
            assert_eq!(decompress(encoding, &sent, 100, &mut lease).unwrap(), b"one two", "{encoding:?}");
        }
    }

    #[test]
    fn one_byte_more_than_allowed_is_refused() {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let mut lease = Budget::new(1 << 20).lease();
            let refusal = decompress(encoding, &compress(encoding, &[7; 1001]), 1000, &mut lease).unwrap_err();
            assert_eq!(refusal.kind, Kind::TooLarge, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_takes_no_more_than_it() {
        for encoding in COMPRESSED {
            let bomb = compress(encoding, &vec![0; 64 << 20]);
            assert!(bomb.len() < (64 << 20) / 900, "{encoding:?}: about 1000:1");
            let budget = Budget::new(8 << 20);
            let mut lease = budget.lease();
            assert_eq!(decompress(encoding, &bomb, 4 << 20, &mut lease).unwrap_err().kind, Kind::TooLarge);
            assert!(budget.used() <= (4 << 20) + 1, "{encoding:?}");
        }
    }

    #[test]
    fn a_body_that_the_budget_cannot_hold_is_to_come_again() {
        for encoding in COMPRESSED {
            let mut lease = Budget::new(100).lease();
            let refusal = decompress(encoding, &compress(encoding, &[1; 1000]), 10_000, &mut lease).unwrap_err();
            assert_eq!(refusal.kind, Kind::Unavailable, "{encoding:?}");
        }
    }

    #[test]
    fn what_is_cut_flipped_or_followed_by_something_is_malformed() {
        let text = b"some text that is long enough to be cut anywhere, anywhere, anywhere";
        for encoding in COMPRESSED {
            let whole = compress(encoding, text);
            let kind = |sent: Vec<u8>| {
                let mut lease = Budget::new(1 << 20).lease();
                decompress(encoding, &sent, 1 << 16, &mut lease).map_err(|refusal| refusal.kind)
            };
            for cut in 1..whole.len() {
                assert_eq!(kind(whole[..cut].to_vec()), Err(Kind::Malformed), "{encoding:?} cut at {cut}");
            }
            assert_eq!(kind([whole.clone(), b"more".to_vec()].concat()), Err(Kind::Malformed), "{encoding:?}");
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x10;
                // What it decodes to is not checked by every format; that nothing worse happens is.
                let _ = kind(flipped);
            }
        }
    }

    #[test]
    fn a_zstd_window_that_nobody_needs_is_refused_before_it_is_allocated() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 100_000]).unwrap();
        let sent = encoder.finish().unwrap();
        let mut lease = Budget::new(1 << 20).lease();
        assert_eq!(decompress(Encoding::Zstd, &sent, 1 << 20, &mut lease).unwrap_err().kind, Kind::Malformed);
    }
}
