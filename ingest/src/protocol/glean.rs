//! `POST` and `PUT /glean/TOKEN/submit/APP/PING/VERSION/UUID`: pings of Mozilla's Glean SDK, and what its edge servers answer beside.
//!
//! The SDK sends no credential, so the token is part of the base path that it is given as its server. It deletes a ping on any 4xx, 429
//! included, and keeps it on any 5xx: [`crate::route::Errors::Ping`] sees to it that nothing temporary is 4xx here. A ping's UUID is its
//! identity. The version and the Content-Type are not looked at.
//!
//! A ping named `deletion-request` says that the user opted out. It withdraws every purpose of the subject that it names, durably
//! before it is answered, and then goes the way of any ping, if the catalogue declares it. If not it is no event that was refused: it
//! was heard, and only its UUID is remembered.

use axum::response::Response;
use candor_policy::batch::{DecodeTally, Received};
use candor_policy::catalogue::FieldPath;
use candor_store::store::withdraw::withdrawal;
use candor_wire::glean::{self, Submission};
use candor_wire::identified::Identified;
use schemars::JsonSchema;
use serde::Serialize;

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::{Events, Form, KnownBy};
use crate::path::is_uuid;
use crate::protocol::{take_in, taken};
use crate::published::json;
use crate::route::Call;
use crate::service::Service;
use crate::source::Source;

pub(crate) const SUBMIT: &str = "/glean/{token}/submit/{app}/{ping}/{version}/{uuid}";

/// The ping of a user who opted out.
const DELETION_REQUEST: &str = "deletion-request";

/// What `GET /__version__` answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Version {
    /// That of the service.
    version: &'static str,
}

/// Takes in a ping.
pub(crate) async fn submit(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let (app, ping) = (call.parameter("app")?, call.parameter("ping")?);
    let uuid = call.parameter("uuid")?;
    if !is_uuid(uuid) {
        return Err(Refusal::malformed("the last part of the path must be the ping's UUID"));
    }
    let form = form(app.to_owned(), ping.to_owned(), uuid.to_ascii_lowercase());
    let sent = Sent::read_untyped(call.headers, call.body, &service.limits, service.budget.lease()).await?;
    if ping == DELETION_REQUEST {
        let source = call.source()?;
        // A ping that comes again after its answer was lost must not undo what the user said since.
        if !service.store.is_known(&form.digest(&service.store, &source.name, &[])).await? {
            withdraw(service, source, sent.copy(service.budget.lease())?).await?;
        }
    }
    Ok(taken(&take_in(call, form, sent).await?))
}

/// `GET /__version__`.
pub(crate) fn version() -> Response {
    json(&Version { version: env!("CARGO_PKG_VERSION") })
}

fn form(app: String, ping: String, uuid: String) -> Form {
    let known_by = KnownBy::Id(uuid.clone());
    let decode = move |body: &[u8], keys: &_, limits: &_| {
        let submission = Submission { app: &app, ping: &ping, document_id: &uuid };
        let decoded = glean::decode_ping(submission, body, keys, limits)?;
        if ping == DELETION_REQUEST && decoded.received.tally().undeclared_events > 0 {
            return Ok(Identified {
                received: Received::new(Vec::new(), DecodeTally::default()),
                event_ids: Vec::new(),
            });
        }
        Ok(decoded)
    };
    Form::Events(Events { protocol: "glean", known_by, decode: Box::new(decode) })
}

/// Records that the subject of a ping withdrew every purpose. When it returns, that is durable and in force.
async fn withdraw(service: &Service, source: &Source, sent: Sent) -> Result<(), Refusal> {
    let Some(FieldPath::Attribute(key)) = source.subject.clone() else { return Err(nobody()) };
    let limits = service.limits.clone();
    let subject = service.workers.run(move || {
        let plain = sent.decompress(limits.decompressed_bytes)?;
        glean::subject(&plain.bytes, &key, &limits.decode()).map_err(Refusal::from)
    });
    let subject = subject.await??.ok_or_else(nobody)?;
    // Of whoever was erased there is nothing left to withdraw.
    if service.store.is_erased(&service.store.keys().ledger_id(&subject)) {
        return Ok(());
    }
    let policy = service.plan.policy();
    let names = policy.purposes.iter().map(|purpose| purpose.name.clone()).collect();
    service.store.record_consent(withdrawal(subject, names, policy), &source.name).await?;
    service.metrics.consented(&source.name);
    Ok(())
}

fn nobody() -> Refusal {
    Refusal::malformed("a deletion-request must hold the attribute that `subject` of its source in sources.toml names")
}
