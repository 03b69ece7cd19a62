//! Streams and attributes, in few words.

use candor_policy::catalogue::{FieldType, Place};
use candor_policy::key_index::{FieldKey, Slot, StreamKeys};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// From where a field comes.
pub(crate) enum From {
    Attribute(&'static str),
    Place(Place),
    SpanEvent(&'static str),
}

/// A stream whose events may carry every field, and whose subject and jurisdiction come from the resource.
pub(crate) fn stream(fields: &[(FieldType, bool, From)], events: usize) -> StreamKeys {
    let mut keys = StreamKeys {
        name: "bench".into(),
        subject_per_resource: true,
        jurisdiction_per_resource: true,
        gpc_per_resource: true,
        event_fields: vec![vec![true; fields.len()]; events],
        ..StreamKeys::default()
    };
    for (number, (kind, list, from)) in fields.iter().enumerate() {
        keys.fields.push(FieldKey { kind: *kind, list: *list, per_resource: false });
        let slot = Slot::Field(number as u16);
        match from {
            From::Attribute(key) => keys.attributes.insert(key, slot),
            From::Place(place) => keys.places.insert(*place, slot),
            From::SpanEvent(key) => keys.span_event_attributes.insert(key, slot),
        }
    }
    keys.resource.insert("region", Slot::Jurisdiction);
    keys
}

pub(crate) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// A resource of three attributes, of which one is undeclared.
pub(crate) fn resource(device: usize) -> Resource {
    let device = text("device.id", format!("phone-{device:04}"));
    Resource {
        attributes: vec![device, text("region", "DE"), text("service.name", "phone-fleet")],
        ..Resource::default()
    }
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "fleet".to_owned(), version: "2".to_owned(), ..InstrumentationScope::default() }
}
