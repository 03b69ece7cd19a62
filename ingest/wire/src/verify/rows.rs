//! Rows of an answer: read from their encoding, held against what is shown to people, and against the rule that is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::plan::{Plan, TablePlan};
use serde_json::Value as Json;

use super::answer::Row;
use super::documents::{Documents, Logged};
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::Log;
use crate::counted::counted;
use crate::leaf::content_of;
use crate::log::entry::Entry;
use crate::row::{BLOCK_ROWS, Value, decode, json_of_double};

const BATCH: &str = "batch";
const CONSENT_SEQ: &str = "consent_seq";
const DECISION: &str = "decision";
const EVENT: &str = "event";
const RECEIVED_DATE: &str = "received_date";

/// Most columns of a file: nobody recomputes one that has more.
const MOST_COLUMNS: usize = 4_096;
/// Most cells of the columns that rows make, for each of their bytes.
const MOST_CELLS_PER_BYTE: usize = 64;

/// A row with its cells.
pub(super) struct ReadRow<'a> {
    pub(super) row: &'a Row,
    /// Canonical encoding, as receipts hash it.
    pub(super) bytes: Vec<u8>,
    cells: BTreeMap<String, Value>,
}

impl<'a> ReadRow<'a> {
    /// None if its encoding is none.
    pub(super) fn read(row: &'a Row) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(&row.row).ok()?;
        let cells = decode(&bytes).ok()?.into_iter().collect();
        Some(Self { row, bytes, cells })
    }

    /// Digest of its catalogue: the log says it of a row that is sealed.
    fn catalogue(&self, log: &Log) -> Option<String> {
        let entry = View::place(self.row).and_then(|(table, path)| log.live.entry_of(&table, path));
        match entry.and_then(|entry| log.entries.get(usize::try_from(entry).ok()?)) {
            Some(Entry::Sealed(sealed)) => Some(sealed.catalogue.to_string()),
            _ => self.row.catalogue.clone(),
        }
    }

    fn date(&self) -> Option<i32> {
        if let Some(Value::Date(date)) = self.cells.get(RECEIVED_DATE) { Some(*date) } else { None }
    }

    pub(super) fn day(&self) -> i32 {
        self.date().unwrap_or_default()
    }

    fn integer(&self, column: &str) -> Option<i64> {
        if let Some(Value::Integer(number)) = self.cells.get(column) { Some(*number) } else { None }
    }

    /// What is shown beside the encoding and is not in it, if anything.
    fn differs(&self) -> Option<&'static str> {
        let shown = &self.row;
        let event = self.cells.get(EVENT).map(json);
        if event.as_ref().and_then(Json::as_str).unwrap_or_default() != shown.event {
            return Some("the event shown is another");
        }
        if self.integer(CONSENT_SEQ) != shown.consent_seq {
            return Some("the consent shown is another");
        }
        if self.cells.get(RECEIVED_DATE).map(json) != Some(Json::from(shown.received_date.as_str())) {
            return Some("the date shown is another");
        }
        let fields = self
            .cells
            .iter()
            .filter(|(name, _)| ![EVENT, CONSENT_SEQ, DECISION, RECEIVED_DATE].contains(&name.as_str()));
        let fields: BTreeMap<&str, Json> = fields.map(|(name, value)| (name.as_str(), json(value))).collect();
        let told: BTreeMap<&str, Json> =
            shown.fields.iter().map(|field| (field.column.as_str(), field.value.clone())).collect();
        if told.len() != shown.fields.len() || told != fields {
            return Some("the values shown are others than those of the row");
        }
        None
    }

    /// What is wrong with the reasons that are shown, if anything.
    fn unreasoned(&self, plan: &Plan) -> Option<String> {
        let is_this =
            |table: &&TablePlan| *table.purpose_name == *self.row.purpose && *table.stream_name == *self.row.stream;
        let Some(table) = plan.tables().iter().find(is_this) else {
            return Some("its policy lets nothing into this table".to_owned());
        };
        let decision = self.integer(DECISION).and_then(|decision| u32::try_from(decision).ok());
        for field in &self.row.fields {
            let why = decision.and_then(|decision| table.explain_column(decision, &field.column));
            match why {
                None => return Some("a column that no rule of its policy writes has a value".to_owned()),
                Some(why) if why.rule != field.rule || why.operator != field.operator => {
                    return Some("the rule or the operator shown is not that of its policy".to_owned());
                }
                Some(_) => {}
            }
        }
        None
    }
}

/// That what is shown is what is proved, and by the rule that is named.
pub(super) fn check(view: &View<'_>, log: &Log, documents: &Documents<'_>, lines: &mut Lines) {
    if view.subject.answer.rows.is_empty() {
        return;
    }
    let (mut wrong, mut unplanned, mut faults) = (BTreeMap::new(), 0, BTreeMap::new());
    for row in &view.rows {
        if let Some(why) = row.differs() {
            *wrong.entry(why.to_owned()).or_insert(0_usize) += 1;
        }
        let catalogue = row.catalogue(log);
        match catalogue.as_deref().map(|catalogue| documents.plan(&row.row.policy, catalogue)) {
            Some(Logged::Unknown) => {
                *faults.entry("the log does not know its policy or catalogue".to_owned()).or_insert(0) += 1;
            }
            Some(Logged::Plan(plan)) => {
                if let Some(why) = row.unreasoned(&plan) {
                    *faults.entry(why).or_insert(0_usize) += 1;
                }
            }
            None | Some(Logged::Missing) => unplanned += 1,
        }
    }
    let name = || view.subject.name();
    let rows = view.rows.len();
    for (check, found) in [(Check::Rows, &wrong), (Check::Reasons, &faults)] {
        for (why, count) in found {
            lines.failed(check, name(), format!("{count} of {}: {why}", counted(rows, "row")));
        }
    }
    if wrong.is_empty() && rows > 0 {
        lines.proved(Check::Rows, name(), counted(rows, "row"));
    }
    if unplanned > 0 {
        lines.unchecked(
            Check::Reasons,
            name(),
            format!("{unplanned} of {}: no policy or no catalogue of theirs is there", counted(rows, "row")),
        );
    } else if faults.is_empty() && rows > 0 {
        lines.proved(Check::Reasons, name(), counted(rows, "row"));
    }
    let pending = view.rows.iter().filter(|row| row.row.file.is_none()).count();
    if pending > 0 {
        let about = view.about(counted(pending, "row"));
        lines.not_provable(Check::Pending, about, Assumption::NotSealedYet);
    }
}

/// The content of a leaf with these rows, in the order in which the file has them; none if they cannot be in one file.
pub(super) fn content(rows: &[&ReadRow<'_>]) -> Option<Vec<u8>> {
    let date = rows.first()?.date()?;
    if rows.iter().any(|row| row.date() != Some(date)) {
        return None;
    }
    let mut content = Vec::new();
    // Block by block, as leaves have them, so that no more than one is ever in memory as columns.
    for block in rows.chunks(BLOCK_ROWS) {
        content.extend(content_of(&columns(block)?, date).ok()?);
    }
    Some(content)
}

/// Rows as columns. Each may name columns of its own: what they make is within bounds before it is made.
fn columns(rows: &[&ReadRow<'_>]) -> Option<RecordBatch> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.cells.keys().map(String::as_str)).collect();
    let bytes: usize = rows.iter().map(|row| row.bytes.len()).sum();
    if names.len() > MOST_COLUMNS || names.len().saturating_mul(rows.len()) > bytes.saturating_mul(MOST_CELLS_PER_BYTE)
    {
        return None;
    }
    let batches: Int64Array = rows.iter().map(|row| row.row.batch).collect();
    let mut columns = vec![(BATCH, Arc::new(batches) as ArrayRef)];
    for name in names.into_iter().filter(|name| ![RECEIVED_DATE, BATCH].contains(name)) {
        let cells: Vec<Option<&Value>> = rows.iter().map(|row| row.cells.get(name)).collect();
        columns.push((name, array(&cells)?));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).ok()
}

/// Cells of a column; none if they are of several types.
fn array(cells: &[Option<&Value>]) -> Option<ArrayRef> {
    fn all<'a, T>(cells: &[Option<&'a Value>], of: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<Option<T>>> {
        cells.iter().map(|cell| cell.map_or(Some(None), |cell| of(cell).map(Some))).collect()
    }
    let first = cells.iter().flatten().next()?;
    Some(match first {
        Value::Bool(_) => {
            Arc::new(BooleanArray::from(all(cells, |v| if let Value::Bool(v) = v { Some(*v) } else { None })?))
        }
        Value::Integer(_) => {
            Arc::new(Int64Array::from(all(cells, |v| if let Value::Integer(v) = v { Some(*v) } else { None })?))
        }
        Value::Float(_) => {
            Arc::new(Float64Array::from(all(cells, |v| if let Value::Float(v) = v { Some(*v) } else { None })?))
        }
        Value::Text(_) => {
            Arc::new(StringArray::from(all(cells, |v| if let Value::Text(v) = v { Some(v.as_str()) } else { None })?))
        }
        Value::Time(_) => {
            Arc::new(TimestampMicrosecondArray::from(all(
                cells,
                |v| if let Value::Time(v) = v { Some(*v) } else { None },
            )?))
        }
        Value::Date(_) => {
            Arc::new(Date32Array::from(all(cells, |v| if let Value::Date(v) = v { Some(*v) } else { None })?))
        }
        Value::List(_) => lists(&all(cells, |v| if let Value::List(v) = v { Some(v.as_slice()) } else { None })?)?,
    })
}

/// Lists of a column; none if their elements are of several types.
fn lists(lists: &[Option<&[Option<Value>]>]) -> Option<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $kind:path, $value:ident => $append:expr) => {{
            let mut builder = ListBuilder::new($builder);
            for list in lists {
                for element in list.iter().copied().flatten() {
                    match element {
                        None => builder.values().append_null(),
                        Some($kind($value)) => builder.values().append_value($append),
                        Some(_) => return None,
                    }
                }
                builder.append(list.is_some());
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let first = lists.iter().flatten().flat_map(|list| list.iter()).flatten().next();
    Some(match first {
        None | Some(Value::Integer(_)) => build!(Int64Builder::new(), Value::Integer, value => *value),
        Some(Value::Bool(_)) => build!(BooleanBuilder::new(), Value::Bool, value => *value),
        Some(Value::Float(_)) => build!(Float64Builder::new(), Value::Float, value => *value),
        Some(Value::Text(_)) => build!(StringBuilder::new(), Value::Text, value => value),
        Some(Value::Time(_)) => build!(TimestampMicrosecondBuilder::new(), Value::Time, value => *value),
        Some(Value::Date(_)) => build!(Date32Builder::new(), Value::Date, value => *value),
        Some(Value::List(_)) => return None,
    })
}

/// A value as answers show it: times in RFC 3339, dates as `YYYY-MM-DD`, null for a time or date that no calendar has.
fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => json_of_double(*value),
        Value::Text(value) => value.as_str().into(),
        Value::Time(value) => jiff::Timestamp::from_microsecond(*value).map(|time| time.to_string()).ok().into(),
        Value::Date(days) => date(*days).into(),
        Value::List(elements) => elements.iter().map(|element| element.as_ref().map_or(Json::Null, json)).collect(),
    }
}

fn date(days: i32) -> Option<String> {
    let span = jiff::Span::new().try_days(days).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(span).ok().map(|date| date.to_string())
}
