//! One moment of a data folder, copied.

use std::path::{Path, PathBuf};

use candor_policy::digest::Digest;
use tokio::runtime::Handle;

use super::copy::{copy, copy_up_to, digest_of, empty, failed, is_empty, sync_tree};
use super::{Copied, FORMAT, LIST, List, MAKING, Made};
use crate::error::{Error, Kind as ErrorKind};
use crate::keys::KeyRing;
use crate::kinds::{self, Found, Kind};
use crate::ledger::Ledger;
use crate::segment::read::SegmentReader;
use crate::segment::recover::used;
use crate::storage;
use crate::table::engine::Delta;
use crate::table::layout;
use crate::work::Work;

const LEDGER: &str = "ledger.db";
const TOMBSTONES: &str = "tombstones.jsonl";

/// A data folder at a moment: nobody writes its tables, its log or its released frames until [`Cut::take`] is through.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) data: PathBuf,
    pub(crate) key_ring: Option<PathBuf>,
    pub(crate) made_at: i64,
    pub(crate) ledger: Ledger,
    /// The closed segments; all that there are where nobody appends.
    pub(crate) segments: Option<Vec<PathBuf>>,
}

/// A folder that a backup is being made in.
#[derive(Debug)]
pub(crate) struct Making {
    folder: PathBuf,
}

/// A backup that lacks its Parquet files: nothing that the moment had may be removed until they are there.
#[derive(Debug)]
pub(crate) struct Begun {
    cut: Cut,
    folder: PathBuf,
    files: Vec<Copied>,
    up_to_lsn: u64,
    left_out: Vec<String>,
}

/// Makes the folder of a backup, or empties one that was broken off.
pub(crate) fn prepare(data: &Path, to: &Path) -> Result<Making, Error> {
    let refused =
        |why: &str, mend| Error::new(ErrorKind::Request, format!("no backup is made in {}", to.display()), why, mend);
    let mend = "name a folder that is not there yet, or is empty";
    if to.join(MAKING).is_file() {
        empty(to, &[MAKING])?;
    } else if !is_empty(to)? {
        return Err(refused("something is in it", mend));
    }
    storage::make_folder(to).map_err(|error| failed(to, &error))?;
    let (inner, outer) = (std::fs::canonicalize(to), std::fs::canonicalize(data));
    if let (Ok(inner), Ok(outer)) = (inner, outer)
        && inner.starts_with(&outer)
    {
        let _ = std::fs::remove_dir(to);
        return Err(refused("it is in the data folder", "name a folder elsewhere, best on another disk"));
    }
    storage::write_file(&to.join(MAKING), b"", 0o600).map_err(|error| failed(to, &error))?;
    fail::fail_point!("backup::after_marker", |_| std::process::abort());
    Ok(Making { folder: to.to_path_buf() })
}

impl Cut {
    /// Copies everything that changes. Blocking.
    pub(crate) fn take(self, making: Making, runtime: &Handle) -> Result<Begun, Error> {
        let folder = making.folder;
        let files = kinds::list(&self.data)?;
        let mut copied = Vec::new();
        // No order is needed among these: the moment is the same for all.
        runtime.block_on(self.ledger.copy_to(&folder.join(LEDGER)))?;
        copied.push(digest_of(&folder, LEDGER)?);
        fail::fail_point!("backup::after_ledger", |_| std::process::abort());
        let is_copied = |file: &&Found| {
            matches!(file.kind, Some(Kind::DeltaLog | Kind::Log | Kind::Document | Kind::SetAside))
                || file.kind == Some(Kind::Segment) && self.is_in(&file.path)
        };
        for file in files.iter().filter(is_copied) {
            // Preallocated: most of it may be zeros.
            let most = match file.kind {
                Some(Kind::Segment) => used(&kinds::below(&self.data, &file.path))?,
                _ => u64::MAX,
            };
            copied.push(copy_up_to(&self.data, &folder, &file.path, most)?);
        }
        fail::fail_point!("backup::after_moment", |_| std::process::abort());
        let released = runtime.block_on(self.ledger.released_lsn())?;
        let up_to_lsn = self.newest_frame(&files)?.max(released);
        let left_out = files.into_iter().filter(|file| file.kind.is_none()).map(|file| file.path).collect();
        Ok(Begun { cut: self, folder, files: copied, up_to_lsn, left_out })
    }

    fn is_in(&self, segment: &str) -> bool {
        let path = kinds::below(&self.data, segment);
        self.segments.as_ref().is_none_or(|segments| segments.contains(&path))
    }

    fn newest_frame(&self, files: &[Found]) -> Result<u64, Error> {
        let newest = files.iter().rfind(|file| file.kind == Some(Kind::Segment) && self.is_in(&file.path));
        let Some(newest) = newest else { return Ok(0) };
        let path = kinds::below(&self.data, &newest.path);
        let mut reader = SegmentReader::open(&path).map_err(|error| error.into_error(&path))?;
        let mut last = 0;
        while let Some(frame) = reader.next().map_err(|error| reader.failed(&error))? {
            last = frame.lsn;
        }
        Ok(last)
    }
}

impl Begun {
    /// Copies the Parquet files that the moment's tables list, and writes the list. Blocking.
    pub(crate) fn finish(mut self, work: &Work) -> Result<Made, Error> {
        let delta = Delta::shared()?;
        let mut paths = Vec::new();
        // From the copied logs: the tables may be further already.
        for table in layout::list(&self.folder)? {
            let live = delta.read(&table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
            paths.extend(live.iter().map(|file| table.file_name(&file.path)));
        }
        work.begin(paths.len() as u64);
        for path in paths {
            self.files.push(copy(&self.cut.data, &self.folder, &path)?);
            work.advance(1);
        }
        fail::fail_point!("backup::after_parquet", |_| std::process::abort());
        // Only ever added to: more of them than the moment had does no harm, less would.
        if self.cut.data.join(TOMBSTONES).is_file() {
            self.files.push(copy(&self.cut.data, &self.folder, TOMBSTONES)?);
        }
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        sync_tree(&self.folder)?;
        fail::fail_point!("backup::before_list", |_| std::process::abort());
        self.list()
    }

    fn list(self) -> Result<Made, Error> {
        let ring = KeyRing::open_for(&self.cut.data, self.cut.key_ring.as_deref());
        let list = List {
            format: FORMAT,
            made_at: self.cut.made_at,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            up_to_lsn: self.up_to_lsn,
            ring: ring.ok().map(|ring| ring.mark()),
            files: self.files,
            left_out: self.left_out,
        };
        let json = serde_json::to_vec(&list).map_err(|error| {
            Error::new(ErrorKind::Data, "no list can be written", error, "report this: it is a fault")
        })?;
        storage::write_file(&self.folder.join(LIST), &json, 0o600).map_err(|error| failed(&self.folder, &error))?;
        fail::fail_point!("backup::after_list", |_| std::process::abort());
        let marker = self.folder.join(MAKING);
        storage::remove_if_there(&marker).map_err(|error| failed(&marker, &error))?;
        storage::sync_folder(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        Ok(Made {
            files: list.files.len() as u64,
            bytes: list.files.iter().map(|file| file.size).sum(),
            up_to_lsn: list.up_to_lsn,
            sha256: Digest::of_bytes(&json).to_string(),
            left_out: list.left_out,
            folder: self.folder,
        })
    }
}
