//! A catalogue in the test's own words, and the key index that it means.

use candor_policy::catalogue as names;
use candor_policy::catalogue::FieldType;
use candor_policy::key_index::{FieldKey, KeyIndex, Slot, StreamKeys};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Attribute(&'static str),
    Resource(&'static str),
    Body,
    SeverityNumber,
    SeverityText,
}

/// A stream: events with the fields that they may carry (none = all), and fields.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<(&'static str, Option<Vec<usize>>)>,
    pub(crate) fields: Vec<(FieldType, Place)>,
}

/// A catalogue with what policy and source add.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) streams: Vec<Stream>,
    pub(crate) subject: Place,
    pub(crate) jurisdiction: Place,
    pub(crate) gpc: Place,
}

impl Stream {
    /// Whether event number `event` may carry field number `field`.
    pub(crate) fn allows(&self, event: usize, field: usize) -> bool {
        self.events[event].1.as_ref().is_none_or(|fields| fields.contains(&field))
    }
}

/// Two streams that between them have every type, every place a value can come from, nesting and shared keys.
pub(crate) fn spec() -> Spec {
    use FieldType::{Bool, F64, I64, String, Timestamp};
    use Place::{Attribute, Body, Resource, SeverityNumber, SeverityText};
    Spec {
        streams: vec![
            Stream {
                name: "phone.app",
                events: vec![
                    ("phone.app.opened", None),
                    ("phone.app.closed", Some(vec![0, 1, 5, 8])),
                    ("phone.app.crashed", Some(vec![2, 3, 4, 9, 10, 11])),
                ],
                fields: vec![
                    (String, Attribute("app.package")),
                    (I64, Attribute("duration_ms")),
                    (F64, Attribute("location.lat")),
                    (F64, Attribute("location.lon")),
                    (Timestamp, Attribute("started")),
                    (Bool, Attribute("app.foreground")),
                    (String, Attribute("app")),
                    (String, Body),
                    (String, Resource("device.model.name")),
                    (I64, Resource("device.memory")),
                    (I64, SeverityNumber),
                    (String, SeverityText),
                ],
            },
            Stream {
                name: "car.drive",
                events: vec![("car.brake", None), ("car.stop", Some(vec![0]))],
                fields: vec![
                    (F64, Attribute("speed")),
                    (String, Attribute("location.place.name")),
                    (I64, Attribute("location.lat")),
                    (I64, Body),
                    (Timestamp, Resource("device.made")),
                ],
            },
        ],
        subject: Resource("device.id"),
        jurisdiction: Resource("region"),
        gpc: Attribute("gpc"),
    }
}

/// The same with subject and jurisdiction in the record's attributes and GPC in the resource.
pub(crate) fn spec_by_record() -> Spec {
    Spec {
        subject: Place::Attribute("app.package"),
        jurisdiction: Place::Attribute("region"),
        gpc: Place::Resource("gpc"),
        ..spec()
    }
}

/// What a plan would compile from it.
pub(crate) fn key_index(spec: &Spec) -> KeyIndex {
    let events = spec.streams.iter().enumerate().flat_map(|(stream, declared)| {
        let place = move |event| (stream as u16, event as u16);
        declared.events.iter().enumerate().map(move |(event, (name, _))| (names::Signal::Logs, *name, place(event)))
    });
    KeyIndex::new(events, spec.streams.iter().map(|stream| stream_keys(spec, stream)).collect())
}

fn stream_keys(spec: &Spec, stream: &Stream) -> StreamKeys {
    let per_resource = |from: Place| matches!(from, Place::Resource(_));
    let mut keys = StreamKeys {
        name: stream.name.into(),
        fields: stream
            .fields
            .iter()
            .map(|(kind, from)| FieldKey { kind: *kind, list: false, per_resource: per_resource(*from) })
            .collect(),
        subject_per_resource: per_resource(spec.subject),
        jurisdiction_per_resource: per_resource(spec.jurisdiction),
        gpc_per_resource: per_resource(spec.gpc),
        event_fields: (0..stream.events.len())
            .map(|event| (0..stream.fields.len()).map(|field| stream.allows(event, field)).collect())
            .collect(),
        ..StreamKeys::default()
    };
    let fields = stream.fields.iter().enumerate().map(|(field, (_, from))| (*from, Slot::Field(field as u16)));
    let extra = [(spec.subject, Slot::Subject), (spec.jurisdiction, Slot::Jurisdiction), (spec.gpc, Slot::Gpc)];
    for (from, slot) in fields.chain(extra) {
        match from {
            Place::Attribute(key) => keys.attributes.insert(key, slot),
            Place::Resource(key) => keys.resource.insert(key, slot),
            Place::Body => keys.places.insert(names::Place::Body, slot),
            Place::SeverityNumber => keys.places.insert(names::Place::SeverityNumber, slot),
            Place::SeverityText => keys.places.insert(names::Place::SeverityText, slot),
        }
    }
    keys
}
