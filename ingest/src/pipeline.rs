//! The way of an event through the service, top to bottom: decode, admit, clear, append, reply.

use std::sync::Arc;

use candor_policy::batch::{Cleared, Evidence};
use candor_store::reply::Reply;
use candor_store::store::{Appended, BatchDigest};
use candor_wire::identified::{Identified, ids_of_all};
use tokio::runtime::Handle;

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::{Form, digest_of_events};
use crate::guard;
use crate::limit::Lease;
use crate::protocol::otlp;
use crate::service::Service;
use crate::source::Source;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    /// Rows that are durable now because of it.
    pub(crate) rows: u64,
    /// Whether the same request was stored before.
    pub(crate) repeat: bool,
}

/// Takes in a request. When it returns, what is stored of it is durable: only then may the client hear of it.
pub(crate) async fn take_in(
    service: &Arc<Service>,
    source: &Arc<Source>,
    form: Form,
    sent: Sent,
    gpc: bool,
) -> Result<Done, Refusal> {
    // Time of receipt is before the look at consent: a grant that comes in between is then not retroactive.
    let received_at = service.clock.now();
    let evidence = Evidence { source: Arc::clone(&source.name), received_at, gpc, certified: None };
    let (worker, sender) = (Arc::clone(service), Arc::clone(source));
    let step = service.workers.run(move || prepare(&worker, &sender, form, sent, evidence)).await??;
    // The lease is held to the end: the cleared rows take its place in memory.
    let (cleared, digest, reply, _lease) = match step {
        Step::Known(reply) => return Ok(repeated(service, source, reply)),
        Step::Empty => return Ok(Done { reply: Reply::default(), rows: 0, repeat: false }),
        Step::Cleared { cleared, digest, reply, lease } => (cleared, digest, reply, lease),
    };
    let undeclared = cleared.rejected().undeclared_attributes;
    match service.store.append(*cleared, digest, reply).await? {
        Appended::Stored { reply, counts } => {
            service.metrics.stored(&source.name, &counts, undeclared);
            Ok(Done { reply, rows: counts.iter().map(|count| count.stored).sum(), repeat: false })
        }
        Appended::Repeat(reply) => Ok(repeated(service, source, reply)),
    }
}

/// What a worker makes of a body.
enum Step {
    /// The same request is durable already.
    Known(Reply),
    /// There is no record in it.
    Empty,
    /// Rows and account.
    Cleared { cleared: Box<Cleared>, digest: BatchDigest, reply: Reply, lease: Lease },
}

/// Decode, admit, clear: everything that costs CPU, on a worker.
fn prepare(service: &Service, source: &Source, form: Form, sent: Sent, evidence: Evidence) -> Result<Step, Refusal> {
    let limits = &service.limits;
    let index = source.keys.as_ref().ok_or_else(guard::bug)?;
    let keys = service.store.keys();

    let plain = sent.decompress(limits.decompressed_bytes)?;
    let mut digest = form.digest(&service.store, &source.name, &plain.bytes);
    if let Some(reply) = repeat_of(service, &digest)? {
        return Ok(Step::Known(reply));
    }
    let (signal, by_events) = (form.signal(), form.known_by_events());
    let Identified { received, event_ids } = form.decode(&plain.bytes, index, &limits.decode())?;
    drop(plain.bytes);
    let records = received.records();
    if records == 0 {
        return Ok(Step::Empty);
    }
    let admitted = received.admit(evidence, &keys);
    if let (Some(protocol), Some(ids)) = (by_events, ids_of_all(&event_ids)) {
        digest = digest_of_events(&service.store, (&source.name, protocol), records, &ids, admitted.subjects());
        if let Some(reply) = repeat_of(service, &digest)? {
            return Ok(Step::Known(reply));
        }
    }
    let consent = service.store.consent(admitted.subjects());
    let cleared = service.plan.clear(admitted, &consent, &keys);
    let reply = otlp::reply(signal, cleared.rejected());
    Ok(Step::Cleared { cleared: Box::new(cleared), digest, reply, lease: plain.lease })
}

/// What a request was told that is durable already. The ledger may have to be read, for which a worker may wait.
fn repeat_of(service: &Service, digest: &BatchDigest) -> Result<Option<Reply>, Refusal> {
    Ok(Handle::current().block_on(service.store.repeat_of(digest))?)
}

fn repeated(service: &Service, source: &Source, reply: Reply) -> Done {
    service.metrics.repeated(&source.name);
    Done { reply, rows: 0, repeat: true }
}
