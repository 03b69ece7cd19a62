//! One signed request and its answer. A clock that errs and a nonce that was used are mended here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_wire::identity::SubjectKey;
use candor_wire::reason::Reason;
use candor_wire::signature::{self, RequestHead};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::client::message;
use crate::error::Error;
use crate::retry_after;
use crate::rim::{Clock, Random, Transport};

/// Seconds for which a signature holds.
const WINDOW: i64 = 120;
/// How often one request is signed anew at once.
const MOST_SIGNATURES: u32 = 4;

/// What signing needs besides the key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// Microseconds by which the service's clock is ahead.
    pub offset: i64,
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: &'static str,
    query: Option<String>,
    headers: HeaderMap,
    body: Option<Bytes>,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How long it wants to be left alone.
    asked: Option<Duration>,
}

impl Caller {
    /// What the service's clock shows, as far as is known: µs UTC.
    pub(crate) fn time(&self) -> i64 {
        self.clock.now().saturating_add(self.offset)
    }

    /// Signs and sends; whatever the answer is.
    pub(crate) async fn call<T: Transport>(
        &mut self,
        transport: &mut T,
        key: &SubjectKey,
        call: &Call,
    ) -> Result<Heard, Error> {
        let mut tries = 1;
        loop {
            let request = self.signed(transport, key, call)?;
            let heard = Heard::of(transport.exchange(request).await?, self.time());
            let mended = match heard.reason() {
                Some(Reason::SignatureTime) => heard.time().is_some_and(|time| {
                    self.offset = time.saturating_sub(self.clock.now());
                    true
                }),
                reason => reason == Some(Reason::NonceUsed),
            };
            if !mended || tries >= MOST_SIGNATURES {
                return Ok(heard);
            }
            tries += 1;
        }
    }

    fn signed<T: Transport>(&self, transport: &T, key: &SubjectKey, call: &Call) -> Result<Request<Bytes>, Error> {
        let path = format!("{}{}", transport.base(), call.path);
        let head = RequestHead {
            method: call.method.as_str(),
            authority: transport.authority(),
            path: &path,
            query: call.query.as_deref(),
            headers: &call.headers,
        };
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce)?;
        let created = self.time().div_euclid(1_000_000);
        let window = (created, created.saturating_add(WINDOW));
        let signed = signature::sign(key, &head, call.body.as_deref(), window, nonce).map_err(|_| Error::Crypto)?;
        let mut headers = call.headers.clone();
        if let Some(digest) = signed.content_digest {
            headers.insert(&signature::CONTENT_DIGEST, digest);
        }
        headers.insert(&signature::SIGNATURE_INPUT, signed.signature_input);
        headers.insert(&signature::SIGNATURE, signed.signature);
        let uri = call.query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let mut request = Request::new(call.body.clone().unwrap_or_default());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.parse().map_err(|_| Error::Address("its path cannot be used"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Call {
    pub(crate) fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, query: None, headers: HeaderMap::new(), body: None }
    }

    pub(crate) fn post(path: &'static str, content_type: &'static str, body: Bytes) -> Self {
        let call = Self { method: Method::POST, body: Some(body), ..Self::get(path) };
        call.with(&CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    pub(crate) fn query(self, query: String) -> Self {
        Self { query: Some(query), ..self }
    }

    pub(crate) fn for_fleet(self, fleet: &str) -> Result<Self, Error> {
        let fleet = HeaderValue::from_str(fleet);
        let fleet = fleet.map_err(|_| Error::Identity("the fleet's name fits no header".to_owned()))?;
        Ok(self.with(&signature::FLEET, fleet))
    }

    pub(crate) fn zstd(self) -> Self {
        self.with(&CONTENT_ENCODING, HeaderValue::from_static("zstd"))
    }

    pub(crate) fn with(mut self, name: &HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Heard {
    /// An answer that came at a time (µs UTC).
    pub(crate) fn of(response: http::Response<Bytes>, now: i64) -> Self {
        let (head, body) = response.into_parts();
        let asked = retry_after::asked(&head.headers, Some(now));
        Self { status: head.status, headers: head.headers, body, asked }
    }

    /// The reason of a refusal, if it gave one.
    pub(crate) fn reason(&self) -> Option<Reason> {
        if self.status.is_success() { None } else { Reason::of_name(self.header(&signature::REASON)) }
    }

    pub(crate) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
    }

    /// The service's clock, µs UTC.
    pub(crate) fn time(&self) -> Option<i64> {
        self.header(&signature::TIME).parse().ok()
    }

    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        self.asked
    }

    /// What it said, fit for people.
    pub(crate) fn message(&self) -> String {
        message(&self.body)
    }

    /// The body of a success.
    pub(crate) fn success(self) -> Result<Bytes, Error> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Error::Status { status: self.status, message: self.message() })
    }

    /// Whether the same may succeed a little later, whoever asks: what OTLP says, and what servers and ways to them do.
    pub(crate) fn is_temporary(&self) -> bool {
        self.status.is_server_error() || matches!(self.status.as_u16(), 408 | 425 | 429)
    }
}
