//! Requests of a real OpenTelemetry SDK, where they are at hand.

use std::io::Read;
use std::path::Path;

use candor_wire::otlp::DecodeLimits;
use candor_wire::otlp::protobuf::decode_logs;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use serde_json::Value;

use crate::law::agree;
use crate::spec::{key_index, spec};

#[test]
fn captured_requests_have_the_records_that_their_summary_counts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/captures/otlp_fleet");
    let Ok(summary) = std::fs::read_to_string(folder.join("summary.jsonl")) else {
        println!("SKIPPED: no captured requests beside the workspace");
        return;
    };
    let spec = spec();
    let keys = key_index(&spec);
    let mut bodies = 0;
    for head in summary.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let header = |name: &str| {
            let headers = head["headers"].as_array().unwrap();
            headers.iter().find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name)).map(|pair| &pair[1])
        };
        if head["path"] != "/v1/logs" || header("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
            continue;
        }
        let file = folder.join(format!("{:04}.POST.v1_logs.body", head["n"].as_u64().unwrap()));
        let sent = std::fs::read(file).unwrap();
        let mut body = Vec::new();
        if header("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            #[expect(clippy::disallowed_methods, reason = "capped by take")]
            flate2::read::GzDecoder::new(sent.as_slice()).take(16 << 20).read_to_end(&mut body).unwrap();
        } else {
            body = sent;
        }
        let received = decode_logs(&body, &keys, &DecodeLimits::default()).unwrap();
        assert_eq!(received.records(), head["otlp"]["items"].as_u64().unwrap(), "{}", head["n"]);
        assert!(agree::<ExportLogsServiceRequest>(&body, &spec, &keys));
        bodies += 1;
    }
    println!("{bodies} captured requests");
    assert!(bodies > 0, "the summary names no request that this reader takes");
}
