//! `POST /v1/batch`: Segment's HTTP API (segment.com, "HTTP Tracking API Source"), the batch that its libraries send.
//!
//! The write key is the token of the source, in the `Authorization` header. The `writeKey` that libraries repeat in the body is
//! passed over: one place decides who sends, and it is looked at before a byte of the body is read. The Content-Type is not looked at
//! either, since browsers send `text/plain` to be spared a question beforehand.

use axum::response::Response;
use candor_wire::segment::decode_batch;
use schemars::JsonSchema;
use serde::Serialize;

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::{Events, Form, KnownBy};
use crate::protocol::take_in;
use crate::published::json;
use crate::route::Call;

/// What the libraries read.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Success {
    /// Always true: whatever is not is an error.
    success: bool,
}

/// Takes in a batch of messages.
pub(crate) async fn batch(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let sent = Sent::read_untyped(call.headers, call.body, &service.limits, service.budget.lease()).await?;
    let known_by = KnownBy::Events { head: Vec::new() };
    let form = Form::Events(Events { protocol: "segment", known_by, decode: Box::new(decode_batch) });
    take_in(call, form, sent).await?;
    Ok(json(&Success { success: true }))
}
