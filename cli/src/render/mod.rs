//! Answers: one report, five formats. Data goes to stdout or to a file; nothing else does.

mod columns;
mod people;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anstream::adapter::strip_bytes;
use arrow_array::RecordBatch;
use serde_json::{Map, Value};

pub(crate) use candor_wire::counted::{counted, counted_and};
pub(crate) use people::{Text, Tone, Width, cell_text, grid, printable, shorten};

use crate::exit::{Exit, Failure};

/// Version of the JSON that answers and errors come in.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Where an answer goes, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) format: Format,
    /// A file instead of stdout.
    pub(crate) output: Option<PathBuf>,
}

impl Format {
    /// As settings write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The format that a file's name asks for; none if it has no ending.
    pub(crate) fn of_file(path: &Path) -> Result<Option<Self>, Failure> {
        let endings = [
            ("json", Self::Json),
            ("jsonl", Self::Jsonl),
            ("csv", Self::Csv),
            ("parquet", Self::Parquet),
            ("txt", Self::Table),
        ];
        let Some(extension) = path.extension() else { return Ok(None) };
        let known = endings.into_iter().find(|(ending, _)| extension == *ending);
        let (_, format) = known.ok_or_else(|| {
            Failure::usage(format!("the ending of {} names no format", path.display()))
                .mend("end it with .json, .jsonl, .csv, .parquet or .txt (a table), or give --format")
        })?;
        Ok(Some(format))
    }

    /// Whether errors are JSON too.
    pub(crate) const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// An answer with data: rows under named columns, and facts about the whole.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kind: &'static str,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    facts: Map<String, Value>,
    batches: Option<Vec<RecordBatch>>,
    text: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Column {
    key: Cow<'static, str>,
    title: Cow<'static, str>,
    right: bool,
    hidden: bool,
}

impl Report {
    /// `kind` names the answer in JSON: `audit.totals`.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Adds a column: its key in JSON and CSV, and its title for people.
    pub(crate) fn column(mut self, key: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        self.columns.push(Column { key: key.into(), title: title.into(), right: false, hidden: false });
        self
    }

    /// The same for numbers.
    pub(crate) fn number(mut self, key: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        self.columns.push(Column { key: key.into(), title: title.into(), right: true, hidden: false });
        self
    }

    /// A column that people do not need to see.
    pub(crate) fn detail(mut self, key: &'static str) -> Self {
        self.columns.push(Column { key: key.into(), title: key.into(), right: false, hidden: true });
        self
    }

    pub(crate) fn row(&mut self, cells: Vec<Value>) {
        self.rows.push(cells);
    }

    /// The rows as they are in Arrow: Parquet then keeps their types.
    pub(crate) fn batches(&mut self, batches: Vec<RecordBatch>) {
        self.batches = Some(batches);
    }

    /// Something about the whole, beside the rows in JSON.
    pub(crate) fn fact(&mut self, key: &str, value: impl Into<Value>) {
        self.facts.insert(key.to_owned(), value.into());
    }

    /// A line under the table, for people.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// What people see instead of the table.
    pub(crate) fn text(&mut self, text: String) {
        self.text = Some(text);
    }

    /// The answer in a format, ready to be written.
    pub(crate) fn render(&self, format: Format) -> Result<Vec<u8>, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, format!("the answer cannot be written as {}: {why}", format.name()))
        };
        match format {
            Format::Table => Ok(self.for_people().into_bytes()),
            Format::Json => Ok(self.json().into_bytes()),
            Format::Jsonl => Ok(self.jsonl().into_bytes()),
            Format::Csv => self.csv().map_err(|e| failed(&e)),
            Format::Parquet => self.parquet().map_err(|e| failed(&e)),
        }
    }

    /// Writes it where it is to go.
    pub(crate) fn print(&self, target: &Target) -> Result<(), Failure> {
        if let Some(path) = &target.output {
            let bytes = self.render(target.format)?;
            // No file has colours; data in which something looks like them stays whole.
            let is_table = target.format == Format::Table;
            return write_file(path, &if is_table { strip_bytes(&bytes).into_vec() } else { bytes });
        }
        if target.format == Format::Parquet && std::io::stdout().is_terminal() {
            return Err(Failure::usage("Parquet is not for terminals").mend("give --output FILE, or a pipe"));
        }
        let bytes = self.render(target.format)?;
        if target.format == Format::Table {
            write_out(&mut anstream::stdout().lock(), &bytes)
        } else {
            // Data goes out as it is: nothing may take bytes out of it that look like colours.
            write_out(&mut std::io::stdout().lock(), &bytes)
        }
    }

    fn for_people(&self) -> String {
        let mut out = self.text.clone().unwrap_or_else(|| self.table());
        if !self.notes.is_empty() && !out.is_empty() {
            out.push('\n');
        }
        for note in &self.notes {
            out.push_str(note);
            out.push('\n');
        }
        out
    }

    fn table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let shown: Vec<(usize, &Column)> = self.columns.iter().enumerate().filter(|(_, c)| !c.hidden).collect();
        let titles: Vec<(&str, bool)> = shown.iter().map(|(_, c)| (c.title.as_ref(), c.right)).collect();
        let rows = self.rows.iter().map(|row| shown.iter().map(|(i, _)| cell_text(row.get(*i))).collect());
        grid(&titles, rows.collect(), Width::Terminal)
    }

    fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| {
            self.columns.iter().zip(row).map(|(column, value)| (column.key.to_string(), value.clone())).collect()
        })
    }

    fn json(&self) -> String {
        let mut document = Map::new();
        document.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
        document.insert("kind".to_owned(), self.kind.into());
        document.extend(self.facts.clone());
        document.insert("rows".to_owned(), self.objects().map(Value::Object).collect());
        format!("{:#}\n", Value::Object(document))
    }

    fn jsonl(&self) -> String {
        let mut out = String::new();
        for object in self.objects() {
            let mut line = Map::new();
            line.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
            line.insert("kind".to_owned(), self.kind.into());
            line.extend(object);
            out.push_str(&Value::Object(line).to_string());
            out.push('\n');
        }
        out
    }

    fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record(self.columns.iter().map(|column| column.key.as_bytes()))?;
        for row in &self.rows {
            out.write_record(row.iter().map(people::plain))?;
        }
        out.into_inner().map_err(|e| e.into_error().into())
    }

    fn parquet(&self) -> Result<Vec<u8>, parquet::errors::ParquetError> {
        let about = [("candor.kind", self.kind.to_owned()), ("candor.schema_version", SCHEMA_VERSION.to_string())];
        if let Some(batches) = &self.batches {
            return columns::parquet(batches, &about);
        }
        let titles: Vec<(&str, bool)> = self.columns.iter().map(|c| (c.key.as_ref(), c.right)).collect();
        columns::parquet(&[columns::batch(&titles, &self.rows)?], &about)
    }
}

/// Writes what is no report, such as a script or a page, to stdout as it is.
pub(crate) fn write_text(bytes: &[u8]) -> Result<(), Failure> {
    write_out(&mut std::io::stdout().lock(), bytes)
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_out(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("the answer could not be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// For its owner alone: answers are about people.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.and_then(|mut file| file.write_all(bytes)).map_err(|e| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {e}", path.display()))
            .mend("name another file with --output")
    })
}

/// Writes a line for people to stderr.
pub(crate) fn tell(text: &str) {
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let mut report = Report::new("test").column("name", "name").number("n", "count").detail("id");
        report.row(vec![json!("a,\"b\""), json!(1), json!("x")]);
        report.row(vec![json!("red\u{1b}[31m"), Value::Null, Value::Null]);
        report.fact("whole", true);
        report.note("a note");
        report
    }

    fn render(format: Format) -> String {
        String::from_utf8(report().render(format).unwrap()).unwrap()
    }

    #[test]
    fn four_formats_of_one_report() {
        assert_eq!(render(Format::Csv), "name,n,id\n\"a,\"\"b\"\"\",1,x\nred\u{1b}[31m,,\n");
        let json: Value = serde_json::from_str(&render(Format::Json)).unwrap();
        assert_eq!(json["schema_version"], 1);
        assert_eq!((&json["whole"], &json["rows"][0]["id"]), (&json!(true), &json!("x")));
        let lines = render(Format::Jsonl);
        assert!(lines.lines().all(|line| line.starts_with("{\"schema_version\":1,\"kind\":\"test\",")));
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn what_a_device_sent_cannot_steer_a_terminal() {
        let text = render(Format::Table);
        assert!(text.contains("red\\u{1b}[31m"), "{text}");
        assert!(text.contains("a note"));
        assert!(!text.contains('x'), "details are not for people: {text}");
    }

    #[test]
    fn a_file_is_for_its_owner_and_named_by_its_format() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let of = |name: &str| Format::of_file(Path::new(name)).map_err(|failure| failure.exit);
        assert_eq!((of("a/rows.csv"), of("rows.txt")), (Ok(Some(Format::Csv)), Ok(Some(Format::Table))));
        assert_eq!((of("/dev/null"), of("rows.xyz"), of("rows.CSV")), (Ok(None), Err(Exit::Usage), Err(Exit::Usage)));
        let target = Target { format: Format::Csv, output: Some(path.clone()) };
        report().print(&target).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), render(Format::Csv));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let table = Target { format: Format::Table, output: Some(path.clone()) };
        report().print(&table).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("name") && !written.contains('\u{1b}'), "a file has no colours: {written}");
        let nowhere = Target { output: Some(folder.path().join("a/b")), ..target };
        assert_eq!(report().print(&nowhere).unwrap_err().exit, Exit::Failed);
    }
}
