//! A catalogue in the test's own words, and the key index that it means.

use candor_policy::catalogue::{FieldType, Place as At, Signal};
use candor_policy::key_index::{FieldKey, KeyIndex, Slot, StreamKeys};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A key of a table of attributes.
    Key(Table, &'static str),
    /// A place with a name of its own.
    At(At),
    /// A position: of a table of attributes, latitude, longitude.
    Position(Table, &'static str, &'static str),
}

/// What has attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Record,
    Resource,
    Scope,
    Body,
    SpanEvent,
    Link,
}

impl Place {
    /// The places that it is made of.
    pub(crate) fn parts(self) -> Vec<Self> {
        match self {
            Self::Position(table, lat, lon) => vec![Self::Key(table, lat), Self::Key(table, lon)],
            place => vec![place],
        }
    }

    /// Whether its value comes once a resource.
    pub(crate) fn is_of_resource(self) -> bool {
        matches!(self, Self::Key(Table::Resource, _) | Self::Position(Table::Resource, ..))
    }

    /// Whether its value comes once a scope.
    pub(crate) fn is_of_scope(self) -> bool {
        matches!(self, Self::At(At::ScopeName | At::ScopeVersion) | Self::Key(Table::Scope, _))
    }
}

/// A stream: events with the fields that they may carry (none = all), and fields.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    pub(crate) signal: Signal,
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

/// Streams that between them have every signal, every type, every place a value can come from, nesting and shared keys.
pub(crate) fn spec() -> Spec {
    Spec {
        streams: vec![phone_app(), car_drive(), phone_load(), phone_calls()],
        subject: Place::Key(Table::Resource, "device.id"),
        jurisdiction: Place::Key(Table::Resource, "region"),
        gpc: Place::Key(Table::Record, "gpc"),
    }
}

/// The same with subject and jurisdiction in the record's attributes and GPC in the resource.
pub(crate) fn spec_by_record() -> Spec {
    Spec {
        subject: Place::Key(Table::Record, "app.package"),
        jurisdiction: Place::Key(Table::Record, "region"),
        gpc: Place::Key(Table::Resource, "gpc"),
        ..spec()
    }
}

/// The same with all three in the scope.
pub(crate) fn spec_by_scope() -> Spec {
    Spec {
        subject: Place::At(At::ScopeName),
        jurisdiction: Place::Key(Table::Scope, "region"),
        gpc: Place::Key(Table::Scope, "gpc"),
        ..spec()
    }
}

fn phone_app() -> Stream {
    use FieldType::{Bool, F64, I64, String, Timestamp};
    use Place::{At as Is, Key, Position};
    use Table::{Record, Resource, Scope};
    Stream {
        name: "phone.app",
        signal: Signal::Logs,
        events: vec![
            ("phone.app.opened", None),
            ("phone.app.closed", Some(vec![0, 1, 5, 8, 18])),
            ("phone.app.crashed", Some(vec![2, 3, 4, 9, 10, 11, 12, 17, 19, 20, 23])),
        ],
        fields: vec![
            (String, Key(Record, "app.package")),
            (I64, Key(Record, "duration_ms")),
            (F64, Key(Record, "location.lat")),
            (F64, Key(Record, "location.lon")),
            (Timestamp, Key(Record, "started")),
            (Bool, Key(Record, "app.foreground")),
            (String, Key(Record, "app")),
            (String, Is(At::Body)),
            (String, Key(Resource, "device.model.name")),
            (I64, Key(Resource, "device.memory")),
            (I64, Is(At::SeverityNumber)),
            (String, Is(At::SeverityText)),
            (String, Key(Record, "tags")),
            (F64, Key(Record, "levels")),
            (Bool, Key(Record, "switches")),
            (Timestamp, Key(Record, "marks")),
            (I64, Key(Resource, "device.cells")),
            (FieldType::Position, Position(Record, "location.lat", "location.lon")),
            (String, Is(At::ScopeName)),
            (String, Key(Scope, "library")),
            (F64, Key(Scope, "location.lat")),
            (String, Is(At::TraceId)),
            (String, Is(At::SpanId)),
            (Timestamp, Is(At::ObservedTime)),
        ],
        lists: vec![12, 13, 14, 15, 16],
    }
}

fn car_drive() -> Stream {
    use FieldType::{F64, I64, String, Timestamp};
    use Place::{At as Is, Key, Position};
    use Table::{Body, Record, Resource};
    Stream {
        name: "car.drive",
        signal: Signal::Logs,
        events: vec![("car.brake", None), ("car.stop", Some(vec![0, 8]))],
        fields: vec![
            (F64, Key(Record, "speed")),
            (String, Key(Record, "location.place.name")),
            (I64, Key(Record, "location.lat")),
            (I64, Is(At::Body)),
            (Timestamp, Key(Resource, "device.made")),
            (FieldType::Position, Position(Resource, "device.lat", "device.lon")),
            (String, Is(At::Body)),
            (String, Key(Body, "place.name")),
            (F64, Key(Body, "lat")),
        ],
        lists: vec![6],
    }
}

fn phone_load() -> Stream {
    use FieldType::{Bool, F64, I64, String, Timestamp};
    use Place::{At as Is, Key};
    Stream {
        name: "phone.load",
        signal: Signal::Metrics,
        events: vec![
            ("memory.used", Some((1..=26).collect())),
            ("queue.length", Some(vec![0, 6, 7, 12, 15, 16, 22])),
            ("phone.app.opened", Some((0..=21).filter(|field| *field != 0).collect())),
        ],
        fields: vec![
            (I64, Is(At::Value)),
            (F64, Is(At::Value)),
            (I64, Is(At::Count)),
            (F64, Is(At::Sum)),
            (F64, Is(At::Min)),
            (F64, Is(At::Max)),
            (I64, Is(At::BucketCounts)),
            (F64, Is(At::ExplicitBounds)),
            (I64, Is(At::Scale)),
            (I64, Is(At::ZeroCount)),
            (F64, Is(At::ZeroThreshold)),
            (I64, Is(At::PositiveOffset)),
            (I64, Is(At::PositiveBucketCounts)),
            (I64, Is(At::NegativeOffset)),
            (I64, Is(At::NegativeBucketCounts)),
            (F64, Is(At::Quantiles)),
            (F64, Is(At::QuantileValues)),
            (Timestamp, Is(At::StartTime)),
            (String, Is(At::Unit)),
            (String, Is(At::Temporality)),
            (Bool, Is(At::Monotonic)),
            (I64, Is(At::Flags)),
            (String, Key(Table::Record, "app.package")),
            (String, Key(Table::Resource, "device.model.name")),
            (String, Is(At::ScopeVersion)),
            (String, Key(Table::Scope, "library")),
            (F64, Key(Table::Record, "location.lat")),
        ],
        lists: vec![6, 7, 12, 14, 15, 16],
    }
}

fn phone_calls() -> Stream {
    use FieldType::{F64, I64, String, Timestamp};
    use Place::{At as Is, Key};
    Stream {
        name: "phone.calls",
        signal: Signal::Traces,
        events: vec![
            ("call.answered", None),
            ("call.missed", Some(vec![0, 4, 8, 9, 11, 14, 16, 18])),
            ("phone.app.opened", Some(vec![10, 12, 13, 15, 19])),
        ],
        fields: vec![
            (String, Is(At::TraceId)),
            (String, Is(At::SpanId)),
            (String, Is(At::ParentSpanId)),
            (String, Is(At::TraceState)),
            (String, Is(At::Kind)),
            (String, Is(At::StatusCode)),
            (String, Is(At::StatusMessage)),
            (Timestamp, Is(At::EndTime)),
            (I64, Is(At::DurationNs)),
            (String, Is(At::SpanEventsName)),
            (Timestamp, Is(At::SpanEventsTime)),
            (String, Key(Table::SpanEvent, "place.name")),
            (F64, Key(Table::SpanEvent, "location.lat")),
            (I64, Key(Table::Link, "duration_ms")),
            (String, Is(At::LinksTraceId)),
            (String, Is(At::LinksSpanId)),
            (String, Key(Table::Record, "app.package")),
            (String, Key(Table::Resource, "device.model.name")),
            (F64, Key(Table::Scope, "speed")),
            (String, Key(Table::Link, "library")),
        ],
        lists: (9..=15).chain([19]).collect(),
    }
}

/// What a plan would compile from it.
pub(crate) fn key_index(spec: &Spec) -> KeyIndex {
    let events = spec.streams.iter().enumerate().flat_map(|(stream, declared)| {
        let place = move |event| (stream as u16, event as u16);
        declared.events.iter().enumerate().map(move |(event, (name, _))| (declared.signal, *name, place(event)))
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
                per_resource: from.is_of_resource(),
            })
            .collect(),
        subject_per_resource: spec.subject.is_of_resource(),
        jurisdiction_per_resource: spec.jurisdiction.is_of_resource(),
        gpc_per_resource: spec.gpc.is_of_resource(),
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
            Place::Key(Table::Record, key) => keys.attributes.insert(key, slot),
            Place::Key(Table::Resource, key) => keys.resource.insert(key, slot),
            Place::Key(Table::Scope, key) => keys.scope_attributes.insert(key, slot),
            Place::Key(Table::Body, key) => keys.body_keys.insert(key, slot),
            Place::Key(Table::SpanEvent, key) => keys.span_event_attributes.insert(key, slot),
            Place::Key(Table::Link, key) => keys.link_attributes.insert(key, slot),
            Place::At(place) => keys.places.insert(place, slot),
            Place::Position(..) => unreachable!("taken apart above"),
        }
    }
    keys
}
