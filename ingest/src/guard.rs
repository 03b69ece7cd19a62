//! Around every handler: who calls, the deadline, bugs, refusals as answers, one log line and one count a request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use candor_wire::reason::Reason;
use candor_wire::signature;
use futures::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use hyper::body::Body as _;

use crate::connection::Connection;
use crate::error::{Kind, Refusal, line_of};
use crate::head::grpc_timeout;
use crate::protocol::otlp::Format;
use crate::protocol::{grpc, otlp};
use crate::role::Access;
use crate::route::{Call, Deadline, Errors, Note, ROUTES, Route};
use crate::service::Service;
use crate::signer::{self, Signer};
use crate::source::Source;
use crate::subject::is_stranger;
use crate::{auth, body};

/// Label of requests that no route matches: their paths come from outside.
const UNMATCHED: &str = "unmatched";

/// Answers a request of `route`.
pub(crate) async fn answer(route: &'static Route, service: Arc<Service>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, mut body) = request.into_parts();
    let mut note = Note::default();
    let caller = admit(route, &service, &parts, !body.is_end_stream());
    let outcome = match &caller {
        Ok(Caller { source, signer }) => {
            let (source, signer) = (source.as_ref(), signer.as_ref());
            let (path, query, headers) = (parts.uri.path(), parts.uri.query(), &parts.headers);
            let (body, note) = (&mut body, &mut note);
            let call = Call { service: &service, source, signer, route, path, query, headers, body, note };
            handle(route, call).await
        }
        Err(refusal) => Err(refusal.clone()),
    };
    let outcome = keep_nonce(&service, caller.as_ref().ok(), note, outcome).await;
    let outcome = outcome.map_err(|refusal| Refusal { kind: route.errors.kind(refusal.kind), ..refusal });
    let Caller { source, signer } = caller.unwrap_or_default();
    let why = outcome.as_ref().err().map(|refusal| refusal.message.clone());
    let reason = outcome.as_ref().err().and_then(|refusal| refusal.reason);
    if signer.is_some() || reason.is_some() {
        service.metrics.signed(came_to(reason, outcome.is_ok(), note));
    }
    let (status, response) = match outcome {
        Ok(response) => (response.status(), response),
        Err(refusal) => (refusal.kind.status(), refuse(&refusal, route.errors, &service, &parts, body)),
    };
    log(route.path, source.as_deref(), status, note, started, why.as_deref());
    service.metrics.answered(route.path, status.as_u16(), started.elapsed().as_secs_f64());
    response
}

/// Answers a request that no route matches (404), or whose path has another method (405).
pub(crate) fn unmatched(service: &Service, request: Request, status: StatusCode) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let refusal = if status == StatusCode::METHOD_NOT_ALLOWED {
        Refusal::new(Kind::WrongMethod, "this path takes another method: the header Allow says which")
    } else {
        Refusal::new(
            Kind::UnknownPath,
            "there is nothing at this path: OTLP goes to POST /v1/logs, /v1/metrics and /v1/traces, CloudEvents to /v1/events, \
             Segment to /v1/batch, and the server of Glean is /glean/TOKEN",
        )
    };
    let path = parts.uri.path();
    let errors = ROUTES.iter().find(|route| route.matches(path)).map_or(Errors::Json, |route| route.errors);
    let errors = if grpc::is_call(&parts) { Errors::Grpc } else { errors };
    let response = refuse(&refusal, errors, service, &parts, body);
    log(UNMATCHED, None, status, Note::default(), started, None);
    service.metrics.answered(UNMATCHED, status.as_u16(), started.elapsed().as_secs_f64());
    response
}

/// What a client is told when a handler met a bug: it may well work the next time, and a 500 would lose the batch.
pub(crate) fn bug() -> Refusal {
    Refusal::again("the service met a bug in itself")
}

/// Who calls: a source by its token, a subject by its signature, or both.
#[derive(Default)]
struct Caller {
    source: Option<Arc<Source>>,
    signer: Option<Signer>,
}

/// Who calls, if he may, and not too often. Nothing of the body is read for it.
fn admit(route: &Route, service: &Service, parts: &Parts, has_body: bool) -> Result<Caller, Refusal> {
    if route.errors == Errors::Grpc && !grpc::is_call(parts) {
        let mend = "this is a gRPC method: call it over HTTP/2 with the Content-Type application/grpc";
        return Err(Refusal::new(Kind::UnsupportedMedia, mend));
    }
    let source = auth::caller(route, &service.sources, parts)?;
    match &source {
        Some(source) => service.rates.take(source)?,
        None if route.access != Access::Public => {
            // A signature costs more to check than to make up: first of all, how often somebody tries.
            service.strangers.take(parts.extensions.get::<Arc<Connection>>().map(|connection| connection.peer))?;
        }
        None => {}
    }
    let must_sign = match &source {
        Some(source) => source.signed,
        None => route.access != Access::Public,
    };
    if must_sign {
        let signer = Signer::of(service, parts, source.is_some(), has_body)?;
        return Ok(Caller { source, signer: Some(signer) });
    }
    if source.is_some() {
        signer::none(parts)?;
    }
    Ok(Caller { source, signer: None })
}

/// Makes the nonce of a signed request durable before its answer leaves, where nothing that it stored does. Of a refused one
/// as well: what is refused for now, such as `consent_missing`, could be taken when it is replayed. Of a stranger without a
/// token it is in memory alone: whoever can make keys would have the ledger written as often as he likes.
async fn keep_nonce(
    service: &Service,
    caller: Option<&Caller>,
    note: Note,
    outcome: Result<Response, Refusal>,
) -> Result<Response, Refusal> {
    let Some(Caller { source, signer: Some(signer) }) = caller else { return outcome };
    if !note.is_nonce_kept && (source.is_some() || !is_stranger(service, &signer.ledger)) {
        service.store.keep_nonce(signer.nonce).await?;
    }
    outcome
}

/// What a signed request came to, in one word.
fn came_to(reason: Option<Reason>, is_ok: bool, note: Note) -> &'static str {
    match reason {
        Some(reason) => reason.name(),
        None if !is_ok => "refused",
        None if note.repeat => "repeat",
        None => "taken",
    }
}

/// What tells a device why, and what time it is: its clock may be wrong, whatever it was refused for.
fn tell_device(refusal: &Refusal, parts: &Parts, now: i64, out: &mut HeaderMap) {
    if refusal.reason.is_some() || signer::is_signed(parts) {
        out.insert(&signature::TIME, HeaderValue::from(now));
    }
    let Some(reason) = refusal.reason else { return };
    out.insert(&signature::REASON, HeaderValue::from_static(reason.name()));
    if let (Some(name), Some(detail)) = (line_of(reason).header, &refusal.detail) {
        out.extend(HeaderValue::from_str(detail).ok().map(|detail| (name.clone(), detail)));
    }
}

async fn handle(route: &Route, call: Call<'_>) -> Result<Response, Refusal> {
    let ours = call.service.limits.request_time();
    let theirs = Some(call.headers).filter(|_| route.errors == Errors::Grpc).and_then(grpc_timeout);
    let work = AssertUnwindSafe(route.handle(call)).catch_unwind();
    let done = match route.deadline {
        Deadline::Work => Ok(work.await),
        Deadline::Request => tokio::time::timeout(theirs.unwrap_or(ours).min(ours), work).await,
    };
    match done {
        Ok(Ok(outcome)) => outcome,
        // Nothing is half-stored: the store's own threads finish what they took, and a repeat is recognised.
        Ok(Err(_panic)) => Err(bug()),
        Err(_elapsed) if theirs.is_some_and(|theirs| theirs < ours) => {
            Err(Refusal::new(Kind::Deadline, "the call took longer than its grpc-timeout: send the same request again"))
        }
        Err(_elapsed) => Err(Refusal::again("the request took too long")),
    }
}

fn refuse(refusal: &Refusal, errors: Errors, service: &Service, parts: &Parts, rest: Body) -> Response {
    let mut response = match errors {
        Errors::Grpc if grpc::is_call(parts) => grpc::refuse(refusal),
        _ => refuse_over_http(refusal, errors, parts),
    };
    tell_device(refusal, parts, service.clock.now(), response.headers_mut());
    drain(parts, rest, refusal.kind, &mut response);
    response
}

fn refuse_over_http(refusal: &Refusal, errors: Errors, parts: &Parts) -> Response {
    let json = errors != Errors::Otlp || Format::of(&parts.headers) == Some(Format::Json);
    let (content_type, bytes) = if json {
        let status = serde_json::json!({ "code": refusal.kind.rpc_code(), "message": refusal.message });
        (Format::Json.media_type(), format!("{status}\n").into_bytes())
    } else {
        (Format::Protobuf.media_type(), otlp::status(refusal.kind.rpc_code(), &refusal.message))
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = refusal.kind.status();
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    out.extend(refusal.kind.line().retry.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    match refusal.kind {
        Kind::Unauthenticated => {
            out.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"candor\""));
        }
        Kind::WrongMethod => {
            for route in ROUTES.iter().filter(|route| route.matches(parts.uri.path())) {
                let allow = if route.method == http::Method::GET { "GET, HEAD" } else { route.method.as_str() };
                out.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
            }
        }
        _ => {}
    }
    response
}

/// The answer leaves at once; what is still coming of the body is read after it, so that the client gets to see it.
fn drain(parts: &Parts, mut rest: Body, kind: Kind, response: &mut Response) {
    // In HTTP/2 a stream that is over says so by itself, and leaves the others alone. A client that asks before it sends
    // (`Expect`) has sent nothing yet, and reading would ask it to.
    if parts.version >= Version::HTTP_2 || parts.headers.contains_key(EXPECT) || rest.is_end_stream() {
        return;
    }
    if kind == Kind::TooLarge {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let busy = parts.extensions.get::<Arc<Connection>>().map(Connection::busy);
    tokio::spawn(async move {
        body::drain(&mut rest).await;
        drop((rest, busy));
    });
}

/// One line a request: names that the fleet declares and numbers, never a value, a path or a header of the request.
fn log(
    route: &'static str,
    source: Option<&Source>,
    status: StatusCode,
    note: Note,
    started: Instant,
    why: Option<&str>,
) {
    let source = source.map_or("-", |source| &source.name);
    let (status, micros) = (status.as_u16(), started.elapsed().as_micros() as u64);
    let Note { bytes, rows, repeat, .. } = note;
    match why {
        None => tracing::debug!(route, source, status, bytes, rows, repeat, micros, "answered"),
        Some(why) if status < 500 => tracing::info!(route, source, status, bytes, micros, why, "refused"),
        Some(why) => tracing::warn!(route, source, status, bytes, micros, why, "asked to come again"),
    }
}
