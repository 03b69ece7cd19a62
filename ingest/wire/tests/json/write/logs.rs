//! Logs.

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::json::decode_logs;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use super::{Json, Writer, hex};

const SEVERITIES: [(i32, &str); 3] =
    [(0, "SEVERITY_NUMBER_UNSPECIFIED"), (9, "SEVERITY_NUMBER_INFO"), (24, "SEVERITY_NUMBER_FATAL4")];

impl Json for ExportLogsServiceRequest {
    fn write(&self, writer: &mut Writer<'_>) -> String {
        writer.request("resource_logs", &self.resource_logs, Writer::resource_logs)
    }

    fn read(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_logs(body, keys, limits)
    }
}

impl Writer<'_> {
    fn resource_logs(&mut self, logs: &ResourceLogs) -> String {
        let scopes = self.array(&logs.scope_logs, Self::scope_logs);
        self.of_resource(logs.resource.as_ref(), ("scope_logs", scopes), &logs.schema_url)
    }

    fn scope_logs(&mut self, logs: &ScopeLogs) -> String {
        let records = self.array(&logs.log_records, Self::log_record);
        self.of_scope(logs.scope.as_ref(), ("log_records", records), &logs.schema_url)
    }

    fn log_record(&mut self, record: &LogRecord) -> String {
        let mut members = vec![
            ("time_unix_nano", self.integer(record.time_unix_nano)),
            ("observed_time_unix_nano", self.integer(record.observed_time_unix_nano)),
            ("severity_number", self.enumeration(record.severity_number, &SEVERITIES)),
            ("severity_text", self.text(&record.severity_text)),
            ("attributes", self.array(&record.attributes, Self::key_value)),
            ("dropped_attributes_count", record.dropped_attributes_count.to_string()),
            ("flags", record.flags.to_string()),
            ("trace_id", hex(&record.trace_id)),
            ("span_id", hex(&record.span_id)),
            ("event_name", self.text(&record.event_name)),
        ];
        if let Some(body) = &record.body {
            members.push(("body", self.any_value(body)));
        }
        self.object(members)
    }
}
