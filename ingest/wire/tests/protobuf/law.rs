//! The law of the protobuf reader, for any bytes: the verdict of prost, and the contents that the oracle reads from what prost
//! decoded. Proptests, hand-written bodies, a fuzz target and its corpus are held against it.

use std::sync::OnceLock;

use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::oracle::item::Request;
use crate::oracle::{actual, expected};
use crate::spec::{Spec, key_index, spec, spec_by_record, spec_by_scope};

/// No limit of ours, so that only the encoding decides.
pub(crate) const UNLIMITED: DecodeLimits =
    DecodeLimits { records: usize::MAX, attributes: usize::MAX, depth: usize::MAX, elements: usize::MAX };

/// Limits that small bodies meet. That of elements is not among them: it refuses no request, it makes values bad.
const TIGHT: DecodeLimits = DecodeLimits { records: 3, attributes: 4, depth: 2, elements: usize::MAX };

/// The law of a fuzz target's input: the first byte says which signal and catalogue, the rest is the body.
pub(crate) fn protobuf(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let (spec, keys) = &catalogues()[usize::from(choice / 3 % 3)];
    let holds =
        [holds::<ExportLogsServiceRequest>, holds::<ExportMetricsServiceRequest>, holds::<ExportTraceServiceRequest>];
    holds[usize::from(choice % 3)](body, spec, keys);
}

/// Whether both accept; fails the test if they differ in verdict or contents.
pub(crate) fn agree<R: Request>(body: &[u8], spec: &Spec, keys: &KeyIndex) -> bool {
    let prost = R::decode(body);
    let ours = R::decode_by_us(body, keys, &UNLIMITED);
    match (prost, ours) {
        (Ok(request), Ok(received)) => {
            assert_eq!(actual(&received), expected(spec, &request), "{body:02x?}");
            true
        }
        (Err(_), Err(error)) => {
            let inside = match error {
                DecodeError::Malformed { offset, .. } => offset <= body.len(),
                DecodeError::TooMany { what, limit } => (what, limit) == ("levels of nesting", 100),
                DecodeError::Expected { .. } => false,
            };
            assert!(inside, "{error}");
            false
        }
        (prost, ours) => panic!("prost: {:?}, ours: {:?}: {body:02x?}", prost.err(), ours.err()),
    }
}

fn holds<R: Request>(body: &[u8], spec: &Spec, keys: &KeyIndex) {
    let whole = agree::<R>(body, spec, keys).then(|| R::decode_by_us(body, keys, &UNLIMITED).unwrap());
    match (R::decode_by_us(body, keys, &TIGHT), whole) {
        (Ok(within), Some(whole)) => {
            assert_eq!(actual(&within), actual(&whole), "a limit that is not met changes nothing");
            assert!(within.records() <= TIGHT.records as u64);
        }
        (Ok(_), None) => panic!("limits made a body valid"),
        (Err(DecodeError::TooMany { limit, .. }), _) => assert!((2..=100).contains(&limit)),
        (Err(error), whole) => assert!(whole.is_none(), "{error}"),
    }
}

fn catalogues() -> &'static [(Spec, KeyIndex); 3] {
    static CATALOGUES: OnceLock<[(Spec, KeyIndex); 3]> = OnceLock::new();
    CATALOGUES.get_or_init(|| {
        [spec(), spec_by_record(), spec_by_scope()].map(|spec| {
            let keys = key_index(&spec);
            (spec, keys)
        })
    })
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("protobuf", protobuf);
}
