//! What is to become of which files, as data: it is kept in the ledger until it is done.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{FileInfo, pack};
use crate::error::Error;
use crate::table::layout::TablePath;

/// Files of tables and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// Why.
    pub(crate) kind: Kind,
    /// Table by table.
    pub(crate) tables: Vec<TableRewrite>,
}

/// Why files are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Small files into a large one, row by row the same.
    Compact,
    /// What is older than its purpose keeps it.
    Expire,
    /// Rows of subjects who asked for that.
    Erase,
}

/// Files of one table and what becomes of them. A table may be in a job more than once, with other files each time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableRewrite {
    /// Purpose name.
    pub(crate) purpose: String,
    /// Stream name.
    pub(crate) stream: String,
    /// Paths relative to the table's folder. Each unit becomes one file at most: its files have one date of receipt, one
    /// policy and one catalogue.
    pub(crate) units: Vec<Vec<String>>,
    /// What becomes of their rows.
    pub(crate) fate: Fate,
}

/// What becomes of the rows of files.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// All stay.
    Kept,
    /// All go: no file takes the place of the old ones.
    Gone,
    /// Those of these subjects go, as the table calls them (32 hex digits).
    Without(Vec<String>),
    /// All stay, without these columns.
    Nulled(Vec<String>),
}

impl Kind {
    /// As the ledger names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Expire => "expire",
            Self::Erase => "erase",
        }
    }
}

impl TableRewrite {
    /// Files of a table, packed into as few new ones as may be.
    pub(crate) fn of(table: &TablePath, files: Vec<FileInfo>, fate: Fate) -> Self {
        let paths = |unit: Vec<FileInfo>| unit.into_iter().map(|file| file.path).collect();
        let units = pack(files).into_iter().map(paths).collect();
        Self { purpose: table.purpose.clone(), stream: table.stream.clone(), units, fate }
    }

    /// Where the table lies.
    pub(crate) fn table(&self, data: &Path) -> Result<TablePath, Error> {
        TablePath::new(data, &self.purpose, &self.stream)
    }

    /// Purpose and stream.
    pub(super) fn table_name(&self) -> (&str, &str) {
        (&self.purpose, &self.stream)
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        self.units.iter().flatten()
    }
}

impl Rewrite {
    /// Table → files that the job names.
    pub(crate) fn files(&self) -> BTreeMap<(&str, &str), Vec<&String>> {
        let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for table in &self.tables {
            files.entry(table.table_name()).or_default().extend(table.files());
        }
        files
    }
}

impl std::fmt::Debug for TableRewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableRewrite({}/{}: {} units, {:?})", self.purpose, self.stream, self.units.len(), self.fate)
    }
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept => f.write_str("Kept"),
            Self::Gone => f.write_str("Gone"),
            Self::Without(subjects) => write!(f, "Without({} subjects)", subjects.len()),
            Self::Nulled(columns) => f.debug_tuple("Nulled").field(columns).finish(),
        }
    }
}
