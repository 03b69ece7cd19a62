//! The way of an event through the service, top to bottom: decode, admit, clear, append, reply.

use std::sync::Arc;

use candor_policy::batch::{Admitted, Cleared, Evidence};
use candor_policy::consent::ConsentSnapshot;
use candor_policy::subject::SubjectId;
use candor_store::reply::Reply;
use candor_store::signed::{ConsentAt, SignedAppended, SignedBatch};
use candor_store::store::{Appended, BatchDigest};
use candor_wire::identified::{Identified, ids_of_all};
use candor_wire::reason::Reason;
use candor_wire::receipt::SignedReceipt;
use tokio::runtime::Handle;

use crate::body::Sent;
use crate::error::Refusal;
use crate::form::{Form, digest_of_events};
use crate::guard;
use crate::limit::Lease;
use crate::protocol::otlp;
use crate::service::Service;
use crate::signer::check_body;
use crate::source::Source;

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) form: Form,
    pub(crate) sent: Sent,
    /// Whether the request itself opts out.
    pub(crate) gpc: bool,
    /// What its head says, if a subject signed it.
    pub(crate) signed: Option<Signed>,
}

/// A signed request: whose it is, and what was signed.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) subject: SubjectId,
    pub(crate) batch: SignedBatch,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    /// Rows that are durable now because of it.
    pub(crate) rows: u64,
    /// Whether the same request was stored before.
    pub(crate) repeat: bool,
    /// For whoever signed.
    pub(crate) receipt: Option<Box<SignedReceipt>>,
}

/// Takes in a request. When it returns, what is stored of it is durable: only then may the client hear of it.
pub(crate) async fn take_in(service: &Arc<Service>, source: &Arc<Source>, incoming: Incoming) -> Result<Done, Refusal> {
    // Time of receipt is before the look at consent: a grant that comes in between is then not retroactive.
    let received_at = service.clock.now();
    let certified = incoming.signed.as_ref().map(|signed| signed.subject);
    let evidence = Evidence { source: Arc::clone(&source.name), received_at, gpc: incoming.gpc, certified };
    let announced = incoming.signed.is_some().then(|| service.store.announce_batch());
    let (worker, sender) = (Arc::clone(service), Arc::clone(source));
    let step = service.workers.run(move || prepare(&worker, &sender, incoming, evidence)).await??;
    // The lease is held to the end: the cleared rows take its place in memory.
    let (cleared, identity, reply, _lease) = match step {
        Step::Known(told) => return Ok(repeated(service, source, told)),
        Step::Empty => return Ok(Done { reply: Reply::default(), rows: 0, repeat: false, receipt: None }),
        Step::Cleared { cleared, identity, reply, lease } => (cleared, identity, reply, lease),
    };
    let undeclared = cleared.rejected().undeclared_attributes;
    let (reply, counts, receipt) = match identity {
        Identity::Digest(digest) => match service.store.append(*cleared, digest, reply).await? {
            Appended::Stored { reply, counts } => (reply, counts, None),
            Appended::Repeat(reply) => return Ok(repeated(service, source, (reply, None))),
        },
        Identity::Number(batch) => {
            let announced = announced.unwrap_or_else(|| service.store.announce_batch());
            match service.store.append_signed(*cleared, *batch, reply, announced).await? {
                SignedAppended::Stored { reply, counts, receipt } => (reply, counts, Some(receipt)),
                SignedAppended::Repeat { reply, receipt } => {
                    return Ok(repeated(service, source, (reply, Some(receipt))));
                }
                SignedAppended::TooFar => return Err(too_far()),
                SignedAppended::Erased => return Err(crate::signer::closed()),
            }
        }
    };
    service.metrics.stored(&source.name, &counts, undeclared);
    Ok(Done { reply, rows: counts.iter().map(|count| count.stored).sum(), repeat: false, receipt })
}

/// What a client was told, and its receipt if it signed.
type Told = (Reply, Option<Box<SignedReceipt>>);

/// What a worker makes of a body.
enum Step {
    /// The same request is durable already.
    Known(Told),
    /// There is no record in it.
    Empty,
    /// Rows and account.
    Cleared { cleared: Box<Cleared>, identity: Identity, reply: Reply, lease: Lease },
}

/// What tells a request from all others.
enum Identity {
    /// Its bytes, or the ids that are in them: for a while.
    Digest(BatchDigest),
    /// The number that its subject gave it: for ever.
    Number(Box<SignedBatch>),
}

/// Decode, admit, clear: everything that costs CPU, on a worker.
fn prepare(service: &Service, source: &Source, incoming: Incoming, evidence: Evidence) -> Result<Step, Refusal> {
    let limits = &service.limits;
    let index = source.keys.as_ref().ok_or_else(guard::bug)?;
    let keys = service.store.keys();
    let Incoming { form, sent, signed, gpc: _ } = incoming;

    if let Some(signed) = &signed {
        check_body(&signed.batch.body, &sent)?;
    }
    let plain = sent.decompress(limits.decompressed_bytes)?;
    let mut identity = match signed {
        Some(signed) => Identity::Number(Box::new(signed.batch)),
        None => Identity::Digest(form.digest(&service.store, &source.name, &plain.bytes)),
    };
    if let Some(told) = repeat_of(service, &identity)? {
        return Ok(Step::Known(told));
    }
    let (signal, by_events, has_id) = (form.signal(), form.known_by_events(), form.has_id());
    let Identified { received, event_ids } = form.decode(&plain.bytes, index, &limits.decode())?;
    drop(plain.bytes);
    let records = received.records();
    // A number is used up even by nothing: the next one must not wait for it. An id may stand for what was done already.
    if records == 0 && !has_id && matches!(identity, Identity::Digest(_)) {
        return Ok(Step::Empty);
    }
    let admitted = received.admit(evidence, &keys);
    if let (Some(protocol), Some(ids), Identity::Digest(digest)) = (by_events, ids_of_all(&event_ids), &mut identity) {
        *digest = digest_of_events(&service.store, (&source.name, protocol), records, &ids, admitted.subjects());
        if let Some(told) = repeat_of(service, &identity)? {
            return Ok(Step::Known(told));
        }
    }
    let consent = consent_of(service, &admitted, &identity)?;
    let cleared = service.plan.clear(admitted, &consent, &keys);
    let reply = otlp::reply(signal, cleared.rejected());
    Ok(Step::Cleared { cleared: Box::new(cleared), identity, reply, lease: plain.lease })
}

/// What a request was told that is durable already. The ledger may have to be read, for which a worker may wait.
fn repeat_of(service: &Service, identity: &Identity) -> Result<Option<Told>, Refusal> {
    let told = match identity {
        Identity::Digest(digest) => {
            Handle::current().block_on(service.store.repeat_of(digest))?.map(|reply| (reply, None))
        }
        Identity::Number(batch) => {
            let known = Handle::current().block_on(service.store.receipt_of(&batch.subject, batch.number))?;
            known.map(|(reply, receipt)| (reply, Some(Box::new(receipt))))
        }
    };
    Ok(told)
}

/// The consent of a batch's subjects: as it is now; of a batch that says under which statement it was collected, what held
/// then and holds now.
fn consent_of(service: &Service, admitted: &Admitted, identity: &Identity) -> Result<ConsentSnapshot, Refusal> {
    let now = service.store.consent(admitted.subjects());
    let Identity::Number(batch) = identity else { return Ok(now) };
    let Some(sequence) = batch.consent else { return Ok(now) };
    // The generation is from before the look: the appender sees what changed in between.
    match Handle::current().block_on(service.store.consent_at(&batch.subject, sequence))? {
        ConsentAt::State(state) => Ok(ConsentSnapshot::new(now.generation(), vec![state])),
        ConsentAt::Missing => {
            let mend =
                "the statement that Candor-Consent names is not here: send the statements, then this batch again";
            Err(Refusal::because(Reason::ConsentMissing, mend))
        }
    }
}

fn too_far() -> Refusal {
    let mend = "too many numbers below this one are missing: GET /v1/subject/head says which; send those first";
    Refusal::because(Reason::BatchTooFar, mend)
}

fn repeated(service: &Service, source: &Source, (reply, receipt): Told) -> Done {
    service.metrics.repeated(&source.name);
    Done { reply, rows: 0, repeat: true, receipt }
}
