//! Reading a segment from its start to the first byte that is not a whole frame.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::error::Error;
use crate::segment::codec;
use crate::segment::frame::{BatchHeader, Frame};
use crate::segment::layout::{self, FrameHeader, HEADER_LEN, SegmentHeader};
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;

/// A frame whose checksums held, not decoded yet.
#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) kind: u32,
    pub(crate) lsn: u64,
    pub(crate) payload: Vec<u8>,
}

/// What a frame holds besides rows.
#[derive(Debug)]
pub(crate) enum Account {
    Batch(Box<BatchHeader>, Option<Box<Receipt>>),
    Statement(Box<Statement>),
}

impl RawFrame {
    pub(crate) fn decode(&self) -> Result<Frame, Error> {
        codec::decode(self.kind, self.lsn, &self.payload)
    }

    /// Everything but the rows: what a start needs.
    pub(crate) fn account(&self) -> Result<Account, Error> {
        if self.kind == layout::STATEMENT {
            codec::decode_statement(self.lsn, &self.payload).map(|statement| Account::Statement(Box::new(statement)))
        } else {
            let receipt = codec::decode_receipt(self.kind, self.lsn, &self.payload)?;
            let header = codec::decode_header(self.kind, self.lsn, &self.payload)?;
            Ok(Account::Batch(Box::new(header), receipt.map(Box::new)))
        }
    }
}

/// Walks the valid prefix of one segment; also of one that is being appended to.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    path: PathBuf,
    file: BufReader<File>,
    len: u64,
    valid: u64,
    first_lsn: Option<u64>,
    next_lsn: u64,
}

impl SegmentReader {
    /// Opens a segment. A header that is damaged, or not there, leaves nothing to read.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        // All of it is read from front to back: the disk may work in large pieces. It is advice, and works without.
        let _ = rustix::fs::fadvise(&file, 0, NonZeroU64::new(len), Advice::WillNeed);
        let mut reader = Self {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(1 << 16, file),
            len,
            valid: 0,
            first_lsn: None,
            next_lsn: 0,
        };
        let mut header = [0; HEADER_LEN];
        if len >= HEADER_LEN as u64 {
            reader.file.read_exact(&mut header)?;
            match layout::read_segment_header(&header) {
                SegmentHeader::Known(lsn) => {
                    reader.first_lsn = Some(lsn);
                    reader.next_lsn = lsn;
                    reader.valid = HEADER_LEN as u64;
                }
                SegmentHeader::Unknown(version) => return Err(layout::unknown_version(path, version).into()),
                SegmentHeader::Damaged => {}
            }
        }
        Ok(reader)
    }

    /// The next frame, or none at the end of the valid prefix.
    pub(crate) fn next(&mut self) -> io::Result<Option<RawFrame>> {
        if self.first_lsn.is_none() {
            return Ok(None);
        }
        let Some(header) = self.read_header()?.filter(|header| header.lsn == self.next_lsn) else {
            return Ok(None);
        };
        // The length is bounded by the file before anything is allocated for it.
        let end = self.valid + HEADER_LEN as u64 + u64::from(header.payload_len);
        if end > self.len {
            return Ok(None);
        }
        let mut payload = vec![0; header.payload_len as usize];
        self.file.read_exact(&mut payload)?;
        if crc32c::crc32c(&payload) != header.payload_crc {
            return Ok(None);
        }
        // A frame that no other can follow was written by nobody: lsns count requests.
        let Some(next_lsn) = self.next_lsn.checked_add(1) else { return Ok(None) };
        (self.valid, self.next_lsn) = (end, next_lsn);
        Ok(Some(RawFrame { kind: header.kind, lsn: header.lsn, payload }))
    }

    /// The next frame, decoded.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        match self.next() {
            Ok(frame) => frame.map(|frame| frame.decode()).transpose(),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Bytes of the prefix read so far, header included.
    pub(crate) const fn valid(&self) -> u64 {
        self.valid
    }

    /// Length of the file when it was opened.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The lsn that the header states, if the header is whole.
    pub(crate) const fn first_lsn(&self) -> Option<u64> {
        self.first_lsn
    }

    /// The lsn after the last frame read.
    pub(crate) const fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Why reading failed, with the file's name.
    pub(crate) fn failed(&self, error: &io::Error) -> Error {
        Error::io(format!("cannot read the segment {}", self.path.display()), error)
    }

    fn read_header(&mut self) -> io::Result<Option<FrameHeader>> {
        if self.valid + HEADER_LEN as u64 > self.len {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_LEN];
        self.file.read_exact(&mut bytes)?;
        Ok(FrameHeader::read(&bytes))
    }
}

/// Why a segment cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io(io::Error),
    Refused(Error),
}

impl OpenError {
    /// As an error of the store; `path` is the segment.
    pub(crate) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Io(error) => Error::io(format!("cannot open the segment {}", path.display()), &error),
            Self::Refused(error) => error,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
