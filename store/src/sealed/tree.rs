//! The tree over a file's leaves: in memory when the file is written, beside it on the disk for proofs.
//!
//! Nothing here is trusted: a proof that comes from it either leads to the root that was sealed or is not used. So it is not synced.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use candor_wire::leaf::{ENTRY_LEN, Entry, Leaves, Salt, Salted, file_root};
use candor_wire::merkle::{self, Hash};

use crate::storage;

/// What the file begins with.
const MAGIC: &[u8; 16] = b"candor/leaves/2\n";
/// Magic, number of leaves, salt, root.
const HEADER_LEN: u64 = 16 + 8 + 16 + 32;
/// Nodes from this height up are kept: below it, they are a few hashes of entries that stand together.
const LOWEST: u32 = 3;
/// Bytes that are read first: the header, and the nodes that most proofs share.
const FRONT_LEN: usize = 4_096;
/// Entries that are read at a time.
const WINDOW: u64 = 256;

/// Leaves in order, and all nodes above them.
pub(crate) struct Tree {
    salt: Salt,
    entries: Vec<Entry>,
    /// The leaves' hashes first, the root last.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Of entries, and the hash of each.
    pub(crate) fn new(salt: Salt, entries: Vec<Entry>, hashes: Vec<Hash>) -> Self {
        let mut levels = vec![hashes];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            levels.push(merkle::above(level));
        }
        Self { salt, entries, levels }
    }

    /// Root of the file.
    pub(crate) fn root(&self) -> Hash {
        let top = self.levels.last().and_then(|level| level.first()).copied();
        file_root(&self.salt, self.size(), &top.unwrap_or_else(|| merkle::root(&[])))
    }

    /// Writes it beside, and gives it its name.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = storage::beside(path);
        let parent = storage::parent(path);
        // Not synced either: a sync that fails may not be passed over, and these may fail.
        DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        storage::remove_if_there(&beside)?;
        let written = self.write_to(&beside).and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        out.write_all(MAGIC)?;
        out.write_all(&self.size().to_be_bytes())?;
        out.write_all(&self.salt)?;
        out.write_all(&self.root())?;
        for level in self.levels.iter().skip(LOWEST as usize).rev() {
            out.write_all(level.as_flattened())?;
        }
        for entry in &self.entries {
            out.write_all(&entry.to_bytes())?;
        }
        out.flush()
    }
}

impl Leaves for Tree {
    type Error = Infallible;

    fn salt(&self) -> Salt {
        self.salt
    }

    fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    fn find(&self, salted: &Salted) -> Result<Result<u64, u64>, Infallible> {
        let found = self.entries.binary_search_by(|entry| entry.salted.cmp(salted));
        Ok(found.map(|at| at as u64).map_err(|at| at as u64))
    }

    fn entry(&self, index: u64) -> Result<Entry, Infallible> {
        Ok(self.entries[index as usize])
    }

    fn subtree(&self, leaves: &Range<u64>) -> Result<Hash, Infallible> {
        let height = height(leaves.end - leaves.start);
        Ok(self.levels[height as usize][(leaves.start >> height) as usize])
    }
}

/// The same on the disk.
pub(super) struct Stored {
    file: File,
    size: u64,
    salt: Salt,
    front: Vec<u8>,
    /// The entries that were read last, and the number of the first.
    window: RefCell<(u64, Vec<u8>)>,
}

impl Stored {
    /// Opens what lies beside a file with this root; none if that is something else.
    pub(super) fn open(path: &Path, root: &Hash) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let mut front = vec![0; len.min(FRONT_LEN as u64) as usize];
        file.read_exact_at(&mut front, 0).ok()?;
        let (magic, rest) = front.split_first_chunk::<16>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (salt, rest) = rest.split_first_chunk::<16>()?;
        let size = u64::from_be_bytes(*size);
        let whole = magic == MAGIC && rest.first_chunk() == Some(root) && size > 0;
        // No file has so many leaves that its length is no number.
        let fits = whole && size < 1 << 40 && len == entries_start(size) + size * ENTRY_LEN as u64;
        let (salt, window) = (*salt, RefCell::new((0, Vec::new())));
        fits.then_some(Self { file, size, salt, front, window })
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(into.len())?));
        match end.and_then(|place| self.front.get(place)) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => self.file.read_exact_at(into, offset)?,
        }
        Ok(())
    }

    /// Reads the entries around a place; their numbers.
    fn look(&self, around: u64) -> io::Result<Range<u64>> {
        let first = around.saturating_sub(WINDOW / 2).min(self.size.saturating_sub(WINDOW));
        let count = WINDOW.min(self.size - first);
        let mut window = self.window.borrow_mut();
        window.1.resize(count as usize * ENTRY_LEN, 0);
        window.0 = first;
        self.read(entries_start(self.size) + first * ENTRY_LEN as u64, &mut window.1)?;
        Ok(first..first + count)
    }

    fn place_in_window(&self, salted: &Salted) -> Result<u64, u64> {
        let window = self.window.borrow();
        let found = window.1.as_chunks::<ENTRY_LEN>().0.binary_search_by(|entry| entry[..16].cmp(&salted[..]));
        found.map(|at| window.0 + at as u64).map_err(|at| window.0 + at as u64)
    }
}

impl Leaves for Stored {
    type Error = io::Error;

    fn salt(&self) -> Salt {
        self.salt
    }

    fn size(&self) -> u64 {
        self.size
    }

    /// Digests are spread evenly: one look where it would be, mostly.
    fn find(&self, salted: &Salted) -> io::Result<Result<u64, u64>> {
        let top = salted.first_chunk().map_or(0, |top| u64::from_be_bytes(*top));
        let mut guess = ((u128::from(top) * u128::from(self.size)) >> 64) as u64;
        let mut left = 0..self.size;
        while !left.is_empty() {
            let seen = self.look(guess)?;
            match self.place_in_window(salted) {
                Ok(found) => return Ok(Ok(found)),
                Err(at) if at == seen.start && at > left.start => left.end = at,
                Err(at) if at == seen.end && at < left.end => left.start = at,
                Err(at) => return Ok(Err(at)),
            }
            guess = left.start + (left.end - left.start) / 2;
        }
        Ok(Err(left.start))
    }

    fn entry(&self, index: u64) -> io::Result<Entry> {
        let seen = |window: &(u64, Vec<u8>)| {
            let at = index.checked_sub(window.0)?;
            window.1.as_chunks::<ENTRY_LEN>().0.get(usize::try_from(at).ok()?).map(Entry::from_bytes)
        };
        if let Some(entry) = seen(&self.window.borrow()) {
            return Ok(entry);
        }
        let mut bytes = [0; ENTRY_LEN];
        self.read(entries_start(self.size) + index * ENTRY_LEN as u64, &mut bytes)?;
        Ok(Entry::from_bytes(&bytes))
    }

    fn subtree(&self, leaves: &Range<u64>) -> io::Result<Hash> {
        let height = height(leaves.end - leaves.start);
        if height < LOWEST {
            let hashes = leaves.clone().map(|index| self.entry(index).map(|entry| entry.hash()));
            return Ok(merkle::root(&hashes.collect::<io::Result<Vec<_>>>()?));
        }
        let mut hash = [0; 32];
        self.read(level_start(self.size, height) + (leaves.start >> height) * 32, &mut hash)?;
        Ok(hash)
    }
}

/// How high above its leaves the root of so many stands.
const fn height(leaves: u64) -> u32 {
    u64::BITS - leaves.saturating_sub(1).leading_zeros()
}

/// Where the nodes of a height begin: the root comes first.
fn level_start(size: u64, of: u32) -> u64 {
    HEADER_LEN + (of + 1..=height(size)).map(|above| size.div_ceil(1 << above) * 32).sum::<u64>()
}

fn entries_start(size: u64) -> u64 {
    level_start(size, LOWEST - 1)
}
