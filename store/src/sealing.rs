//! Sealing: what commits of Delta tables hold and the log does not know yet gets its `sealed` entry, from the file's own metadata.
//!
//! That makes a crash between a commit and its entry heal by itself: the next start, or the next flush, finds the file without an entry.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candor_policy::hex;
use candor_wire::log::entry::{Entry, Sealed, Sha256Hex};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ring::digest::{Context, SHA256};

use crate::error::{Error, Kind};
use crate::log::Log;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::metadata;

/// Entries of one append: one checkpoint covers them.
const AT_ONCE: usize = 256;
/// Bytes read at a time.
const PIECE: usize = 1 << 16;

/// Puts files into the log, for the one thread that commits to tables.
#[derive(Debug)]
pub(crate) struct Sealer {
    log: Arc<Log>,
    /// Whether a commit may stand that the log knows nothing of.
    is_behind: AtomicBool,
    /// Live files that could not be sealed when it was last tried.
    unsealable: AtomicU64,
}

/// A file of a table, as its commit named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) table: TablePath,
    /// Relative to the table's folder.
    pub(crate) path: String,
}

impl Sealer {
    /// Nothing is known of the tables yet: the first sealing looks at all of them.
    pub(crate) const fn new(log: Arc<Log>) -> Self {
        Self { log, is_behind: AtomicBool::new(true), unsealable: AtomicU64::new(0) }
    }

    /// Has something committed to tables, and seals it: the entries are durable when this returns. Where an earlier call failed,
    /// or none was made yet, every live file without an entry is looked for.
    ///
    /// # Errors
    /// As `commit`; if a file cannot be read or the log not be written. The next call makes up for it.
    pub(crate) fn around<T>(
        &self,
        data: &Path,
        commit: impl FnOnce(&Path) -> Result<(T, Vec<Committed>), Error>,
    ) -> Result<T, Error> {
        let was_behind = self.is_behind.swap(true, Ordering::Relaxed);
        let (outcome, committed) = commit(data)?;
        let mut missing = if was_behind { unsealed(&self.log, data)? } else { committed };
        missing.sort_unstable_by(|one, other| (one.table.name(), &one.path).cmp(&(other.table.name(), &other.path)));
        let mut unsealable = 0;
        for some in missing.chunks(AT_ONCE) {
            let mut entries = Vec::with_capacity(some.len());
            for file in some {
                match sealed(&self.log, file) {
                    Ok(sealed) => entries.push(Entry::Sealed(sealed)),
                    // One damaged file must not keep rows of others in segments for ever.
                    Err(error) if error.kind() == Kind::Data => {
                        tracing::error!(%error, "a file has no entry in the log");
                        unsealable += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.log.append(&entries)?;
        }
        self.unsealable.store(unsealable, Ordering::Relaxed);
        self.is_behind.store(unsealable > 0, Ordering::Relaxed);
        Ok(outcome)
    }

    /// Live files that have no entry because they cannot be read.
    pub(crate) fn unsealable(&self) -> u64 {
        self.unsealable.load(Ordering::Relaxed)
    }

    /// The log that it writes.
    pub(crate) const fn log(&self) -> &Arc<Log> {
        &self.log
    }
}

/// Live files of all tables that the log has no entry of.
fn unsealed(log: &Log, data: &Path) -> Result<Vec<Committed>, Error> {
    let delta = Delta::shared()?;
    let mut missing = Vec::new();
    for table in layout::list(data)? {
        let Some(snapshot) = delta.read(&table)? else { continue };
        let name = table.name();
        let new = snapshot.files.into_iter().filter(|file| log.entry_of(&name, &file.path).is_none());
        missing.extend(new.map(|file| Committed { table: table.clone(), path: file.path }));
    }
    Ok(missing)
}

/// What the log will say of a file.
fn sealed(log: &Log, file: &Committed) -> Result<Sealed, Error> {
    let place = file.table.folder.join(&file.path);
    let name = file.table.file_name(&file.path);
    let io = |why: &std::io::Error| Error::io(format!("cannot read {}", place.display()), why);
    let mut opened = File::open(&place).map_err(|why| io(&why))?;
    let (digest, size) = digest(&mut opened).map_err(|why| io(&why))?;
    let about = ParquetMetaDataReader::new().parse_and_finish(&opened).map_err(|why| damaged(&name, &why))?;
    let text = |key: &'static str| value(&about, key).ok_or_else(|| damaged(&name, &format_args!("it has no {key}")));
    let hash = |key| text(key).and_then(|text| digest_of_hex(&text).ok_or_else(|| damaged(&name, &format_args!("its {key} is no digest"))));
    let number = |key| text(key).and_then(|text| text.parse().map_err(|_| damaged(&name, &format_args!("its {key} is no number"))));
    let replaced: Option<Vec<String>> = value(&about, metadata::REPLACES)
        .map(|paths| serde_json::from_str(&paths).map_err(|_| damaged(&name, &"it does not say what it replaces")))
        .transpose()?;
    let table = file.table.name();
    let replaces = replaced.iter().flatten().map(|path| {
        log.entry_of(&table, path).ok_or_else(|| damaged(&name, &"it replaces a file that was never sealed"))
    });
    Ok(Sealed {
        path: file.path.clone(),
        file: digest,
        size,
        root: hash(metadata::ROOT)?,
        rows: number(metadata::ROWS)?,
        subjects: number(metadata::SUBJECTS)?,
        received_date: text(metadata::RECEIVED_DATE)?,
        policy: hash(metadata::POLICY)?,
        catalogue: hash(metadata::CATALOGUE)?,
        replaces: replaces.collect::<Result<_, _>>()?,
        removed: replaced.is_some().then(|| number(metadata::REMOVED)).transpose()?,
        table,
    })
}

/// SHA-256 of a file, and its bytes.
fn digest(file: &mut File) -> std::io::Result<(Sha256Hex, u64)> {
    let (mut context, mut piece, mut size) = (Context::new(&SHA256), vec![0; PIECE], 0);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        context.update(&piece[..read]);
        size += read as u64;
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Ok((Sha256Hex(bytes), size))
}

fn digest_of_hex(text: &str) -> Option<Sha256Hex> {
    hex::decode(text)?.try_into().ok().map(Sha256Hex)
}

fn value(about: &ParquetMetaData, key: &str) -> Option<String> {
    let pairs = about.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.clone()
}

fn damaged(name: &str, why: &dyn std::fmt::Display) -> Error {
    let what = format!("{name} cannot be sealed");
    Error::new(Kind::Data, what, why, "restore the file from a backup, or find out who changed it")
}
