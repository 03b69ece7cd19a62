//! Compaction: small files of one day, policy and catalogue become one, row by row the same.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::rewrite::{self, Desk, Fate, FileInfo, Rewrite, TARGET_BYTES, TARGET_ROWS, TableRewrite, describe};
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};

/// Small files that a day must have before they become one, while more may come.
const FILES_OF_A_NEW_DAY: usize = 4;
/// The same for a day that is over.
const FILES_OF_AN_OLD_DAY: usize = 2;
/// Most files of one pass, so that it ends: the next one goes on.
const MOST_FILES: usize = 10_000;

/// What to compact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactOptions {
    /// One table alone, as `purpose/stream`.
    pub table: Option<String>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactReport {
    /// Whether it was only planned.
    pub dry_run: bool,
    /// What became of which files.
    pub units: Vec<CompactUnit>,
}

/// Files that become one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactUnit {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// Date of receipt, `YYYY-MM-DD`.
    pub received_date: String,
    /// How many.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Plans a pass over the tables of a data folder and, if that is not all, does it. `today` in days since 1970-01-01.
///
/// # Errors
/// As the tables' writers give them; what was compacted before stays so.
pub(crate) fn compact(desk: &Desk<'_>, options: &CompactOptions, today: i32) -> Result<CompactReport, Error> {
    let (job, units) = plan(desk.data, &desk.files_of_jobs()?, options, today)?;
    if !options.dry_run {
        desk.rewrite(&job)?.whole()?;
    }
    Ok(CompactReport { dry_run: options.dry_run, units })
}

/// What there is to do. Files that another job has to see stay as they are.
fn plan(
    data: &Path,
    taken: &crate::table::Spared,
    options: &CompactOptions,
    today: i32,
) -> Result<(Rewrite, Vec<CompactUnit>), Error> {
    let delta = Delta::shared()?;
    let (mut job, mut planned) = (Rewrite { kind: rewrite::Kind::Compact, tables: Vec::new() }, Vec::new());
    let mut left = MOST_FILES;
    for table in tables(data, options)? {
        let mut files = delta.read(&table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
        files.retain(|file| !taken.contains(&(table.purpose.clone(), table.stream.clone(), file.path.clone())));
        let mut wanted = TableRewrite::of(&table, Vec::new(), Fate::Kept);
        for unit in units(&table, files, today)? {
            if unit.len() > left {
                break;
            }
            left -= unit.len();
            planned.push(describe_unit(&table, &unit));
            wanted.units.push(unit.into_iter().map(|file| file.path).collect());
        }
        if !wanted.units.is_empty() {
            job.tables.push(wanted);
        }
    }
    Ok((job, planned))
}

fn tables(data: &Path, options: &CompactOptions) -> Result<Vec<TablePath>, Error> {
    let mut tables = layout::list(data)?;
    if let Some(wanted) = &options.table {
        tables.retain(|table| table.name() == *wanted);
        if tables.is_empty() {
            let why = "no purpose and stream of that name has a table";
            let mend = "write PURPOSE/STREAM, as `candor audit totals` names them";
            return Err(Error::new(Kind::Request, "there is no such table", why, mend));
        }
    }
    Ok(tables)
}

/// Files of a table that should become one each. Only those of days with enough small files are opened.
fn units(table: &TablePath, files: Vec<LiveFile>, today: i32) -> Result<Vec<Vec<FileInfo>>, Error> {
    let enough = |day: i32| if day < today { FILES_OF_AN_OLD_DAY } else { FILES_OF_A_NEW_DAY };
    let mut by_day: BTreeMap<i32, Vec<LiveFile>> = BTreeMap::new();
    // What is half of a target or more is large enough: it would be written again and again otherwise.
    for file in files.into_iter().filter(|file| file.size * 2 < TARGET_BYTES) {
        by_day.entry(file.received_date).or_default().push(file);
    }
    let mut units = Vec::new();
    for (day, files) in by_day {
        if files.len() < enough(day) {
            continue;
        }
        let mut small = Vec::new();
        for file in &files {
            match describe(table, file) {
                Ok(info) if info.rows * 2 < TARGET_ROWS => small.push(info),
                Ok(_) => {}
                Err(error) if error.kind() == Kind::Stop => return Err(error),
                Err(error) => tracing::error!(%error, "a file is not compacted"),
            }
        }
        units.extend(rewrite::pack(small).into_iter().filter(|unit| unit.len() >= enough(day)));
    }
    Ok(units)
}

fn describe_unit(table: &TablePath, unit: &[FileInfo]) -> CompactUnit {
    let days: HashSet<i32> = unit.iter().map(|file| file.received_date).collect();
    CompactUnit {
        purpose: table.purpose.clone(),
        stream: table.stream.clone(),
        received_date: days.into_iter().next().and_then(layout::date_text).unwrap_or_default(),
        files: unit.len() as u64,
        rows: unit.iter().map(|file| file.rows).sum(),
        bytes: unit.iter().map(|file| file.size).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flush::write_tables;
    use crate::table::Spared;
    use crate::table::testing::{DAY, NOON, frame, rows};

    const TODAY: i32 = 20_485;

    #[test]
    fn enough_small_files_of_one_day_and_policy_become_one() {
        let data = tempfile::tempdir().unwrap();
        // Yesterday three of p0 and one of p1, today three of p0.
        let received = [(0, "p0"), (0, "p0"), (0, "p1"), (0, "p0"), (1, "p0"), (1, "p0"), (1, "p0")];
        for (lsn, (day, policy)) in (1..).zip(received) {
            let frame = frame(lsn, NOON + day * DAY, policy, rows(&["a", "b"], &[]));
            write_tables(data.path(), &[frame], lsn).unwrap();
        }
        let (job, units) = plan(data.path(), &Spared::new(), &CompactOptions::default(), TODAY).unwrap();
        let counts: Vec<_> = units.iter().map(|unit| (unit.received_date.as_str(), unit.files, unit.rows)).collect();
        assert_eq!(counts, [("2026-01-31", 3, 6)]);
        rewrite::run(data.path(), &job, &rewrite::Unsealed, &|| true).unwrap();
        let (_, again) = plan(data.path(), &Spared::new(), &CompactOptions::default(), TODAY).unwrap();
        assert_eq!(again, []);
        // A day later today's are many enough, unless a job has to see them.
        let (job, units) = plan(data.path(), &Spared::new(), &CompactOptions::default(), TODAY + 1).unwrap();
        assert_eq!(units.len(), 1);
        let taken = job.files().into_iter().flat_map(|((purpose, stream), paths)| {
            paths.into_iter().map(move |path| (purpose.to_owned(), stream.to_owned(), path.clone()))
        });
        let (_, none) = plan(data.path(), &taken.collect(), &CompactOptions::default(), TODAY + 1).unwrap();
        assert_eq!(none, []);
        let other = CompactOptions { table: Some("analytics/none".to_owned()), dry_run: true };
        assert_eq!(plan(data.path(), &Spared::new(), &other, TODAY).unwrap_err().kind(), Kind::Request);
    }
}
