//! OTLP over gRPC (opentelemetry.io/docs/specs/otlp, "OTLP/gRPC"): unary `Export` calls on the HTTP/2 of any listener.
//!
//! A call is a POST whose body is one message behind five bytes, and whose outcome is in trailers. The message goes the way
//! that HTTP bodies go: why no framework does this is in `docs/decisions/0010-grpc-framing.md`.

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use candor_policy::catalogue::Signal;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_body_util::{BodyExt, Full};

use crate::body::Sent;
use crate::error::{Kind, Line, Refusal};
use crate::form::Form;
use crate::head::{Encoding, grpc_encoding, media_type};
use crate::protocol::otlp::{self, Format};
use crate::protocol::take_in;
use crate::route::Call;

pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(crate) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// `LogsService.Export`, `MetricsService.Export`, `TraceService.Export`.
pub(crate) async fn export(call: Call<'_>, signal: Signal) -> Result<Response, Refusal> {
    let service = call.service;
    let sent = Sent::message(encoding(call.headers)?, call.body, &service.limits, service.budget.lease()).await?;
    let reply = take_in(call, Form::Otlp(signal, Format::Protobuf), sent).await?;
    Ok(answer(&otlp::export_response(&reply)))
}

/// Whether a request is gRPC: HTTP/1.1 has trailers that clients do not read.
pub(crate) fn is_call(parts: &Parts) -> bool {
    let media_type = media_type(&parts.headers).filter(|_| parts.version >= Version::HTTP_2);
    media_type.is_some_and(|found| found == "application/grpc" || found == "application/grpc+proto")
}

/// A refusal: all in headers, since nothing else follows.
pub(crate) fn refuse(refusal: &Refusal) -> Response {
    let Line { rpc, retry, .. } = refusal.kind.line();
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, MEDIA_TYPE);
    out.insert(STATUS, HeaderValue::from(rpc));
    out.insert(ACCEPT_ENCODING, accepted());
    out.extend(HeaderValue::from_str(&percent_encoded(&refusal.message)).ok().map(|text| (MESSAGE, text)));
    if let Some(seconds) = retry {
        let details = STANDARD_NO_PAD.encode(otlp::status_with_retry(rpc, &refusal.message, seconds));
        out.extend(HeaderValue::from_str(&details).ok().map(|text| (DETAILS, text)));
    }
    response
}

fn answer(message: &[u8]) -> Response {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(0));
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// How messages that say they are compressed are.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    grpc_encoding(headers).ok_or_else(|| {
        let names = Encoding::NAMES.join(", ");
        Refusal::new(
            Kind::Unimplemented,
            format!("the grpc-encoding is not one that is taken here: send one of {names}"),
        )
    })
}

fn accepted() -> HeaderValue {
    HeaderValue::from_str(&Encoding::NAMES.join(",")).unwrap_or(HeaderValue::from_static("identity"))
}

/// Text as `grpc-message` has it: visible ASCII and blanks but `%`, everything else as `%XX`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_a_header() {
        assert_eq!(percent_encoded("plain text: 50%"), "plain text: 50%25");
        assert_eq!(percent_encoded("ä\r\n"), "%C3%A4%0D%0A");
        let refused = refuse(&Refusal::new(Kind::Malformed, "line\nfeed"));
        assert_eq!(refused.headers()[MESSAGE], "line%0Afeed");
        assert_eq!(refused.headers()[STATUS], "3");
        assert!(!refused.headers().contains_key(DETAILS));
    }

    #[test]
    fn only_what_may_be_retried_has_retry_info() {
        for kind in Kind::ALL {
            let refused = refuse(&Refusal::new(kind, "why"));
            let details = refused.headers().get(DETAILS).map(|value| STANDARD_NO_PAD.decode(value).unwrap());
            assert_eq!(details.is_some(), kind.line().retry.is_some(), "{kind:?}");
            if let Some(details) = details {
                let ends = b"type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
                assert!(details.ends_with(ends), "a delay of one second");
            }
        }
    }
}
