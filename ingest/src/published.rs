//! What everybody may read: the policy and the catalogue in force, and the limits.

use axum::body::Body;
use axum::response::Response;
use candor_policy::digest::Digest;
use candor_wire::reason::Reason;
use candor_wire::record::ConsentRecord;
use candor_wire::succession::Succession;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Kind, Line, ReasonLine, line_of};
use crate::head::Encoding;
use crate::protocol::consent;
use crate::protocol::otlp::Format;
use crate::route::Call;
use crate::settings::Limits;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `GET /v1/policy`: RFC 8785 JSON whose SHA-256 is the entity tag, and the digest in every file.
pub(crate) fn policy(call: &Call<'_>) -> Response {
    let policy = call.service.plan.policy();
    document(&policy.canonical, &policy.digest, call.headers)
}

/// `GET /v1/catalogue`, likewise.
pub(crate) fn catalogue(call: &Call<'_>) -> Response {
    let catalogue = call.service.plan.catalogue();
    document(&catalogue.canonical, &catalogue.digest, call.headers)
}

/// `GET /v1/limits`: what one request may hold, for how long a repeat is recognised, and what is answered to errors.
pub(crate) fn limits(call: &Call<'_>) -> Response {
    json(&Published {
        schema_version: 1,
        limits: &call.service.limits,
        repeat_hours: call.service.repeat_hours,
        consents: consent::MOST,
        content_encodings: Encoding::NAMES,
        otlp_content_types: Format::MEDIA_TYPES,
        errors: Kind::ALL.map(PublishedError::new),
        reasons: Reason::ALL.map(PublishedReason::new),
    })
}

/// `GET /v1/keys`: what devices pin.
pub(crate) fn keys(call: &Call<'_>) -> Response {
    let key = call.service.store.receipt_key().map(|key| ReceiptKey { key: key.to_string() });
    json(&Keys {
        schema_version: 1,
        fleet: call.service.fleet.to_string(),
        receipts: key.into_iter().collect(),
        log: call.service.store.log().verifiers().iter().map(|key| LogKey { vkey: key.to_string() }).collect(),
        successions: call.service.store.successions(),
        time: call.service.clock.now(),
    })
}

/// `GET /v1/schemas/consent-record`.
pub(crate) fn consent_record_schema() -> Response {
    json(&schemars::schema_for!(ConsentRecord))
}

/// What `GET /v1/keys` answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Keys {
    /// Version of this form.
    schema_version: u32,
    /// The fleet's name, which goes into every subject's key.
    fleet: String,
    /// Keys that sign receipts.
    receipts: Vec<ReceiptKey>,
    /// Keys that sign the log's checkpoints, the one in use first.
    log: Vec<LogKey>,
    /// How each key before it was followed by the next, oldest first: who knows an older one goes on by them.
    successions: Vec<Succession>,
    /// Time of the service, µs UTC.
    time: i64,
}

#[derive(Serialize, JsonSchema)]
struct LogKey {
    /// Verifier key of c2sp.org/signed-note: name, id, and Ed25519 public key.
    vkey: String,
}

#[derive(Serialize, JsonSchema)]
struct ReceiptKey {
    /// Ed25519 public key, base64url.
    key: String,
}

/// What `GET /v1/limits` answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Published<'a> {
    /// Version of this form.
    schema_version: u32,
    /// The limits themselves.
    limits: &'a Limits,
    /// The horizon: the same request again within these hours adds no row.
    repeat_hours: u64,
    /// Consent statements in one request.
    consents: usize,
    /// Encodings of a body that are taken.
    content_encodings: [&'static str; Encoding::NAMES.len()],
    /// Media types that logs, metrics and traces may come in.
    otlp_content_types: [&'static str; Format::MEDIA_TYPES.len()],
    /// What each error means for a client.
    errors: [PublishedError; Kind::ALL.len()],
    /// What each reason in `Candor-Reason` means for a device that signs.
    reasons: [PublishedReason; Reason::ALL.len()],
}

#[derive(Serialize, JsonSchema)]
struct PublishedReason {
    /// Its name.
    reason: &'static str,
    /// HTTP status.
    http: u16,
    /// What the device is to do.
    then: &'static str,
}

impl PublishedReason {
    fn new(reason: Reason) -> Self {
        let ReasonLine { kind, then, .. } = line_of(reason);
        Self { reason: reason.name(), http: kind.status().as_u16(), then }
    }
}

#[derive(Serialize, JsonSchema)]
struct PublishedError {
    /// What happened.
    when: &'static str,
    /// HTTP status.
    http: u16,
    /// gRPC status.
    grpc: i32,
    /// Seconds after which the same request is to come again; null if it never may.
    retry_after: Option<u32>,
}

impl PublishedError {
    fn new(kind: Kind) -> Self {
        let Line { http, rpc, retry, when } = kind.line();
        Self { when, http: http.as_u16(), grpc: rpc, retry_after: retry }
    }
}

/// A JSON answer.
pub(crate) fn json(document: &impl Serialize) -> Response {
    // Maps with text keys and numbers that are finite always become JSON.
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn document(canonical: &str, digest: &Digest, headers: &HeaderMap) -> Response {
    let tag = format!("\"{digest}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(&tag)));
    let mut response =
        if known { Response::new(Body::empty()) } else { Response::new(Body::from(canonical.to_owned())) };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, JSON);
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, tag);
    }
    response
}
