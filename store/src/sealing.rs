//! Sealing: what commits of Delta tables hold and the log does not know yet gets its `sealed` entry, from the file's own metadata.
//!
//! That makes a crash between a commit and its entry heal by itself: the next start, or the next flush, finds the file without an entry.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candor_policy::hex;
use candor_wire::log::entry::{Entry, Erased, Expired, Sealed, Sha256Hex};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ring::digest::{Context, SHA256};

use crate::error::{Error, Kind};
use crate::log::Log;
use crate::rewrite::{Change, Fate, Kind as JobKind, Rewrite, Seal};
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::metadata;

/// Entries of one append: one checkpoint covers them.
const AT_ONCE: usize = 256;
/// Entry numbers in one entry: it stays well under 64 KiB.
const ENTRIES_NAMED: usize = 3_000;
/// Bytes read at a time.
const PIECE: usize = 1 << 16;

/// Puts files into the log, for the one thread that commits to tables.
#[derive(Debug)]
pub(crate) struct Sealer {
    data: PathBuf,
    log: Arc<Log>,
    /// Whether a commit may stand that the log knows nothing of.
    is_behind: AtomicBool,
    /// Live files that could not be sealed when it was last tried.
    unsealed: Arc<AtomicU64>,
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
    pub(crate) const fn new(data: PathBuf, log: Arc<Log>, unsealed: Arc<AtomicU64>) -> Self {
        Self { data, log, is_behind: AtomicBool::new(true), unsealed }
    }

    /// Has something committed to tables, and seals it: the entries are durable when this returns. Where an earlier call failed,
    /// or none was made yet, every live file without an entry is looked for.
    ///
    /// # Errors
    /// As `commit`; if a file cannot be read or the log not be written. The next call makes up for it.
    pub(crate) fn around<T>(
        &self,
        commit: impl FnOnce(&Path) -> Result<(T, Vec<Committed>), Error>,
    ) -> Result<T, Error> {
        let was_behind = self.is_behind.swap(true, Ordering::Relaxed);
        let (outcome, committed) = commit(&self.data)?;
        let mut missing = if was_behind { live(&self.data)? } else { committed };
        missing.retain(|file| self.entry_of(&file.table, &file.path).is_none());
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
        self.unsealed.store(unsealable, Ordering::Relaxed);
        self.is_behind.store(unsealable > 0, Ordering::Relaxed);
        Ok(outcome)
    }

    fn entry_of(&self, table: &TablePath, path: &str) -> Option<u64> {
        self.log.look(|files| files.entry_of(&table.name(), path))
    }
}

/// Live files of all tables.
fn live(data: &Path) -> Result<Vec<Committed>, Error> {
    let delta = Delta::shared()?;
    let mut live = Vec::new();
    for table in layout::list(data)? {
        let files = delta.read(&table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
        live.extend(files.into_iter().map(|file| Committed { table: table.clone(), path: file.path }));
    }
    Ok(live)
}

/// By table: entries of files that a job left without a successor, their rows, and the day after the newest of them.
#[derive(Debug, Default)]
struct Gone {
    entries: Vec<u64>,
    rows: u64,
    newest: String,
}

impl Sealer {
    /// What became of files that are gone, as far as the log does not say it yet.
    fn gone(&self, change: &Change) -> Vec<Gone> {
        let table = change.table.name();
        let mut parts = vec![Gone::default()];
        self.log.look(|files| {
            for path in &change.gone {
                let entry = files.entry_of(&table, path);
                let Some((entry, file)) = entry.and_then(|entry| Some((entry, files.live_file(entry)?))) else {
                    continue;
                };
                if parts.last().is_some_and(|part| part.entries.len() == ENTRIES_NAMED) {
                    parts.push(Gone::default());
                }
                if let Some(part) = parts.last_mut() {
                    part.entries.push(entry);
                    part.rows += file.rows;
                    part.newest = std::mem::take(&mut part.newest).max(file.received_date.clone());
                }
            }
        });
        for part in &mut parts {
            part.entries.sort_unstable();
        }
        parts.retain(|part| !part.entries.is_empty());
        parts
    }

    fn expired(&self, change: &Change, fields: &[String]) -> Result<Vec<Entry>, Error> {
        let entry = |before: &str, files, field, removed| {
            Entry::Expired(Expired { table: change.table.name(), before: before.to_owned(), files, field, removed })
        };
        let mut entries = Vec::new();
        for gone in self.gone(change) {
            entries.push(entry(&day_after(&gone.newest)?, gone.entries, None, gone.rows));
        }
        let newest = change.replaced.iter().filter_map(|path| date_of_path(path)).max();
        if let Some(newest) = newest {
            let before = day_after(newest)?;
            entries.extend(fields.iter().map(|field| entry(&before, Vec::new(), Some(field.clone()), 0)));
        }
        Ok(entries)
    }
}

impl Seal for Sealer {
    fn sealed(&self, change: &Change) -> Result<(), Error> {
        let added = change.added.iter().map(|file| Committed { table: change.table.clone(), path: file.path.clone() });
        self.around(|_| Ok(((), added.collect())))
    }

    fn finished(&self, job: &Rewrite, changes: &[Change]) -> Result<(), Error> {
        let mut entries = Vec::new();
        for (change, wanted) in changes.iter().zip(&job.tables) {
            match job.kind {
                // What it makes is all in `sealed` entries.
                JobKind::Compact => {}
                JobKind::Expire => {
                    let fields: &[String] = if let Fate::Nulled(fields) = &wanted.fate { fields } else { &[] };
                    entries.extend(self.expired(change, fields)?);
                }
                // Its certificates come later, when nothing is left anywhere.
                JobKind::Erase => entries.extend(self.gone(change).into_iter().map(|gone| {
                    let (certificates, replaced) = (Vec::new(), Vec::new());
                    Entry::Erased(Erased { certificates, files: gone.entries, replaced, removed: gone.rows })
                })),
            }
        }
        self.log.append(&entries).map(|_| ())
    }
}

/// The date in `received_date=YYYY-MM-DD/...`.
fn date_of_path(path: &str) -> Option<&str> {
    path.split_once('/')?.0.split_once('=').map(|(_, date)| date)
}

fn day_after(date: &str) -> Result<String, Error> {
    let next = layout::day_of_text(date).and_then(|day| layout::date_text(day + 1));
    next.ok_or_else(|| {
        Error::new(
            Kind::Data,
            "an expiry cannot be logged",
            "a file has no date of receipt",
            "report this: it is a fault",
        )
    })
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
    let hash = |key| {
        text(key).and_then(|text| {
            digest_of_hex(&text).ok_or_else(|| damaged(&name, &format_args!("its {key} is no digest")))
        })
    };
    let number = |key| {
        text(key).and_then(|text| text.parse().map_err(|_| damaged(&name, &format_args!("its {key} is no number"))))
    };
    let before: Option<Vec<String>> = value(&about, metadata::REPLACES)
        .map(|paths| serde_json::from_str(&paths).map_err(|_| damaged(&name, &"it does not say what it replaces")))
        .transpose()?;
    let table = file.table.name();
    let replaces = before.iter().flatten().map(|path| {
        log.look(|files| files.entry_of(&table, path))
            .ok_or_else(|| damaged(&name, &"it replaces a file that was never sealed"))
    });
    let mut replaces: Vec<u64> = replaces.collect::<Result<_, _>>()?;
    // They come in the order of paths, which are random.
    replaces.sort_unstable();
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
        replaces,
        removed: before.is_some().then(|| number(metadata::REMOVED)).transpose()?,
        table,
    })
}

/// SHA-256 of a file, and its bytes.
pub(crate) fn digest(file: &mut File) -> std::io::Result<(Sha256Hex, u64)> {
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
