//! One event as people write it, for explanations: judged by the same rules as an event that devices send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::catalogue::{Catalogue, Event, Field, FieldType, Signal, Stream};
use crate::condition::{Dimension, DimensionSubject};
use crate::consent::ConsentState;
use crate::plan::Input;
use crate::times;

/// One event to explain, as catalogue columns and their values; its `Debug` does not print them.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleEvent {
    /// Name of the event.
    pub event: String,
    /// What kind of telemetry it is; logs where nothing is said.
    #[serde(default)]
    pub signal: Signal,
    /// Value of the attribute that gives the jurisdiction: `DE`.
    #[serde(default)]
    pub jurisdiction: Option<String>,
    /// Whether Global Privacy Control is on, by attribute or header.
    #[serde(default)]
    pub gpc: bool,
    /// Catalogue columns and values; a column that is left out is absent.
    #[serde(default)]
    pub fields: serde_json::Map<String, Value>,
    /// State of consent by purpose; `unknown` where none is given.
    #[serde(default)]
    pub consent: BTreeMap<String, ConsentState>,
    /// Lower end of the subject's age band in years.
    #[serde(default)]
    pub age_from: Option<u8>,
    /// Whether a guardian made the statement of consent for a minor.
    #[serde(default)]
    pub guardian: bool,
    /// Day of receipt (days since 1970-01-01), for what has expired by then; without it nothing has.
    #[serde(default)]
    pub day: Option<i32>,
}

impl std::fmt::Debug for SampleEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SampleEvent({}, {} fields)", self.event, self.fields.len())
    }
}

/// What is known of a sample: its stream and event, and the classes of its values.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) number: u16,
    pub(crate) stream: &'a Stream,
    pub(crate) event: &'a Event,
    event_number: u16,
    jurisdiction: u16,
    gpc: bool,
    /// By field number.
    values: Vec<Known<'a>>,
    expired: Vec<bool>,
    judged: Vec<(String, Judged)>,
}

/// What is wrong with a column of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Undeclared,
    Bad,
}

/// A value as far as conditions look at it.
#[derive(Clone, Copy)]
enum Known<'a> {
    Absent,
    Bool(bool),
    Number(f64),
    Text(&'a str),
    /// A list or a position: no condition looks at it.
    Other,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Absent) { "absent" } else { "present" })
    }
}

impl<'a> Facts<'a> {
    /// None where no stream declares the event, or not any more.
    pub(crate) fn new(catalogue: &'a Catalogue, sample: &'a SampleEvent, jurisdiction: u16) -> Option<Self> {
        let (number, event_number) = catalogue.event_number(sample.signal, &sample.event)?;
        let stream = catalogue.streams.get(usize::from(number))?;
        let event = stream.events.get(usize::from(event_number))?;
        let has_expired = |expires: Option<i32>| sample.day.zip(expires).is_some_and(|(day, expires)| day >= expires);
        if has_expired(stream.expires_day) || has_expired(event.expires_day) {
            return None;
        }
        let mut facts = Self {
            number,
            stream,
            event,
            event_number,
            jurisdiction,
            gpc: sample.gpc,
            values: vec![Known::Absent; stream.fields.len()],
            expired: stream.fields.iter().map(|field| has_expired(field.expires_day)).collect(),
            judged: Vec::new(),
        };
        for (column, value) in &sample.fields {
            facts.judge(column, value);
        }
        Some(facts)
    }

    /// The sample's columns of which something is wrong.
    pub(crate) fn columns(&self, what: Judged) -> Vec<String> {
        self.judged.iter().filter(|(_, judged)| *judged == what).map(|(column, _)| column.clone()).collect()
    }

    pub(crate) fn has_bad_values(&self) -> bool {
        self.judged.iter().any(|(_, judged)| *judged == Judged::Bad)
    }

    pub(crate) fn has_expired(&self, input: Input) -> bool {
        matches!(input, Input::Field(field) if self.expired.get(usize::from(field)).copied().unwrap_or(true))
    }

    pub(crate) fn is_present(&self, input: Input) -> bool {
        match input {
            Input::Time => true,
            Input::Field(field) => !matches!(self.known(field), Known::Absent),
        }
    }

    /// Class of the sample in a dimension.
    pub(crate) fn class(&self, dimension: &Dimension) -> u32 {
        match &dimension.subject {
            DimensionSubject::Event => u32::from(self.event_number),
            DimensionSubject::Jurisdiction => u32::from(self.jurisdiction),
            DimensionSubject::Gpc => u32::from(self.gpc),
            DimensionSubject::Bool { field } => match self.visible(*field) {
                Known::Bool(value) => Dimension::class_of_bool(Some(value)),
                _ => 0,
            },
            DimensionSubject::Enum { field, .. } => match self.visible(*field) {
                Known::Text(value) => dimension.class_of_text(Some(value)),
                _ => 0,
            },
            DimensionSubject::Interval { field, .. } => match self.visible(*field) {
                Known::Number(value) => dimension.class_of_number(Some(value)),
                _ => 0,
            },
        }
    }

    fn known(&self, field: u16) -> Known<'a> {
        self.values.get(usize::from(field)).copied().unwrap_or(Known::Absent)
    }

    /// The value as conditions see it: an expired field is absent.
    fn visible(&self, field: u16) -> Known<'a> {
        if self.has_expired(Input::Field(field)) { Known::Absent } else { self.known(field) }
    }

    fn judge(&mut self, column: &str, value: &'a Value) {
        let found = self.stream.field_number(column).filter(|number| self.event.fields.contains(number));
        let field = found.and_then(|number| Some((number, self.stream.fields.get(usize::from(number))?)));
        let Some((number, field)) = field else {
            self.judged.push((column.to_owned(), Judged::Undeclared));
            return;
        };
        match known(field, value) {
            Some(known) => {
                if let Some(slot) = self.values.get_mut(usize::from(number)) {
                    *slot = known;
                }
            }
            None => self.judged.push((column.to_owned(), Judged::Bad)),
        }
    }
}

/// The value as the field's type, if nothing is lost by that; the same rules as for an attribute of a record.
fn known<'a>(field: &Field, value: &'a Value) -> Option<Known<'a>> {
    match value {
        Value::Null => Some(Known::Absent),
        Value::Array(elements) if field.list => {
            elements.iter().all(|element| scalar(field.kind, element).is_some()).then_some(Known::Other)
        }
        _ if field.list => None,
        value if field.kind == FieldType::Position => position(value),
        value => scalar(field.kind, value),
    }
}

/// A position is written `{"lat": …, "lon": …}`; half of one, or one that is not on the globe, is none.
fn position(value: &Value) -> Option<Known<'_>> {
    let halves = value.as_object()?;
    if halves.keys().any(|key| key != "lat" && key != "lon") {
        return None;
    }
    let mut valid = true;
    for (half, most) in [("lat", 90.0), ("lon", 180.0)] {
        valid &= match scalar(FieldType::F64, halves.get(half).unwrap_or(&Value::Null))? {
            Known::Number(degrees) => (-most..=most).contains(&degrees),
            _ => false,
        };
    }
    Some(if valid { Known::Other } else { Known::Absent })
}

fn scalar(kind: FieldType, value: &Value) -> Option<Known<'_>> {
    match (kind, value) {
        (_, Value::Null) => Some(Known::Absent),
        (FieldType::Bool, Value::Bool(value)) => Some(Known::Bool(*value)),
        (FieldType::String, Value::String(value)) => Some(Known::Text(value)),
        (FieldType::Timestamp, Value::String(value)) => {
            let time: jiff::Timestamp = value.parse().ok()?;
            times::holds(time.as_microsecond()).then_some(Known::Number(time.as_microsecond() as f64))
        }
        (FieldType::Timestamp, Value::Number(number)) => {
            let time = whole(number).filter(|nanoseconds| times::holds(nanoseconds.div_euclid(1_000)));
            time.map(|nanoseconds| Known::Number(nanoseconds as f64))
        }
        (FieldType::I64, Value::Number(number)) => whole(number).map(|number| Known::Number(number as f64)),
        (FieldType::F64, Value::Number(number)) => match number.as_i64() {
            Some(whole) => {
                let float = whole as f64;
                (float as i128 == i128::from(whole)).then_some(Known::Number(float))
            }
            None => number.as_f64().map(Known::Number),
        },
        _ => None,
    }
}

/// A whole number within 64 bits, however it is written.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        let within =
            float.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float);
        within.then_some(float as i64)
    })
}
