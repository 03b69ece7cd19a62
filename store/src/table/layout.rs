//! Where tables lie and which columns they have. `docs/FORMAT.md`, "Tables", is the authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use url::Url;

use crate::error::{Error, Kind};

/// Partition column: the date of receipt, in no file but in every path.
pub(crate) const RECEIVED_DATE: &str = "received_date";
/// Whom a row is about, as the purpose's tables call them.
pub(crate) const SUBJECT: &str = "subject";
/// Running number of the batch; null for assigned subjects.
pub(crate) const BATCH: &str = "batch";
/// Index into the plan's distinct sets of winning rules.
pub(crate) const DECISION: &str = "decision";
/// Name of the event.
pub(crate) const EVENT: &str = "event";
/// Sequence of the consent statement that admitted the row.
pub(crate) const CONSENT_SEQ: &str = "consent_seq";

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A table's place under a data folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TablePath {
    /// Purpose name.
    pub(crate) purpose: String,
    /// Stream name.
    pub(crate) stream: String,
    /// `DATA/tables/PURPOSE/STREAM`, absolute.
    pub(crate) folder: PathBuf,
}

impl TablePath {
    /// The table of a (purpose, stream).
    ///
    /// # Errors
    /// `Data` if a name could leave its folder or would need escaping in a URL.
    pub(crate) fn new(data: &Path, purpose: &str, stream: &str) -> Result<Self, Error> {
        for name in [purpose, stream] {
            if !is_plain(name) {
                return Err(Error::new(
                    Kind::Data,
                    format!("no table can be named {name:?}"),
                    "names of tables have ASCII letters, digits, '_', '-' and inner dots",
                    "rename the purpose or the stream",
                ));
            }
        }
        let tables =
            std::path::absolute(data.join("tables")).map_err(|why| Error::io("cannot find the tables", &why))?;
        Ok(Self { purpose: purpose.to_owned(), stream: stream.to_owned(), folder: tables.join(purpose).join(stream) })
    }

    /// The table's address for Delta.
    pub(crate) fn url(&self) -> Result<Url, Error> {
        Url::from_directory_path(&self.folder).map_err(|()| {
            let what = format!("no URL can name {}", self.folder.display());
            Error::new(Kind::Data, what, "the path is not absolute UTF-8", "move the data folder to a plainer path")
        })
    }

    /// Where the Delta log lies.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("_delta_log")
    }

    /// Where the tree over the leaves of a file lies: `DATA/leaves/PURPOSE/STREAM/part-HEX.leaves`.
    pub(crate) fn leaves(&self, path_in_table: &str) -> PathBuf {
        let data = self.folder.ancestors().nth(3).unwrap_or(&self.folder);
        let stem = Path::new(path_in_table).file_stem().unwrap_or_default();
        data.join("leaves").join(&self.purpose).join(&self.stream).join(stem).with_extension("leaves")
    }

    /// Whether it was ever created: a commit is there.
    pub(crate) fn exists(&self) -> bool {
        std::fs::read_dir(self.log()).is_ok_and(|entries| {
            entries.filter_map(Result::ok).any(|entry| {
                let name = entry.file_name();
                let path = Path::new(&name);
                path.extension().is_some_and(|extension| extension == "json")
            })
        })
    }

    /// A file of it as answers name it, relative to the data folder.
    pub(crate) fn file_name(&self, path_in_table: &str) -> String {
        format!("tables/{}/{}/{path_in_table}", self.purpose, self.stream)
    }

    /// `purpose/stream`, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.purpose, self.stream)
    }
}

/// All folders that may hold a table, in order; those that no table was created in included.
pub(crate) fn list(data: &Path) -> Result<Vec<TablePath>, Error> {
    let mut found = Vec::new();
    for purpose in folders(&data.join("tables"))? {
        for stream in folders(&data.join("tables").join(&purpose))? {
            if is_plain(&purpose) && is_plain(&stream) {
                found.push(TablePath::new(data, &purpose, &stream)?);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Names of the folders in a folder; none if it is not there.
pub(crate) fn folders(folder: &Path) -> Result<Vec<String>, Error> {
    let unreadable = |why: &std::io::Error| Error::io(format!("cannot list {}", folder.display()), why);
    let entries = match std::fs::read_dir(folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|why| unreadable(&why))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|why| unreadable(&why))?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

/// Schema of a data file: the frame's columns with `batch` after `subject`, all nullable. Rows that have `batch` already have it there.
///
/// Delta would ask every writer for the `invariants` feature if a column were not nullable.
pub(crate) fn file_schema(frame: &Schema) -> Schema {
    let mut fields = Vec::with_capacity(frame.fields().len() + 1);
    for field in frame.fields() {
        fields.push(Field::new(field.name(), field.data_type().clone(), true));
        if field.name() == SUBJECT && frame.column_with_name(BATCH).is_none() {
            fields.push(Field::new(BATCH, DataType::Int64, true));
        }
    }
    Schema::new(fields)
}

/// Rows of a frame with the column `batch` after `subject`: the same number in each row, or null.
///
/// # Errors
/// Arrow's, if the rows have it already.
pub(crate) fn with_batch(rows: &RecordBatch, number: Option<i64>) -> Result<RecordBatch, ArrowError> {
    let schema = file_schema(rows.schema_ref());
    let made: ArrayRef = match number {
        Some(number) => Arc::new(Int64Array::from_value(number, rows.num_rows())),
        None => new_null_array(&DataType::Int64, rows.num_rows()),
    };
    let column = |field: &Arc<Field>| rows.column_by_name(field.name()).unwrap_or(&made).clone();
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema.into(), columns)
}

/// Schema of the table that such files make up.
pub(crate) fn table_schema(file: &Schema) -> Schema {
    let mut fields = file.fields().to_vec();
    fields.push(Arc::new(Field::new(RECEIVED_DATE, DataType::Date32, true)));
    Schema::new(fields)
}

/// The columns of `wanted` that `table` must gain.
///
/// # Errors
/// `Data` if a column has another type in the table: no column changes type.
pub(crate) fn missing_columns(name: &str, table: &Schema, wanted: &Schema) -> Result<Vec<Field>, Error> {
    let mut missing = Vec::new();
    for field in wanted.fields() {
        // Delta compares names without regard to case.
        match table.fields().iter().find(|have| have.name().eq_ignore_ascii_case(field.name())) {
            None => missing.push(field.as_ref().clone()),
            Some(have) if have.name() == field.name() && have.data_type() == field.data_type() => {}
            Some(have) => {
                return Err(Error::new(
                    Kind::Data,
                    format!("column {} of table {name} cannot change", field.name()),
                    format!("it is {} ({}) there and {} now", have.name(), have.data_type(), field.data_type()),
                    "give the field another column in the catalogue: a column never changes its type",
                ));
            }
        }
    }
    Ok(missing)
}

/// Days since 1970-01-01 of a time in µs UTC.
pub(crate) const fn day_of(micros: i64) -> i32 {
    micros.div_euclid(MICROS_PER_DAY) as i32
}

/// `YYYY-MM-DD` of a day; none beyond the calendar.
pub(crate) fn date_text(day: i32) -> Option<String> {
    let span = jiff::Span::new().try_days(day).ok()?;
    EPOCH.checked_add(span).ok().map(|date| date.to_string())
}

/// The day that `YYYY-MM-DD` names.
pub(crate) fn day_of_text(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    date.since((jiff::Unit::Day, EPOCH)).ok().map(|span| span.get_days())
}

const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty()
        && name.len() <= 200
        && name.bytes().all(plain)
        && !name.starts_with(['.', '_'])
        && !name.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        let data = Path::new("/data");
        let table = TablePath::new(data, "analytics", "phone.app").unwrap();
        assert_eq!(table.folder, Path::new("/data/tables/analytics/phone.app"));
        assert_eq!(table.url().unwrap().as_str(), "file:///data/tables/analytics/phone.app/");
        for bad in ["", ".", "..", "a/b", "a b", "_delta_log", "ä", "a."] {
            assert_eq!(TablePath::new(data, bad, "s").unwrap_err().kind(), Kind::Data, "{bad}");
        }
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day_of(-1), -1);
        assert_eq!(day_of(MICROS_PER_DAY), 1);
        assert_eq!(date_text(20_484).as_deref(), Some("2026-01-31"));
        assert_eq!(day_of_text("2026-01-31"), Some(20_484));
        assert_eq!(date_text(i32::MAX), None);
        assert_eq!(day_of_text("soon"), None);
    }

    #[test]
    fn tables_gain_columns_and_no_column_changes_its_type() {
        let table = Schema::new(vec![Field::new("model", DataType::Utf8, true)]);
        let wider =
            Schema::new(vec![Field::new("model", DataType::Utf8, true), Field::new("screen", DataType::Utf8, true)]);
        let gained = missing_columns("p/s", &table, &wider).unwrap();
        assert_eq!(gained.iter().map(Field::name).collect::<Vec<_>>(), ["screen"]);

        let other = Schema::new(vec![Field::new("model", DataType::Int64, true)]);
        let error = missing_columns("p/s", &table, &other).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("column model of table p/s"), "{error}");
    }
}
