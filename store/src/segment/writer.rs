//! The one segment that is being appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::FallocateFlags;

use crate::error::is_full;
use crate::segment::codec::Encoded;
use crate::segment::file_name;
use crate::segment::layout::{FrameHeader, HEADER_LEN, segment_header};
use crate::storage;

/// Rows that a frame counts for at least when a segment is measured: memory holds some 500 bytes of each statement and 1 KiB of
/// each receipt until they are in the ledger, which a segment of 262,144 rows so bounds to 16 MiB.
const FRAME_WEIGHT: u64 = 16;

/// A segment open for appending. It is never opened a second time: what was written before a crash is rewritten.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: File,
    path: PathBuf,
    next_lsn: u64,
    end: u64,
    capacity: u64,
    frames: u64,
    rows: u64,
    weight: u64,
    opened: Instant,
}

/// Why no segment could be opened.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// Nothing was promised on it: the next append tries again.
    Refused(io::Error),
    /// A sync failed: what the page cache says is no longer to be believed.
    Sync(io::Error),
}

impl SegmentWriter {
    /// Preallocates a segment with room for a frame of `frame` bytes, and makes it and its name durable.
    pub(crate) fn create(wal: &Path, first_lsn: u64, capacity: u64, frame: u64) -> Result<Self, CreateError> {
        let path = wal.join(file_name(first_lsn));
        let beside = storage::beside(&path);
        let capacity = capacity.max(HEADER_LEN as u64 + frame);
        let made = prepare(&beside, &path, first_lsn, capacity);
        if made.is_err() {
            // Leaving it would keep the space that is missing; recovery removes it if this fails.
            let _ = std::fs::remove_file(&beside);
        }
        let file = made?;
        storage::sync_folder(wal).map_err(CreateError::of_sync)?;
        fail::fail_point!("segment::after_create", |_| std::process::abort());
        let end = HEADER_LEN as u64;
        Ok(Self {
            file,
            path,
            next_lsn: first_lsn,
            end,
            capacity,
            frames: 0,
            rows: 0,
            weight: 0,
            opened: Instant::now(),
        })
    }

    /// Whether a frame still has room.
    pub(crate) const fn fits(&self, frame: u64) -> bool {
        self.end + frame <= self.capacity
    }

    /// Writes a frame behind the last one and gives its lsn. It is not durable before [`Self::sync`].
    pub(crate) fn append(&mut self, encoded: &Encoded) -> io::Result<u64> {
        let lsn = self.next_lsn;
        let header = FrameHeader {
            kind: encoded.kind,
            lsn,
            payload_len: encoded.payload.len() as u32,
            payload_crc: encoded.payload_crc,
        };
        write_both(&mut self.file, &header.to_bytes(), &encoded.payload)?;
        self.end += frame_len(encoded);
        self.next_lsn += 1;
        self.frames += 1;
        self.rows += encoded.rows;
        self.weight += encoded.rows.max(FRAME_WEIGHT);
        Ok(lsn)
    }

    /// Makes every frame appended so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows, and those that frames count for at least.
    pub(crate) const fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }
}

impl CreateError {
    fn of_sync(error: io::Error) -> Self {
        // Some file systems find out at the sync that the disk is full; nothing was promised on this file yet.
        if is_full(&error) { Self::Refused(error) } else { Self::Sync(error) }
    }
}

/// Bytes that a frame takes in a segment.
pub(crate) fn frame_len(encoded: &Encoded) -> u64 {
    HEADER_LEN as u64 + encoded.payload.len() as u64
}

fn prepare(beside: &Path, path: &Path, first_lsn: u64, capacity: u64) -> Result<File, CreateError> {
    let refused = CreateError::Refused;
    storage::remove_if_there(beside).map_err(refused)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside).map_err(refused)?;
    allocate(&file, capacity).map_err(refused)?;
    file.write_all(&segment_header(first_lsn)).map_err(refused)?;
    file.sync_all().map_err(CreateError::of_sync)?;
    std::fs::rename(beside, path).map_err(refused)?;
    Ok(file)
}

/// Takes the space now: a full disk is met here, and not by a frame that somebody waits for.
fn allocate(file: &File, capacity: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, capacity) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, capacity),
        Err(error) => Err(error.into()),
    }
}

/// What fallocate does, for file systems that cannot.
fn write_zeros(file: &File, capacity: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let zeros = vec![0; 1 << 16];
    let mut at = 0;
    while at < capacity {
        let some = zeros.len().min((capacity - at) as usize);
        file.write_all_at(&zeros[..some], at)?;
        at += some as u64;
    }
    Ok(())
}

fn write_both(file: &mut File, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(header), IoSlice::new(payload)];
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::codec::encode_statement;
    use crate::segment::read::SegmentReader;
    use crate::segment::testing;

    #[test]
    fn what_is_appended_is_read_back_while_the_segment_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let encoded = encode_statement(&testing::statement(1, 1, true)).unwrap();
        let mut writer = SegmentWriter::create(folder.path(), 5, 4096, 0).unwrap();
        assert_eq!(std::fs::metadata(writer.path()).unwrap().len(), 4096);
        assert_eq!(writer.append(&encoded).unwrap(), 5);
        assert_eq!(writer.append(&encoded).unwrap(), 6);
        writer.sync().unwrap();

        let mut reader = SegmentReader::open(writer.path()).unwrap();
        assert_eq!(reader.next_frame().unwrap().unwrap().lsn(), 5);
        assert_eq!(reader.next_frame().unwrap().unwrap().lsn(), 6);
        assert!(reader.next_frame().unwrap().is_none());
        assert_eq!(reader.valid(), HEADER_LEN as u64 + 2 * frame_len(&encoded));
    }

    #[test]
    fn a_frame_larger_than_a_segment_gets_a_larger_segment() {
        let folder = tempfile::tempdir().unwrap();
        let encoded = encode_statement(&testing::statement(1, 1, true)).unwrap();
        let writer = SegmentWriter::create(folder.path(), 1, 64, frame_len(&encoded)).unwrap();
        assert!(writer.fits(frame_len(&encoded)));
        assert!(!writer.fits(frame_len(&encoded) + 1));
    }
}
