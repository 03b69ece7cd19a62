//! Protocols: one file for each way in. A protocol turns a request into the pipeline's input, and its outcome into an answer.

pub(crate) mod cloudevents;
pub(crate) mod consent;
pub(crate) mod glean;
pub(crate) mod grpc;
pub(crate) mod otlp;
pub(crate) mod segment;

use axum::response::Response;
use candor_store::reply::Reply;
use schemars::JsonSchema;
use serde::Serialize;

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::Form;
use crate::head::gpc;
use crate::pipeline::{self, Done, Incoming, Signed};
use crate::published::json;
use crate::route::Call;

/// What is answered to events of the protocols that leave the answer to the server.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Taken<'a> {
    /// How many of them must not be sent again as they are, although the request was taken.
    rejected: u64,
    /// Why, by declared names; empty if there are none.
    message: &'a str,
}

/// Hands a body to the pipeline, and notes what became of it.
pub(crate) async fn take_in(call: Call<'_>, form: Form, sent: Sent) -> Result<Reply, Refusal> {
    take_in_signed(call, form, sent, None).await.map(|done| done.reply)
}

/// The same for a door where subjects may sign.
pub(crate) async fn take_in_signed(
    call: Call<'_>,
    form: Form,
    sent: Sent,
    signed: Option<Signed>,
) -> Result<Done, Refusal> {
    let service = call.service;
    let source = call.source()?;
    call.note.bytes = sent.len() as u64;
    service.metrics.received(&source.name, sent.len() as u64);
    let incoming = Incoming { form, sent, gpc: gpc(call.headers), signed };
    let done = pipeline::take_in(service, source, incoming).await?;
    call.note.rows = done.rows;
    call.note.repeat = done.repeat;
    // A repeat leaves nothing in the store that would remember its nonce.
    call.note.is_nonce_kept = done.receipt.is_some() && !done.repeat;
    Ok(done)
}

/// The answer to events.
pub(crate) fn taken(reply: &Reply) -> Response {
    json(&Taken { rejected: reply.rejected, message: &reply.message })
}
