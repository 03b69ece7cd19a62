//! Parameters of an operation: what stands in its path, in the query, and in the headers that mean something.

use candor_wire::signature;
use http::HeaderName;
use serde_json::{Value, json};

use crate::role::{Access, Role};
use crate::route::Route;
use crate::subject;

/// All of them.
pub(super) fn parameters(route: &Route) -> Vec<Value> {
    let in_path = |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let mut all: Vec<Value> = route.parameters().map(in_path).collect();
    all.extend(in_query(route.path));
    if let Access::Subject([Role::Operator]) = route.access {
        let what = "With a token: the value of the attribute by which the source names the subject";
        all.push(header(&signature::SUBJECT, false, what));
    }
    if takes_events(route) {
        let what = "1 opts out of what the policy lists under Global Privacy Control, for what this request carries";
        all.push(header(&signature::GPC, false, what));
    }
    if route.access.takes_signed() {
        all.extend(of_signature(route));
    }
    all
}

fn in_query(path: &str) -> Vec<Value> {
    if path != subject::RECEIPTS {
        return Vec::new();
    }
    vec![
        json!({
            "name": "from", "in": "query", "description": "The lowest number of a batch",
            "schema": { "type": "integer", "minimum": 1 },
        }),
        json!({
            "name": "totals", "in": "query",
            "description": "1, behind `from`: also where each receipt is in the totals of its epoch, once they are in the log",
            "schema": { "type": "integer", "const": 1 },
        }),
    ]
}

/// What a signed request has; required where nobody may come by a token alone.
fn of_signature(route: &Route) -> Vec<Value> {
    let only = matches!(route.access, Access::Subject([]));
    let mut all = vec![
        header(&signature::SIGNATURE_INPUT, only, "Signed: what is covered, when, and by whose key"),
        header(&signature::SIGNATURE, only, "Signed: the signature over it"),
        header(
            &signature::FLEET,
            only,
            "Signed: always; the fleet that it is for, as GET /v1/keys names it. Without it: fleet_unknown",
        ),
    ];
    if route.about.request.is_some() {
        let what = "Signed: always; sha-256 of the body as it is sent (RFC 9530). Without it: signature_invalid";
        all.push(header(&signature::CONTENT_DIGEST, false, what));
    }
    if takes_events(route) {
        let what = "Signed: always; running number of the batch. Without it: batch_number";
        all.push(number(&signature::BATCH, 1, what));
        let what =
            "Signed: sequence of the statement that the events were collected under. Without it the newest decides";
        all.push(number(&signature::CONSENT, 0, what));
    }
    all
}

fn takes_events(route: &Route) -> bool {
    matches!(route.access, Access::Roles([Role::Device]) | Access::RolesOrSigned([Role::Device]))
}

fn number(name: &HeaderName, minimum: u64, what: &str) -> Value {
    let mut number = header(name, false, what);
    number["schema"] = json!({ "type": "integer", "minimum": minimum, "maximum": (1_u64 << 53) - 1 });
    number
}

/// A header of those that the service reads, as people write its name.
fn header(name: &HeaderName, required: bool, what: &str) -> Value {
    let capital = |part: &str| match part {
        "gpc" => "GPC".to_owned(),
        part => part[..1].to_uppercase() + &part[1..],
    };
    let name = name.as_str().split('-').map(capital).collect::<Vec<_>>().join("-");
    json!({ "name": name, "in": "header", "required": required, "description": what, "schema": { "type": "string" } })
}
