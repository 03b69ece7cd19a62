//! `POST /v1/events`: CloudEvents 1.0 over HTTP (cloudevents.io, "HTTP Protocol Binding"), structured, in batches and binary.

use axum::response::Response;
use candor_wire::cloudevents::{decode_batch, decode_binary, decode_structured};
use http::HeaderMap;

use crate::body::Sent;
use crate::error::{Kind, Refusal};
use crate::form::{Events, Form, KnownBy};
use crate::head::{event_attributes, has_event_attributes, media_type};
use crate::protocol::{take_in, taken};
use crate::route::Call;

pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";

/// What every media type of the event formats begins with.
const FORMATS: &str = "application/cloudevents";

/// How the events come.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Structured,
    Batch,
    Binary,
}

/// Takes in one event, or a batch of them.
pub(crate) async fn events(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let mode = Mode::of(call.headers)?;
    let form = form(&mode, call.headers)?;
    let sent = Sent::read_untyped(call.headers, call.body, &service.limits, service.budget.lease()).await?;
    Ok(taken(&take_in(call, form, sent).await?))
}

impl Mode {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let media_type = media_type(headers).unwrap_or_default();
        match media_type.as_str() {
            STRUCTURED => Ok(Self::Structured),
            BATCH => Ok(Self::Batch),
            other if !other.starts_with(FORMATS) && has_event_attributes(headers) => Ok(Self::Binary),
            _ => {
                let mend = format!("send CloudEvents as {STRUCTURED} or {BATCH}, or in binary mode with ce- headers");
                Err(Refusal::new(Kind::UnsupportedMedia, format!("this is no event in a form that is taken: {mend}")))
            }
        }
    }
}

fn form(mode: &Mode, headers: &HeaderMap) -> Result<Form, Refusal> {
    let (head, decode): (_, crate::form::Decode) = match mode {
        Mode::Structured => (Vec::new(), Box::new(decode_structured)),
        Mode::Batch => (Vec::new(), Box::new(decode_batch)),
        Mode::Binary => {
            let attributes = event_attributes(headers).map_err(Refusal::malformed)?;
            let head = attributes.iter().flat_map(|(name, value)| [name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
            let head = head.flatten().copied().collect();
            let decode = move |body: &[u8], keys: &_, limits: &_| {
                let headers: Vec<_> = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                decode_binary(&headers, body, keys, limits)
            };
            (head, Box::new(decode))
        }
    };
    Ok(Form::Events(Events { protocol: "cloudevents", known_by: KnownBy::Events { head }, decode }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static [u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_mode_follows_from_the_headers() {
        let of = |pairs: &[_]| Mode::of(&headers(pairs)).map_err(|refusal| refusal.kind);
        assert_eq!(of(&[("content-type", b"Application/CloudEvents+JSON; charset=utf-8")]), Ok(Mode::Structured));
        assert_eq!(of(&[("content-type", b"application/cloudevents-batch+json")]), Ok(Mode::Batch));
        for content_type in [b"application/json".as_slice(), b"image/png", b"\xff"] {
            assert_eq!(of(&[("content-type", content_type), ("ce-id", b"1")]), Ok(Mode::Binary));
            assert_eq!(of(&[("content-type", content_type)]), Err(Kind::UnsupportedMedia));
        }
        assert_eq!(of(&[("ce-id", b"1")]), Ok(Mode::Binary));
        assert_eq!(of(&[]), Err(Kind::UnsupportedMedia));
        // A format that is not read is none, whatever headers are beside it.
        let avro = [("content-type", b"application/cloudevents+avro".as_slice()), ("ce-id", b"1")];
        assert_eq!(of(&avro), Err(Kind::UnsupportedMedia));
    }
}
