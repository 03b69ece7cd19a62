//! `ExportLogsServiceRequest` in JSON.

use bumpalo::Bump;
use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use serde::de::MapAccess;

use super::value::{AnyValue, KeyValueList, Nesting, Pairs};
use crate::json::{Context, Member, Object};
use crate::otlp::rows::{Attribute, Record, Rows};
use crate::otlp::value::Value;
use crate::otlp::{DecodeError, DecodeLimits};

/// Decodes the decompressed body of `POST /v1/logs`.
///
/// # Errors
/// [`DecodeError`] for what is not an `ExportLogsServiceRequest` in JSON, and for the limits.
pub fn decode_logs(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut walk =
        Walk { rows: Rows::new(keys), limits: *limits, records: 0, resource: Vec::new(), attributes: Vec::new() };
    context.object(context.text(), &mut Request { walk: &mut walk })?;
    Ok(walk.rows.finish())
}

/// Names of `SeverityNumber`, from 0.
const SEVERITIES: [&str; 25] = [
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

/// Where the walk is, and what it keeps of the messages around.
struct Walk<'b, 'k> {
    rows: Rows<'k>,
    limits: DecodeLimits,
    records: usize,
    resource: Vec<Attribute<'b, KeyValueList<'b>>>,
    attributes: Vec<Attribute<'b, KeyValueList<'b>>>,
}

struct Request<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
}

impl<'b> Object<'b> for Request<'_, 'b, '_> {
    const WHAT: &'static str = "an ExportLogsServiceRequest";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "resourceLogs" | "resource_logs" => {
                let context = value.context;
                let mut logs = ResourceLogs { context, walk: self.walk, has_resource: false, waiting: None };
                value.objects(&mut logs).map(|()| 1)
            }
            _ => value.skip(),
        }
    }
}

struct ResourceLogs<'w, 'b, 'k> {
    context: &'b Context<'b>,
    walk: &'w mut Walk<'b, 'k>,
    has_resource: bool,
    /// Records that came before their resource.
    waiting: Option<&'b str>,
}

impl<'b> Object<'b> for ResourceLogs<'_, 'b, '_> {
    const WHAT: &'static str = "a ResourceLogs";

    fn begin(&mut self) {
        self.walk.resource.clear();
        self.walk.rows.next_resource();
        (self.has_resource, self.waiting) = (false, None);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "resource" => {
                value.object(&mut Resource { walk: self.walk })?;
                self.has_resource = true;
                Ok(1)
            }
            "scopeLogs" | "scope_logs" if self.has_resource => {
                value.objects(&mut ScopeLogs { walk: self.walk }).map(|()| 2)
            }
            "scopeLogs" | "scope_logs" => {
                self.waiting = value.raw()?;
                Ok(2)
            }
            "schemaUrl" | "schema_url" => value.text().map(|_| 3),
            _ => value.skip(),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let waiting = self.waiting.take();
        waiting.map_or(Ok(()), |text| self.context.objects(text, &mut ScopeLogs { walk: self.walk }))
    }
}

struct Resource<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
}

impl<'b> Object<'b> for Resource<'_, 'b, '_> {
    const WHAT: &'static str = "a Resource";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "attributes" => {
                let Walk { resource, limits, .. } = &mut *self.walk;
                let take =
                    |key, value| push_within(resource, (key, value), limits.attributes, "attributes of one resource");
                value.objects(&mut Pairs::new(Nesting::new(limits), take)).map(|()| 1)
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 2),
            _ => value.skip(),
        }
    }
}

struct ScopeLogs<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
}

impl<'b> Object<'b> for ScopeLogs<'_, 'b, '_> {
    const WHAT: &'static str = "a ScopeLogs";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "scope" => value.object(&mut Scope { nesting: Nesting::new(&self.walk.limits) }).map(|_| 1),
            "logRecords" | "log_records" => value.objects(&mut LogRecord::new(self.walk)).map(|()| 2),
            "schemaUrl" | "schema_url" => value.text().map(|_| 3),
            _ => value.skip(),
        }
    }
}

struct Scope {
    nesting: Nesting,
}

impl<'b> Object<'b> for Scope {
    const WHAT: &'static str = "an InstrumentationScope";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "name" => value.text().map(|_| 1),
            "version" => value.text().map(|_| 2),
            "attributes" => value.objects(&mut Pairs::new(self.nesting, |_, _| Ok(()))).map(|()| 3),
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 4),
            _ => value.skip(),
        }
    }
}

struct LogRecord<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
    event_name: &'b str,
    time: u64,
    observed_time: u64,
    severity_number: i32,
    severity_text: &'b str,
    body: Value<'b, KeyValueList<'b>>,
}

impl<'w, 'b, 'k> LogRecord<'w, 'b, 'k> {
    const fn new(walk: &'w mut Walk<'b, 'k>) -> Self {
        Self {
            walk,
            event_name: "",
            time: 0,
            observed_time: 0,
            severity_number: 0,
            severity_text: "",
            body: Value::Absent,
        }
    }
}

impl<'b> Object<'b> for LogRecord<'_, 'b, '_> {
    const WHAT: &'static str = "a LogRecord";

    fn begin(&mut self) {
        self.walk.attributes.clear();
        (self.event_name, self.severity_text, self.body) = ("", "", Value::Absent);
        (self.time, self.observed_time, self.severity_number) = (0, 0, 0);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "timeUnixNano" | "time_unix_nano" => {
                self.time = value.unsigned()?.unwrap_or_default();
                Ok(1)
            }
            "severityNumber" | "severity_number" => {
                self.severity_number = value.enumeration(&SEVERITIES)?;
                Ok(2)
            }
            "severityText" | "severity_text" => {
                self.severity_text = value.text()?.unwrap_or_default();
                Ok(3)
            }
            "body" => {
                let mut body = AnyValue::new(Nesting::new(&self.walk.limits));
                value.object(&mut body)?;
                self.body = body.value;
                Ok(5)
            }
            "attributes" => {
                let Walk { attributes, limits, .. } = &mut *self.walk;
                let take =
                    |key, value| push_within(attributes, (key, value), limits.attributes, "attributes of one record");
                value.objects(&mut Pairs::new(Nesting::new(limits), take)).map(|()| 6)
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 7),
            "flags" => value.small_unsigned().map(|_| 8),
            "traceId" | "trace_id" => value.checked_text("a trace id in hex", is_hex).map(|_| 9),
            "spanId" | "span_id" => value.checked_text("a span id in hex", is_hex).map(|_| 10),
            "observedTimeUnixNano" | "observed_time_unix_nano" => {
                self.observed_time = value.unsigned()?.unwrap_or_default();
                Ok(11)
            }
            "eventName" | "event_name" => {
                self.event_name = value.text()?.unwrap_or_default();
                Ok(12)
            }
            _ => value.skip(),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let walk = &mut *self.walk;
        walk.records += 1;
        if walk.records > walk.limits.records {
            return Err(DecodeError::TooMany { what: "records", limit: walk.limits.records });
        }
        let record = Record {
            event_name: self.event_name,
            time: self.time,
            observed_time: self.observed_time,
            severity_number: self.severity_number,
            severity_text: self.severity_text,
            body: self.body,
            attributes: &walk.attributes,
        };
        walk.rows.record(&walk.resource, &record)
    }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn push_within<T>(items: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if items.len() >= limit {
        return Err(DecodeError::TooMany { what, limit });
    }
    items.push(item);
    Ok(())
}
