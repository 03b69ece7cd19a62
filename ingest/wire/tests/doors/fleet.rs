//! A fleet whose streams take what these protocols send, and rows in plain values.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::DataType;
use candor_policy::batch::RawColumn;
use candor_policy::catalogue::{Catalogue, FieldPath};
use candor_policy::key_index::KeyIndex;
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use candor_wire::identified::Identified;

const CATALOGUE: &str = r#"
catalogue = "doors"
[stream.shop]
description = "CloudEvents"
owner = "a@b.example"
expires = "2028-12-31"
[stream.shop.event."com.example.order"]
description = "An order"
[stream.shop.field]
source = { type = "string", from = "attributes.source", category = "system.operations", role = "plain", description = "Source" }
about = { type = "string", from = "attributes.subject", category = "user.unique_id", role = "identifier", description = "Subject" }
sampled = { type = "i64", from = "attributes.sampledrate", category = "system.operations", role = "plain", description = "Extension" }
urgent = { type = "bool", from = "attributes.urgent", category = "system.operations", role = "plain", description = "Extension" }
due = { type = "timestamp", from = "attributes.due", category = "system.operations", role = "plain", description = "Extension" }
weight = { type = "f64", from = "attributes.weight", category = "system.operations", role = "plain", description = "Extension" }
code = { type = "string", from = "attributes.code", category = "system.operations", role = "plain", description = "Extension" }
total = { type = "f64", from = "attributes.data.order.total", category = "user.financial", role = "plain", description = "Total" }
items = { type = "list<string>", from = "attributes.data.items", category = "user.content", role = "plain", description = "Items" }
note = { type = "string", from = "attributes.data", category = "user.content", role = "plain", description = "Data that is a string" }
place = { type = "position", from = { lat = "attributes.data.place.lat", lon = "attributes.data.place.lon" }, category = "user.location.precise", role = "quasi", description = "Where" }

[stream.hub]
description = "Glean pings"
owner = "a@b.example"
expires = "2028-12-31"
[stream.hub.event."org-example-hub.baseline"]
description = "Baseline"
[stream.hub.event."org-example-hub.events"]
description = "Events"
[stream.hub.event."org-example-hub.activation"]
description = "Activation"
[stream.hub.field]
os = { type = "string", from = "attributes.client_info.os", category = "user.device", role = "plain", description = "System" }
client = { type = "string", from = "attributes.client_info.client_id", category = "user.unique_id", role = "identifier", description = "Id" }
seq = { type = "i64", from = "attributes.ping_info.seq", category = "system.operations", role = "plain", description = "Number" }
identifier = { type = "string", from = "attributes.metrics.string.activation.identifier", category = "user.unique_id", role = "identifier", description = "Id" }

[stream.devices]
description = "Segment messages"
owner = "a@b.example"
expires = "2028-12-31"
[stream.devices.event."Device Paired"]
description = "Paired"
[stream.devices.event.identify]
description = "Who it is"
[stream.devices.field]
user = { type = "string", from = "attributes.userId", category = "user.unique_id", role = "identifier", description = "User" }
kind = { type = "string", from = "attributes.properties.device_type", category = "user.device", role = "plain", description = "Kind" }
rssi = { type = "i64", from = "attributes.properties.rssi", category = "user.device", role = "plain", description = "Signal" }
ip = { type = "string", from = "attributes.context.ip", category = "user.device.ip_address", role = "identifier", description = "Address" }
email = { type = "string", from = "attributes.traits.email", category = "user.contact.email", role = "identifier", description = "Mail" }
"#;

const POLICY: &str = r#"
policy = "doors"
default = "drop"
jurisdiction = { from = "attributes.region", EU = ["DE"] }
[purpose.analytics]
description = "Count use"
use = "analytics.reporting"
basis = { EU = "consent" }
retain = "13 months"
[[rule]]
id = "r"
stream = "*"
purpose = "analytics"
emit.time = { op = "keep" }
"#;

/// The key index for a source whose subjects are named by an attribute.
pub(crate) fn keys(subject: &str) -> KeyIndex {
    let policy = Policy::parse(POLICY, "policy.toml").unwrap_or_else(|problems| panic!("{problems}"));
    let plan = Plan::compile(catalogue().clone(), policy).unwrap_or_else(|problems| panic!("{problems}"));
    plan.key_index(&FieldPath::parse(subject).unwrap())
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE_READ: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE_READ.get_or_init(|| Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap())
}

/// A row: what is not null, by column, and `time`, `subject` and `id` besides.
pub(crate) type Row = BTreeMap<String, String>;

/// The rows of a request, in order of their streams.
pub(crate) fn rows(identified: &Identified) -> Vec<Row> {
    assert_eq!(identified.received.groups().len(), identified.event_ids.len(), "ids of each group");
    let mut rows = Vec::new();
    for (group, ids) in identified.received.groups().iter().zip(&identified.event_ids) {
        assert_eq!(group.event.len(), ids.len(), "an id of each row");
        let stream = &catalogue().streams[usize::from(group.stream)];
        for at in 0..group.event.len() {
            let mut row = Row::new();
            let event = &stream.events[usize::from(group.event.value(at))];
            row.insert("event".to_owned(), event.name.clone());
            let mut put = |name: &str, column: &dyn Array, at: usize| {
                if let Some(text) = text(column, at) {
                    row.insert(name.to_owned(), text);
                }
            };
            put("time", &group.time, at);
            put("id", ids, at);
            for (field, column) in stream.fields.iter().zip(&group.columns) {
                put(&field.column, column.array(), place(column, &group.resource, at));
            }
            put("subject", group.subject.array(), place(&group.subject, &group.resource, at));
            rows.push(row);
        }
    }
    rows
}

fn place(column: &RawColumn, resource: &[u32], at: usize) -> usize {
    match column {
        RawColumn::PerRow(_) => at,
        RawColumn::PerResource(_) => resource[at] as usize,
    }
}

fn text(column: &dyn Array, at: usize) -> Option<String> {
    column.is_valid(at).then(|| match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(at).to_owned(),
        DataType::Boolean => column.as_boolean().value(at).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(at).to_string(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(at).to_string(),
        DataType::List(_) => elements(column.as_list::<i32>().value(at).as_ref()),
        DataType::FixedSizeList(..) => elements(column.as_fixed_size_list().value(at).as_ref()),
        other => panic!("no column is {other}"),
    })
}

fn elements(column: &dyn Array) -> String {
    let elements: Vec<_> = (0..column.len()).map(|at| text(column, at).unwrap_or_else(|| "null".to_owned())).collect();
    elements.join(",")
}
