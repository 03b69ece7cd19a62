//! Devices that sign: what is altered is refused with a reason, a replay stores nothing, and a thief cannot speak for anybody.
//! Row 20 of the reliability page.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candor_policy::consent::ConsentState::{Given, Withdrawn};
use candor_wire::statement::SignedStatement;
use http::HeaderValue;
use serde_json::Value;

use crate::grpc::{Grpc, LOGS, PERMISSION_DENIED};
use crate::http::Answer;
use crate::otlp::{Event, encode};
use crate::signer::{AGENTS, FLEET, Signed, Signer, digest, now, reason, receipt};
use crate::world::{DEVICE, OFFICER, Service, Start, World, figure};

fn events(first: u64) -> Vec<Event> {
    (first..first + 5).map(|number| Event::numbered("what it says of itself counts for nothing", number)).collect()
}

fn world() -> (World, Service) {
    let world = World::new();
    world.sign();
    let service = world.serve();
    (world, service)
}

fn stored(world: &World) -> u64 {
    world.account().iter().map(|(_, stored)| stored).sum()
}

/// Of each purpose of a record.
fn states(record: &Value) -> Vec<&str> {
    record["purposes"].as_array().unwrap().iter().map(|purpose| purpose["state"].as_str().unwrap()).collect()
}

/// Alters a request that was signed; what it must be told.
type Alteration = (&'static str, fn(&mut Signed), u16, &'static str);

const ALTERATIONS: [Alteration; 14] = [
    ("method", |r| r.method = "PUT", 405, ""),
    ("path", |r| r.path = "/v1/metrics".into(), 401, "signature_invalid"),
    ("query", |r| r.path.push_str("?x=1"), 401, "signature_invalid"),
    ("body", |r| r.body.push(0), 400, "digest_mismatch"),
    (
        "digest of another body",
        |r| set(r, "content-digest", &format!("sha-256=:{}:", "A".repeat(43) + "=")),
        401,
        "signature_invalid",
    ),
    ("fleet", |r| set(r, "candor-fleet", "other-fleet"), 401, "signature_invalid"),
    ("consent sequence", |r| set(r, "candor-consent", "2"), 401, "signature_invalid"),
    ("batch number", |r| set(r, "candor-batch", "77"), 401, "signature_invalid"),
    ("content type", |r| set(r, "content-type", "application/json"), 401, "signature_invalid"),
    ("an encoding that was not signed", |r| set(r, "content-encoding", "identity"), 401, "signature_invalid"),
    ("GPC that was not signed", |r| set(r, "sec-gpc", "1"), 401, "signature_invalid"),
    ("nonce", |r| change_input(r, "nonce=\"", "nonce=\"x"), 401, "signature_invalid"),
    ("time", |r| change_input(r, "created=1", "created=2"), 401, "signature_invalid"),
    (
        "no signature",
        |r| {
            r.headers.remove("signature");
            r.headers.remove("signature-input");
        },
        401,
        "signature_missing",
    ),
];

fn set(request: &mut Signed, name: &'static str, value: &str) {
    request.headers.insert(name, HeaderValue::from_str(value).unwrap());
}

fn change_input(request: &mut Signed, from: &str, to: &str) {
    let input = request.headers["signature-input"].to_str().unwrap().replacen(from, to, 1);
    set(request, "signature-input", &input);
}

#[test]
fn whatever_is_altered_is_refused_with_a_reason_and_stores_nothing() {
    let (world, service) = world();
    let mut device = Signer::new(1, 0);
    device.says(&service, Given);
    let (mut refused, mut counted) = (0, BTreeMap::<String, u64>::new());
    let mut refuse = |what: &str, answer: &Answer, status: u16, why: &str| {
        assert_eq!((answer.status, reason(answer).unwrap_or_default()), (status, why), "{what}: {}", answer.text());
        if !why.is_empty() {
            *counted.entry(why.to_owned()).or_default() += 1;
            let time: i64 = answer.header("candor-time").expect("its time").parse().unwrap();
            assert!((time / 1_000_000 - now()).abs() < 30, "{what}");
        }
        refused += 1;
    };
    for (what, alter, status, why) in ALTERATIONS {
        let mut request = device.batch_of(&service, 1, 1, &events(0));
        alter(&mut request);
        refuse(what, &request.send(&service, Some(AGENTS)), status, why);
    }
    // Each covered header dropped from the cover, and each dropped from the request.
    for name in ["content-type", "candor-fleet", "candor-consent", "candor-batch", "content-digest"] {
        let mut request = device.batch_of(&service, 1, 1, &events(0));
        change_input(&mut request, &format!(" \"{name}\""), "");
        refuse(name, &request.send(&service, Some(AGENTS)), 401, "signature_invalid");
        let mut request = device.batch_of(&service, 1, 1, &events(0));
        request.headers.remove(name);
        refuse(name, &request.send(&service, Some(AGENTS)), 401, "signature_invalid");
    }
    for derived in ["@method", "@authority", "@path", "@query"] {
        let mut request = device.batch_of(&service, 1, 1, &events(0));
        change_input(&mut request, &format!("\"{derived}\""), "");
        refuse(derived, &request.send(&service, Some(AGENTS)), 401, "signature_invalid");
    }
    // Signed as it should be, and yet not what it should be.
    let resigned = |change: fn(&mut Signed), at: i64, authority: &str| {
        let mut request = device.batch_of(&service, 1, 1, &events(0));
        change(&mut request);
        request.sign_for(&device.key, authority, at);
        request.send(&service, Some(AGENTS))
    };
    let here = service.address().to_string();
    refuse("another service", &resigned(|_| {}, now(), "other.example"), 401, "signature_invalid");
    refuse("yesterday", &resigned(|_| {}, now() - 86_400, &here), 401, "signature_time");
    refuse("tomorrow", &resigned(|_| {}, now() + 86_400, &here), 401, "signature_time");
    refuse("another fleet", &resigned(|r| set(r, "candor-fleet", "other-fleet"), now(), &here), 403, "fleet_unknown");
    refuse("no fleet", &resigned(|r| drop(r.headers.remove("candor-fleet")), now(), &here), 403, "fleet_unknown");
    refuse("no number", &resigned(|r| drop(r.headers.remove("candor-batch")), now(), &here), 400, "batch_number");
    refuse("number 0", &resigned(|r| set(r, "candor-batch", "0"), now(), &here), 400, "batch_number");
    refuse("consent 01", &resigned(|r| set(r, "candor-consent", "01"), now(), &here), 400, "consent_number");
    refuse("consent x", &resigned(|r| set(r, "candor-consent", "x"), now(), &here), 400, "consent_number");
    refuse("2^53", &resigned(|r| set(r, "candor-consent", "9007199254740992"), now(), &here), 400, "consent_number");
    refuse("too far", &resigned(|r| set(r, "candor-batch", "5000"), now(), &here), 409, "batch_too_far");
    refuse("newer consent", &resigned(|r| set(r, "candor-consent", "9"), now(), &here), 503, "consent_missing");
    let other = Signer::new(2, 0);
    let mut forged = device.batch_of(&service, 1, 1, &events(0));
    let ours = forged.headers["signature-input"].clone();
    forged.sign(&other.key, &service, now());
    forged.headers.insert("signature-input", ours);
    refuse("another key", &forged.send(&service, Some(AGENTS)), 401, "signature_invalid");
    // Tokens: none, and of a source whose devices do not sign.
    let request = device.batch_of(&service, 1, 1, &events(0));
    assert_eq!(request.send(&service, None).status, 401);
    refuse("an unsigned source", &request.send(&service, Some(DEVICE)), 401, "signature_invalid");
    for (why, count) in counted {
        let outcome = format!("outcome=\"{why}\"");
        assert_eq!(service.metric_of("candor_signed_requests_total", &outcome), count, "{why}");
    }
    assert_eq!(stored(&world), 0);
    // And as it is, it is taken: whatever was refused has used up nothing.
    let answer = device.batch(&service, &events(0)).send(&service, Some(AGENTS)).expect_status(200);
    assert_eq!(receipt(&answer).receipt.batch, 1);
    assert!(stored(&world) > 0);
    figure(&format!("signed: {refused} altered requests, each refused with its reason, 0 rows of them"));
}

#[test]
fn a_signed_source_has_no_other_door_and_nothing_unsigned() {
    let (world, service) = world();
    let mut device = Signer::new(8, 0);
    device.says(&service, Given);
    let event = br#"{"specversion":"1.0","type":"a","source":"/b","id":"1"}"#;
    let glean = format!("/glean/{AGENTS}/submit/app/ping/1/167466aa-5334-44d9-a217-f91f3396a4df");
    for (path, media_type) in [
        ("/v1/events", "application/cloudevents+json"),
        ("/v1/batch", "application/json"),
        (glean.as_str(), "application/json"),
    ] {
        let headers = [("content-type", media_type), ("candor-consent", "1"), ("candor-batch", "1")];
        let request = device.request(&service, "POST", path, &headers, event.to_vec());
        let answer = request.send(&service, Some(AGENTS));
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        assert!(answer.text().contains("POST /v1/logs"), "{path}: {}", answer.text());
        assert!(answer.header("candor-time").is_some(), "{path}");
    }
    let called = Grpc::connect(service.address(), Some(AGENTS)).export(LOGS, "", &encode(&events(0)));
    assert_eq!(called.code(), PERMISSION_DENIED);
    assert!(called.text("grpc-message").contains("POST /v1/logs"), "{called:?}");
    // And unsigned, with the fleet's token, there is none at all.
    let unsigned = service.client(Some(AGENTS)).logs(&encode(&events(0))).unwrap();
    assert_eq!((unsigned.status, reason(&unsigned)), (401, Some("signature_missing")));
    assert_eq!(stored(&world), 0);
}

#[test]
fn who_asks_without_a_token_is_asked_to_wait_before_a_signature_is_looked_at() {
    let world = World::new();
    world.sign();
    let limit = [("CANDOR_LIMITS_SUBJECT_REQUESTS_PER_SECOND", "2")];
    let service = world.start(&Start { environment: &limit, ..Start::default() }).unwrap();
    let answers: Vec<Answer> = (0..20).map(|_| service.client(None).get("/v1/subject/head").unwrap()).collect();
    let (unsigned, hurried): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 401);
    assert!(unsigned.len() >= 2 && !hurried.is_empty(), "{} of 20 were looked at", unsigned.len());
    assert!(hurried.iter().all(|answer| answer.status == 429 && answer.header("retry-after") == Some("1")));
    assert!(unsigned.iter().all(|answer| reason(answer) == Some("signature_missing")));
    // Whoever has a token is not in this.
    service.officer().get("/v1/policy").unwrap().expect_status(200);
    Signer::new(9, 0).batch_of(&service, 1, 0, &events(0)).send(&service, Some(AGENTS)).expect_status(200);
}

#[test]
fn a_replay_stores_nothing_at_once_and_after_a_crash() {
    let (world, mut service) = world();
    let mut device = Signer::new(3, 0);
    device.says(&service, Given);
    let batch = device.batch(&service, &events(0));
    let first = receipt(&batch.send(&service, Some(AGENTS)).expect_status(200));
    assert_eq!(first.receipt.body, digest(&batch.body));
    let read = device.request(&service, "GET", "/v1/subject/head", &[], Vec::new());
    read.send(&service, None).expect_status(200);
    // Refused for now: sent again after the statements, it would be taken.
    let early = device.batch_of(&service, 2, 9, &events(100));
    assert_eq!(reason(&early.send(&service, Some(AGENTS))), Some("consent_missing"));
    let rows = stored(&world);
    assert!(rows > 0);
    let address = service.address();
    for crash in [false, true] {
        if crash {
            service.kill();
            service = world.serve_at(address);
        }
        for (what, replayed, token) in
            [("batch", &batch, Some(AGENTS)), ("refused", &early, Some(AGENTS)), ("reading", &read, None)]
        {
            let answer = replayed.send(&service, token);
            assert_eq!((answer.status, reason(&answer)), (401, Some("nonce_used")), "{what}, crash: {crash}");
        }
        // Signed anew by its device, the same number gets the receipt of then, also for another body.
        for body in [events(0), events(50)] {
            let again = device.batch_of(&service, 1, 1, &body).send(&service, Some(AGENTS)).expect_status(200);
            assert_eq!(receipt(&again).receipt, first.receipt, "crash: {crash}");
        }
        assert_eq!(stored(&world), rows, "crash: {crash}");
    }
    service.flush();
    let again = device.batch_of(&service, 1, 1, &events(0)).send(&service, Some(AGENTS)).expect_status(200);
    assert_eq!(receipt(&again).receipt, first.receipt, "from the ledger");
    assert_eq!(stored(&world), rows);
}

#[test]
fn a_batch_is_under_the_statement_that_it_names_the_one_before_or_the_newest() {
    let (_world, service) = world();
    let mut device = Signer::new(31, 0);
    device.says(&service, Given);
    let later = device.statement_after(device.statements.first(), 1 << 32 | 7, Given);
    device.send_statement(&service, &later).expect_status(200);
    let names =
        [(None, 5), (Some("0"), 0), (Some("1"), 5), (Some("6"), 5), (Some("4294967296"), 5), (Some("4294967303"), 5)];
    for (number, (consent, stored)) in (1..).zip(names) {
        let number = number.to_string();
        let mut headers = vec![("content-type", "application/x-protobuf"), ("candor-batch", number.as_str())];
        headers.extend(consent.map(|consent| ("candor-consent", consent)));
        let batch = device.request(&service, "POST", "/v1/logs", &headers, encode(&events(0)));
        let got = receipt(&batch.send(&service, Some(AGENTS)).expect_status(200)).receipt;
        assert_eq!(got.consent, consent.map(|consent| consent.parse().unwrap()));
        assert_eq!(got.purposes["analytics"].stored, stored, "{consent:?}");
    }
}

#[test]
fn statements_follow_each_other_and_the_strictest_of_two_holds() {
    let (world, service) = world();
    let mut device = Signer::new(4, 0);
    let early = device.batch_of(&service, 1, 1, &events(0)).send(&service, Some(AGENTS));
    assert_eq!((early.status, reason(&early), early.header("retry-after")), (503, Some("consent_missing"), Some("1")));
    device.says(&service, Given);
    let first = device.statements[0].clone();
    let answer = device.send_statement(&service, &first).expect_status(200);
    let record: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(record["events"][0]["asserted_by"], "subject");
    let head = format!("1 {}", first.hash().unwrap());
    let stray = device.statement_after(None, 2, Given);
    let answer = device.send_statement(&service, &stray);
    assert_eq!((answer.status, reason(&answer)), (409, Some("consent_conflict")));
    assert_eq!(answer.header("candor-consent-head"), Some(head.as_str()));

    let (given, withdrawn) =
        (device.statement_after(Some(&first), 2, Given), device.statement_after(Some(&first), 2, Withdrawn));
    for statement in [&withdrawn, &given, &withdrawn] {
        let answer = device.send_statement(&service, statement).expect_status(200);
        let record: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(record["record_id"], statement.hash().unwrap().to_string());
        assert_eq!(states(&record), ["ConsentWithdrawn"; 3], "what is stored of either");
    }
    let all: Value = serde_json::from_slice(&device.get(&service, "/v1/subject").expect_status(200).body).unwrap();
    assert_eq!(states(&all["records"]), ["ConsentWithdrawn"; 3]);
    let changes: Vec<_> = all["records"]["events"].as_array().unwrap().iter().map(|one| &one["event_state"]).collect();
    assert_eq!(changes, [["ConsentGiven"; 3], ["ConsentWithdrawn"; 3]].concat());
    let batch =
        |number, consent| device.batch_of(&service, number, consent, &events(number)).send(&service, Some(AGENTS));
    assert!(receipt(&batch(1, 2).expect_status(200)).receipt.purposes.values().all(|purpose| purpose.stored == 0));
    assert!(receipt(&batch(2, 1).expect_status(200)).receipt.purposes.values().all(|purpose| purpose.stored == 0));
    let again = device.statement_after(Some(&given), 3, Given);
    device.send_statement(&service, &again).expect_status(200);
    let before = receipt(&batch(3, 2).expect_status(200)).receipt;
    assert!(before.purposes.values().all(|purpose| purpose.stored == 0), "collected while it was withdrawn");
    let after = receipt(&batch(4, 3).expect_status(200)).receipt;
    assert!(after.purposes["analytics"].stored > 0, "{after:?}");

    let last = SignedStatement { closes: true, ..device.statement_after(Some(&again), 4, Withdrawn) };
    let started = Instant::now();
    device.send_statement(&service, &last.sign(&device.key).unwrap()).expect_status(200);
    let closed = batch(5, 3);
    assert_eq!((closed.status, reason(&closed)), (403, Some("key_closed")));
    assert!(started.elapsed() < Duration::from_secs(1));
    // What was stored before has its receipt still, for whom the answer was lost.
    assert_eq!(receipt(&batch(4, 3).expect_status(200)).receipt, after);
    // Its holder still sees what is held.
    let all: Value = serde_json::from_slice(&device.get(&service, "/v1/subject").expect_status(200).body).unwrap();
    assert_eq!(all["statements"].as_array().unwrap().len(), 5);
    assert_eq!(all["rows"].as_array().unwrap().len() as u64, stored(&world));
    let receipts = device.get(&service, "/v1/subject/receipts?from=2").expect_status(200);
    let receipts: Value = serde_json::from_slice(&receipts.body).unwrap();
    let numbers: Vec<_> = receipts["receipts"].as_array().unwrap().iter().map(|one| &one["receipt"]["batch"]).collect();
    assert_eq!(numbers, [2, 3, 4]);
}

#[test]
fn a_thief_of_ledger_tables_and_tokens_speaks_for_nobody() {
    let (world, service) = world();
    let mut device = Signer::new(5, 0);
    device.says(&service, Given);
    let mine = receipt(&device.batch(&service, &events(0)).send(&service, Some(AGENTS)).expect_status(200));
    service.flush();
    let rows = stored(&world);
    // He has every token, the ledger, and keys of his own; not the device's.
    let thief = Signer::new(6, 0);
    let ledger = std::fs::read(world.data().join("ledger.db")).unwrap();
    assert!(!ledger.windows(32).any(|bytes| bytes == [5; 32]), "the seed is not there");
    let last = device.statements.last().unwrap();
    let stolen = SignedStatement { sequence: 2, previous: last.hash().unwrap().to_string(), ..last.clone() };
    let own = SignedStatement { key: device.key.public(), ..thief.statement_after(Some(last), 2, Given) };
    for (what, statement) in [("a signature of another statement", stolen), ("a statement of his for the key", own)] {
        let answer = thief.send_statement(&service, &statement);
        assert_eq!((answer.status, reason(&answer)), (400, Some("consent_invalid")), "{what}");
    }
    // An officer's word is about the subject that a source names: the id of one that signs is just a name there.
    let id = candor_policy::hex::encode(device.key.subject_id().as_bytes());
    for token in [OFFICER, DEVICE, AGENTS] {
        let mut client = service.client(Some(token));
        let request = serde_json::json!({"subject": id, "purposes": {"analytics": "withdrawn"}, "notice": {"version": "2026-01", "language": "de"}});
        let answer = client.json("/v1/consent", &request).unwrap();
        assert!(answer.status == 200 || answer.status == 401 || answer.status == 403, "{}", answer.text());
        let named = client.send("GET", "/v1/subject", &[("candor-subject", id.as_str())], &[]).unwrap();
        let of_device =
            named.text().contains(&device.name("analytics")) || named.text().contains("asserted_by\":\"subject");
        assert!(!of_device, "{token}: {}", named.text());
    }
    // With the id as a device's name, at every door that takes names.
    service.client(Some(DEVICE)).logs(&crate::otlp::encode(&[Event::numbered(&id, 900)])).unwrap().expect_status(200);
    let held: Value = serde_json::from_slice(&device.get(&service, "/v1/subject").expect_status(200).body).unwrap();
    assert_eq!(held["statements"].as_array().unwrap().len(), 1);
    assert_eq!(held["rows"].as_array().unwrap().len() as u64, rows);
    assert_eq!(held["batches"]["next"], 2);
    // Whoever asks with another key, or another epoch of the same device, learns nothing of this one.
    for (what, stranger) in [("thief", Signer::new(6, 0)), ("another epoch", Signer::new(5, 1))] {
        let answer = stranger.get(&service, "/v1/subject");
        assert_eq!((answer.status, reason(&answer)), (404, Some("subject_unknown")), "{what}");
    }
    assert_ne!(Signer::new(5, 0).name("analytics"), Signer::new(5, 1).name("analytics"));
    // A receipt that he makes up is signed by a key that the device does not know.
    let known = mine.proof.key;
    let mut forged = mine.clone();
    forged.receipt.purposes.get_mut("analytics").unwrap().stored += 1;
    assert!(mine.verify(&known).is_ok() && forged.verify(&known).is_err());
    let keys: Value = serde_json::from_slice(&service.client(None).get("/v1/keys").unwrap().body).unwrap();
    assert_eq!(
        (keys["fleet"].as_str(), keys["receipts"][0]["key"].as_str()),
        (Some(FLEET), Some(known.to_string().as_str()))
    );
}
