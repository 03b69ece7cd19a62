//! Hand-written bodies for the rules that random damage seldom reaches.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::law::agree;
use crate::oracle::item::Request;
use crate::spec::{key_index, spec};

mod logs;
mod metrics;
mod traces;

#[test]
fn crafted_logs_get_the_verdict_of_prost() {
    all_get_the_verdict_of_prost::<ExportLogsServiceRequest>(&logs::bodies());
}

#[test]
fn crafted_metrics_get_the_verdict_of_prost() {
    all_get_the_verdict_of_prost::<ExportMetricsServiceRequest>(&metrics::bodies());
}

#[test]
fn crafted_traces_get_the_verdict_of_prost() {
    all_get_the_verdict_of_prost::<ExportTraceServiceRequest>(&traces::bodies());
}

fn all_get_the_verdict_of_prost<R: Request>(bodies: &[Vec<u8>]) {
    let spec = spec();
    let keys = key_index(&spec);
    let accepted = bodies.iter().filter(|body| agree::<R>(body, &spec, &keys)).count();
    assert!(accepted >= 8 && bodies.len() - accepted >= 8, "{accepted} of {}", bodies.len());
}

fn field(tag: u32, wire: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(tag << 3 | wire), &mut bytes);
    if wire == 2 {
        prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    }
    [bytes, value.to_vec()].concat()
}

fn message(tag: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    field(tag, 2, &fields.concat())
}

/// `attribute(key, pieces)`: a `KeyValue` whose value comes in pieces.
fn attribute(key: &str, pieces: &[Vec<u8>]) -> Vec<u8> {
    attribute_as(6, key, pieces)
}

/// The same in a field of that number.
fn attribute_as(tag: u32, key: &str, pieces: &[Vec<u8>]) -> Vec<u8> {
    let values = pieces.iter().map(|piece| field(2, 2, piece));
    message(tag, &[vec![field(1, 2, key.as_bytes())], values.collect()].concat())
}

fn kvlist(key: &str, double: f64) -> Vec<u8> {
    let value = field(2, 2, &field(4, 1, &double.to_le_bytes()));
    message(6, &[message(1, &[field(1, 2, key.as_bytes()), value])])
}

fn array(text: &[u8]) -> Vec<u8> {
    message(5, &[message(1, &[field(1, 2, text)])])
}

fn group(tag: u32, depth: usize) -> Vec<u8> {
    [field(tag, 3, &[]).repeat(depth), field(tag, 4, &[]).repeat(depth)].concat()
}
