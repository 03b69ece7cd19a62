//! Answers: one report, four formats. Data goes to stdout; colour only repeats what words say.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent};
use serde_json::{Map, Value};

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
}

impl Format {
    /// As settings write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
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

/// How wide a table for people may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// As wide as the terminal; off a terminal as wide as the content.
    Terminal,
    /// As wide as the terminal, but at most so many characters.
    AtMost(u16),
}

/// A cell for people. The tone only repeats what its words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    words: String,
    tone: Option<Tone>,
}

/// What a cell says, for whoever sees colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something stayed as it was.
    Kept,
    /// Something was changed.
    Changed,
    /// Something is not there.
    Gone,
}

impl Text {
    pub(crate) fn toned(words: String, tone: Tone) -> Self {
        Self { words, tone: Some(tone) }
    }

    fn cell(self) -> Cell {
        let cell = Cell::new_owned(self.words);
        match self.tone {
            None => cell,
            Some(Tone::Kept) => cell.fg(Color::Green),
            Some(Tone::Changed) => cell.fg(Color::Yellow),
            Some(Tone::Gone) => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self { words, tone: None }
    }
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
    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.for_people(),
            Format::Json => self.json(),
            Format::Jsonl => self.jsonl(),
            Format::Csv => self.csv(),
        }
    }

    /// Writes it to stdout.
    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        let text = self.render(format);
        if format == Format::Table {
            write_out(&mut anstream::stdout().lock(), &text)
        } else {
            // Data goes out as it is: nothing may take bytes out of it that look like colours.
            write_out(&mut std::io::stdout().lock(), &text)
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

    fn csv(&self) -> String {
        let line = |cells: Vec<String>| cells.iter().map(|c| csv_cell(c)).collect::<Vec<_>>().join(",") + "\n";
        let mut out = line(self.columns.iter().map(|c| c.key.to_string()).collect());
        for row in &self.rows {
            out.push_str(&line(row.iter().map(plain).collect()));
        }
        out
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_out(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("the answer could not be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line for people to stderr.
pub(crate) fn tell(text: &str) {
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A table without vertical lines: (title, aligned right) and rows.
pub(crate) fn grid<T: Into<Text>>(titles: &[(&str, bool)], rows: Vec<Vec<T>>, width: Width) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).enforce_styling().style_text_only();
    table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
    match width {
        Width::Terminal if table.is_tty() => table.set_content_arrangement(ContentArrangement::Dynamic),
        Width::Terminal => table.set_content_arrangement(ContentArrangement::Disabled),
        Width::AtMost(most) => {
            let width = table.width().map_or(most, |terminal| terminal.min(most));
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
        }
    };
    table.set_header(titles.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| cell.into().cell())));
    for (index, (_, right)) in titles.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            // The preset puts one more blank between columns.
            column.set_padding((0, u16::from(index + 1 < titles.len())));
            column.set_cell_alignment(if *right { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    table.trim_fmt() + "\n"
}

/// `text` without control characters: stored values come from devices, and a terminal obeys what it reads.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(visible).collect()
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// `text` cut to `most` characters, with an ellipsis where something is missing.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A value as people read it: text without quotes, nothing for null.
pub(crate) fn cell_text(value: Option<&Value>) -> String {
    printable(&value.map(plain).unwrap_or_default())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv_cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
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

    #[test]
    fn four_formats_of_one_report() {
        let report = report();
        assert_eq!(report.render(Format::Csv), "name,n,id\n\"a,\"\"b\"\"\",1,x\nred\u{1b}[31m,,\n");
        let json: Value = serde_json::from_str(&report.render(Format::Json)).unwrap();
        assert_eq!(json["schema_version"], 1);
        assert_eq!((&json["whole"], &json["rows"][0]["id"]), (&json!(true), &json!("x")));
        let lines = report.render(Format::Jsonl);
        assert!(lines.lines().all(|line| line.starts_with("{\"schema_version\":1,\"kind\":\"test\",")));
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn what_a_device_sent_cannot_steer_a_terminal() {
        let text = report().render(Format::Table);
        assert!(text.contains("red\\u{1b}[31m"), "{text}");
        assert!(text.contains("a note"));
        assert!(!text.contains('x'), "details are not for people: {text}");
    }

    #[test]
    fn shortens_by_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }
}
