//! What a request should become, worked out slowly from prost's structs, and what it became, row by row.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use candor_policy::batch::{DecodeTally, RawColumn, RawGroup, Received};
use candor_policy::catalogue::FieldType;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use self::convert::{convert, position};
use self::item::{Given, Item, Request};
use self::view::View;
use crate::spec::{Place, Spec};

mod convert;
pub(crate) mod item;
mod view;

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
pub(crate) fn expected(spec: &Spec, request: &impl Request) -> Outcome {
    let mut outcome = Outcome { rows: Vec::new(), tally: DecodeTally::default() };
    for resource in request.resources() {
        let mut resources = BTreeSet::new();
        for (scope, items) in &resource.scopes {
            let mut scopes = BTreeSet::new();
            for item in items {
                let place = spec.streams.iter().enumerate().find_map(|(number, stream)| {
                    let event = stream.events.iter().position(|(known, _)| *known == item.name);
                    event.filter(|_| stream.signal == item.signal).map(|event| (number, event))
                });
                let Some((number, event)) = place else {
                    outcome.tally.undeclared_events += 1;
                    continue;
                };
                let view = View::new(spec, number, event, &resource.attributes, scope, item);
                outcome.tally.undeclared_attributes += view.undeclared;
                if resources.insert((number, view.visible(Place::is_of_resource))) {
                    outcome.tally.undeclared_attributes += view.undeclared_of_resource;
                }
                if scopes.insert((number, view.visible(Place::is_of_scope))) {
                    outcome.tally.undeclared_attributes += view.undeclared_of_scope;
                }
                match view.first_bad() {
                    Some(bad) => count_bad(&mut outcome.tally, number as u16, bad as u16),
                    None => outcome.rows.push(expected_row(spec, number, event, item, &view)),
                }
            }
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

fn expected_row(spec: &Spec, number: usize, event: usize, item: &Item, view: &View<'_>) -> Row {
    let stream = &spec.streams[number];
    let field = |(at, (kind, from)): (usize, &(FieldType, Place))| {
        if !stream.allows(event, at) {
            return None;
        }
        if let [lat, lon] = from.parts()[..] {
            let degrees = |from| convert(FieldType::F64, false, view.find(from)?).unwrap();
            return position(degrees(lat)?, degrees(lon)?);
        }
        convert(*kind, stream.lists.contains(&at), view.find(*from)?).unwrap()
    };
    let value = |from| match view.find(from) {
        Some(Given::Value(value)) => value_of(Some(&AnyValue { value: Some(value.clone()) })).cloned(),
        _ => None,
    };
    Row {
        stream: number,
        event,
        time: (item.time != 0).then_some((item.time / 1_000) as i64).and_then(convert::storable),
        fields: stream.fields.iter().enumerate().map(field).collect(),
        subject: value(spec.subject).and_then(|value| match value {
            Value::StringValue(text) if !text.is_empty() => Some(Cell::Text(text)),
            Value::IntValue(number) => Some(Cell::Text(number.to_string())),
            _ => None,
        }),
        jurisdiction: value(spec.jurisdiction).and_then(|value| match value {
            Value::StringValue(text) => Some(Cell::Text(text)),
            _ => None,
        }),
        gpc: value(spec.gpc).map(|value| {
            let on = match value {
                Value::BoolValue(on) => on,
                Value::IntValue(number) => number != 0,
                Value::DoubleValue(number) => number != 0.0,
                Value::StringValue(text) => !["", "0", "false"].contains(&text.trim_ascii().to_lowercase().as_str()),
                _ => true,
            };
            Cell::Bool(on)
        }),
    }
}

/// A value that is one: an index into the profiles' table counts as none.
fn value_of(value: Option<&AnyValue>) -> Option<&Value> {
    value?.value.as_ref().filter(|value| !matches!(value, Value::StringValueStrindex(_)))
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
