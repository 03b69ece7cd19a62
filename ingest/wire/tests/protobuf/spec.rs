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
    /// A position: of the resource or of the record, latitude, longitude.
    Position(bool, &'static str, &'static str),
}

impl Place {
    /// The places that it is made of.
    pub(crate) fn parts(self) -> Vec<Self> {
        match self {
            Self::Position(true, lat, lon) => vec![Self::Resource(lat), Self::Resource(lon)],
            Self::Position(false, lat, lon) => vec![Self::Attribute(lat), Self::Attribute(lon)],
            place => vec![place],
        }
    }

    /// Whether its value comes once a resource.
    pub(crate) fn is_per_resource(self) -> bool {
        matches!(self, Self::Resource(_) | Self::Position(true, ..))
    }
}

/// A stream: events with the fields that they may carry (none = all), and fields.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<(&'static str, Option<Vec<usize>>)>,
    pub(crate) fields: Vec<(FieldType, Place)>,
    /// Numbers of the fields that are lists of their type.
    pub(crate) lists: Vec<usize>,
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
    use Place::{Attribute, Body, Position, Resource, SeverityNumber, SeverityText};
    Spec {
        streams: vec![
            Stream {
                name: "phone.app",
                events: vec![
                    ("phone.app.opened", None),
                    ("phone.app.closed", Some(vec![0, 1, 5, 8])),
                    ("phone.app.crashed", Some(vec![2, 3, 4, 9, 10, 11, 12, 17])),
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
                    (String, Attribute("tags")),
                    (F64, Attribute("levels")),
                    (Bool, Attribute("switches")),
                    (Timestamp, Attribute("marks")),
                    (I64, Resource("device.cells")),
                    (FieldType::Position, Position(false, "location.lat", "location.lon")),
                ],
                lists: vec![12, 13, 14, 15, 16],
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
                    (FieldType::Position, Position(true, "device.lat", "device.lon")),
                    (String, Body),
                ],
                lists: vec![6],
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
    let mut keys = StreamKeys {
        name: stream.name.into(),
        fields: stream
            .fields
            .iter()
            .enumerate()
            .map(|(field, (kind, from))| FieldKey {
                kind: *kind,
                list: stream.lists.contains(&field),
                per_resource: from.is_per_resource(),
            })
            .collect(),
        subject_per_resource: spec.subject.is_per_resource(),
        jurisdiction_per_resource: spec.jurisdiction.is_per_resource(),
        gpc_per_resource: spec.gpc.is_per_resource(),
        event_fields: (0..stream.events.len())
            .map(|event| (0..stream.fields.len()).map(|field| stream.allows(event, field)).collect())
            .collect(),
        ..StreamKeys::default()
    };
    let fields = stream.fields.iter().enumerate().flat_map(|(field, (_, from))| {
        let slots = match from {
            Place::Position(..) => vec![Slot::Lat(field as u16), Slot::Lon(field as u16)],
            _ => vec![Slot::Field(field as u16)],
        };
        from.parts().into_iter().zip(slots)
    });
    let extra = [(spec.subject, Slot::Subject), (spec.jurisdiction, Slot::Jurisdiction), (spec.gpc, Slot::Gpc)];
    for (from, slot) in fields.chain(extra) {
        match from {
            Place::Attribute(key) => keys.attributes.insert(key, slot),
            Place::Resource(key) => keys.resource.insert(key, slot),
            Place::Body => keys.places.insert(names::Place::Body, slot),
            Place::SeverityNumber => keys.places.insert(names::Place::SeverityNumber, slot),
            Place::Position(..) => unreachable!("taken apart above"),
            Place::SeverityText => keys.places.insert(names::Place::SeverityText, slot),
        }
    }
    keys
}
