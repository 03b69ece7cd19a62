//! Backups: a folder with everything of a data folder as it was at one moment, and a list of it by which it is restored.
//!
//! The moment is one at which the flusher does nothing: tables, log and ledger then say the same, and what is in none of them is
//! in the segments, which are copied with them. Parquet files never change: they are copied afterwards. The list comes last.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::keys::KeyRing;
use crate::kinds;
use crate::ledger::Ledger;
use crate::lock::Lock;
use crate::settings::Settings;
use crate::storage;
use crate::view::blocking;
use crate::work::Work;

mod copy;
mod cut;
mod restore;

pub(crate) use copy::digest_of;
pub(crate) use cut::{Cut, prepare};
pub(crate) use restore::refuse_unfinished;
pub use restore::{From, Restored, restore};

/// The list, which makes a folder a backup.
const LIST: &str = "backup.json";
/// Says that a backup is being made, or was broken off.
const MAKING: &str = "backup.unfinished";
const FORMAT: u32 = 1;
/// A list of a million files is a fifth of this.
const MOST_LIST_BYTES: u64 = 1 << 30;

/// `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Version of this form.
    pub format: u32,
    /// When the moment was, µs UTC.
    pub made_at: i64,
    /// Version of the program that made it.
    pub made_by: String,
    /// Every frame up to this lsn is in it: in tables and ledger, or in segments.
    pub up_to_lsn: u64,
    /// Which key ring it goes with; none if there was none to be seen.
    pub ring: Option<String>,
    /// Its files, in the order of their paths.
    pub files: Vec<Copied>,
    /// Files that nobody knows, which are not in it.
    pub left_out: Vec<String>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// From the folder, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Where it is.
    pub folder: PathBuf,
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Every frame up to this lsn is in it.
    pub up_to_lsn: u64,
    /// SHA-256 of `backup.json`, hex: who keeps it knows the backup again.
    pub sha256: String,
    /// Files that nobody knows, which are not in it.
    pub left_out: Vec<String>,
}

/// Makes a backup of a data folder that no service uses; with a copy of the key ring in a file of its own, if one is named.
///
/// # Errors
/// `Retry` if a service has the folder; `Request` if `to` is not a new folder outside of it.
pub async fn make(
    settings: &Settings,
    to: &Path,
    keys: Option<&Path>,
    clock: &dyn Clock,
    work: Arc<Work>,
) -> Result<Made, Error> {
    #[cfg(feature = "failpoints")]
    crate::store::arm_failpoints();
    let data = settings.data.clone();
    let ledger = open_ledger(&data).await?;
    let lock = Lock::take(&data)?;
    let cut =
        Cut { data: data.clone(), key_ring: settings.key_ring.clone(), made_at: clock.now(), ledger, segments: None };
    let (to, runtime) = (to.to_path_buf(), tokio::runtime::Handle::current());
    if let Some(path) = keys {
        copy_ring(settings, path)?;
    }
    blocking(move || {
        let _lock = lock;
        let making = cut::prepare(&cut.data, &to)?;
        let begun = cut.take(making, &runtime)?;
        begun.finish(&work)
    })
    .await
}

impl List {
    /// The list of a backup that is whole.
    ///
    /// # Errors
    /// `Request` if the folder is no backup, or one that was broken off.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let what = || format!("{} is no backup", folder.display());
        let mend = "name a folder that `candor store backup` made, or make it again";
        if folder.join(MAKING).exists() {
            return Err(Error::new(Kind::Request, what(), "it was broken off", mend));
        }
        let mut bytes = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
        let read = File::open(folder.join(LIST)).and_then(|file| file.take(MOST_LIST_BYTES).read_to_end(&mut bytes));
        read.map_err(|error| Error::new(Kind::Request, what(), format!("{LIST}: {error}"), mend))?;
        let list: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Request, what(), format!("{LIST} at column {}", error.column()), mend))?;
        if list.format != FORMAT {
            let why = format!("its form is {}, this program knows {FORMAT}", list.format);
            return Err(Error::new(Kind::Request, what(), why, "use the version of candor that made it"));
        }
        let is_ours = |file: &Copied| is_inside(&file.path) && kinds::Kind::of(&file.path).is_some();
        match list.files.iter().find(|file| !is_ours(file)) {
            Some(_) => Err(Error::new(Kind::Request, what(), "it lists files that no data folder has", mend)),
            None => Ok(list),
        }
    }
}

/// Whether a path leads to a place below the folder that it begins in.
fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

async fn open_ledger(data: &Path) -> Result<Ledger, Error> {
    let path = data.join("ledger.db");
    if path.is_file() {
        return Ledger::open_read_only(&path).await;
    }
    let what = format!("{} is no data folder", data.display());
    Err(Error::new(Kind::Data, what, "it has no ledger.db", "name the folder that `candor serve --data` uses"))
}

/// Copies the key ring to a file that is not there yet.
fn copy_ring(settings: &Settings, to: &Path) -> Result<(), Error> {
    if to.exists() {
        let what = format!("the key ring is not copied to {}", to.display());
        return Err(Error::new(Kind::Request, what, "the file is there", "name a new one"));
    }
    let ring = KeyRing::open_for(&settings.data, settings.key_ring.as_deref())?;
    storage::make_folder(&storage::parent(to))
        .map_err(|error| Error::io(format!("cannot make the folder of {}", to.display()), &error))?;
    ring.save_as(to)
}
