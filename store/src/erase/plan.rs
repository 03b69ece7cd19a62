//! What a pass is to do: which files hold whom, counted before anything happens. Many erasures share one pass over a file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use candor_policy::subject::{LedgerId, SubjectId};
use candor_wire::erasure::Scope;
use candor_wire::log::entry::Sha256Hex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind as ErrorKind};
use crate::keys::KeyRing;
use crate::log::Log;
use crate::rewrite::{Fate, FileInfo, Kind, Rewrite, TableRewrite, describe, guarded};
use crate::sealed;
use crate::table::Spared;
use crate::table::aside;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::lookup;
use crate::unreadable::Files;

/// An erasure that a pass takes in.
pub(super) struct Wanted {
    /// Id of the erasure, hex.
    pub(super) id: String,
    pub(super) scope: Scope,
    /// Ids that tables may know the subject by.
    pub(super) subjects: Vec<SubjectId>,
}

/// What keeps erasures waiting.
#[derive(Default)]
pub(super) struct Waits {
    /// The first reason.
    pub(super) why: Option<Error>,
    /// Files that cannot be read.
    pub(super) unreadable: Files,
}

impl Waits {
    pub(super) fn and(&mut self, more: Self) {
        self.why = self.why.take().or(more.why);
        self.unreadable.extend(more.unreadable);
    }

    /// Keeps the first reason for which something waits, and goes on unless nothing can be trusted any more.
    pub(super) fn keep_going(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::Stop => Err(error),
            Err(error) => {
                tracing::error!(%error, "some work on tables waits, and is tried again");
                self.why.get_or_insert(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A pass over the tables, as the ledger keeps it. It names no subject: what it has of them is in the rewrite alone, and goes with it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pass {
    /// Ids of its erasures, hex.
    pub(super) erasures: Vec<String>,
    /// Entries of the log before it.
    pub(super) log_size: u64,
    /// What each file held.
    pub(super) held: Vec<Held>,
    /// What becomes of the files.
    pub(super) rewrite: Rewrite,
}

/// Rows that go from one file. Files and erasures are many, so what is said of both is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    /// `PURPOSE/STREAM`.
    pub(super) table: String,
    /// Relative to the table's folder.
    pub(super) path: String,
    /// SHA-256 of the file.
    pub(super) file: Sha256Hex,
    /// By place in [`Pass::erasures`]: how many rows go for it.
    pub(super) rows: Vec<(usize, u64)>,
}

/// Every id that tables may know a subject by: one that signs is its own, an assigned one has one for each key generation.
pub(super) fn ids_of(ring: &KeyRing, subject: &LedgerId) -> Vec<SubjectId> {
    let own = SubjectId::from_bytes(*subject.as_bytes());
    ring.generations().iter().map(|keys| keys.subject_id(subject)).chain([own]).collect()
}

/// Looks for rows of erasures in all tables. Not in the pass is an erasure that reaches a file which cannot be read, or which another
/// job has to see first (`taken`): nobody could say what it held. Why and for which files, comes second.
///
/// # Errors
/// If a table cannot be read.
pub(super) fn plan(data: &Path, log: &Log, mut wanted: Vec<Wanted>, taken: &Spared) -> Result<(Pass, Waits), Error> {
    let mut waits = Waits::default();
    loop {
        let (waiting, of_found) = (BTreeSet::new(), Waits::default());
        let mut found = Found { log, taken, held: Vec::new(), tables: Vec::new(), waiting, waits: of_found };
        for table in layout::list(data)? {
            if let Some(snapshot) = Delta::shared()?.read(&table)? {
                let aside = aside::of(log, &table, &snapshot.files);
                found.table(&table, (&snapshot.files, &aside), &wanted)?;
            }
        }
        waits.and(found.waits);
        if found.waiting.is_empty() {
            let rewrite = Rewrite { kind: Kind::Erase, tables: found.tables };
            let erasures = wanted.into_iter().map(|one| one.id).collect();
            return Ok((Pass { erasures, log_size: log.size(), held: found.held, rewrite }, waits));
        }
        // Nothing may go of whoever waits: its certificate names what each file held. So the others are looked for alone.
        let mut at = 0..;
        wanted.retain(|_| at.next().is_some_and(|at| !found.waiting.contains(&at)));
    }
}

struct Found<'a> {
    log: &'a Log,
    taken: &'a Spared,
    held: Vec<Held>,
    tables: Vec<TableRewrite>,
    /// Places of erasures that have to wait, and for what.
    waiting: BTreeSet<usize>,
    waits: Waits,
}

/// What a file holds, and what it is.
type Hits = (BTreeMap<String, u64>, Sha256Hex, FileInfo);

impl Found<'_> {
    fn table(
        &mut self,
        table: &TablePath,
        (listed, aside): (&[LiveFile], &[LiveFile]),
        wanted: &[Wanted],
    ) -> Result<(), Error> {
        let mut by_name: HashMap<String, Vec<(usize, &Wanted)>> = HashMap::new();
        for (at, one) in wanted.iter().enumerate() {
            for subject in &one.subjects {
                by_name.entry(subject.in_table(&table.purpose).to_string()).or_default().push((at, one));
            }
        }
        let covering = |name: &str, day: i32| {
            let all = by_name.get(name).map_or(&[][..], Vec::as_slice);
            all.iter().find(|(_, one)| one.scope.covers(&table.purpose, day)).map(|(at, _)| *at)
        };
        // Whether a name goes depends on the day: what one file of a day loses, another may lose as well.
        let mut by_day: BTreeMap<i32, (BTreeSet<String>, Vec<FileInfo>)> = BTreeMap::new();
        for (file, is_listed) in listed.iter().map(|file| (file, true)).chain(aside.iter().map(|file| (file, false))) {
            let day = file.received_date;
            let names: HashSet<&str> =
                by_name.keys().map(String::as_str).filter(|name| covering(name, day).is_some()).collect();
            if names.is_empty() {
                continue;
            }
            let (hits, file_hash, info) = match self.hits(table, (file, is_listed), &names) {
                Ok(None) => continue,
                Ok(Some(hits)) => hits,
                Err((error, _)) if error.kind() == ErrorKind::Stop => return Err(error),
                Err((error, in_it)) => {
                    let in_it = in_it.iter().map(String::as_str).filter_map(|name| covering(name, day));
                    self.wait((table, file), error, in_it);
                    continue;
                }
            };
            let rows = hits.iter().filter_map(|(name, rows)| Some((covering(name, day)?, *rows))).collect();
            self.held.push(Held { table: table.name(), path: file.path.clone(), file: file_hash, rows });
            let (names, files) = by_day.entry(day).or_default();
            names.extend(hits.into_keys());
            files.push(info);
        }
        self.tables.extend(
            by_day
                .into_values()
                .map(|(names, files)| TableRewrite::of(table, files, Fate::Without(names.into_iter().collect()))),
        );
        Ok(())
    }

    /// What a file holds of some names; or why that cannot be said or changed, with the names that may be in it.
    fn hits(
        &self,
        table: &TablePath,
        (file, is_listed): (&LiveFile, bool),
        names: &HashSet<&str>,
    ) -> Result<Option<Hits>, (Error, Vec<String>)> {
        let counted = guarded(table, file, || lookup::count_of(table, file, names));
        let hits = counted.map_err(|error| (error, names.iter().map(|name| (*name).to_owned()).collect()))?;
        if hits.is_empty() {
            return Ok(None);
        }
        let of_hits = |error| (error, hits.keys().cloned().collect());
        if self.taken.contains(&(table.purpose.clone(), table.stream.clone(), file.path.clone())) {
            let what = format!("{} is not made anew", table.file_name(&file.path));
            let why = "an earlier job has to be done with it first";
            return Err(of_hits(Error::new(ErrorKind::Retry, what, why, "the log says what keeps it")));
        }
        if !is_listed {
            return Err(of_hits(aside::stays(table, file)));
        }
        let hash = self.digest(table, file).map_err(of_hits)?;
        let info = describe(table, file).map_err(of_hits)?;
        Ok(Some((hits, hash, info)))
    }

    fn wait(&mut self, (table, file): (&TablePath, &LiveFile), error: Error, erasures: impl Iterator<Item = usize>) {
        tracing::error!(%error, "erasures wait for a file");
        self.waiting.extend(erasures);
        // What another job has to see first is counted by whoever cannot read it there.
        if error.kind() == ErrorKind::Data {
            self.waits.unreadable.insert((table.name(), file.path.clone()));
        }
        self.waits.why.get_or_insert(error);
    }

    /// SHA-256 of a file: as the log has it, or by reading.
    fn digest(&self, table: &TablePath, file: &LiveFile) -> Result<Sha256Hex, Error> {
        let known = self.log.look(|files| {
            let entry = files.entry_of(&table.name(), &file.path)?;
            files.live_file(entry).map(|sealed| sealed.file)
        });
        known.map_or_else(|| sealed::digest(&table.folder.join(&file.path)).map(Sha256Hex), Ok)
    }
}
