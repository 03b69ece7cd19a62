//! What decoding costs: ours builds Arrow columns, prost beside it only makes structs and drops them. Both take turns in
//! one process, so that they meet the same machine, and what is printed is the ratio of the two.
//!
//! `cargo bench -p candor-wire --bench decode -- traces` measures what has `traces` in its name alone.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use candor_wire::otlp::{DecodeLimits, json, protobuf};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

mod in_json;
mod logs;
mod metrics;
mod stream;
mod traces;

/// Records in one request.
const RECORDS: usize = 500;
/// Times that each does its work in one round, of which the least counts: a machine that does other work as well stops
/// neither in all of them.
const TIMES: usize = 7;
/// Rounds unless the environment says how many.
const ROUNDS: usize = 101;

fn main() {
    // Cargo's own arguments begin with a dash.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let bench = Bench { wanted, rounds };
    let limits = DecodeLimits::default();
    for resources in [1, RECORDS] {
        let keys = logs::keys();
        let request = logs::request(resources);
        let (body, in_json) = (request.encode_to_vec(), in_json::logs(&request));
        assert_eq!(
            protobuf::decode_logs(&body, &keys, &limits).ok().map(|it| it.groups()[0].event.len()),
            Some(RECORDS)
        );
        let ours = || drop(black_box(protobuf::decode_logs(black_box(&body), &keys, &limits)));
        let theirs = || drop(black_box(ExportLogsServiceRequest::decode(black_box(body.as_slice()))));
        bench.beside("prost", &format!("logs, {resources} resources"), &body, &ours, &theirs);
        let of_json = || drop(black_box(json::decode_logs(black_box(&in_json), &keys, &limits)));
        bench.beside("protobuf", &format!("logs in JSON, {resources} resources"), &in_json, &of_json, &ours);
    }
    let (keys, body) = (metrics::keys(), metrics::request().encode_to_vec());
    assert_eq!(
        protobuf::decode_metrics(&body, &keys, &limits).ok().map(|it| it.groups()[0].event.len()),
        Some(RECORDS)
    );
    let ours = || drop(black_box(protobuf::decode_metrics(black_box(&body), &keys, &limits)));
    let theirs = || drop(black_box(ExportMetricsServiceRequest::decode(black_box(body.as_slice()))));
    bench.beside("prost", "metrics", &body, &ours, &theirs);
    let (keys, body) = (traces::keys(), traces::request().encode_to_vec());
    assert_eq!(protobuf::decode_traces(&body, &keys, &limits).ok().map(|it| it.groups()[0].event.len()), Some(RECORDS));
    let ours = || drop(black_box(protobuf::decode_traces(black_box(&body), &keys, &limits)));
    let theirs = || drop(black_box(ExportTraceServiceRequest::decode(black_box(body.as_slice()))));
    bench.beside("prost", "traces", &body, &ours, &theirs);
}

/// What is to be measured, and how often.
struct Bench {
    wanted: String,
    rounds: usize,
}

impl Bench {
    /// Prints how long `ours` takes, as a part of what `theirs` does.
    fn beside(&self, other: &str, name: &str, body: &[u8], ours: &dyn Fn(), theirs: &dyn Fn()) {
        if !name.contains(&self.wanted) {
            return;
        }
        time(ours);
        time(theirs);
        let round = |_| time(ours).as_secs_f64() / time(theirs).as_secs_f64();
        let mut ratios: Vec<f64> = (0..self.rounds).map(round).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: usize| ratios.get(ratios.len() * part / 4).copied().unwrap_or(f64::NAN);
        println!(
            "{name}, {RECORDS} records of {} bytes: {:.2} of {other} (half of {} rounds {:.2} to {:.2})",
            body.len() / RECORDS,
            at(2),
            self.rounds,
            at(1),
            at(3),
        );
    }
}

fn time(work: &dyn Fn()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..TIMES).map(once).min().unwrap_or_default()
}
