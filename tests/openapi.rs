//! `/openapi.json` is valid OpenAPI 3.1, and what really goes over the network fits the schemas that it gives.

use std::process::Command;

use serde_json::{Value, json};

use crate::clients::python;
use crate::skip::skipped;
use crate::world::{World, workspace};

#[test]
fn the_document_is_valid_and_real_bodies_fit_it() {
    let Some(python) = python() else { return };
    let world = World::new();
    let service = world.serve();
    let document: Value = serde_json::from_slice(&service.client(None).get("/openapi.json").unwrap().body).unwrap();
    let mut bodies = Vec::new();
    let mut case = |path: &str, method: &str, status: u16, body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap();
        bodies.push(json!({ "path": path, "method": method, "status": status.to_string(), "body": body }));
    };
    for path in ["/v1/policy", "/v1/catalogue", "/v1/limits", "/healthz", "/readyz", "/openapi.json"] {
        let answer = service.client(None).get(path).unwrap().expect_status(200);
        case(path, "get", 200, &answer.body);
    }
    let request = json!({
        "subject": "phone-1", "purposes": { "analytics": "given" }, "age_from": 30,
        "notice": { "version": "2026-01", "language": "de" },
    });
    let recorded = service.officer().json("/v1/consent", &request).unwrap().expect_status(200);
    case("/v1/consent", "post", 200, &recorded.body);
    let many = service.officer().json("/v1/consent", &json!([request, request])).unwrap().expect_status(200);
    case("/v1/consent", "post", 200, &many.body);
    let refused = service.officer().json("/v1/consent", &json!({ "subject": 1 })).unwrap().expect_status(400);
    case("/v1/consent", "post", 400, &refused.body);
    let unknown = service.client(Some("unknown-token")).json("/v1/consent", &request).unwrap().expect_status(401);
    case("/v1/consent", "post", 401, &unknown.body);
    let flushed = service.officer().send("POST", "/v1/flush", &[], &[]).unwrap().expect_status(200);
    case("/v1/flush", "post", 200, &flushed.body);
    bodies.push(json!({ "path": "/v1/consent", "method": "post", "body": request }));
    // The schemas are no rubber stamps.
    let misspelt = json!({ "subject": "phone-1", "purpose": {}, "notice": { "version": "1", "language": "de" } });
    bodies.push(json!({ "path": "/v1/consent", "method": "post", "body": misspelt, "valid": false }));
    let wrong = json!({ "rows": "many", "files": 1, "segments": 1 });
    bodies.push(json!({ "path": "/v1/flush", "method": "post", "status": "200", "body": wrong, "valid": false }));

    let file = world.path("openapi.json");
    std::fs::write(&file, json!({ "document": document, "bodies": bodies }).to_string()).unwrap();
    let script = workspace().join("tests/python/check_openapi.py");
    let output = Command::new(python).arg(script).arg(&file).output().unwrap();
    if output.status.code() == Some(3) {
        skipped("the Python of CANDOR_TEST_PYTHON has no openapi-spec-validator");
        return;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), bodies.len().to_string());
}
