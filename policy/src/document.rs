//! A document as written: TOML, or the canonical JSON that was published of it, as a tree that knows its places.
//!
//! Catalogue and policy are read from this tree, so that every problem names line and column, and so that a document
//! that was stored years ago as canonical JSON gives the same plan as the TOML that it was made from.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::digest::Digest;
use crate::problem::Problems;
use crate::source::{Findings, Source, Span};

/// Longest document that is read.
const MAX_BYTES: usize = 16 << 20;
/// Key of the texts of files in the canonical JSON; no TOML document has it.
pub(crate) const FILES: &str = "files";
/// Largest whole number that JSON readers agree on: 2^53 - 1.
const MAX_INTEGER: i64 = (1 << 53) - 1;
/// Syntax errors told at once: after the first few, the parser guesses.
const MAX_SYNTAX_ERRORS: usize = 20;

/// A value.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A TOML date; in JSON it is a text.
    Date(String),
    List(Vec<Item>),
    Table(Table),
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) span: Span,
    pub(crate) node: Node,
}

/// A key, where it stands, and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) item: Item,
}

/// Entries in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) Vec<Entry>);

/// A document and what it is known by.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Table,
    pub(crate) canonical: String,
    pub(crate) digest: Digest,
}

impl Document {
    /// Reads TOML.
    pub(crate) fn from_toml(source: &Source) -> Result<Self, Problems> {
        let mut findings = Findings::new(source.clone());
        if source.text().len() > MAX_BYTES {
            findings.report(&(0..0), format!("the document is longer than {MAX_BYTES} bytes"), "split the fleet");
            return findings.finish(None);
        }
        let (parsed, errors) = DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
                let span = error.span().unwrap_or(0..0);
                findings.report(
                    &span,
                    format!("this is not TOML: {}", error.message()),
                    "correct the syntax; see https://toml.io",
                );
            }
            return findings.finish(None);
        }
        let root = table_of_toml(parsed.get_ref(), &mut findings);
        Self::finish(root, findings)
    }

    /// Reads the canonical JSON of a document; nothing of it has a place in a file.
    pub(crate) fn from_json(source: &Source) -> Result<Self, Problems> {
        let mut findings = Findings::new(source.clone());
        let root = match serde_json::from_str(source.text()) {
            Ok(serde_json::Value::Object(members)) => table_of_json(members, &mut findings),
            Ok(_) => {
                findings.report(
                    &(0..0),
                    "the document is not a JSON object",
                    "hand in the published document as it is",
                );
                Table::default()
            }
            Err(error) => {
                findings.report(
                    &(0..0),
                    format!("this is not JSON: {error}"),
                    "hand in the published document as it is",
                );
                Table::default()
            }
        };
        Self::finish(root, findings)
    }

    /// The same document with the texts of the files that it names, so that both are published, kept and digested as one.
    pub(crate) fn with_files(self, texts: BTreeMap<String, String>, source: &Source) -> Result<Self, Problems> {
        if texts.is_empty() {
            return Ok(self);
        }
        let item = |node| Item { span: 0..0, node };
        let entry = |key, node| Entry { key, key_span: 0..0, item: item(node) };
        let mut root = self.root;
        let files = texts.into_iter().map(|(name, text)| entry(name, Node::Text(text))).collect();
        root.0.push(entry(FILES.to_owned(), Node::Table(Table(files))));
        Self::finish(root, Findings::new(source.clone()))
    }

    /// The text of a file, where the document was kept with its files.
    pub(crate) fn file(&self, name: &str) -> Option<&str> {
        let files = self.root.0.iter().find(|entry| entry.key == FILES)?;
        let Node::Table(files) = &files.item.node else { return None };
        let file = files.0.iter().find(|entry| entry.key == name)?;
        match &file.item.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn finish(root: Table, mut findings: Findings) -> Result<Self, Problems> {
        if !findings.is_empty() {
            return findings.finish(None);
        }
        let canonical = match serde_json_canonicalizer::to_string(&json_of_table(&root)) {
            Ok(canonical) => canonical,
            Err(error) => {
                findings.report(
                    &(0..0),
                    format!("the document has no canonical JSON: {error}"),
                    "write plain TOML values",
                );
                return findings.finish(None);
            }
        };
        let digest = Digest::of_bytes(canonical.as_bytes());
        Ok(Self { root, canonical, digest })
    }
}

impl Node {
    /// What it is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a point",
            Self::Bool(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

fn table_of_toml(table: &DeTable<'_>, findings: &mut Findings) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            item: Item { span: value.span(), node: node_of_toml(value.get_ref(), &value.span(), findings) },
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table(entries)
}

fn node_of_toml(value: &DeValue<'_>, span: &Span, findings: &mut Findings) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix());
            integer(number.ok(), span, findings)
        }
        DeValue::Float(digits) => float(digits.as_str().parse().ok(), span, findings),
        DeValue::Boolean(value) => Node::Bool(*value),
        DeValue::Datetime(date) => Node::Date(date.to_string()),
        DeValue::Array(items) => Node::List(
            items
                .iter()
                .map(|item| Item { span: item.span(), node: node_of_toml(item.get_ref(), &item.span(), findings) })
                .collect(),
        ),
        DeValue::Table(table) => Node::Table(table_of_toml(table, findings)),
    }
}

fn integer(number: Option<i64>, span: &Span, findings: &mut Findings) -> Node {
    match number {
        Some(number) if number.abs() <= MAX_INTEGER => Node::Integer(number),
        _ => {
            findings.report(
                span,
                "this number is too large",
                "stay between -(2^53 - 1) and 2^53 - 1: the document is published as JSON",
            );
            Node::Integer(0)
        }
    }
}

fn float(number: Option<f64>, span: &Span, findings: &mut Findings) -> Node {
    match number {
        Some(number) if number.is_finite() => Node::Float(number),
        _ => {
            findings.report(span, "this number is not finite", "write a number: the document is published as JSON");
            Node::Float(0.0)
        }
    }
}

fn table_of_json(members: serde_json::Map<String, serde_json::Value>, findings: &mut Findings) -> Table {
    let entry = |(key, value)| Entry { key, key_span: 0..0, item: item_of_json(value, findings) };
    Table(members.into_iter().map(entry).collect())
}

fn item_of_json(value: serde_json::Value, findings: &mut Findings) -> Item {
    use serde_json::Value;
    let node = match value {
        Value::String(text) => Node::Text(text),
        Value::Bool(value) => Node::Bool(value),
        // Canonical JSON writes a float without a point where it can, and whole numbers of TOML are never larger than this.
        Value::Number(number) => match number.as_i64() {
            Some(whole) if whole.abs_diff(0) <= MAX_INTEGER as u64 => Node::Integer(whole),
            _ => float(number.as_f64(), &(0..0), findings),
        },
        Value::Array(items) => Node::List(items.into_iter().map(|item| item_of_json(item, findings)).collect()),
        Value::Object(members) => Node::Table(table_of_json(members, findings)),
        Value::Null => {
            findings.report(&(0..0), "the document holds a null", "hand in the published document as it is");
            Node::Bool(false)
        }
    };
    Item { span: 0..0, node }
}

fn json_of_table(table: &Table) -> serde_json::Value {
    let member = |entry: &Entry| (entry.key.clone(), json_of_node(&entry.item.node));
    serde_json::Value::Object(table.0.iter().map(member).collect())
}

fn json_of_node(node: &Node) -> serde_json::Value {
    match node {
        Node::Text(text) | Node::Date(text) => text.clone().into(),
        Node::Integer(number) => (*number).into(),
        Node::Float(number) => (*number).into(),
        Node::Bool(value) => (*value).into(),
        Node::List(items) => items.iter().map(|item| json_of_node(&item.node)).collect(),
        Node::Table(table) => json_of_table(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Result<Document, Problems> {
        Document::from_toml(&Source::new(text, "policy.toml"))
    }

    #[test]
    fn canonical_json_is_sorted_and_forgets_layout() {
        let one = toml("b = 1\n# why\na = { y = 2.0, x = 'z' }\n[c]\nd = [true, 2028-12-31]\n").unwrap();
        let two = toml("c.d = [ true, '2028-12-31' ]\na.x = \"z\"\na.y = 2\nb = 0x1\n").unwrap();
        assert_eq!(one.canonical, r#"{"a":{"x":"z","y":2},"b":1,"c":{"d":[true,"2028-12-31"]}}"#);
        assert_eq!(one.digest, two.digest);
        assert_eq!(one.digest, Digest::of_bytes(one.canonical.as_bytes()));
        let again = Document::from_json(&Source::new(&one.canonical, "stored")).unwrap();
        assert_eq!(again.canonical, one.canonical);
    }

    #[test]
    fn entries_keep_the_order_and_places_of_the_file() {
        let document = toml("z = 1\ny = 'é'\nx = 3 # three\n").unwrap();
        let places: Vec<_> =
            document.root.0.iter().map(|e| (&*e.key, e.key_span.clone(), e.item.span.clone())).collect();
        assert_eq!(places, [("z", 0..1, 4..5), ("y", 6..7, 10..14), ("x", 15..16, 19..20)]);
    }

    #[test]
    fn every_syntax_error_has_a_place() {
        let problems = toml("a = 1\nb = \nc = 'x\n").unwrap_err().0;
        assert_eq!(problems[0].line, 2);
        assert!(problems.iter().any(|problem| problem.line == 3), "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.mend.is_empty()));
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused() {
        let problems = toml("a = 9007199254740992\nb = inf\nc = 9223372036854775807\n").unwrap_err().0;
        let lines: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
        assert_eq!(lines, [(1, 5), (2, 5), (3, 5)]);
    }

    /// A width of 1e17 was published as 100000000000000000, and then could not be read.
    #[test]
    fn whole_floats_of_any_size_are_read_back() {
        let one = toml("a = 1e17\nb = -1e19\nc = 1e22\nd = 9007199254740992.0\ne = 9007199254740991\n").unwrap();
        let again = Document::from_json(&Source::new(&one.canonical, "stored")).unwrap();
        assert_eq!(again.canonical, one.canonical);
        assert!(matches!(again.root.0[4].item.node, Node::Integer(MAX_INTEGER)));
    }

    #[test]
    fn nesting_has_an_end() {
        assert!(toml(&format!("a = {}{}", "[".repeat(5_000), "]".repeat(5_000))).is_err());
        let json = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(Document::from_json(&Source::new(&json, "stored")).is_err());
    }
}
