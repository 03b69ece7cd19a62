//! The law of segments, for any bytes: what is read is a prefix of whole frames that are there byte for byte, recovery keeps it and
//! loses nothing that was durable, and behind a checksum that holds there is a frame that survives being written again, or an error.
//! A fuzz target and its corpus are held against it.

use std::path::Path;

use crate::error::Kind;
use crate::segment::codec::{decode_header, decode_receipt, decode_statement, encode_statement, receipt_json};
use crate::segment::frame::Frame;
use crate::segment::layout::{FrameHeader, HEADER_LEN, SegmentHeader, read_segment_header, segment_header};
use crate::segment::read::{Account, OpenError, RawFrame, SegmentReader};
use crate::segment::recover::{count_set_aside, recover};
use crate::segment::{FOLDER, SET_ASIDE, file_name, read_all};

/// The law of a fuzz target's input: behind an even byte stands a segment as it is, behind an odd one what [`sealed`] makes one of.
pub(crate) fn frames(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let bytes = if choice % 2 == 0 { rest.to_vec() } else { sealed(rest) };
    // Recovery syncs: in memory where the machine offers it.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    for name in [FOLDER, SET_ASIDE] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let path = folder.path().join(FOLDER).join(file_name(1));
    std::fs::write(&path, &bytes).unwrap();
    match SegmentReader::open(&path) {
        Ok(reader) => {
            let prefix = prefix(reader, &bytes);
            recovery_keeps(&prefix, folder.path(), &bytes);
        }
        Err(OpenError::Io(error)) => panic!("{error}"),
        Err(OpenError::Refused(error)) => {
            let header = bytes.first_chunk::<HEADER_LEN>().map(read_segment_header);
            assert!(matches!(header, Some(SegmentHeader::Unknown(_))), "{error}");
            assert_eq!(recover(folder.path()).unwrap_err().kind(), Kind::Data);
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "what cannot be read is left alone");
        }
    }
}

/// What was read of a segment.
struct Prefix {
    bytes: usize,
    frames: usize,
    next_lsn: u64,
    readable: bool,
}

fn prefix(mut reader: SegmentReader, bytes: &[u8]) -> Prefix {
    let mut prefix = Prefix { bytes: 0, frames: 0, next_lsn: reader.next_lsn(), readable: true };
    loop {
        let start = reader.valid() as usize;
        let Some(frame) = reader.next().unwrap() else { break };
        let header = FrameHeader {
            kind: frame.kind,
            lsn: prefix.next_lsn,
            payload_len: frame.payload.len() as u32,
            payload_crc: crc32c::crc32c(&frame.payload),
        };
        let written = [&header.to_bytes()[..], &frame.payload].concat();
        assert!(bytes[start..].starts_with(&written), "an invented frame at {start}");
        assert_eq!(reader.valid() as usize, start + written.len());
        (prefix.frames, prefix.next_lsn) = (prefix.frames + 1, prefix.next_lsn + 1);
        prefix.readable &= survives(&frame);
    }
    prefix.bytes = reader.valid() as usize;
    prefix
}

/// Whether a frame can be decoded; what can be must come back from being encoded.
fn survives(frame: &RawFrame) -> bool {
    match frame.account() {
        // Arrow's reader takes rows for what the checksum says they are (`docs/FORMAT.md`): none that nobody wrote may reach it.
        Ok(Account::Batch(header, _)) if !header.tables.is_empty() => return false,
        Ok(_) => {}
        Err(error) => {
            assert_eq!((error.kind(), frame.decode().map(drop).unwrap_err().kind()), (Kind::Data, Kind::Data));
            return false;
        }
    }
    match frame.decode() {
        Ok(Frame::Statement { statement, .. }) => {
            let again = encode_statement(&statement).unwrap();
            assert_eq!(decode_statement(frame.lsn, &again.payload).unwrap(), statement);
        }
        Ok(Frame::Batch(batch)) => {
            let again = batch.to_payload().unwrap();
            assert_eq!(decode_header(frame.kind, frame.lsn, &again).unwrap(), batch.header);
            let receipt = decode_receipt(frame.kind, frame.lsn, &again).unwrap();
            assert_eq!(receipt, batch.receipt.as_deref().cloned());
            if let Some(receipt) = receipt {
                let json = receipt_json(&receipt).unwrap();
                let length = (json.len() as u32).to_le_bytes();
                assert!(frame.payload.ends_with(&[json.as_bytes(), &length].concat()), "other bytes than were signed");
            }
        }
        // A frame without tables must not hold rows.
        Err(error) => {
            assert_eq!(error.kind(), Kind::Data);
            return false;
        }
    }
    true
}

fn recovery_keeps(prefix: &Prefix, data: &Path, bytes: &[u8]) {
    let path = data.join(FOLDER).join(file_name(1));
    let rest = &bytes[prefix.bytes..];
    for round in 0..2 {
        let recovered = recover(data).unwrap();
        // What is gone is in tables and ledger, or set aside: the second time it says nothing any more.
        assert!(recovered.next_lsn >= prefix.next_lsn || round > 0, "an lsn would be given twice");
        assert_eq!(recovered.segments.len(), usize::from(prefix.frames > 0));
        match std::fs::read(&path) {
            Ok(kept) => assert!(kept == bytes[..prefix.bytes] && prefix.frames > 0, "round {round}"),
            Err(_) => assert_eq!(prefix.frames, 0, "frames are gone"),
        }
        assert!(count_set_aside(data) <= 1);
        for entry in std::fs::read_dir(data.join(SET_ASIDE)).unwrap() {
            assert_eq!(std::fs::read(entry.unwrap().path()).unwrap(), rest, "what is set aside is what was there");
        }
    }
    if prefix.readable {
        assert_eq!(read_all(data).unwrap().len(), prefix.frames);
    }
}

/// A segment whose checksums hold. The input is the lsn of its first frame, and for each frame its kind and the length of its
/// payload (two bytes), then the payload.
fn sealed(input: &[u8]) -> Vec<u8> {
    let Some((lsn, mut rest)) = input.split_first_chunk::<8>() else { return Vec::new() };
    let mut lsn = u64::from_le_bytes(*lsn);
    let mut bytes = segment_header(lsn).to_vec();
    while let Some(([kind, low, high], after)) = rest.split_first_chunk::<3>() {
        let (payload, after) = after.split_at(after.len().min(u16::from_le_bytes([*low, *high]).into()));
        let header = FrameHeader {
            kind: (*kind).into(),
            lsn,
            payload_len: payload.len() as u32,
            payload_crc: crc32c::crc32c(payload),
        };
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(payload);
        (lsn, rest) = (lsn.wrapping_add(1), after);
    }
    bytes
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("frames", frames);
}
