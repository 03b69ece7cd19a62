//! Sealing: what commits of Delta tables hold and the log does not know yet gets its `sealed` entry, from the file's own metadata.
//!
//! That makes a crash between a commit and its entry heal by itself: the next start, or the next flush, finds the file without an entry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candor_policy::hex;
use candor_wire::log::entry::{Entry, Erased, Expired, Sealed, Sha256Hex};

use crate::error::{Error, Kind};
use crate::log::Log;
use crate::rewrite::{Change, Fate, Kind as JobKind, Seal, TableRewrite};
use crate::sealed;
use crate::table::aside;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};

/// Entries of one append: one checkpoint covers them.
const AT_ONCE: usize = 256;
/// Entry numbers in one entry: it stays well under 64 KiB.
const ENTRIES_NAMED: usize = 3_000;

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
                match statement(&self.log, file) {
                    Ok(sealed) => entries.push(Entry::Sealed(sealed)),
                    // One file that is damaged, or lost, must not keep rows of others in segments for ever.
                    Err(error) if error.kind() != Kind::Stop => {
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

    fn finished(&self, kind: JobKind, parts: &[TableRewrite], changes: &[Change]) -> Result<(), Error> {
        let mut entries = Vec::new();
        for (change, wanted) in changes.iter().zip(parts) {
            match kind {
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

    fn aside(&self, table: &TablePath, listed: &[LiveFile]) -> Vec<LiveFile> {
        aside::of(&self.log, table, listed)
    }

    fn is_known_to_replace(&self, table: &TablePath, path: &str, old: &BTreeSet<&str>) -> Option<bool> {
        let table = table.name();
        self.log.look(|files| {
            let sealed = files.live_file(files.entry_of(&table, path)?)?;
            let old: BTreeSet<u64> = old.iter().filter_map(|path| files.entry_of(&table, path)).collect();
            Some(sealed.replaces.iter().any(|entry| old.contains(entry)))
        })
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
fn statement(log: &Log, file: &Committed) -> Result<Sealed, Error> {
    let place = file.table.folder.join(&file.path);
    let about = sealed::about(&place)?;
    let size =
        std::fs::metadata(&place).map_err(|why| Error::io(format!("cannot read {}", place.display()), &why))?.len();
    let unsealable = |why: &str| {
        let what = format!("{} cannot be sealed", file.table.file_name(&file.path));
        Error::new(Kind::Data, what, why, "restore the file from a backup, or find out who changed it")
    };
    let document = |text: &str| hex::decode(text).and_then(|bytes| bytes.try_into().ok()).map(Sha256Hex);
    let table = file.table.name();
    let replaces = about.replaces.iter().map(|path| log.look(|files| files.entry_of(&table, path)));
    let replaces = replaces.collect::<Option<Vec<u64>>>();
    let mut replaces = replaces.ok_or_else(|| unsealable("it replaces a file that was never sealed"))?;
    // They come in the order of paths, which are random.
    replaces.sort_unstable();
    Ok(Sealed {
        path: file.path.clone(),
        file: Sha256Hex(sealed::digest(&place)?),
        size,
        root: Sha256Hex(about.root),
        rows: about.rows,
        subjects: about.subjects,
        received_date: layout::date_text(about.received_date).ok_or_else(|| unsealable("it has no date of receipt"))?,
        policy: document(&about.policy).ok_or_else(|| unsealable("its policy is no digest"))?,
        catalogue: document(&about.catalogue).ok_or_else(|| unsealable("its catalogue is no digest"))?,
        removed: (!replaces.is_empty()).then_some(about.removed),
        replaces,
        table,
    })
}
