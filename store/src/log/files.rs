//! The log's files: the checkpoint, tiles of hashes, bundles of entries, where c2sp.org/tlog-tiles has them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use candor_wire::log::edge::EdgeError;
use candor_wire::log::entry::MOST_BYTES;
use candor_wire::log::note;
use candor_wire::log::proof::{Missing, OfTiles};
use candor_wire::log::tile::{self, Tile, WIDTH, What};
use candor_wire::merkle::Hash;

use crate::error::{Error, Kind};
use crate::storage;

/// The folder `log` of a data folder. Reading it needs neither keys nor the lock.
#[derive(Clone, Debug)]
pub struct LogFiles {
    folder: PathBuf,
}

impl LogFiles {
    /// Those of a data folder.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("log") }
    }

    /// The checkpoint as it is written; none where there is no log.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(CHECKPOINT, note::MOST_BYTES)
    }

    /// The bytes of a tile or bundle, also of one that a wider one took the place of; none if neither is there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, Error> {
        let most = match tile.what() {
            What::Hashes(_) => WIDTH as usize * size_of::<Hash>(),
            What::Entries => WIDTH as usize * (MOST_BYTES + 2),
        };
        match self.read(&tile.to_string(), most)? {
            None if !tile.is_full() => {
                let full = self.read(&tile.full().to_string(), most)?;
                full.map(|bytes| narrowed(bytes, tile).ok_or_else(|| self.damaged(&tile.full()))).transpose()
            }
            found => Ok(found),
        }
    }

    /// The hashes of a tile.
    ///
    /// # Errors
    /// If it is not there, or not what its name says.
    pub fn hashes(&self, tile: &Tile) -> Result<Vec<Hash>, Error> {
        let bytes = self.tile(tile)?.ok_or_else(|| self.damaged(tile))?;
        tile::hashes_of_bytes(&bytes, tile.width()).ok_or_else(|| self.damaged(tile))
    }

    /// The hashes of the tree that the log is, or was, at this size.
    pub fn tree(&self, size: u64) -> OfTiles<impl Fn(&Tile) -> Result<Vec<Hash>, Error>> {
        OfTiles::new(size, |tile: &Tile| self.hashes(tile))
    }

    /// The entries of a bundle, as they are written.
    ///
    /// # Errors
    /// If it is not there, or not what its name says.
    pub fn bundle(&self, tile: &Tile) -> Result<Vec<Vec<u8>>, Error> {
        let bytes = self.tile(tile)?.ok_or_else(|| self.damaged(tile))?;
        let entries = tile::entries_of_bytes(&bytes, tile.width()).ok_or_else(|| self.damaged(tile))?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Whether any tile was ever written.
    pub(super) fn has_tiles(&self) -> bool {
        self.folder.join(TILES).exists()
    }

    /// Makes a tile durable.
    pub(super) fn write_tile(&self, tile: &Tile, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(tile.to_string());
        storage::make_folder(&storage::parent(&path))
            .and_then(|()| storage::write_file(&path, bytes, MODE))
            .map_err(|error| Error::sync(format!("cannot write {}", path.display()), &error))
    }

    /// Makes the checkpoint durable: what it covers is in the log from then on.
    pub(super) fn write_checkpoint(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(CHECKPOINT);
        let what = || format!("cannot write {}", path.display());
        storage::make_folder(&self.folder).map_err(|error| Error::sync(what(), &error))?;
        let written = storage::write_file(&path, bytes, MODE).and_then(|()| {
            fail::fail_point!("log::failed_sync", |_| Err(io::Error::from_raw_os_error(storage::EIO)));
            Ok(())
        });
        let Err(error) = written else { return Ok(()) };
        // Once it has its name somebody may have read it, and no other of this size may ever be signed.
        if self.checkpoint().map_or(true, |shown| shown.as_deref() == Some(bytes)) {
            let mend = "check the disk, then start again: the log goes on from what is there";
            return Err(Error::of_disk(what(), error, mend));
        }
        Err(Error::sync(what(), &error))
    }

    /// Removes what a tree of this size does not have: it was never signed.
    pub(super) fn sweep(&self, size: u64) -> Result<(), Error> {
        let folder = self.folder.join(TILES);
        self.sweep_folder(&folder, size)
            .map_err(|error| Error::io(format!("cannot clean {}", folder.display()), &error))
    }

    fn sweep_folder(&self, folder: &Path, size: u64) -> io::Result<()> {
        let listed = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for item in listed {
            let path = item?.path();
            if path.is_dir() {
                self.sweep_folder(&path, size)?;
                // Refused where something is left in it, which is right.
                let _ = std::fs::remove_dir(&path);
                continue;
            }
            let name = path.strip_prefix(&self.folder).ok().and_then(Path::to_str);
            if !name.and_then(Tile::parse).is_some_and(|tile| tile.is_in(size)) {
                storage::remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the narrower ones of a tile that is full.
    pub(super) fn remove_narrower(&self, tile: &Tile) -> Result<(), Error> {
        let mut folder = self.folder.join(tile.full().to_string()).into_os_string();
        folder.push(".p");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(format!("cannot remove {}", Path::new(&folder).display()), &error))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, Error> {
        let path = self.folder.join(name);
        let failed = |error: &io::Error| Error::io(format!("cannot read {}", path.display()), error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| failed(&error))?,
        };
        let (mut bytes, mut file) = (Vec::new(), file.take(most as u64 + 1));
        #[expect(clippy::disallowed_methods, reason = "capped by the line before")]
        file.read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if bytes.len() > most {
            let mend = "restore the folder `log` from a backup";
            return Err(Error::new(Kind::Data, format!("{} is damaged", path.display()), "it is too large", mend));
        }
        Ok(Some(bytes))
    }

    fn damaged(&self, tile: &Tile) -> Error {
        Error::new(
            Kind::Data,
            format!("{} is damaged", self.folder.join(tile.to_string()).display()),
            "it is not there, or has another number of entries than its name says",
            "restore the folder `log` from a backup",
        )
    }
}

const CHECKPOINT: &str = "checkpoint";
const TILES: &str = "tile";
/// Everybody may read the log; its folder is its owner's.
const MODE: u32 = 0o644;

impl From<EdgeError> for Error {
    fn from(error: EdgeError) -> Self {
        Self::new(Kind::Data, "the log is damaged", error, "restore the folder `log` from a backup")
    }
}

impl From<Missing> for Error {
    fn from(error: Missing) -> Self {
        Self::new(Kind::Request, "the log has no such proof", error, "ask for entries below its size")
    }
}

/// The beginning of a full tile that one of its widths is.
fn narrowed(mut bytes: Vec<u8>, tile: &Tile) -> Option<Vec<u8>> {
    let length = match tile.what() {
        What::Hashes(_) => usize::from(tile.width()) * size_of::<Hash>(),
        What::Entries => {
            let entries = tile::entries_of_bytes(&bytes, tile.full().width())?;
            entries.iter().take(usize::from(tile.width())).map(|entry| 2 + entry.len()).sum()
        }
    };
    (length <= bytes.len()).then(|| {
        bytes.truncate(length);
        bytes
    })
}
