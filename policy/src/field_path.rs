//! Where a field's value comes from: the places that a record of each signal has, and their paths in a catalogue.

use serde::{Deserialize, Serialize};

use crate::catalogue::FieldType;

/// What kind of telemetry a stream holds; event names are unique within one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Log records: an event's name is the record's.
    #[default]
    Logs,
    /// Data points: an event's name is the metric's.
    Metrics,
    /// Spans: an event's name is the span's.
    Traces,
}

/// Where a field's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldPath {
    /// `attributes.<dotted key>`
    Attribute(String),
    /// `resource.<dotted key>`
    Resource(String),
    /// `scope.attributes.<dotted key>`
    ScopeAttribute(String),
    /// `body.<dotted key>`: the way into a body that is a key-value list.
    BodyKey(String),
    /// `span_events.attributes.<dotted key>`: a list, one element for each event of the span.
    SpanEventAttribute(String),
    /// `links.attributes.<dotted key>`: a list, one element for each link of the span.
    LinkAttribute(String),
    /// A place with a name of its own: `body`, `severity_text`, `duration_ns`.
    Place(Place),
    /// `{ lat = "…", lon = "…" }`: two paths of the same side, none of which is a position itself.
    Position {
        /// Latitude, degrees north.
        lat: Box<Self>,
        /// Longitude, degrees east.
        lon: Box<Self>,
    },
}

/// Makes a path of a key.
type Keyed = fn(String) -> FieldPath;

/// What a path needs its field to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any type but `position`.
    Any,
    /// `i64` or `f64`.
    Number,
    /// A list of any type.
    List,
    /// This type; the flag says a list of it.
    Exactly(FieldType, bool),
}

macro_rules! places {
    ($($(#[$doc:meta])* $place:ident = $name:literal, $signals:expr, $needs:expr;)*) => {
        /// A place of a record that is no attribute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Place {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $place,)*
        }

        impl Place {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$place),*];

            /// As catalogues write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$place => $name,)*
                }
            }

            /// The signals whose records have it.
            #[must_use]
            pub const fn signals(self) -> &'static [Signal] {
                match self {
                    $(Self::$place => $signals,)*
                }
            }

            /// Whether a record has a list there.
            #[must_use]
            pub const fn is_list(self) -> bool {
                matches!(self.needs(), Needs::Exactly(_, true))
            }

            pub(crate) const fn needs(self) -> Needs {
                match self {
                    $(Self::$place => $needs,)*
                }
            }
        }
    };
}

const ALL_SIGNALS: &[Signal] = &[Signal::Logs, Signal::Metrics, Signal::Traces];
const LOGS: &[Signal] = &[Signal::Logs];
const METRICS: &[Signal] = &[Signal::Metrics];
const TRACES: &[Signal] = &[Signal::Traces];
const LOGS_AND_TRACES: &[Signal] = &[Signal::Logs, Signal::Traces];

const BOOL: Needs = Needs::Exactly(FieldType::Bool, false);
const I64: Needs = Needs::Exactly(FieldType::I64, false);
const F64: Needs = Needs::Exactly(FieldType::F64, false);
const STRING: Needs = Needs::Exactly(FieldType::String, false);
const TIMESTAMP: Needs = Needs::Exactly(FieldType::Timestamp, false);
const I64_LIST: Needs = Needs::Exactly(FieldType::I64, true);
const F64_LIST: Needs = Needs::Exactly(FieldType::F64, true);
const STRING_LIST: Needs = Needs::Exactly(FieldType::String, true);
const TIMESTAMP_LIST: Needs = Needs::Exactly(FieldType::Timestamp, true);

places! {
    ScopeName = "scope.name", ALL_SIGNALS, STRING;
    ScopeVersion = "scope.version", ALL_SIGNALS, STRING;

    Body = "body", LOGS, Needs::Any;
    SeverityNumber = "severity_number", LOGS, I64;
    SeverityText = "severity_text", LOGS, STRING;
    ObservedTime = "observed_time", LOGS, TIMESTAMP;
    /// Lower-case hex, null where it is empty, as every id.
    TraceId = "trace_id", LOGS_AND_TRACES, STRING;
    SpanId = "span_id", LOGS_AND_TRACES, STRING;

    /// Value of a number point.
    Value = "value", METRICS, Needs::Number;
    Count = "count", METRICS, I64;
    Sum = "sum", METRICS, F64;
    Min = "min", METRICS, F64;
    Max = "max", METRICS, F64;
    BucketCounts = "bucket_counts", METRICS, I64_LIST;
    ExplicitBounds = "explicit_bounds", METRICS, F64_LIST;
    Scale = "scale", METRICS, I64;
    ZeroCount = "zero_count", METRICS, I64;
    ZeroThreshold = "zero_threshold", METRICS, F64;
    PositiveOffset = "positive.offset", METRICS, I64;
    PositiveBucketCounts = "positive.bucket_counts", METRICS, I64_LIST;
    NegativeOffset = "negative.offset", METRICS, I64;
    NegativeBucketCounts = "negative.bucket_counts", METRICS, I64_LIST;
    Quantiles = "quantiles", METRICS, F64_LIST;
    QuantileValues = "quantile_values", METRICS, F64_LIST;
    StartTime = "start_time", METRICS, TIMESTAMP;
    Unit = "unit", METRICS, STRING;
    /// `delta` or `cumulative`.
    Temporality = "temporality", METRICS, STRING;
    Monotonic = "monotonic", METRICS, BOOL;
    Flags = "flags", METRICS, I64;

    ParentSpanId = "parent_span_id", TRACES, STRING;
    TraceState = "trace_state", TRACES, STRING;
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    Kind = "kind", TRACES, STRING;
    /// `ok` or `error`; null where it is unset.
    StatusCode = "status_code", TRACES, STRING;
    StatusMessage = "status_message", TRACES, STRING;
    EndTime = "end_time", TRACES, TIMESTAMP;
    DurationNs = "duration_ns", TRACES, I64;
    SpanEventsName = "span_events.name", TRACES, STRING_LIST;
    SpanEventsTime = "span_events.time", TRACES, TIMESTAMP_LIST;
    LinksTraceId = "links.trace_id", TRACES, STRING_LIST;
    LinksSpanId = "links.span_id", TRACES, STRING_LIST;
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Traces];

    /// As catalogues write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }

    /// The paths that its records have, for messages.
    pub(crate) const fn paths(self) -> &'static str {
        match self {
            Self::Logs => {
                "use attributes.<key>, resource.<key>, scope.<…>, body, body.<key>, severity_number, severity_text, trace_id, span_id or observed_time"
            }
            Self::Metrics => {
                "use attributes.<key>, resource.<key>, scope.<…>, value, count, sum or another part of a data point"
            }
            Self::Traces => {
                "use attributes.<key>, resource.<key>, scope.<…>, duration_ns, span_events.<…>, links.<…> or another part of a span"
            }
        }
    }
}

impl FieldPath {
    /// Parses a path as a catalogue writes it, but for the two of a position: `attributes.x.y`, `body`, `scope.name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(place) = Place::ALL.iter().find(|place| place.name() == text) {
            return Some(Self::Place(*place));
        }
        let keyed: [(&str, Keyed); 6] = [
            ("attributes.", Self::Attribute),
            ("resource.", Self::Resource),
            ("scope.attributes.", Self::ScopeAttribute),
            ("body.", Self::BodyKey),
            ("span_events.attributes.", Self::SpanEventAttribute),
            ("links.attributes.", Self::LinkAttribute),
        ];
        let (key, path) = keyed.iter().find_map(|(prefix, path)| Some((text.strip_prefix(prefix)?, path)))?;
        (!key.is_empty() && !key.chars().any(char::is_control)).then(|| path(key.to_owned()))
    }

    /// Whether its value comes once a resource.
    #[must_use]
    pub fn is_per_resource(&self) -> bool {
        match self {
            Self::Resource(_) => true,
            Self::Position { lat, .. } => lat.is_per_resource(),
            _ => false,
        }
    }

    /// The signals whose records have it.
    #[must_use]
    pub fn signals(&self) -> &'static [Signal] {
        match self {
            Self::Attribute(_) | Self::Resource(_) | Self::ScopeAttribute(_) => ALL_SIGNALS,
            Self::BodyKey(_) => LOGS,
            Self::SpanEventAttribute(_) | Self::LinkAttribute(_) => TRACES,
            Self::Place(place) => place.signals(),
            Self::Position { lat, .. } => lat.signals(),
        }
    }

    pub(crate) const fn needs(&self) -> Needs {
        match self {
            Self::Attribute(_) | Self::Resource(_) | Self::ScopeAttribute(_) | Self::BodyKey(_) => Needs::Any,
            Self::SpanEventAttribute(_) | Self::LinkAttribute(_) => Needs::List,
            Self::Place(place) => place.needs(),
            Self::Position { .. } => Needs::Exactly(FieldType::Position, false),
        }
    }

    /// Whether half of a position may come from it: one value under a key.
    pub(crate) const fn is_coordinate(&self) -> bool {
        matches!(self, Self::Attribute(_) | Self::Resource(_) | Self::ScopeAttribute(_) | Self::BodyKey(_))
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attribute(key) => write!(f, "attributes.{key}"),
            Self::Resource(key) => write!(f, "resource.{key}"),
            Self::ScopeAttribute(key) => write!(f, "scope.attributes.{key}"),
            Self::BodyKey(key) => write!(f, "body.{key}"),
            Self::SpanEventAttribute(key) => write!(f, "span_events.attributes.{key}"),
            Self::LinkAttribute(key) => write!(f, "links.attributes.{key}"),
            Self::Place(place) => f.write_str(place.name()),
            Self::Position { lat, lon } => write!(f, "{lat}, {lon}"),
        }
    }
}

impl Needs {
    /// Whether a field of this type can come from there.
    pub(crate) fn fits(self, kind: FieldType, list: bool) -> bool {
        match self {
            Self::Any => kind != FieldType::Position,
            Self::Number => !list && matches!(kind, FieldType::I64 | FieldType::F64),
            Self::List => list,
            Self::Exactly(needs, needs_list) => (needs, needs_list) == (kind, list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_it_is_written() {
        let keyed = [
            "attributes.a.b",
            "resource.device.id",
            "scope.attributes.x",
            "body.a.b",
            "span_events.attributes.exception.type",
            "links.attributes.x",
        ];
        let places = Place::ALL.iter().map(|place| place.name());
        for path in keyed.into_iter().chain(places) {
            assert_eq!(FieldPath::parse(path).unwrap().to_string(), path);
        }
        for nothing in
            ["", "body.", "attributes", "attributes.", "scope", "scope.x", "span_events.x", "links.attributes.", "a\nb"]
        {
            assert_eq!(FieldPath::parse(nothing), None, "{nothing}");
        }
        assert_eq!(FieldPath::parse("attributes.a\u{7}"), None);
    }

    #[test]
    fn only_the_resource_is_one_value_a_resource() {
        let path = |text| FieldPath::parse(text).unwrap();
        let position = |lat, lon| FieldPath::Position { lat: Box::new(path(lat)), lon: Box::new(path(lon)) };
        assert!(path("resource.x").is_per_resource());
        assert!(position("resource.lat", "resource.lon").is_per_resource());
        for record in ["attributes.x", "scope.name", "scope.attributes.x", "body"] {
            assert!(!path(record).is_per_resource(), "{record}");
        }
        assert!(!position("attributes.lat", "attributes.lon").is_per_resource());
    }
}
