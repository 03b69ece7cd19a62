//! `/openapi.json` says of every route what the route says, and its references lead somewhere.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::Value;

use super::world::World;
use crate::role::Access;
use crate::route::{Errors, ROUTES, Route};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_nothing_else() {
    let world = World::open().await;
    let answer = world.get("/openapi.json").await;
    assert_eq!((answer.status, answer.headers["content-type"].as_bytes()), (StatusCode::OK, &b"application/json"[..]));
    let document = answer.json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|m| (path.clone(), m.to_uppercase())))
        .collect();
    let routed: BTreeSet<_> = ROUTES.iter().map(|r| (r.path.to_owned(), r.method.to_string())).collect();
    assert_eq!(described, routed);
    let mut identifiers = BTreeSet::new();
    for route in &ROUTES {
        let operation = &paths[route.path][route.method.as_str().to_lowercase()];
        assert!(identifiers.insert(operation["operationId"].as_str().unwrap().to_owned()));
        assert!(operation["summary"].as_str().unwrap().len() > 5, "{}", route.path);
        match route.access {
            Access::Public => assert_eq!(operation["security"], serde_json::json!([])),
            Access::Roles(roles) | Access::RolesOrSigned(roles) | Access::Subject(roles) => {
                assert_eq!(operation["x-candor-roles"], serde_json::json!(roles));
                let refused = ["401", "403"].map(|status| operation["responses"].get(status).is_some());
                // gRPC answers 200, and says in the trailers what it came to.
                assert_eq!(refused, [route.errors != Errors::Grpc; 2], "{}", route.path);
            }
        }
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let named: Vec<_> = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(named, route.parameters().chain(beside(route)).collect::<Vec<_>>(), "{}", route.path);
        for parameter in parameters {
            // A subject's own paths can be asked by nobody else; all others by a token alone.
            let own = ["/v1/subject/head", "/v1/subject/receipts"].contains(&route.path);
            let required = parameter["in"] == "path" || own && parameter["in"] == "header";
            assert_eq!(parameter["required"].as_bool().unwrap_or(false), required, "{} {parameter}", route.path);
        }
        let by_signature = operation["security"].to_string().contains("signature");
        assert_eq!(by_signature, route.access.takes_signed(), "{}", route.path);
        assert_eq!(operation.get("requestBody").is_some(), route.about.request.is_some(), "{}", route.path);
    }
    let logs = &paths["/v1/logs"]["post"]["responses"];
    assert!(logs["503"]["headers"].get("Retry-After").is_some());
    assert!(logs["429"]["headers"].get("Retry-After").is_some());
    let ping = &paths["/glean/{token}/submit/{app}/{ping}/{version}/{uuid}"]["put"]["responses"];
    assert!(ping.get("429").is_none() && ping["503"]["headers"].get("Retry-After").is_some());
    assert!(logs["400"]["content"].get("application/x-protobuf").is_some(), "errors come in the request's encoding");
}

/// Names of what the head may say, as docs/FORMAT.md has them.
fn beside(route: &Route) -> Vec<&'static str> {
    const SIGNED: [&str; 3] = ["Signature-Input", "Signature", "Candor-Fleet"];
    const NUMBERED: [&str; 3] = ["Content-Digest", "Candor-Batch", "Candor-Consent"];
    let digest: &[&str] = if route.method == Method::POST { &["Content-Digest"] } else { &[] };
    match route.path {
        "/v1/logs" | "/v1/metrics" | "/v1/traces" => [&["Sec-GPC"][..], &SIGNED, &NUMBERED].concat(),
        "/v1/consent" => [&SIGNED[..], digest].concat(),
        "/v1/subject" | "/v1/subject/erasure" => [&["Candor-Subject"][..], &SIGNED, digest].concat(),
        "/v1/subject/head" => SIGNED.to_vec(),
        "/v1/subject/receipts" => [&["from", "totals"][..], &SIGNED].concat(),
        "/v1/events" | "/v1/batch" => vec!["Sec-GPC"],
        path if path.contains("/submit/") || path.ends_with("/Export") => vec!["Sec-GPC"],
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_those_that_handlers_read_and_write() {
    let document = World::open().await.get("/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    let states = schemas["ConsentState"].to_string();
    for state in ["given", "refused", "withdrawn", "expired", "invalidated", "unknown"] {
        assert!(states.contains(&format!("\"{state}\"")), "{state} is not in {states}");
    }
    let required = &schemas["ConsentRequest"]["required"];
    assert_eq!(required, &serde_json::json!(["subject", "purposes", "notice"]));
    assert_eq!(schemas["ConsentRequest"]["additionalProperties"], false);
    for type_name in ["ConsentRequest", "SignedStatement"] {
        let age = &schemas[type_name]["properties"]["age_from"];
        assert_eq!(
            (&age["minimum"], &age["maximum"]),
            (&0.into(), &candor_wire::statement::MAX_AGE.into()),
            "{type_name}"
        );
    }
    assert!(schemas["Limits"]["properties"]["in_flight_bytes"]["description"].is_string());
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 5);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|inner| collect(inner, references));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, references)),
        _ => {}
    }
}
