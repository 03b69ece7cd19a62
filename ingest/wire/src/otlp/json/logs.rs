//! Log records.

use serde::de::MapAccess;

use super::value::{AnyValue, Kept, Nesting};
use super::{Items, Walk};
use crate::json::{Member, Object};
use crate::otlp::DecodeError;
use crate::otlp::log::LogRecord;
use crate::otlp::value::Value;

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

/// Reads the records of `ScopeLogs`.
pub(super) struct Logs;

impl<'b> Items<'b> for Logs {
    const REQUEST: &'static str = "an ExportLogsServiceRequest";
    const NAMES: [[&'static str; 2]; 3] =
        [["resourceLogs", "resource_logs"], ["scopeLogs", "scope_logs"], ["logRecords", "log_records"]];

    type Item<'w, 'k>
        = Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w;

    fn item<'w, 'k>(&'w mut self, walk: &'w mut Walk<'b, 'k>) -> Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w,
    {
        Reading { walk, record: Plain::default() }
    }
}

/// A record that is being read; its attributes are the walk's.
pub(super) struct Reading<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
    record: Plain<'b>,
}

#[derive(Default)]
struct Plain<'b> {
    event_name: &'b str,
    time: u64,
    observed_time: u64,
    severity_number: i32,
    severity_text: &'b str,
    trace_id: &'b [u8],
    span_id: &'b [u8],
    body: Option<Value<'b, Kept<'b>>>,
}

impl<'b> Object<'b> for Reading<'_, 'b, '_> {
    const WHAT: &'static str = "a LogRecord";

    fn begin(&mut self) {
        self.walk.attributes.clear();
        self.record = Plain::default();
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let record = &mut self.record;
        Ok(match name {
            "timeUnixNano" | "time_unix_nano" => {
                record.time = value.unsigned()?.unwrap_or_default();
                1
            }
            "severityNumber" | "severity_number" => {
                record.severity_number = value.enumeration(&SEVERITIES)?;
                2
            }
            "severityText" | "severity_text" => {
                record.severity_text = value.text()?.unwrap_or_default();
                3
            }
            "body" => {
                let mut body = AnyValue::new(Nesting::new(&self.walk.limits));
                value.object(&mut body)?;
                record.body = Some(body.value);
                5
            }
            "attributes" => {
                self.walk.attributes(value)?;
                6
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 7)?,
            "flags" => value.small_unsigned().map(|_| 8)?,
            "traceId" | "trace_id" => {
                record.trace_id = value.hex()?;
                9
            }
            "spanId" | "span_id" => {
                record.span_id = value.hex()?;
                10
            }
            "observedTimeUnixNano" | "observed_time_unix_nano" => {
                record.observed_time = value.unsigned()?.unwrap_or_default();
                11
            }
            "eventName" | "event_name" => {
                record.event_name = value.text()?.unwrap_or_default();
                12
            }
            _ => value.skip()?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let walk = &mut *self.walk;
        walk.count()?;
        let Plain { event_name, time, observed_time, severity_number, severity_text, trace_id, span_id, body } =
            std::mem::take(&mut self.record);
        let record = LogRecord {
            event_name,
            time,
            observed_time,
            severity_number,
            severity_text,
            trace_id,
            span_id,
            body: body.unwrap_or(Value::Absent),
            attributes: &walk.attributes,
        };
        walk.rows.record(&walk.resource, &walk.scope, &record).map(drop)
    }
}
