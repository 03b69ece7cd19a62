//! What a live file says of itself, and which files can become one.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::sealed;
use crate::table::commit::LiveFile;
use crate::table::layout::TablePath;
use crate::table::parquet::ROW_GROUP_ROWS;

/// Rows and bytes that files are packed up to. One that is larger stays alone.
pub(crate) const TARGET_ROWS: u64 = ROW_GROUP_ROWS as u64;
pub(crate) const TARGET_BYTES: u64 = 32 << 20;

/// A live file and what its footer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileInfo {
    /// Relative to the table's folder.
    pub(crate) path: String,
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// The files that it took the place of.
    pub(crate) replaces: Vec<String>,
    /// Rows of those that are not in it.
    pub(crate) removed: u64,
}

/// Reads a live file's footer.
///
/// # Errors
/// `Data` if it is not what it should be.
pub(crate) fn describe(table: &TablePath, file: &LiveFile) -> Result<FileInfo, Error> {
    let about = sealed::about(&table.folder.join(&file.path))?;
    Ok(FileInfo {
        path: file.path.clone(),
        received_date: file.received_date,
        policy: about.policy,
        catalogue: about.catalogue,
        rows: about.rows,
        size: file.size,
        replaces: about.replaces,
        removed: about.removed,
    })
}

/// Which files become one: of one date, policy and catalogue, in the order of their paths, up to the target.
pub(crate) fn pack(mut files: Vec<FileInfo>) -> Vec<Vec<FileInfo>> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut by_kind: BTreeMap<_, Vec<Vec<FileInfo>>> = BTreeMap::new();
    for file in files {
        let kind = (file.received_date, file.policy.clone(), file.catalogue.clone());
        let units = by_kind.entry(kind).or_default();
        match units.last_mut() {
            Some(unit) if fits(unit, &file) => unit.push(file),
            _ => units.push(vec![file]),
        }
    }
    by_kind.into_values().flatten().collect()
}

fn fits(unit: &[FileInfo], more: &FileInfo) -> bool {
    let sum = |of: fn(&FileInfo) -> u64| unit.iter().map(of).sum::<u64>() + of(more);
    sum(|file| file.rows) <= TARGET_ROWS && sum(|file| file.size) <= TARGET_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, day: i32, policy: &str, rows: u64, size: u64) -> FileInfo {
        FileInfo {
            path: path.to_owned(),
            received_date: day,
            policy: policy.to_owned(),
            catalogue: "c".to_owned(),
            rows,
            size,
            replaces: Vec::new(),
            removed: 0,
        }
    }

    #[test]
    fn files_of_one_day_policy_and_catalogue_are_packed_up_to_the_target() {
        let files = vec![
            file("e", 2, "p", 1, 1),
            file("b", 1, "p", TARGET_ROWS - 1, 1),
            file("a", 1, "p", 1, 1),
            file("c", 1, "p", 1, 1),
            file("d", 1, "q", 1, 1),
            file("f", 2, "p", 1, TARGET_BYTES),
            file("g", 3, "p", TARGET_ROWS * 2, 1),
        ];
        let packed: Vec<Vec<String>> =
            pack(files).into_iter().map(|unit| unit.into_iter().map(|file| file.path).collect()).collect();
        let expected: [&[&str]; 6] = [&["a", "b"], &["c"], &["d"], &["e"], &["f"], &["g"]];
        assert_eq!(packed, expected);
    }
}
