//! What a request should become, worked out slowly from prost's structs, and what it became, row by row.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use candor_policy::batch::{DecodeTally, RawColumn, RawGroup, Received};
use candor_policy::catalogue::FieldType;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::spec::{Place, Spec, Stream};

/// A cell; doubles by their bits, so that NaN equals itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Bool(bool),
    I64(i64),
    F64(u64),
    Text(String),
    Time(i64),
    Position(u64, u64),
    List(Vec<Option<Cell>>),
}

/// One row, its resource's values included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) stream: usize,
    pub(crate) event: usize,
    pub(crate) time: Option<i64>,
    pub(crate) fields: Vec<Option<Cell>>,
    pub(crate) subject: Option<Cell>,
    pub(crate) jurisdiction: Option<Cell>,
    pub(crate) gpc: Option<Cell>,
}

/// A decoded request in plain values: rows by stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) tally: DecodeTally,
}

/// What the request should become.
pub(crate) fn expected(spec: &Spec, request: &ExportLogsServiceRequest) -> Outcome {
    let mut outcome = Outcome { rows: Vec::new(), tally: DecodeTally::default() };
    for resource_logs in &request.resource_logs {
        let resource = resource_logs.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        let mut counted = BTreeSet::new();
        for record in resource_logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            expected_record(spec, resource, record, &mut counted, &mut outcome);
        }
    }
    outcome.rows.sort_by_key(|row| row.stream);
    outcome.tally.bad_values.sort_unstable();
    outcome.tally.bad_fields.sort_unstable();
    outcome
}

/// What it became.
pub(crate) fn actual(received: &Received) -> Outcome {
    let mut rows = Vec::new();
    for group in received.groups() {
        for row in 0..group.event.len() {
            rows.push(actual_row(group, row));
        }
    }
    Outcome { rows, tally: received.tally().clone() }
}

fn actual_row(group: &RawGroup, row: usize) -> Row {
    let cell = |column: &RawColumn| match column {
        RawColumn::PerRow(array) => {
            assert_eq!(array.len(), group.event.len(), "a column by row");
            read(array, row)
        }
        RawColumn::PerResource(array) => {
            assert_eq!(array.len(), *group.resource.iter().max().unwrap() as usize + 1, "a column by resource");
            read(array, group.resource[row] as usize)
        }
    };
    Row {
        stream: usize::from(group.stream),
        event: usize::from(group.event.value(row)),
        time: group.time.is_valid(row).then(|| group.time.value(row)),
        fields: group.columns.iter().map(cell).collect(),
        subject: cell(&group.subject),
        jurisdiction: cell(&group.jurisdiction),
        gpc: cell(&group.gpc),
    }
}

fn read(array: &ArrayRef, at: usize) -> Option<Cell> {
    use arrow_schema::DataType;
    array.is_valid(at).then(|| match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(at)),
        DataType::Int64 => Cell::I64(array.as_primitive::<Int64Type>().value(at)),
        DataType::Float64 => Cell::F64(array.as_primitive::<Float64Type>().value(at).to_bits()),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(at).to_owned()),
        DataType::Timestamp(..) => Cell::Time(array.as_primitive::<TimestampMicrosecondType>().value(at)),
        DataType::FixedSizeList(..) => {
            let halves = array.as_fixed_size_list().value(at);
            let halves = halves.as_primitive::<Float64Type>();
            Cell::Position(halves.value(0).to_bits(), halves.value(1).to_bits())
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(at);
            Cell::List((0..list.len()).map(|element| read(&list, element)).collect())
        }
        other => panic!("no column is {other}"),
    })
}

fn expected_record(
    spec: &Spec,
    resource: &[KeyValue],
    record: &LogRecord,
    counted: &mut BTreeSet<(usize, Vec<usize>)>,
    outcome: &mut Outcome,
) {
    let name = event_name(record);
    let place = spec.streams.iter().enumerate().find_map(|(number, stream)| {
        stream.events.iter().position(|(known, _)| *known == name).map(|event| (number, event))
    });
    let Some((number, event)) = place else {
        outcome.tally.undeclared_events += 1;
        return;
    };
    let stream = &spec.streams[number];
    let view = View { spec, stream, event };
    let (of_resource, resource_undeclared) = view.leaves(resource, true);
    let (of_record, undeclared) = view.leaves(&record.attributes, false);
    outcome.tally.undeclared_attributes += undeclared;
    let visible = (0..stream.fields.len())
        .filter(|field| stream.allows(event, *field) && stream.fields[*field].1.is_per_resource());
    if counted.insert((number, visible.collect())) {
        outcome.tally.undeclared_attributes += resource_undeclared;
    }

    let mut sources: Vec<(Place, Option<Value>)> = Vec::new();
    sources.extend(of_resource.into_iter().map(|(key, value)| (view.place(&key, true), value)));
    sources.extend(of_record.into_iter().map(|(key, value)| (view.place(&key, false), value)));
    sources.push((Place::Body, record.body.clone().and_then(|body| body.value)));
    if record.severity_number != 0 {
        sources.push((Place::SeverityNumber, Some(Value::IntValue(i64::from(record.severity_number)))));
    }
    if !record.severity_text.is_empty() {
        sources.push((Place::SeverityText, Some(Value::StringValue(record.severity_text.clone()))));
    }
    if let Some(bad) = view.first_bad(&sources) {
        count_bad(&mut outcome.tally, number as u16, bad as u16);
        return;
    }
    let find = |from: Place| sources.iter().find(|(known, _)| *known == from).and_then(|(_, value)| value.clone());
    let field = |(at, (kind, from)): (usize, &(FieldType, Place))| {
        if !stream.allows(event, at) {
            return None;
        }
        if let [lat, lon] = from.parts()[..] {
            let degrees = |from| convert(FieldType::F64, false, &find(from)?).unwrap();
            return position(degrees(lat)?, degrees(lon)?);
        }
        convert(*kind, stream.lists.contains(&at), &find(*from)?).unwrap()
    };
    let nanoseconds = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
    outcome.rows.push(Row {
        stream: number,
        event,
        time: (nanoseconds != 0).then_some((nanoseconds / 1_000) as i64),
        fields: stream.fields.iter().enumerate().map(field).collect(),
        subject: find(spec.subject).and_then(|value| match value {
            Value::StringValue(text) if !text.is_empty() => Some(Cell::Text(text)),
            Value::IntValue(number) => Some(Cell::Text(number.to_string())),
            _ => None,
        }),
        jurisdiction: find(spec.jurisdiction).and_then(|value| match value {
            Value::StringValue(text) => Some(Cell::Text(text)),
            _ => None,
        }),
        gpc: find(spec.gpc).map(|value| {
            let on = match value {
                Value::BoolValue(on) => on,
                Value::IntValue(number) => number == 1,
                Value::StringValue(text) => text == "1" || text == "true",
                _ => false,
            };
            Cell::Bool(on)
        }),
    });
}

fn event_name(record: &LogRecord) -> &str {
    if !record.event_name.is_empty() {
        return &record.event_name;
    }
    let attribute = record.attributes.iter().find(|attribute| attribute.key == "event.name");
    match attribute.and_then(|attribute| value_of(attribute.value.as_ref())) {
        Some(Value::StringValue(name)) => name,
        _ => "",
    }
}

/// A value that is one: an index into the profiles' table counts as none.
fn value_of(value: Option<&AnyValue>) -> Option<&Value> {
    value?.value.as_ref().filter(|value| !matches!(value, Value::StringValueStrindex(_)))
}

/// What one event sees of a stream.
struct View<'s> {
    spec: &'s Spec,
    stream: &'s Stream,
    event: usize,
}

/// (full key, value) of each declared key that has one, in the order in which they win.
type Leaves = Vec<(String, Option<Value>)>;

impl View<'_> {
    /// All places that feed something here, whatever the event.
    fn declared(&self) -> impl Iterator<Item = Place> {
        let extra = [self.spec.subject, self.spec.jurisdiction, self.spec.gpc];
        self.stream.fields.iter().flat_map(|(_, from)| from.parts()).chain(extra)
    }

    fn key(from: Place, of_resource: bool) -> Option<&'static str> {
        match from {
            Place::Attribute(key) if !of_resource => Some(key),
            Place::Resource(key) if of_resource => Some(key),
            _ => None,
        }
    }

    fn is_prefix(&self, key: &str, of_resource: bool) -> bool {
        let under = format!("{key}.");
        self.declared().filter_map(|from| Self::key(from, of_resource)).any(|known| known.starts_with(&under))
    }

    /// Whether this event takes something from a key.
    fn asks(&self, key: &str, of_resource: bool) -> bool {
        let field = self.stream.fields.iter().enumerate().any(|(at, (_, from))| {
            from.parts().into_iter().any(|from| Self::key(from, of_resource) == Some(key))
                && self.stream.allows(self.event, at)
        });
        let extra = [self.spec.subject, self.spec.jurisdiction, self.spec.gpc];
        field || extra.into_iter().any(|from| Self::key(from, of_resource) == Some(key))
    }

    fn place(&self, key: &str, of_resource: bool) -> Place {
        self.declared().find(|from| Self::key(*from, of_resource) == Some(key)).unwrap()
    }

    /// Declared leaves, and how many there were that nothing asks for.
    fn leaves(&self, attributes: &[KeyValue], of_resource: bool) -> (Leaves, u64) {
        let (mut direct, mut nested) = (Vec::new(), Vec::new());
        self.flatten("", attributes, of_resource, &mut direct, &mut nested);
        let mut undeclared = 0;
        let mut leaves: Leaves = Vec::new();
        let direct = direct.into_iter().filter(|(key, _)| of_resource || key != "event.name");
        for (key, value) in direct.chain(nested) {
            if !self.asks(&key, of_resource) {
                undeclared += 1;
            } else if !leaves.iter().any(|(known, _)| *known == key) {
                leaves.push((key, value));
            }
        }
        (leaves, undeclared)
    }

    fn flatten(&self, at: &str, pairs: &[KeyValue], of_resource: bool, direct: &mut Leaves, nested: &mut Leaves) {
        for pair in pairs {
            let key = if at.is_empty() { pair.key.clone() } else { format!("{at}{}", pair.key) };
            match value_of(pair.value.as_ref()) {
                Some(Value::KvlistValue(list)) if self.is_prefix(&key, of_resource) => {
                    self.flatten(&format!("{key}."), &list.values, of_resource, direct, nested);
                }
                value if at.is_empty() => direct.push((key, value.cloned())),
                value => nested.push((key, value.cloned())),
            }
        }
    }

    fn first_bad(&self, sources: &[(Place, Option<Value>)]) -> Option<usize> {
        let mut seen: Vec<Place> = Vec::new();
        for (from, value) in sources {
            if seen.contains(from) {
                continue;
            }
            seen.push(*from);
            let Some(value) = value else { continue };
            let bad = self.stream.fields.iter().enumerate().find(|(at, (kind, known))| {
                // Half of a position is a number.
                let kind = if let Place::Position(..) = known { FieldType::F64 } else { *kind };
                known.parts().contains(from)
                    && self.stream.allows(self.event, *at)
                    && convert(kind, self.stream.lists.contains(at), value).is_err()
            });
            if let Some((at, _)) = bad {
                return Some(at);
            }
        }
        None
    }
}

fn position(lat: Cell, lon: Cell) -> Option<Cell> {
    let (Cell::F64(lat), Cell::F64(lon)) = (lat, lon) else { panic!("halves are numbers") };
    let there = f64::from_bits(lat).abs() <= 90.0 && f64::from_bits(lon).abs() <= 180.0;
    there.then_some(Cell::Position(lat, lon))
}

fn convert(kind: FieldType, list: bool, value: &Value) -> Result<Option<Cell>, ()> {
    if list {
        return match value {
            Value::StringValueStrindex(_) => Ok(None),
            Value::ArrayValue(array) => {
                let element = |value: &AnyValue| match &value.value {
                    Some(value) => convert(kind, false, value),
                    None => Ok(None),
                };
                array.values.iter().map(element).collect::<Result<_, ()>>().map(|list| Some(Cell::List(list)))
            }
            _ => Err(()),
        };
    }
    let cell = match (kind, value) {
        (_, Value::StringValueStrindex(_)) => return Ok(None),
        (FieldType::Bool, Value::BoolValue(value)) => Cell::Bool(*value),
        (FieldType::String, Value::StringValue(text)) => Cell::Text(text.clone()),
        (FieldType::I64, Value::IntValue(value)) => Cell::I64(*value),
        (FieldType::I64, Value::DoubleValue(value)) => {
            let whole = *value as i128;
            if (whole as f64).to_bits() != (*value + 0.0).to_bits() || i64::try_from(whole).is_err() {
                return Err(());
            }
            Cell::I64(whole as i64)
        }
        (FieldType::F64, Value::DoubleValue(value)) => Cell::F64(value.to_bits()),
        (FieldType::F64, Value::IntValue(value)) if (*value as f64) as i128 == i128::from(*value) => {
            Cell::F64((*value as f64).to_bits())
        }
        (FieldType::Timestamp, Value::IntValue(value)) => Cell::Time(value.div_euclid(1_000)),
        (FieldType::Timestamp, Value::StringValue(text)) => Cell::Time(rfc3339(text).ok_or(())?),
        _ => return Err(()),
    };
    Ok(Some(cell))
}

/// RFC 3339 by the letter, up to nine digits of fraction; a leap second is the last second of its minute.
fn rfc3339(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (date, clock) = text.split_once('T')?;
    let (clock, offset) = if let Some(clock) = clock.strip_suffix('Z') {
        (clock, 0)
    } else {
        let (clock, zone) = clock.split_at_checked(clock.len().checked_sub(6)?)?;
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let minutes = two(hours, 23)? * 60 + two(minutes, 59)?;
        match zone.get(..1)? {
            "+" => (clock, minutes),
            "-" => (clock, -minutes),
            _ => return None,
        }
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, fraction)| (whole, Some(fraction)));
    let nanoseconds = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => format!("{digits:0<9}").parse::<u32>().ok()?,
        Some(_) => return None,
    };
    let [hour, minute, second] = whole.split(':').collect::<Vec<_>>().try_into().ok()?;
    let seconds = two(hour, 23)? * 3_600 + two(minute, 59)? * 60 + two(second, 60)?.min(59);
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let days = days(year.parse().ok()?, two(month, 12)?, two(day, 31)?)?;
    Some(((days * 86_400 + seconds - offset * 60) * 1_000_000) + i64::from(nanoseconds / 1_000))
}

fn two(digits: &str, most: i64) -> Option<i64> {
    let valid = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().filter(|value| *value <= most)
}

/// Days since 1970-01-01, counted year by year and month by month.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = |month: i64| match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if month == 0 || day == 0 || day > month_days(month) {
        return None;
    }
    let year_days = |year: i64| 365 + i64::from(leap(year));
    let years: i64 =
        if year >= 1970 { (1970..year).map(year_days).sum() } else { -(year..1970).map(year_days).sum::<i64>() };
    Some(years + (1..month).map(month_days).sum::<i64>() + day - 1)
}

fn count_bad(tally: &mut DecodeTally, stream: u16, field: u16) {
    match tally.bad_values.iter().position(|(known, _)| *known == stream) {
        Some(at) => tally.bad_values[at].1 += 1,
        None => tally.bad_values.push((stream, 1)),
    }
    match tally.bad_fields.iter().position(|(known, column, _)| (*known, *column) == (stream, field)) {
        Some(at) => tally.bad_fields[at].2 += 1,
        None => tally.bad_fields.push((stream, field, 1)),
    }
}
