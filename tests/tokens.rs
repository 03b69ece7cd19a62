//! Tokens that ride in a path or as a user's name: found however they are encoded, never logged, and what one of them can do.

use serde_json::json;

use crate::doors::{CLIENT, GLEAN, token, world};
use crate::world::{Start, figure, workspace};

const UUID: &str = "167466aa-5334-44d9-a217-f91f3396a4df";

#[test]
fn a_token_in_the_path_is_found_however_it_is_percent_encoded() {
    let world = world(&["hub.baseline"], &GLEAN, &[("hub", CLIENT)]);
    std::fs::write(world.fleet().join("tokens/hub"), "to/ken+of%2fhub?#~").unwrap();
    let service = world.serve();
    let mut client = service.client(None);
    let body = json!({ "client_info": { "client_id": "a-client" } }).to_string();
    let every = "to/ken+of%2fhub?#~".bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    for (written, status) in [
        ("to%2Fken+of%252fhub%3F%23~", 200),
        ("to%2fken%2bof%252fhub%3f%23%7e", 200),
        ("%74o%2FKen%2Bof%252fhub%3F%23~", 401),
        (every.as_str(), 200),
        (every.to_uppercase().as_str(), 200),
        // Once, and only what a percent sign says: `+` is no blank, and no piece of a path is two.
        ("to%252Fken%252Bof%25252fhub%253F%2523~", 401),
        ("to%2Fken%20of%252fhub%3F%23~", 401),
        ("to%2Fken+of%2fhub%3F%23~", 401),
        ("to/ken+of%252fhub%3F%23~", 404),
        ("%ff%fe", 401),
        ("%00", 401),
        ("%", 401),
    ] {
        let path = format!("/glean/{written}/submit/hub/baseline/1/{UUID}");
        let answer = client.send("POST", &path, &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{written}: {}", answer.text());
    }
}

/// What `docs/THREATS.md` says that each withdrawal adds to the ledger, and the place where its repeat is recognised.
const WITHDRAWAL: u64 = 790;

#[test]
fn a_withdrawal_by_a_glean_token_adds_to_the_ledger_what_the_documentation_says() {
    const WITHDRAWALS: u64 = 2_000;
    const SENDERS: u64 = 8;
    let world = world(&["hub.deletion-request"], &GLEAN, &[("hub", CLIENT)]);
    let service = world.serve();
    let size = || std::fs::metadata(world.data().join("ledger.db")).unwrap().len();
    service.flush();
    let before = size();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let service = &service;
            scope.spawn(move || {
                let mut client = service.client(None);
                for number in (sender..WITHDRAWALS).step_by(SENDERS as usize) {
                    let uuid = format!("{number:08x}-5334-44d9-a217-f91f3396a4df");
                    let path = format!("/glean/{}/submit/hub/deletion-request/1/{uuid}", token("hub"));
                    let body = json!({ "client_info": { "client_id": uuid } }).to_string();
                    client.send("POST", &path, &[], body.as_bytes()).unwrap().expect_status(200);
                }
            });
        }
    });
    // Statements move from the segments to the ledger, and its own log is folded in when it closes.
    service.flush();
    assert!(service.stop().success());
    let each = (size() - before) / WITHDRAWALS;
    figure(&format!("ledger: {each} bytes for each of {WITHDRAWALS} subjects that a Glean token withdrew"));
    assert!((WITHDRAWAL * 3 / 4..WITHDRAWAL * 5 / 4).contains(&each), "{each}");
    let documentation = std::fs::read_to_string(workspace().join("docs/THREATS.md")).unwrap();
    assert!(documentation.contains(&format!("{WITHDRAWAL} bytes")), "docs/THREATS.md has another figure");
}

#[test]
fn tokens_are_in_no_log_line_whatever_is_logged() {
    let world = world(&["hub.baseline"], &GLEAN, &[("hub", CLIENT), ("segment", "userId")]);
    let environment = [("CANDOR_LOG", "trace")];
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let mut client = service.client(None);
    let body = json!({ "client_info": { "client_id": "client-canary" } }).to_string();
    for (path, status) in [
        (format!("/glean/{}/submit/hub/baseline/1/{UUID}", token("hub")), 200),
        (format!("/glean/{}/submit/hub/baseline/1/no-uuid", token("hub")), 400),
        (format!("/glean/path-canary/submit/hub/baseline/1/{UUID}"), 401),
        (format!("/glean/{}/submit/hub", token("hub")), 404),
    ] {
        let answer = client.send("POST", &path, &[], body.as_bytes()).unwrap().expect_status(status);
        assert!(!answer.text().contains(&token("hub")) && !answer.text().contains("canary"), "{}", answer.text());
    }
    let key = [("authorization", "Basic ZXhhbXBsZS13cml0ZS1rZXk6")];
    client.send("POST", "/v1/batch", &key, br#"{"batch":[],"writeKey":"body-canary"}"#).unwrap().expect_status(200);
    let metrics = client.get("/metrics").unwrap().text();
    let log = service.log();
    assert!(log.contains("/glean/{token}/submit/{app}/{ping}/{version}/{uuid}"), "the route is named");
    for secret in [token("hub").as_str(), "example-write-key", "ZXhhbXBsZS13cml0ZS1rZXk6", "canary", UUID] {
        assert!(!metrics.contains(secret), "{secret} is a label");
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was logged");
    }
}
