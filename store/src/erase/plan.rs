//! What a pass is to do: which files hold whom, counted before anything happens. Many erasures share one pass over a file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use candor_policy::subject::{LedgerId, SubjectId};
use candor_wire::erasure::Scope;
use candor_wire::log::entry::Sha256Hex;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::keys::KeyRing;
use crate::log::Log;
use crate::rewrite::{Fate, FileInfo, Kind, Rewrite, TableRewrite, describe};
use crate::sealed;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::lookup;

/// An erasure that a pass takes in.
pub(super) struct Wanted {
    /// Place of the erasure in [`Pass::erasures`].
    pub(super) at: usize,
    pub(super) scope: Scope,
    /// Ids that tables may know the subject by.
    pub(super) subjects: Vec<SubjectId>,
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

/// Looks for rows of erasures in all tables.
///
/// # Errors
/// If a table or a file cannot be read.
pub(super) fn plan(data: &Path, log: &Log, erasures: Vec<String>, wanted: &[Wanted]) -> Result<Pass, Error> {
    let mut found = Found { log, held: Vec::new(), tables: Vec::new() };
    for table in layout::list(data)? {
        if let Some(snapshot) = Delta::shared()?.read(&table)? {
            found.table(&table, &snapshot.files, wanted)?;
        }
    }
    let rewrite = Rewrite { kind: Kind::Erase, tables: found.tables };
    Ok(Pass { erasures, log_size: log.size(), held: found.held, rewrite })
}

struct Found<'a> {
    log: &'a Log,
    held: Vec<Held>,
    tables: Vec<TableRewrite>,
}

impl Found<'_> {
    fn table(&mut self, table: &TablePath, files: &[LiveFile], wanted: &[Wanted]) -> Result<(), Error> {
        let mut by_name: HashMap<String, Vec<&Wanted>> = HashMap::new();
        for one in wanted {
            for subject in &one.subjects {
                by_name.entry(subject.in_table(&table.purpose).to_string()).or_default().push(one);
            }
        }
        let covering = |name: &str, day: i32| {
            let all = by_name.get(name).map_or(&[][..], Vec::as_slice);
            all.iter().find(|one| one.scope.covers(&table.purpose, day)).copied()
        };
        // Whether a name goes depends on the day: what one file of a day loses, another may lose as well.
        let mut by_day: BTreeMap<i32, (BTreeSet<String>, Vec<FileInfo>)> = BTreeMap::new();
        for file in files {
            let day = file.received_date;
            let names: HashSet<&str> =
                by_name.keys().map(String::as_str).filter(|name| covering(name, day).is_some()).collect();
            let hits = lookup::count_of(table, file, &names)?;
            if hits.is_empty() {
                continue;
            }
            let rows = hits.iter().filter_map(|(name, rows)| Some((covering(name, day)?.at, *rows))).collect();
            let (path, digest) = (file.path.clone(), self.digest(table, file)?);
            self.held.push(Held { table: table.name(), path, file: digest, rows });
            let (names, files) = by_day.entry(day).or_default();
            names.extend(hits.into_keys());
            files.push(describe(table, file)?);
        }
        self.tables.extend(
            by_day
                .into_values()
                .map(|(names, files)| TableRewrite::of(table, files, Fate::Without(names.into_iter().collect()))),
        );
        Ok(())
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
