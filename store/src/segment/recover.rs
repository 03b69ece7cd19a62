//! What a crash left: the valid prefix is kept, a torn tail is cut, and damage is set aside, never deleted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::segment::layout::{FRAME_MAGIC, FrameHeader, HEADER_LEN};
use crate::segment::read::SegmentReader;
use crate::segment::{FOLDER, SET_ASIDE, list};
use crate::storage;

/// What is there after recovery.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Segments with frames, ascending; none of them is ever appended to again.
    pub(crate) segments: Vec<PathBuf>,
    /// Above every lsn that was ever given, also above those in what was cut or set aside: tables skip what they have seen.
    pub(crate) next_lsn: u64,
}

/// Mends the segments of a data folder that nobody else has open.
pub(crate) fn recover(data: &Path) -> Result<Recovered, Error> {
    let wal = data.join(FOLDER);
    let failed = |error: &io::Error| Error::io(format!("cannot recover the segments in {}", wal.display()), error);
    remove_unfinished(&wal).map_err(|error| failed(&error))?;
    let paths = list(&wal)?;
    let mut recovered = Recovered { segments: Vec::new(), next_lsn: 1 };
    for (at, path) in paths.iter().enumerate() {
        let found = inspect(path)?;
        let newest = at + 1 == paths.len();
        if found.mend(path, data, newest).map_err(|error| failed(&error))? {
            recovered.segments.push(path.clone());
        }
        recovered.next_lsn = recovered.next_lsn.max(found.lsn_after(path));
    }
    Ok(recovered)
}

/// How many damaged segments, or parts of them, were ever set aside in a data folder.
pub(crate) fn count_set_aside(data: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(data.join(SET_ASIDE)) else { return 0 };
    entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().ends_with(storage::UNFINISHED)).count() as u64
}

/// Whether more follows the valid prefix of a segment than a write that a crash may have cut short.
pub(crate) fn is_damaged(path: &Path, newest: bool) -> Result<bool, Error> {
    Ok(match inspect(path)?.tail {
        Tail::Empty => false,
        Tail::Torn => !newest,
        Tail::Damaged => true,
    })
}

/// Bytes of a segment that say anything: its frames, where nothing follows them but the zeros of preallocation.
pub(crate) fn used(path: &Path) -> Result<u64, Error> {
    let found = inspect(path)?;
    Ok(if found.tail == Tail::Empty { found.valid } else { found.len })
}

/// What follows the valid prefix of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing, or the zeros of preallocation.
    Empty,
    /// Bytes without any whole frame: a write that a crash cut short.
    Torn,
    /// Damage with whole frames after it: those were durable once.
    Damaged,
}

#[derive(Debug)]
struct Found {
    frames: bool,
    valid: u64,
    len: u64,
    tail: Tail,
    next_lsn: u64,
}

fn inspect(path: &Path) -> Result<Found, Error> {
    let mut reader = SegmentReader::open(path).map_err(|error| error.into_error(path))?;
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return Err(reader.failed(&error)),
        }
    }
    let rest = read_range(path, reader.valid(), reader.len()).map_err(|error| reader.failed(&error))?;
    Ok(Found {
        frames: reader.first_lsn().is_some_and(|first| reader.next_lsn() > first),
        valid: reader.valid(),
        len: reader.len(),
        tail: classify(&rest),
        next_lsn: reader.next_lsn(),
    })
}

impl Found {
    /// Leaves a file that holds its valid prefix alone; false if that is nothing, and the file is gone.
    fn mend(&self, path: &Path, data: &Path, newest: bool) -> io::Result<bool> {
        match self.tail {
            Tail::Empty => {}
            Tail::Torn if newest => tracing::warn!(
                segment = %path.display(), kept = self.valid, cut = self.len - self.valid,
                "a write that was never acknowledged was cut short by a crash, and is left out"
            ),
            // An older segment was synced whole before the next was opened: nothing in it can be torn.
            Tail::Torn | Tail::Damaged => self.set_aside(path, data)?,
        }
        if !self.frames {
            storage::remove_if_there(path)?;
            storage::sync_folder(&storage::parent(path))?;
            return Ok(false);
        }
        // The newest may sit in the page cache only, after a sync that failed: its prefix is written anew.
        if newest || self.tail != Tail::Empty {
            storage::write_file(path, &read_range(path, 0, self.valid)?, 0o600)?;
        }
        Ok(true)
    }

    /// Copies everything from the damage on; the name is the same if a crash makes recovery start over.
    fn set_aside(&self, path: &Path, data: &Path) -> io::Result<()> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let copy = data.join(SET_ASIDE).join(format!("{stem}-{}.segment", self.valid));
        storage::write_file(&copy, &read_range(path, self.valid, self.len)?, 0o600)?;
        tracing::error!(
            segment = %path.display(), offset = self.valid, bytes = self.len - self.valid, copy = %copy.display(),
            "a segment is damaged: frames from the damage on are not in the tables; keep the copy and check the disk"
        );
        Ok(())
    }

    /// The least lsn that no frame of this file can have had.
    fn lsn_after(&self, path: &Path) -> u64 {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let named = stem.and_then(|stem| stem.parse::<u64>().ok()).unwrap_or(0);
        let lost = match self.tail {
            Tail::Empty => 0,
            Tail::Torn | Tail::Damaged => (self.len - self.valid) / HEADER_LEN as u64 + 1,
        };
        self.next_lsn.max(named).saturating_add(lost)
    }
}

fn classify(rest: &[u8]) -> Tail {
    if rest.iter().all(|byte| *byte == 0) {
        Tail::Empty
    } else if (1..rest.len()).any(|at| is_frame(&rest[at..])) {
        Tail::Damaged
    } else if is_frame(rest) {
        // Whole, but not the one that belongs here.
        Tail::Damaged
    } else {
        Tail::Torn
    }
}

fn is_frame(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&FRAME_MAGIC) {
        return false;
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return false };
    let Some(header) = FrameHeader::read(header) else { return false };
    rest.get(..header.payload_len as usize).is_some_and(|payload| crc32c::crc32c(payload) == header.payload_crc)
}

fn read_range(path: &Path, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn remove_unfinished(wal: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(wal)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(storage::UNFINISHED) {
            storage::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candor_wire::statement::Statement;

    use super::*;
    use crate::error::Kind;
    use crate::segment::codec::{encode_batch, encode_statement, receipt_json};
    use crate::segment::frame::Frame;
    use crate::segment::writer::{SegmentWriter, frame_len};
    use crate::segment::{file_name, layout, read_all, testing};

    /// A data folder with one segment of a few small statements.
    struct World {
        folder: tempfile::TempDir,
        bytes: Vec<u8>,
        statements: Vec<Statement>,
        ends: Vec<usize>,
    }

    impl World {
        fn new(count: i64) -> Self {
            // Recovery syncs several times, and thousands of recoveries follow: in memory where the machine offers it.
            let memory = Path::new("/dev/shm");
            let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
            for name in [FOLDER, SET_ASIDE] {
                std::fs::create_dir(folder.path().join(name)).unwrap();
            }
            let statements: Vec<_> = (1..=count).map(|n| testing::statement(n as u8, n, true)).collect();
            let mut writer = SegmentWriter::create(&folder.path().join(FOLDER), 1, 1 << 12, 0).unwrap();
            let mut ends = vec![HEADER_LEN];
            for statement in &statements {
                let encoded = encode_statement(statement).unwrap();
                ends.push(ends.last().unwrap() + frame_len(&encoded) as usize);
                writer.append(&encoded).unwrap();
            }
            writer.sync().unwrap();
            let bytes = std::fs::read(writer.path()).unwrap();
            Self { folder, bytes, statements, ends }
        }

        fn used(&self) -> usize {
            *self.ends.last().unwrap()
        }

        /// Puts these bytes in place of the segment.
        fn with(&self, bytes: &[u8]) {
            let _ = std::fs::remove_dir_all(self.folder.path().join(SET_ASIDE));
            std::fs::create_dir(self.folder.path().join(SET_ASIDE)).unwrap();
            // A file that is cut and written again is synced by some file systems: a new one is not.
            let path = self.folder.path().join(FOLDER).join(file_name(1));
            let _ = std::fs::remove_file(&path);
            std::fs::write(path, bytes).unwrap();
        }

        /// Recovers; the frames found must be the first ones that were written, unchanged.
        fn recovered(&self) -> (usize, Recovered) {
            let recovered = recover(self.folder.path()).unwrap();
            (self.prefix(), recovered)
        }

        fn prefix(&self) -> usize {
            let frames = read_all(self.folder.path()).unwrap();
            for (at, frame) in frames.iter().enumerate() {
                let Frame::Statement { lsn, statement } = frame else { panic!("an invented batch") };
                assert_eq!((*lsn, statement), (at as u64 + 1, &self.statements[at]));
            }
            frames.len()
        }
    }

    #[test]
    fn a_file_cut_at_any_offset_gives_its_whole_frames() {
        let world = World::new(3);
        for cut in 0..=world.used() {
            world.with(&world.bytes[..cut]);
            let whole = world.ends.iter().skip(1).filter(|end| **end <= cut).count();
            assert_eq!(world.prefix(), whole, "cut at {cut}");
            let (found, recovered) = world.recovered();
            assert_eq!(found, whole, "cut at {cut}");
            assert_eq!(count_set_aside(world.folder.path()), 0, "cut at {cut}");
            // No lsn that was ever given is given again.
            assert!(recovered.next_lsn > whole as u64);
        }
    }

    #[test]
    fn any_flipped_bit_gives_a_prefix_and_damage_before_good_frames_is_set_aside() {
        let world = World::new(3);
        for byte in 0..world.used() {
            let whole = world.ends.iter().skip(1).filter(|end| **end <= byte).count();
            let whole = if byte < HEADER_LEN { 0 } else { whole };
            let last = byte >= world.ends[world.ends.len() - 2];
            for bit in 0..8 {
                let mut bytes = world.bytes.clone();
                bytes[byte] ^= 1 << bit;
                world.with(&bytes);
                assert_eq!(world.prefix(), whole, "bit {bit} of byte {byte}");
                let (found, recovered) = world.recovered();
                assert_eq!(found, whole, "bit {bit} of byte {byte}");
                assert_eq!(count_set_aside(world.folder.path()), u64::from(!last), "bit {bit} of byte {byte}");
                assert!(recovered.next_lsn > 3, "an lsn would be given twice after bit {bit} of byte {byte}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_receipt_is_damage_like_any_other() {
        let world = World::new(0);
        let mut numbered = encode_batch(testing::numbered_header(7), [("p", "a.b", &testing::some_rows(3))]).unwrap();
        let rows = HEADER_LEN * 2 + numbered.payload.len();
        numbered.add_receipt(&receipt_json(&testing::receipt(1, 7)).unwrap()).unwrap();
        let end = HEADER_LEN + frame_len(&numbered) as usize;
        let mut writer = SegmentWriter::create(&world.folder.path().join(FOLDER), 1, 1 << 12, 0).unwrap();
        writer.append(&numbered).unwrap();
        writer.append(&encode_statement(&testing::statement(1, 1, true)).unwrap()).unwrap();
        let whole = std::fs::read(writer.path()).unwrap();
        world.with(&whole);
        assert_eq!(read_all(world.folder.path()).unwrap().len(), 2);
        for byte in rows..end {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << (byte % 8);
            world.with(&bytes);
            assert!(read_all(world.folder.path()).unwrap().is_empty(), "byte {byte}");
            let recovered = recover(world.folder.path()).unwrap();
            assert_eq!((count_set_aside(world.folder.path()), recovered.next_lsn > 2), (1, true), "byte {byte}");
        }
    }

    #[test]
    fn what_is_set_aside_holds_every_byte_from_the_damage_on_and_is_counted_once() {
        let world = World::new(3);
        let mut bytes = world.bytes.clone();
        bytes[world.ends[1] + 40] ^= 1;
        world.with(&bytes);
        for _ in 0..2 {
            let (found, _) = world.recovered();
            assert_eq!(found, 1);
            assert_eq!(count_set_aside(world.folder.path()), 1);
        }
        let copy = std::fs::read_dir(world.folder.path().join(SET_ASIDE)).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read(copy).unwrap(), bytes[world.ends[1]..]);
    }

    #[test]
    fn a_torn_end_of_an_older_segment_is_damage() {
        let world = World::new(3);
        world.with(&world.bytes[..world.used() - 1]);
        let mut newer = SegmentWriter::create(&world.folder.path().join(FOLDER), 4, 1 << 12, 0).unwrap();
        newer.append(&encode_batch(testing::header("s", 0), []).unwrap()).unwrap();
        let recovered = recover(world.folder.path()).unwrap();
        assert_eq!(recovered.segments.len(), 2);
        assert_eq!(count_set_aside(world.folder.path()), 1);
    }

    /// Lsns are added up, and the sum must not overflow.
    #[test]
    fn the_last_lsn_there_is_ends_the_prefix() {
        let world = World::new(1);
        let mut bytes = layout::segment_header(u64::MAX).to_vec();
        let payload_crc = crc32c::crc32c(b"{}");
        let header = FrameHeader { kind: layout::STATEMENT, lsn: u64::MAX, payload_len: 2, payload_crc };
        bytes.extend([&header.to_bytes()[..], b"{}"].concat());
        world.with(&bytes);
        let recovered = recover(world.folder.path()).unwrap();
        assert_eq!((recovered.segments.len(), recovered.next_lsn), (0, u64::MAX));
        assert_eq!(count_set_aside(world.folder.path()), 1);
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let world = World::new(1);
        let mut bytes = world.bytes.clone();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        world.with(&bytes);
        assert_eq!(recover(world.folder.path()).unwrap_err().kind(), Kind::Data);
        assert_eq!(std::fs::read(world.folder.path().join(FOLDER).join(file_name(1))).unwrap(), bytes);
    }

    #[test]
    fn unfinished_and_empty_segments_go() {
        let world = World::new(0);
        let unfinished = storage::beside(&world.folder.path().join(FOLDER).join(file_name(9)));
        std::fs::write(&unfinished, [0; 64]).unwrap();
        let recovered = recover(world.folder.path()).unwrap();
        assert!(recovered.segments.is_empty());
        assert!(!unfinished.exists());
        assert_eq!(list(&world.folder.path().join(FOLDER)).unwrap().len(), 0);
        assert_eq!(layout::segment_header(1).len(), HEADER_LEN);
    }
}
