//! Signed requests beside an implementation that is not ours: `http-message-signatures` of `PyPI` verifies what we sign, and we
//! verify what it signs (`tests/python/signatures.py`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::reason::Reason;
use candor_wire::signature::{RequestHead, is_digest_of, sign, verify};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::clients::python;
use crate::skip::{runs, skipped};
use crate::world::workspace;

/// The Ed25519 seed of epoch 0 in `docs/FORMAT.md`.
const KEY_SEED: &str = "2c1af0132c1c712523d96105a29c88203eb0c996719b470418989004ed0cc216";
const NONCE: [u8; 16] = [9; 16];

/// Method, authority, path, query, headers, body.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

const CASES: [Case; 4] = [
    ("GET", "candor.example", "/v1/subject", None, &[], None),
    (
        "GET",
        "Candor.Example:4318",
        "/v1/subject/receipts",
        Some("from=7&x=%20"),
        &[("candor-fleet", "acme-fleet")],
        None,
    ),
    (
        "POST",
        "candor.example:443",
        "/v1/logs",
        None,
        &[
            ("content-type", "application/json"),
            ("content-encoding", "identity"),
            ("candor-fleet", "acme-fleet"),
            ("candor-consent", "4294967297"),
            ("candor-batch", "17"),
            ("sec-gpc", "1"),
        ],
        Some("{\"resourceLogs\":[]}"),
    ),
    ("POST", "[::1]:8080", "/v1/consent", None, &[("content-type", "application/json; charset=utf-8")], Some("{}")),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "the other implementation reads the machine's clock")]
fn another_implementation_verifies_ours_and_we_verify_its() {
    let Some(python) = python() else { return };
    if !runs(python.to_str().unwrap(), &["-c", "import http_message_signatures"]) {
        return skipped("the Python of CANDOR_TEST_PYTHON lacks http-message-signatures");
    }
    let now = jiff::Timestamp::now().as_second();
    let ours: Vec<(HeaderMap, Value)> = CASES.iter().map(|case| signed(case, now)).collect();
    let mut requests: Vec<Value> = ours.iter().map(|(_, request)| request.clone()).collect();
    // And one whose path another wrote.
    let mut changed = requests[2].clone();
    changed["url"] = json!("https://candor.example/v1/traces");
    requests.push(changed);
    let answers = ask(&python, &Value::from(requests));

    for ((case, (headers, _)), answer) in CASES.iter().zip(&ours).zip(&answers) {
        assert_eq!(answer["verifies"], true, "{case:?}: {headers:?}");
        let mut theirs = HeaderMap::new();
        for (name, value) in answer["headers"].as_object().unwrap() {
            let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
            theirs.insert(name.parse::<HeaderName>().unwrap(), value);
        }
        let head = head(case, &theirs);
        let verified = verify(&head, case.5.is_some(), now).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert_eq!(verified.key, key().public());
        assert_eq!(
            verified.digest.map(|digest| is_digest_of(&digest, case.5.unwrap().as_bytes())),
            case.5.map(|_| true)
        );
        let other = RequestHead { path: "/v1/other", ..head };
        assert_eq!(verify(&other, case.5.is_some(), now).unwrap_err().reason, Reason::SignatureInvalid);
    }
    assert_eq!(answers[CASES.len()]["verifies"], false, "what was changed afterwards");
}

fn key() -> SubjectKey {
    SubjectKey::derive(&Seed::new([7; 32]), "acme-fleet", 0).unwrap()
}

fn head<'a>((method, authority, path, query, ..): &Case, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead { method, authority, path, query: *query, headers }
}

/// The headers of a request of ours, and the whole of it as the other side reads it.
fn signed(case: &Case, now: i64) -> (HeaderMap, Value) {
    let (method, authority, path, query, fields, body) = *case;
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    let signed = sign(&key(), &head(case, &headers), body.map(str::as_bytes), (now, now + 60), NONCE).unwrap();
    if let Some(digest) = signed.content_digest {
        headers.insert("content-digest", digest);
    }
    headers.insert("signature-input", signed.signature_input);
    headers.insert("signature", signed.signature);
    let all: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let request = json!({
        "method": method,
        "url": format!("https://{authority}{path}{query}"),
        "headers": all,
        "body": body,
        "seed": KEY_SEED,
        "key": key().public().to_string(),
        "nonce": "AAECAwQFBgcICQoLDA0ODw",
        "created": now,
    });
    (headers, request)
}

fn ask(python: &Path, requests: &Value) -> Vec<Value> {
    let mut child = Command::new(python)
        .arg(workspace().join("tests/python/signatures.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be run");
    child.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script says why on standard error");
    serde_json::from_slice(&output.stdout).unwrap()
}
