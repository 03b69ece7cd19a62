//! The bytes of segment and frame headers. `docs/FORMAT.md`, "Segments", is the authority; little-endian throughout.

use crate::error::{Error, Kind};

/// Bytes of a segment's header, and of a frame's.
pub(crate) const HEADER_LEN: usize = 32;

/// Most bytes of a frame's payload: a length beyond it is damage, whatever its checksum says.
pub(crate) const MAX_PAYLOAD: usize = 1 << 30;

/// Frame kind: a request's rows and account.
pub(crate) const BATCH: u32 = 1;
/// Frame kind: a consent statement.
pub(crate) const STATEMENT: u32 = 2;
/// Frame kind: a numbered batch, its receipt behind its rows and account.
pub(crate) const NUMBERED: u32 = 3;

pub(crate) const FRAME_MAGIC: [u8; 4] = *b"CFrm";
const SEGMENT_MAGIC: [u8; 8] = *b"CandorWL";
const VERSION: u32 = 1;
/// The checksum covers everything before it.
const CHECKED: usize = HEADER_LEN - 4;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u32,
    pub(crate) lsn: u64,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// A segment of this version, with the lsn of its first frame.
    Known(u64),
    /// A whole header of a version that this program does not know.
    Unknown(u32),
    /// Not a header.
    Damaged,
}

pub(crate) fn segment_header(first_lsn: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&first_lsn.to_le_bytes());
    seal(bytes)
}

pub(crate) fn read_segment_header(bytes: &[u8; HEADER_LEN]) -> SegmentHeader {
    if bytes[..8] != SEGMENT_MAGIC || !is_sealed(bytes) {
        return SegmentHeader::Damaged;
    }
    match u32_at(bytes, 8) {
        VERSION => SegmentHeader::Known(u64_at(bytes, 12)),
        other => SegmentHeader::Unknown(other),
    }
}

impl FrameHeader {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.payload_crc.to_le_bytes());
        seal(bytes)
    }

    /// The header, if its checksum holds and its length can be.
    pub(crate) fn read(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        if bytes[..4] != FRAME_MAGIC || !is_sealed(bytes) {
            return None;
        }
        let header = Self {
            kind: u32_at(bytes, 4),
            lsn: u64_at(bytes, 8),
            payload_len: u32_at(bytes, 16),
            payload_crc: u32_at(bytes, 20),
        };
        (header.payload_len as usize <= MAX_PAYLOAD).then_some(header)
    }
}

/// A segment that a newer program wrote: reading on would guess.
pub(crate) fn unknown_version(file: &std::path::Path, version: u32) -> Error {
    Error::new(
        Kind::Data,
        format!("cannot read the segment {}", file.display()),
        format!("its format has version {version}, this program knows {VERSION}"),
        "start the version of candor that wrote it, and let it stop gracefully: that empties the segments",
    )
}

fn seal(mut bytes: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    let crc = crc32c::crc32c(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn is_sealed(bytes: &[u8; HEADER_LEN]) -> bool {
    u32_at(bytes, CHECKED) == crc32c::crc32c(&bytes[..CHECKED])
}

fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8; HEADER_LEN], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_a_newer_version_is_not_taken_for_damage() {
        assert_eq!(read_segment_header(&segment_header(7)), SegmentHeader::Known(7));
        let mut newer = segment_header(7);
        newer[8] = 2;
        assert_eq!(read_segment_header(&newer), SegmentHeader::Damaged);
        assert_eq!(read_segment_header(&seal(newer)), SegmentHeader::Unknown(2));

        let header = FrameHeader { kind: BATCH, lsn: 9, payload_len: 5, payload_crc: 3 };
        assert_eq!(FrameHeader::read(&header.to_bytes()), Some(header));
        let long = FrameHeader { payload_len: MAX_PAYLOAD as u32 + 1, ..header };
        assert_eq!(FrameHeader::read(&long.to_bytes()), None);
    }

    #[test]
    fn the_vectors_of_the_format_page_hold() {
        let header = FrameHeader { kind: STATEMENT, lsn: 1, payload_len: 2, payload_crc: crc32c::crc32c(b"{}") };
        assert_eq!(
            candor_policy::hex::encode(&segment_header(1)),
            "43616e646f72574c0100000001000000000000000000000000000000dd19c4c5"
        );
        assert_eq!(
            candor_policy::hex::encode(&header.to_bytes()),
            "4346726d02000000010000000000000002000000aad07b2900000000204788d0"
        );
    }
}
