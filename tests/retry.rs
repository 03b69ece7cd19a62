//! What the SDKs do with each answer: they come again when the service says so, and what they give up they send once.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::proxy::{Message, Scripted, Step};
use crate::sdk::{Language, Protocol, Sdk};
use crate::world::{DEVICE, Service, Start, World, figure};

/// What becomes of one export, request by request.
type Exchange = (&'static [Step], bool);

const DELIVERED: Exchange = (&[Step::Pass], true);

/// Over HTTP both SDKs do the same.
const HTTP: [Exchange; 11] = [
    DELIVERED,
    (&[Step::Refuse(503, Some(1)), Step::Pass], true),
    (&[Step::Refuse(429, Some(1)), Step::Pass], true),
    (&[Step::Refuse(502, None), Step::Pass], true),
    (&[Step::Refuse(504, None), Step::Pass], true),
    (&[Step::Refuse(400, None)], false),
    (&[Step::Refuse(401, None)], false),
    (&[Step::Refuse(413, None)], false),
    (&[Step::Refuse(500, None)], false),
    // More than their time in all: they give up at once.
    (&[Step::Refuse(503, Some(60))], false),
    DELIVERED,
];

const UNAVAILABLE: Step = Step::Refuse(14, None);
const RESOURCE_EXHAUSTED: Step = Step::Refuse(8, None);

const PYTHON_GRPC: [Exchange; 6] = [
    (&[UNAVAILABLE, Step::Pass], true),
    // The specification asks for this only if there is a `RetryInfo`.
    (&[RESOURCE_EXHAUSTED, Step::Pass], true),
    (&[Step::Refuse(13, None)], false),
    (&[Step::Refuse(16, None)], false),
    (&[Step::Refuse(3, None)], false),
    DELIVERED,
];

/// It never comes again.
const JAVASCRIPT_GRPC: [Exchange; 6] = [
    (&[UNAVAILABLE], false),
    (&[RESOURCE_EXHAUSTED], false),
    (&[Step::Refuse(13, None)], false),
    (&[Step::Refuse(16, None)], false),
    (&[Step::Refuse(3, None)], false),
    DELIVERED,
];

#[test]
fn the_sdks_retry_what_may_come_again_and_drop_the_rest_at_once() {
    at_once(|sdk| {
        let exchanges: &[Exchange] = match (sdk.is_grpc(), sdk.is(Language::Python)) {
            (false, _) => &HTTP,
            (true, true) => &PYTHON_GRPC,
            (true, false) => &JAVASCRIPT_GRPC,
        };
        let world = World::new();
        let service = world.serve();
        service.consent(&["sdk-01"], "given");
        let steps: Vec<Step> = exchanges.iter().flat_map(|(steps, _)| *steps).copied().collect();
        let proxy = Scripted::start(service.address(), sdk.is_grpc(), &steps);
        let sent = sdk.batches(&format!("http://{}", proxy.address), DEVICE, exchanges.len() as u64, 1);
        let expected: Vec<bool> = exchanges.iter().map(|(_, delivered)| *delivered).collect();
        assert_eq!(sent.results, expected, "{sdk}: {}", sent.complaint);
        // One request a step: a step more or less would have shifted the results, or be left.
        assert_eq!((proxy.seen().len(), proxy.left()), (steps.len(), 0), "{sdk}");
        assert_stored(&world, &service, &expected, sdk);
        if !sdk.is_grpc() {
            check_requests(&proxy.seen(), sdk);
        }
    });
}

#[test]
fn a_source_over_its_rate_loses_nothing_of_sdks_that_come_again() {
    at_once(|sdk| {
        let world = World::new();
        let environment = [("CANDOR_LIMITS_REQUESTS_PER_SECOND", "1")];
        let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
        service.consent(&["sdk-01"], "given");
        let sent = sdk.batches(&format!("http://{}", service.address()), DEVICE, 5, 1);
        let refused = service.metric_of("candor_requests_total", "status=\"429\"");
        let failed = sent.results.iter().filter(|delivered| !**delivered).count() as u64;
        figure(&format!("over its rate: {sdk}: 5 exports, {refused} refused, {failed} given up"));
        assert_eq!(sent.results.len(), 5, "{sdk}: {}", sent.complaint);
        if sdk.retries() {
            assert!(refused > 0 && failed == 0, "{sdk}: {}", sent.complaint);
        } else {
            assert!(failed > 0 && failed < 5, "{sdk}");
        }
        assert_stored(&world, &service, &sent.results, sdk);
    });
}

/// Runs a test with every SDK that is here, all at once: mostly they wait.
fn at_once(test: impl Fn(&Sdk) + Sync) {
    let sdks = Sdk::all();
    std::thread::scope(|scope| sdks.iter().for_each(|sdk| _ = scope.spawn(|| test(sdk))));
}

/// One row of each export that was delivered, and none of the others.
fn assert_stored(world: &World, service: &Service, delivered: &[bool], sdk: &Sdk) {
    let rows = world.query("select app_package from analytics.\"phone.app\"");
    let mut have: Vec<String> = rows.iter().map(|row| row["app_package"].as_str().unwrap().to_owned()).collect();
    let delivered = delivered.iter().enumerate().filter(|(_, delivered)| **delivered);
    let mut want: Vec<String> = delivered.map(|(number, _)| format!("org.example.n{number}")).collect();
    have.sort();
    want.sort();
    assert_eq!(have, want, "{sdk}");
    assert_eq!(world.account()[1].1, want.len() as u64, "{sdk}");
    assert_eq!(service.metric("candor_repeats_total"), 0, "{sdk}: what was refused was not stored");
}

/// How the requests came: what `tests/limits.rs` and the readers of JSON take these clients to send.
fn check_requests(requests: &[Message], sdk: &Sdk) {
    for request in requests {
        let chunked = request.header("transfer-encoding").as_deref() == Some("chunked");
        assert_eq!(request.header("content-encoding").as_deref(), Some("gzip"), "{sdk}: {}", request.head);
        assert_eq!(chunked, sdk.is(Language::JavaScript), "{sdk}: {}", request.head);
        assert_eq!(request.header("content-length").is_none(), chunked, "{sdk}: {}", request.head);
    }
    if sdk.protocol == Protocol::Json {
        let dialect = if sdk.is(Language::Python) { r#""intValue": "1500""# } else { r#""intValue":1500"# };
        let text = unzip(&requests[0].content());
        assert!(text.contains(dialect), "{sdk}: {text}");
    }
}

fn unzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).take(1 << 20).read_to_string(&mut text).unwrap();
    text
}
