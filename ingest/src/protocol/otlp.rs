//! OTLP over HTTP (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"): one path for each signal; protobuf in, protobuf out, and
//! JSON in, JSON out.
//!
//! The answers have two small messages, written here by hand: the signal's `Export…ServiceResponse`, which is laid out the
//! same for all three in protobuf, and `google.rpc.Status`.

use axum::body::Body;
use axum::response::Response;
use candor_policy::batch::{Received, Rejected};
use candor_policy::catalogue::Signal;
use candor_policy::key_index::KeyIndex;
use candor_store::reply::Reply;
use candor_wire::otlp::{DecodeError, DecodeLimits, json, protobuf};
use candor_wire::signature;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::Form;
use crate::guard;
use crate::head::media_type;
use crate::pipeline::Done;
use crate::protocol::take_in_signed;
use crate::route::Call;

pub(crate) const LOGS: &str = "/v1/logs";
pub(crate) const METRICS: &str = "/v1/metrics";
pub(crate) const TRACES: &str = "/v1/traces";

/// How a request and its answer are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A decoder of one signal in one format.
type Decode = fn(&[u8], &KeyIndex, &DecodeLimits) -> Result<Received, DecodeError>;

/// How many declared fields an answer names; with more, one mistake is behind them all.
const MOST_NAMED: usize = 8;

/// `POST /v1/logs`, `/v1/metrics`, `/v1/traces`.
pub(crate) async fn export(call: Call<'_>, signal: Signal) -> Result<Response, Refusal> {
    let service = call.service;
    let signed = call.signer.map(|signer| signer.batch(service)).transpose()?;
    let accepted = &Format::MEDIA_TYPES;
    let sent = Sent::read(call.headers, call.body, accepted, &service.limits, service.budget.lease()).await?;
    let format = Format::of(call.headers).unwrap_or(Format::Protobuf);
    let Done { reply, receipt, .. } = take_in_signed(call, Form::Otlp(signal, format), sent, signed).await?;
    let answer = match format {
        Format::Protobuf => export_response(&reply),
        Format::Json => export_response_in_json(signal, &reply),
    };
    let mut response = Response::new(Body::from(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Some(receipt) = receipt {
        let receipt = receipt.to_header().ok().and_then(|text| HeaderValue::from_str(&text).ok());
        response.headers_mut().insert(&signature::RECEIPT, receipt.ok_or_else(guard::bug)?);
    }
    Ok(response)
}

/// What reads a body.
pub(crate) const fn decoder(signal: Signal, format: Format) -> Decode {
    match (signal, format) {
        (Signal::Logs, Format::Protobuf) => protobuf::decode_logs,
        (Signal::Logs, Format::Json) => json::decode_logs,
        (Signal::Metrics, Format::Protobuf) => protobuf::decode_metrics,
        (Signal::Metrics, Format::Json) => json::decode_metrics,
        (Signal::Traces, Format::Protobuf) => protobuf::decode_traces,
        (Signal::Traces, Format::Json) => json::decode_traces,
    }
}

impl Format {
    /// What is taken.
    pub(crate) const MEDIA_TYPES: [&'static str; 2] = [Self::Protobuf.media_type(), Self::Json.media_type()];

    /// That of a request, by its `Content-Type`.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let found = media_type(headers)?;
        [Self::Protobuf, Self::Json].into_iter().find(|format| format.media_type() == found)
    }

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// What a client is told of records that it must not send again: counts, and names that the catalogue declares.
pub(crate) fn reply(signal: Signal, rejected: &Rejected) -> Reply {
    let mut parts = Vec::new();
    if rejected.undeclared_events > 0 {
        let records = records(signal, rejected.undeclared_events);
        let named = match signal {
            Signal::Logs => "events",
            Signal::Metrics => "metrics",
            Signal::Traces => "names",
        };
        parts.push(format!("{records} of {named} that the catalogue does not declare (GET /v1/catalogue)"));
    }
    if rejected.bad_values > 0 {
        let fields = &rejected.bad_fields;
        let named =
            fields.iter().take(MOST_NAMED).map(|(stream, column, records)| format!("{stream}/{column} {records}"));
        let mut named: Vec<String> = named.collect();
        if fields.len() > MOST_NAMED {
            named.push(format!("and {} other fields", fields.len() - MOST_NAMED));
        }
        let records = records(signal, rejected.bad_values);
        let part = format!("{records} with a value of another type than declared: {}", named.join(", "));
        parts.push(part);
    }
    Reply { rejected: rejected.undeclared_events + rejected.bad_values, message: parts.join("; ") }
}

/// A `google.rpc.Status`: code (1), message (2).
pub(crate) fn status(code: i32, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    number(1, u64::from(code.unsigned_abs()), &mut out);
    bytes(2, message.as_bytes(), &mut out);
    out
}

/// An `ExportLogsServiceResponse`, `ExportMetricsServiceResponse` or `ExportTraceServiceResponse`, empty on full success:
/// `partial_success` (1) with `rejected_log_records`, `rejected_data_points` or `rejected_spans` (1) and `error_message` (2).
pub(crate) fn export_response(reply: &Reply) -> Vec<u8> {
    let mut partial = Vec::new();
    number(1, reply.rejected, &mut partial);
    bytes(2, reply.message.as_bytes(), &mut partial);
    let mut out = Vec::new();
    bytes(1, &partial, &mut out);
    out
}

/// The same as protobuf's JSON mapping has it: integers of 64 bits are strings.
fn export_response_in_json(signal: Signal, reply: &Reply) -> Vec<u8> {
    if *reply == Reply::default() {
        return b"{}".to_vec();
    }
    let rejected = match signal {
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Traces => "rejectedSpans",
    };
    let partial = serde_json::json!({ rejected: reply.rejected.to_string(), "errorMessage": reply.message });
    serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
}

fn records(signal: Signal, count: u64) -> String {
    let record = match signal {
        Signal::Logs => "record",
        Signal::Metrics => "data point",
        Signal::Traces => "span",
    };
    format!("{count} {record}{}", if count == 1 { "" } else { "s" })
}

/// `google.rpc.Status` again, with a `google.rpc.RetryInfo` (`retry_delay` (1) of `seconds` (1)) among its details (3).
pub(crate) fn status_with_retry(code: i32, message: &str, seconds: u32) -> Vec<u8> {
    let (mut delay, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
    number(1, seconds.into(), &mut delay);
    bytes(1, &delay, &mut info);
    bytes(1, b"type.googleapis.com/google.rpc.RetryInfo", &mut any);
    bytes(2, &info, &mut any);
    let mut out = status(code, message);
    bytes(3, &any, &mut out);
    out
}

/// A varint field; zero is what absence means.
fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    if value > 0 {
        out.push(field << 3);
        varint(value, out);
    }
}

/// A field of bytes; so is emptiness.
fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(field << 3 | 2);
        varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    use prost::Message;

    use super::*;

    #[test]
    fn full_success_is_empty_and_partial_success_is_what_prost_reads() {
        assert!(export_response(&Reply::default()).is_empty());
        for rejected in [1, 127, 128, 300, u64::from(u32::MAX)] {
            let reply = Reply { rejected, message: "ä message".repeat(30) };
            let read = ExportLogsServiceResponse::decode(export_response(&reply).as_slice()).unwrap();
            let expected = ExportLogsPartialSuccess {
                rejected_log_records: rejected as i64,
                error_message: reply.message.clone(),
            };
            assert_eq!(read.partial_success, Some(expected.clone()));
            let read = ExportMetricsServiceResponse::decode(export_response(&reply).as_slice()).unwrap();
            let points = read.partial_success.unwrap();
            assert_eq!(
                (points.rejected_data_points, &points.error_message),
                (rejected as i64, &expected.error_message)
            );
            let read = ExportTraceServiceResponse::decode(export_response(&reply).as_slice()).unwrap();
            let spans = read.partial_success.unwrap();
            assert_eq!((spans.rejected_spans, &spans.error_message), (rejected as i64, &expected.error_message));
        }
    }

    #[test]
    fn in_json_an_answer_has_the_names_of_its_signal() {
        let reply = Reply { rejected: 1 << 60, message: "a \"quoted\" reason".to_owned() };
        for (signal, name) in [
            (Signal::Logs, "rejectedLogRecords"),
            (Signal::Metrics, "rejectedDataPoints"),
            (Signal::Traces, "rejectedSpans"),
        ] {
            assert_eq!(export_response_in_json(signal, &Reply::default()), b"{}");
            let read: serde_json::Value = serde_json::from_slice(&export_response_in_json(signal, &reply)).unwrap();
            let expected = serde_json::json!({ name: (1_u64 << 60).to_string(), "errorMessage": reply.message });
            assert_eq!(read, serde_json::json!({ "partialSuccess": expected }));
        }
    }

    #[test]
    fn a_content_type_is_told_by_its_media_type_alone() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            Format::of(&headers)
        };
        assert_eq!(of("application/json"), Some(Format::Json));
        assert_eq!(of("Application/JSON ; charset=UTF-8"), Some(Format::Json));
        assert_eq!(of("application/x-protobuf;x=y"), Some(Format::Protobuf));
        assert_eq!(of("application/jsonx"), None);
        assert_eq!(Format::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_status_is_what_prost_reads() {
        // google.rpc.Status has the shape of the partial success: a varint and a text.
        let read = ExportLogsPartialSuccess::decode(status(14, "try again").as_slice()).unwrap();
        assert_eq!((read.rejected_log_records, read.error_message.as_str()), (14, "try again"));
    }

    #[test]
    fn a_reply_counts_and_names_declared_fields_only() {
        let mut rejected =
            Rejected { undeclared_events: 1, bad_values: 3, undeclared_attributes: 9, bad_fields: vec![] };
        rejected.bad_fields.push(("phone.app".into(), "imei".into(), 2));
        rejected.bad_fields.push(("car.drive".into(), "speed".into(), 1));
        let told = reply(Signal::Logs, &rejected);
        assert_eq!(told.rejected, 4);
        assert!(told.message.starts_with("1 record of events"), "{}", told.message);
        assert!(told.message.ends_with("declared: phone.app/imei 2, car.drive/speed 1"), "{}", told.message);
        let told = reply(Signal::Metrics, &rejected).message;
        assert!(told.starts_with("1 data point of metrics") && told.contains("; 3 data points with"), "{told}");
        let told = reply(Signal::Traces, &rejected).message;
        assert!(told.starts_with("1 span of names") && told.contains("; 3 spans with"), "{told}");
        for signal in Signal::ALL {
            assert_eq!(reply(signal, &Rejected { undeclared_attributes: 9, ..Rejected::default() }), Reply::default());
        }
    }
}
