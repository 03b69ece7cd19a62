//! The law of the JSON readers, for any bytes: refused with a place inside the body, or read, and then the same tokens laid out
//! otherwise are read as the same rows; a limit that is not met changes nothing; and what prost reads from protobuf means the same
//! when it is written as JSON. A fuzz target and its corpus are held against it.

use std::sync::OnceLock;

use candor_policy::batch::DecodeTally;
use candor_policy::key_index::KeyIndex;
use candor_wire::glean::{Submission, decode_ping};
use candor_wire::identified::Identified;
use candor_wire::otlp::json::{decode_logs, decode_metrics, decode_traces};
use candor_wire::otlp::{DecodeError, DecodeLimits};
use candor_wire::{cloudevents, segment};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::fleet::{self, Row};
use crate::oracle::item::Request;
use crate::oracle::{Cell, Outcome, actual, expected};
use crate::spec::{Spec, key_index, spec};
use crate::write::{ANY, JAVASCRIPT, Json, PYTHON, Writer};

/// No limit of ours, so that only the encoding decides.
const UNLIMITED: DecodeLimits =
    DecodeLimits { records: usize::MAX, attributes: usize::MAX, depth: usize::MAX, elements: usize::MAX };
/// Limits that small bodies meet. That of elements is not among them: it refuses no request, it makes values bad.
const TIGHT: DecodeLimits = DecodeLimits { records: 3, attributes: 4, depth: 2, elements: usize::MAX };

/// The law of a fuzz target's input: the first byte says what the rest is.
pub(crate) fn json(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let Keys { spec, otlp, cloudevents, glean, segment } = keys();
    match choice % 10 {
        0 => holds(body, |body, limits| decode_logs(body, otlp, limits).map(|received| actual(&received))),
        1 => holds(body, |body, limits| decode_metrics(body, otlp, limits).map(|received| actual(&received))),
        2 => holds(body, |body, limits| decode_traces(body, otlp, limits).map(|received| actual(&received))),
        3 => holds(body, |body, limits| {
            cloudevents::decode_structured(body, cloudevents, limits).map(|read| known(&read))
        }),
        4 => holds(body, |body, limits| cloudevents::decode_batch(body, cloudevents, limits).map(|read| known(&read))),
        5 => {
            let submission = Submission { app: "org-example-hub", ping: "baseline", document_id: "d" };
            holds(body, |body, limits| decode_ping(submission, body, glean, limits).map(|read| known(&read)));
        }
        6 => holds(body, |body, limits| segment::decode_batch(body, segment, limits).map(|read| known(&read))),
        7 => means_what_protobuf_means::<ExportLogsServiceRequest>(body, spec, otlp),
        8 => means_what_protobuf_means::<ExportMetricsServiceRequest>(body, spec, otlp),
        _ => means_what_protobuf_means::<ExportTraceServiceRequest>(body, spec, otlp),
    }
}

/// What a reader made of a body.
trait Read: PartialEq + std::fmt::Debug {
    /// Records that are in it.
    fn records(&self) -> u64;
}

/// Rows of the protocols beside OTLP.
#[derive(Debug, PartialEq)]
struct Known {
    rows: Vec<Row>,
    tally: DecodeTally,
    records: u64,
}

fn known(identified: &Identified) -> Known {
    let (tally, records) = (identified.received.tally().clone(), identified.received.records());
    Known { rows: fleet::rows(identified), tally, records }
}

impl Read for Known {
    fn records(&self) -> u64 {
        self.records
    }
}

impl Read for Outcome {
    fn records(&self) -> u64 {
        self.rows.len() as u64
            + self.tally.undeclared_events
            + self.tally.bad_values.iter().map(|bad| bad.1).sum::<u64>()
    }
}

fn holds<R: Read>(body: &[u8], read: impl Fn(&[u8], &DecodeLimits) -> Result<R, DecodeError>) {
    let whole = read(body, &UNLIMITED);
    match &whole {
        Ok(rows) => {
            let again = otherwise(std::str::from_utf8(body).unwrap());
            assert_eq!(read(again.as_bytes(), &UNLIMITED).as_ref(), Ok(rows), "{again}");
        }
        Err(DecodeError::Expected { what, offset }) => {
            assert!(*offset <= body.len() && !what.is_empty(), "{what} at {offset} of {}", body.len());
        }
        Err(error) => assert_eq!(*error, DecodeError::TooMany { what: "levels of nesting", limit: 127 }),
    }
    match (read(body, &TIGHT), whole) {
        (Ok(within), whole) => {
            assert!(within.records() <= TIGHT.records as u64);
            assert_eq!(Ok(within), whole, "a limit that is not met changes nothing");
        }
        (Err(DecodeError::TooMany { limit, .. }), _) => assert!((2..=127).contains(&limit)),
        (Err(error), whole) => assert!(whole.is_err(), "{error}"),
    }
}

/// The same tokens with other blanks between them, and all letters of texts in escapes.
fn otherwise(json: &str) -> String {
    const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];
    const MARKS: [char; 6] = ['{', '}', '[', ']', ':', ','];
    let mut out = String::new();
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_text(rest),
            _ if BLANKS.contains(&first) || MARKS.contains(&first) => 1,
            _ => rest.find(|c| c == '"' || BLANKS.contains(&c) || MARKS.contains(&c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        if BLANKS.contains(&first) {
            continue;
        }
        out.push_str("\r\n");
        match serde_json::from_str::<String>(token) {
            Ok(text) => {
                out.push('"');
                out.extend(text.encode_utf16().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).map(char::from));
                out.push('"');
            }
            // A number, a word, or a text that is passed over and holds half of a surrogate pair.
            Err(_) => out.push_str(token),
        }
    }
    out
}

fn end_of_text(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
}

fn means_what_protobuf_means<R: Request + Json>(body: &[u8], spec: &Spec, keys: &KeyIndex) {
    let Ok(request) = R::decode(body) else { return };
    let expected = with_one_nan(expected(spec, &request));
    for dialect in [PYTHON, JAVASCRIPT, ANY] {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[body.len() as u8; 32]);
        let text = request.write(&mut Writer { dialect, rng: &mut rng });
        match R::read(text.as_bytes(), keys, &UNLIMITED) {
            Ok(received) => assert_eq!(with_one_nan(actual(&received)), expected, "{text}"),
            // A value takes more levels in JSON.
            Err(DecodeError::TooMany { what: "levels of nesting", limit: 127 }) => {}
            Err(error) => panic!("{error}\n{text}"),
        }
    }
}

/// JSON has one word for all that is not a number.
fn with_one_nan(mut outcome: Outcome) -> Outcome {
    fn change(cell: &mut Cell) {
        let one = |bits: &mut u64| {
            if f64::from_bits(*bits).is_nan() {
                *bits = f64::NAN.to_bits();
            }
        };
        match cell {
            Cell::F64(bits) => one(bits),
            Cell::Position(lat, lon) => [lat, lon].into_iter().for_each(one),
            Cell::List(cells) => cells.iter_mut().flatten().for_each(change),
            Cell::Bool(_) | Cell::I64(_) | Cell::Text(_) | Cell::Time(_) => {}
        }
    }
    outcome.rows.iter_mut().flat_map(|row| &mut row.fields).flatten().for_each(change);
    outcome
}

struct Keys {
    spec: Spec,
    otlp: KeyIndex,
    cloudevents: KeyIndex,
    glean: KeyIndex,
    segment: KeyIndex,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let spec = spec();
        let otlp = key_index(&spec);
        let [cloudevents, glean, segment] =
            ["attributes.subject", "attributes.client_info.client_id", "attributes.userId"].map(fleet::keys);
        Keys { spec, otlp, cloudevents, glean, segment }
    })
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("json", json);
}

#[test]
fn the_same_tokens_are_laid_out_otherwise() {
    let json = r#"{"a\"" : [1.5e3,null],"é":"\\"}"#;
    let (one, other): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(json).unwrap(), serde_json::from_str(&otherwise(json)).unwrap());
    assert_eq!(one, other);
    assert!(otherwise(json).contains("\"\\u00e9\"") && otherwise(json).contains("\"\\u0061\\u0022\""));
}
