//! A fleet for tests: a catalogue, a policy, and batches made from plain values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray, UInt16Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use crate::batch::{DecodeTally, Evidence, RawColumn, RawGroup, Received};
use crate::catalogue::{Catalogue, FieldPath, FieldType, Stream};
use crate::keys::{HmacKey, Keys};
use crate::operator::{arrow_type, raw_type};
use crate::plan::Plan;
use crate::policy::Policy;

pub(super) const DAY: i64 = 86_400_000_000;
/// 2026-11-22, before anything of the catalogue expires but `legacy_id`.
pub(super) const TODAY: i64 = 20_779 * DAY;
/// 2027-06-01, when an event and a stream have expired too.
pub(super) const LATER: i64 = 20_970 * DAY;

/// Numbers of streams and events, which the documents have in the order of their names.
pub(super) const CYCLE: usize = 0;
pub(super) const CAR: usize = 1;
pub(super) const PHONE: usize = 2;
pub(super) const STREAMS: [&str; 3] = ["appliance.cycle", "car.drive", "phone.app"];
pub(super) const PHONE_EVENTS: [&str; 3] = ["phone.app.crashed", "phone.app.opened", "phone.app.trial"];
pub(super) const OPENED: u16 = 1;
pub(super) const TRIAL: u16 = 2;
/// Purposes in their order.
pub(super) const PURPOSES: [&str; 3] = ["analytics", "diagnostics", "marketing"];

pub(super) const CATALOGUE: &str = r#"
catalogue = "acme-fleet"

[stream."appliance.cycle"]
description = "No rule reaches it"
owner = "homes@acme.example"
expires = "2027-01-01"
[stream."appliance.cycle".event."appliance.cycle.ended"]
description = "A cycle ended"
[stream."appliance.cycle".field]
program     = { type = "string", from = "attributes.program", category = "user.behavior", role = "plain", description = "Program" }

[stream."car.drive"]
description = "Drives"
owner = "cars@acme.example"
expires = "2028-12-31"
[stream."car.drive".event."car.drive.ended"]
description = "A drive ended"
[stream."car.drive".field]
odometer_km = { type = "i64", from = "attributes.odometer", category = "user.behavior", role = "quasi", description = "Odometer" }
place       = { type = "position", from = { lat = "attributes.lat", lon = "attributes.lon" }, category = "user.location", role = "quasi", description = "Where" }
speed       = { type = "f64", from = "attributes.speed", category = "user.behavior", role = "plain", description = "Mean speed" }
vin         = { type = "string", from = "attributes.vin", category = "user.unique_id", role = "identifier", description = "VIN" }

[stream."phone.app"]
description = "What the apps of a phone do"
owner = "phones@acme.example"
expires = "2028-12-31"

[stream."phone.app".event."phone.app.crashed"]
description = "An app ended by a fault"
[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"
[stream."phone.app".event."phone.app.trial"]
description = "A trial that ended"
expires = "2027-01-01"

[stream."phone.app".field]
battery     = { type = "f64", from = "attributes.battery", category = "user.device", role = "plain", description = "Charge" }
birth_year  = { type = "i64", from = "attributes.birth_year", category = "user.demographic", role = "quasi", description = "Year of birth" }
client_ip   = { type = "string", from = "attributes.client.ip", category = "user.device.ip_address", role = "quasi", description = "Address" }
duration_ms = { type = "i64", from = "attributes.duration_ms", category = "user.behavior", role = "plain", description = "Time in front" }
foreground  = { type = "bool", from = "attributes.foreground", category = "user.behavior", role = "plain", description = "In front" }
imei        = { type = "string", from = "resource.device.imei", category = "user.unique_id", role = "identifier", description = "IMEI" }
legacy_id   = { type = "string", from = "attributes.legacy_id", category = "user.unique_id", role = "identifier", description = "Old id", expires = "2026-01-01" }
model       = { type = "string", from = "resource.device.model", category = "user.device", role = "plain", description = "Model" }
rooted      = { type = "bool", from = "resource.device.rooted", category = "user.device", role = "plain", description = "Rooted" }
screen      = { type = "string", from = "attributes.screen", category = "user.behavior", role = "plain", description = "Screen", values = ["home", "chat", "settings"] }
cells       = { type = "list<i64>", from = "resource.device.cells", category = "user.location", role = "quasi", description = "Cells" }
marks       = { type = "list<timestamp>", from = "attributes.marks", category = "user.behavior", role = "plain", description = "Marks" }
peers       = { type = "list<string>", from = "attributes.peers", category = "user.device.ip_address", role = "quasi", description = "Addresses" }
levels      = { type = "list<f64>", from = "attributes.levels", category = "user.device", role = "plain", description = "Levels" }
switches    = { type = "list<bool>", from = "attributes.switches", category = "user.device", role = "plain", description = "Switches" }
signed_up   = { type = "timestamp", from = "attributes.signed_up", category = "user.account", role = "quasi", description = "First use" }
"#;

pub(super) const POLICY: &str = r#"
policy = "acme-fleet"
default = "drop"
notice = "2026-01"
jurisdiction = { from = "resource.region", EU = ["DE", "FR"], US-CA = ["US-CA"], CN = ["CN"] }
gpc = { from = "resource.gpc", opts_out = ["analytics", "marketing"] }

[purpose.analytics]
description = "Count use"
use = "analytics.reporting"
basis = { "*" = "consent" }
min_age = { EU = 16, CN = 14 }
retain = "13 months"

[purpose.diagnostics]
description = "Find faults"
use = "essential.service.operations.improve"
basis = { EU = "consent", US-CA = "notice", CN = "separate_consent" }
retain = "30 days"

[purpose.marketing]
description = "Offers"
use = "marketing.advertising"
basis = { EU = "legitimate_interests", US-CA = "notice" }
retain = "30 days"

[[rule]]
id = "phone-analytics"
stream = "phone.app"
purpose = "analytics"
when = "not gpc and jurisdiction in ['EU', 'US-CA']"
emit.imei = { op = "hmac", key = "analytics" }
emit.model = { op = "keep" }
emit.rooted = { op = "keep" }
emit.birth_year = { op = "bin", width = 5 }
emit.client_ip = { op = "ip_trunc" }
emit.time = { op = "time_floor", unit = "hour" }
emit.cells = { op = "hmac", key = "analytics" }
emit.peers = { op = "ip_trunc" }
emit.switches = { op = "keep" }
emit.levels = { op = "bin", width = 0.5 }

[[rule]]
id = "phone-engagement"
stream = "phone.app"
purpose = "analytics"
when = "battery < 20 or foreground"
emit.time = { op = "time_floor", unit = "day" }
emit.screen = { op = "keep" }
emit.client_ip = { op = "ip_trunc", v4 = 16, v6 = 32 }
emit.duration_ms = { op = "hmac", key = "analytics" }
emit.rooted = { op = "suppress" }
emit.peers = { op = "ip_trunc", v4 = 16, v6 = 32 }
emit.switches = { op = "suppress" }
emit.marks = { op = "time_floor", unit = "day" }
emit.levels = { op = "bin", width = 1 }

[[rule]]
id = "phone-faults"
stream = "phone.app"
purpose = ["diagnostics", "marketing"]
when = "event == 'phone.app.crashed' or screen in ['home', 'chat']"
emit.model = { op = "keep" }
emit.battery = { op = "bin", width = 0.5, origin = 0.25 }
emit.screen = { op = "suppress" }
emit.legacy_id = { op = "keep" }
emit.signed_up = { op = "time_floor", unit = "month" }
emit.cells = { op = "keep" }
emit.peers = { op = "keep" }

[[rule]]
id = "phone-odd-screens"
stream = "phone.app"
purpose = "diagnostics"
when = "screen == 'unknown' and not foreground"
emit.screen = { op = "keep" }
emit.model = { op = "drop" }
emit.foreground = { op = "keep" }
emit.time = { op = "keep" }

[[rule]]
id = "cars"
stream = "car.drive"
purpose = "*"
emit.vin = { op = "hmac", key = "cars" }
emit.place = { op = "suppress" }
emit.speed = { op = "bin", width = 10 }
emit.odometer_km = { op = "bin", width = 1000 }
emit.time = { op = "time_floor", unit = "minute" }

[[rule]]
id = "cars-slow"
stream = "car.drive"
purpose = "analytics"
when = "10 <= speed < 20"
emit.speed = { op = "drop" }
emit.odometer_km = { op = "bin", width = 5000 }

[[rule]]
id = "cars-marketing"
stream = "car.drive"
purpose = "marketing"
when = "odometer_km >= 100000"
emit.speed = { op = "suppress" }
emit.time = { op = "suppress" }
emit.odometer_km = { op = "suppress" }
emit.vin = { op = "suppress" }
"#;

pub(super) fn plan() -> Plan {
    plan_with("")
}

/// The plan with more rules.
pub(super) fn plan_with(rules: &str) -> Plan {
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    let policy = Policy::parse(&format!("{POLICY}{rules}"), "policy.toml").unwrap();
    Plan::compile(catalogue, policy).unwrap()
}

pub(super) fn keys() -> Keys {
    let named = ["analytics", "cars"].map(|name| (name.to_owned(), HmacKey::new(3, &[name.len() as u8; 32])));
    Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), named.into())
}

pub(super) fn evidence(received_at: i64, gpc: bool) -> Evidence {
    Evidence { source: Arc::from("devices"), received_at, gpc, certified: None }
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    I64(i64),
    F64(f64),
    Text(String),
    Time(i64),
    Position(f64, f64),
    List(Vec<Option<Value>>),
}

/// By column; what is missing is null.
pub(super) type Values = BTreeMap<String, Value>;

/// Whom a row is about and where.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub(super) subject: Option<String>,
    pub(super) region: Option<String>,
    pub(super) gpc: Option<bool>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Resource {
    pub(super) who: Who,
    pub(super) values: Values,
}

/// A record. Those of `car.drive` carry their own `who`, the others their resource's.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) stream: usize,
    pub(super) event: u16,
    pub(super) resource: usize,
    pub(super) who: Who,
    pub(super) time: Option<i64>,
    pub(super) values: Values,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) resources: Vec<Resource>,
    pub(super) rows: Vec<Row>,
    pub(super) tally: DecodeTally,
}

impl Batch {
    pub(super) fn who<'a>(&'a self, row: &'a Row) -> &'a Who {
        if row.stream == CAR { &row.who } else { &self.resources[row.resource].who }
    }

    pub(super) fn of_stream(&self, stream: usize) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.stream == stream).collect()
    }

    pub(super) fn received(&self, catalogue: &Catalogue) -> Received {
        let streams = catalogue.streams.iter().enumerate();
        let groups = streams.filter_map(|(number, stream)| self.group(number, stream)).collect();
        Received::new(groups, self.tally.clone())
    }

    fn group(&self, number: usize, stream: &Stream) -> Option<RawGroup> {
        let rows = self.of_stream(number);
        let whos: Vec<&Who> = match number {
            CAR => rows.iter().map(|row| &row.who).collect(),
            _ => self.resources.iter().map(|resource| &resource.who).collect(),
        };
        let count =
            |array: ArrayRef| if number == CAR { RawColumn::PerRow(array) } else { RawColumn::PerResource(array) };
        let columns = stream.fields.iter().map(|field| {
            let column = |values: Vec<Option<&Value>>| {
                if field.list { raw_lists(field.kind, &values) } else { raw_array(field.kind, &values) }
            };
            match field.from {
                FieldPath::Resource(_) => RawColumn::PerResource(column(
                    self.resources.iter().map(|resource| resource.values.get(&field.column)).collect(),
                )),
                _ => RawColumn::PerRow(column(rows.iter().map(|row| row.values.get(&field.column)).collect())),
            }
        });
        (!rows.is_empty()).then(|| RawGroup {
            stream: number as u16,
            event: rows.iter().map(|row| row.event).collect::<Vec<_>>().into(),
            time: rows.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>(),
            resource: rows.iter().map(|row| row.resource as u32).collect(),
            columns: columns.collect(),
            subject: count(Arc::new(whos.iter().map(|who| who.subject.as_deref()).collect::<StringArray>())),
            jurisdiction: count(Arc::new(whos.iter().map(|who| who.region.as_deref()).collect::<StringArray>())),
            gpc: count(Arc::new(whos.iter().map(|who| who.gpc).collect::<BooleanArray>())),
        })
    }
}

/// As bad as a decoder may leave it: bytes under nulls, and slices of something longer.
fn raw_array(kind: FieldType, values: &[Option<&Value>]) -> ArrayRef {
    let nulls = Some(values.iter().map(Option::is_some).collect::<NullBuffer>());
    match kind {
        FieldType::Bool => {
            let value = |value: Option<&Value>| !matches!(value, Some(Value::Bool(false)));
            Arc::new(BooleanArray::new(values.iter().copied().map(value).collect(), nulls))
        }
        FieldType::I64 => {
            let value = |value: Option<&Value>| if let Some(Value::I64(value)) = value { *value } else { 15 };
            Arc::new(Int64Array::new(values.iter().copied().map(value).collect(), nulls))
        }
        FieldType::F64 => {
            let value = |value: Option<&Value>| if let Some(Value::F64(value)) = value { *value } else { 15.0 };
            Arc::new(Float64Array::new(values.iter().copied().map(value).collect(), nulls))
        }
        FieldType::Position => {
            let DataType::FixedSizeList(degrees, _) = arrow_type(kind) else { unreachable!() };
            let halves = values.iter().flat_map(|value| match value {
                Some(Value::Position(lat, lon)) => [*lat, *lon],
                _ => [15.0; 2],
            });
            let halves: Float64Array = halves.collect::<Vec<_>>().into();
            Arc::new(FixedSizeListArray::new(degrees, 2, Arc::new(halves), nulls))
        }
        FieldType::Timestamp => {
            let value = |value: Option<&Value>| if let Some(Value::Time(value)) = value { *value } else { 15 };
            let times = TimestampMicrosecondArray::new(values.iter().copied().map(value).collect(), nulls);
            Arc::new(times.with_timezone("UTC"))
        }
        FieldType::String => {
            let value =
                |value: Option<&Value>| if let Some(Value::Text(value)) = value { Some(value.clone()) } else { None };
            let longer = std::iter::once(Some("before".to_owned())).chain(values.iter().copied().map(value));
            Arc::new(longer.collect::<StringArray>().slice(1, values.len()))
        }
    }
}

/// The same for lists: elements under null lists, and lists before and after.
fn raw_lists(kind: FieldType, values: &[Option<&Value>]) -> ArrayRef {
    let hidden = Value::List(vec![None, None]);
    let shown: Vec<&Value> = values.iter().map(|value| value.unwrap_or(&hidden)).collect();
    let all: Vec<&Value> = [&[&hidden], shown.as_slice(), &[&hidden]].concat();
    let elements = |list: &Value| if let Value::List(list) = list { list.clone() } else { Vec::new() };
    let lengths: Vec<usize> = all.iter().map(|list| elements(list).len()).collect();
    let flat: Vec<Option<Value>> = all.iter().flat_map(|list| elements(list)).collect();
    let flat: Vec<Option<&Value>> = flat.iter().map(Option::as_ref).collect();
    let valid = std::iter::once(true).chain(values.iter().map(Option::is_some)).chain([true]);
    let DataType::List(element) = raw_type(kind, true) else { unreachable!() };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::new(element, offsets, raw_array(kind, &flat), Some(valid.collect()));
    Arc::new(lists.slice(1, values.len()))
}

/// Events of a group, for tests that make one by hand.
pub(super) fn events(numbers: &[u16]) -> UInt16Array {
    numbers.to_vec().into()
}
