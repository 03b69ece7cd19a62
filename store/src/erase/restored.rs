//! What backups bring back: tombstones are applied again, to a ledger and to tables that are older than they.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::Scope;
use candor_wire::log::entry::{Entry, Erased};

use super::desk::{Desk, random};
use super::tombstones::{Line, Tombstone, TombstoneFile, TombstoneId, TombstoneKey};
use crate::consent::{erased, key_of};
use crate::error::{Error, Kind};
use crate::flusher::Flusher;
use crate::ledger::Ledger;
use crate::ledger::erasures::{Kept, State};
use crate::ledger::jobs::Job;
use crate::rewrite::{self, Fate, FileInfo, Rewrite, TableRewrite, describe, guarded};
use crate::shared::Shared;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::lookup;

/// What the ledger calls the job of looking for erased subjects in tables that came back.
const RESTORED: &str = "restored";

/// What a start found of tombstones.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// All of them.
    pub(crate) ids: Vec<TombstoneId>,
    /// Whether the ledger lacked some: it is older than they.
    pub(crate) is_ledger_older: bool,
}

/// Reads the tombstones of file and ledger, gives each what it lacks, and notes which tables are older than they. Call it before
/// anything is written.
///
/// # Errors
/// If one of both cannot be read or written.
pub(crate) async fn look(data: &Path, ledger: &Ledger) -> Result<Found, Error> {
    let file = TombstoneFile::of(data);
    let lines = file.read()?;
    let (mut of_file, mut applied, mut since): (Vec<Tombstone>, BTreeMap<String, u64>, usize) = Default::default();
    for line in lines {
        match line {
            Line::Tombstone(tombstone) => of_file.push(tombstone),
            Line::Applied(versions) => (applied, since) = (versions, of_file.len()),
        }
    }
    let of_ledger = ledger.tombstones().await?;
    let ids = |tombstones: &[Tombstone]| tombstones.iter().map(|one| one.id.clone()).collect::<HashSet<String>>();
    let (in_file, in_ledger) = (ids(&of_file), ids(&of_ledger));
    let lacks: Vec<Tombstone> = of_file.iter().filter(|one| !in_ledger.contains(&one.id)).cloned().collect();
    let missing = of_ledger.iter().filter(|one| !in_file.contains(&one.id)).cloned().map(Line::Tombstone);
    file.append(&missing.collect::<Vec<_>>())?;
    let open = ledger.open_tombstones().await?;
    // Whoever asked and is not in a pass yet has an erasure that is open; of any other tombstone nobody knows what it was applied to.
    let is_any_unknown = of_file[since..].iter().any(|one| !open.contains(&one.id));
    let older = tables_older_than(data, &applied, is_any_unknown)?;
    if !older.is_empty() {
        let what = serde_json::to_string(&older).map_err(|why| fault(&why))?;
        ledger.begin_job(RESTORED, &what, "found").await?;
    }
    let all: BTreeSet<&String> = in_file.union(&in_ledger).collect();
    let parsed = all.into_iter().map(|id| hex::decode(id).and_then(|bytes| bytes.try_into().ok()));
    let ids = parsed.collect::<Option<Vec<TombstoneId>>>().ok_or_else(|| fault(&"a tombstone has no id"))?;
    if !lacks.is_empty() {
        tracing::warn!(
            tombstones = lacks.len(),
            "the ledger is older than erasures that were done: they are done again"
        );
    }
    // Only after their subjects are found may the ledger know them: a crash in between would hide that it is older.
    Ok(Found { ids, is_ledger_older: !lacks.is_empty() })
}

/// Has subjects of tombstones that came back with an older ledger, or in frames, erased again, and refuses whoever waits for it.
///
/// # Errors
/// If the ledger cannot be read or written.
pub(crate) async fn erase_again(
    shared: &Shared,
    ledger: &Ledger,
    key: &TombstoneKey,
    found: &Found,
    in_frames: Vec<LedgerId>,
) -> Result<(), Error> {
    let mut subjects: BTreeSet<LedgerId> = in_frames.into_iter().collect();
    if found.is_ledger_older {
        subjects.extend(ledger.subjects_that(|subject| shared.consent.tombstones.holds(subject)).await?);
    }
    let open: HashSet<LedgerId> = ledger.open_erasures().await?.iter().filter_map(|kept| kept.subject).collect();
    let scope = serde_json::to_string(&Scope::All).map_err(|why| fault(&why))?;
    for subject in subjects.iter().filter(|subject| !open.contains(subject)) {
        let now = shared.clock.now();
        let kept = Kept {
            id: random()?,
            subject: Some(*subject),
            scope: scope.clone(),
            requested_at: now,
            deadline: now,
            state: State::Open,
            done_at: None,
            certificate: None,
            entry: None,
            is_again: true,
        };
        ledger.begin_erasure(&kept, &key.id(subject), None).await?;
    }
    // Of those the ledger may still have a statement that gives consent.
    for kept in ledger.open_erasures().await?.iter().filter(|kept| kept.scope == scope) {
        if let Some(subject) = &kept.subject {
            shared.consent.set(key_of(subject), erased());
        }
    }
    let tombstones = TombstoneFile::of(&shared.settings.data).read()?.into_iter().filter_map(|line| match line {
        Line::Tombstone(tombstone) => Some(tombstone),
        Line::Applied(_) => None,
    });
    ledger.keep_tombstones(&tombstones.collect::<Vec<_>>()).await
}

/// The job of looking through tables that came back, if there is one.
///
/// # Errors
/// If the ledger cannot be read.
pub(super) async fn tables(ledger: &Ledger) -> Result<Option<Job>, Error> {
    Ok(ledger.jobs().await?.into_iter().find(|job| job.kind == RESTORED))
}

/// Erases what tombstones name from tables that came back. Only on the flusher's thread, after what waited is in tables.
///
/// # Errors
/// As tables, ledger and log give them.
pub(super) fn run(flusher: &Flusher, desk: &Desk, job: &Job) -> Result<(), Error> {
    let data = &flusher.shared().settings.data;
    let wanted: BTreeSet<String> = serde_json::from_str(&job.what).map_err(|why| fault(&why))?;
    let mut names = HashSet::new();
    for line in desk.file().read()? {
        if let Line::Tombstone(tombstone) = line {
            names.extend(tombstone.names);
        }
    }
    let (mut tables, mut unread) = (Vec::new(), None);
    for table in layout::list(data)?.into_iter().filter(|table| wanted.contains(&table.name())) {
        let Some(snapshot) = Delta::shared()?.read(&table)? else { continue };
        let mut by_day: BTreeMap<i32, (BTreeSet<String>, Vec<FileInfo>)> = BTreeMap::new();
        for file in &snapshot.files {
            match hits_of(desk, (&table, file), &names) {
                Ok(Some((hits, info))) => {
                    let (names, files) = by_day.entry(file.received_date).or_default();
                    names.extend(hits);
                    files.push(info);
                }
                Ok(None) => {}
                Err(error) if error.kind() == Kind::Stop => return Err(error),
                Err(error) => unread = unread.or(Some(error)),
            }
        }
        tables.extend(
            by_day
                .into_values()
                .map(|(names, files)| TableRewrite::of(&table, files, Fate::Without(names.into_iter().collect()))),
        );
    }
    let done = flusher.desk().rewrite(&Rewrite { kind: rewrite::Kind::Erase, tables })?;
    let mut replaced: Vec<(u64, u64)> = Vec::new();
    for change in &done.changes {
        let entry = |file: &FileInfo| {
            let entry = desk.log.look(|files| files.entry_of(&change.table.name(), &file.path));
            entry.map(|entry| (entry, file.removed))
        };
        replaced.extend(change.added.iter().filter_map(entry));
    }
    if !replaced.is_empty() {
        replaced.sort_unstable();
        let removed = replaced.iter().map(|(_, removed)| removed).sum();
        let replaced = replaced.into_iter().map(|(entry, _)| entry).collect();
        desk.log.append(&[Entry::Erased(Erased { certificates: Vec::new(), files: Vec::new(), replaced, removed })])?;
    }
    // What is left is looked for again.
    done.whole()?;
    if let Some(error) = unread {
        return Err(error);
    }
    desk.applied(flusher, &[])?;
    flusher.desk().runtime.block_on(flusher.desk().ledger.end_job(job.id))?;
    flusher.desk().runtime.block_on(flusher.desk().ledger.truncate_wal())
}

/// Names that a file has of some tombstones, if any, and what it is.
fn hits_of(
    desk: &Desk,
    (table, file): (&TablePath, &LiveFile),
    names: &HashSet<String>,
) -> Result<Option<(BTreeSet<String>, FileInfo)>, Error> {
    let mut hits = BTreeSet::new();
    let mut look = |subject: &str| {
        if names.contains(&desk.key.name(subject)) {
            hits.insert(subject.to_owned());
        }
    };
    guarded(table, file, || lookup::each_subject(table, file, &mut look))?;
    if hits.is_empty() { Ok(None) } else { Ok(Some((hits, describe(table, file)?))) }
}

/// Tables that are older than the last time that all tombstones were applied to them; or all.
fn tables_older_than(data: &Path, applied: &BTreeMap<String, u64>, all: bool) -> Result<BTreeSet<String>, Error> {
    let mut versions = BTreeMap::new();
    for table in layout::list(data)? {
        if let Some(version) = Delta::shared()?.version(&table)? {
            versions.insert(table.name(), version);
        }
    }
    if all {
        return Ok(versions.into_keys().collect());
    }
    let is_older = |(table, applied): &(&String, &u64)| versions.get(*table).is_none_or(|version| version < *applied);
    Ok(applied.iter().filter(is_older).map(|(table, _)| table.clone()).collect())
}

fn fault(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Data, "tombstones cannot be applied", why, "restore tombstones.jsonl and ledger.db from backups")
}
