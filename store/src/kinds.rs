//! What lies in a data folder: every file has a kind, or nobody knows it. Backup and check go by this list.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::{segment, storage};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Held by the process that has the folder.
    Lock,
    /// The key ring.
    Keys,
    /// The ledger's database.
    Ledger,
    /// What `SQLite` keeps beside it.
    BesideLedger,
    /// A segment.
    Segment,
    /// A damaged segment.
    SetAside,
    /// A policy or a catalogue.
    Document,
    /// A commit or a checkpoint of a table.
    DeltaLog,
    /// Rows.
    Parquet,
    /// The log: checkpoint, tiles, bundles.
    Log,
    /// Made from other files, and made again where it is missing.
    Derived,
    /// Who was erased.
    Tombstones,
    /// A file that a crash left before it had its name.
    Unfinished,
}

/// A file of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Relative to the folder, with `/`.
    pub(crate) path: String,
    /// What it is; none if nobody knows.
    pub(crate) kind: Option<Kind>,
}

/// The name of a file by which a folder says that it is being restored and is not whole yet.
pub(crate) const RESTORING: &str = "restore.unfinished";

impl Kind {
    /// The kind of a file by its path from the data folder.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last()?;
        if name.ends_with(storage::UNFINISHED) || name.starts_with('.') || path == RESTORING {
            return Some(Self::Unfinished);
        }
        match parts.as_slice() {
            ["lock"] => Some(Self::Lock),
            ["keys", "ring.toml" | "ring.toml.old"] => Some(Self::Keys),
            ["ledger.db"] => Some(Self::Ledger),
            ["ledger.db-wal" | "ledger.db-shm" | "ledger.db-journal"] => Some(Self::BesideLedger),
            ["tombstones.jsonl"] => Some(Self::Tombstones),
            ["log", _, ..] => Some(Self::Log),
            ["leaves", _, ..] => Some(Self::Derived),
            [segment::FOLDER, name] if name.ends_with(".segment") => Some(Self::Segment),
            [segment::SET_ASIDE, name] if name.ends_with(".segment") => Some(Self::SetAside),
            ["documents", name] if name.ends_with(".json") => Some(Self::Document),
            ["tables", _, _, "_delta_log", _] => Some(Self::DeltaLog),
            ["tables", _, _, date, name] if date.starts_with("received_date=") && name.ends_with(".parquet") => {
                Some(Self::Parquet)
            }
            _ => None,
        }
    }
}

/// Every file of a data folder, in the order of their paths. What goes away meanwhile is passed over.
pub(crate) fn list(data: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    walk(data, data, &mut found)
        .map_err(|error| Error::io(format!("cannot list what is in {}", data.display()), &error))?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// A path from a folder, for the file system.
pub(crate) fn below(folder: &Path, path: &str) -> PathBuf {
    path.split('/').fold(folder.to_path_buf(), |folder, part| folder.join(part))
}

fn walk(data: &Path, folder: &Path, found: &mut Vec<Found>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let is_folder = match entry.file_type() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?.is_dir(),
        };
        if is_folder {
            walk(data, &path, found)?;
            continue;
        }
        let below = path.strip_prefix(data).unwrap_or(&path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        let name = parts.join("/");
        // A link is no file of ours, wherever it leads.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        found.push(Found { kind: Kind::of(&name).filter(|_| is_file), path: name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_kind_or_none() {
        for (path, kind) in [
            ("lock", Some(Kind::Lock)),
            ("keys/ring.toml", Some(Kind::Keys)),
            ("ledger.db", Some(Kind::Ledger)),
            ("ledger.db-wal", Some(Kind::BesideLedger)),
            ("wal/00000000000000000001.segment", Some(Kind::Segment)),
            ("wal/x.segment.tmp", Some(Kind::Unfinished)),
            ("documents/ab.json", Some(Kind::Document)),
            ("tables/analytics/phone.app/_delta_log/00000000000000000000.json", Some(Kind::DeltaLog)),
            ("tables/analytics/phone.app/received_date=2026-11-28/part-ab.parquet", Some(Kind::Parquet)),
            ("log/tile/0/x001/234", Some(Kind::Log)),
            ("leaves/analytics/phone.app/part-ab.leaves", Some(Kind::Derived)),
            ("tombstones.jsonl", Some(Kind::Tombstones)),
            ("restore.unfinished", Some(Kind::Unfinished)),
            ("notes.txt", None),
            ("tables/readme", None),
            ("keys/other", None),
            ("log", None),
        ] {
            assert_eq!(Kind::of(path), kind, "{path}");
        }
    }
}
