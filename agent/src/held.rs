//! What a service holds of the holder of an identity, epoch by epoch: whoever has the seed may ask, on any machine.

use std::sync::Arc;
use std::time::Duration;

use candor_policy::hex;
use candor_wire::identity::{PublicKey, SubjectKey};
use candor_wire::reason::Reason;
use candor_wire::statement::Statement;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{Call, Caller, Heard};
use crate::error::Error;
use crate::identity::Identity;
use crate::rim::{Clock, Random, Transport};

/// So many epochs in a row that a service does not know end the search: epochs are numbered densely.
pub const UNKNOWN_EPOCHS: u32 = 2;

/// Most epochs of an identity that are asked for: with epochs of a day some 45 years. A service that claims to know every one, or
/// that each was erased, would otherwise be asked for ever.
pub const MOST_EPOCHS: u64 = if cfg!(test) { 64 } else { 1 << 14 };

/// Most receipts of an epoch that are asked for: one a second for twelve days, or one a minute for two years.
pub(crate) const MOST_RECEIPTS: usize = 1 << 20;

/// What a service says that knows more epochs than there are.
pub(crate) const NO_END: Error = Error::Answer("about epochs that come to an end");

/// How often one question is asked, and how long it waits in between at most.
pub(crate) const MOST_TRIES: u32 = 6;
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(20);

/// One epoch, as `GET /v1/subject` tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldEpoch {
    /// Its number; the service does not know it.
    #[serde(default)]
    pub epoch: u64,
    /// The subject's id, hex.
    pub subject: String,
    /// Statements, oldest first.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// The consent record of the newest.
    #[serde(default, rename = "records")]
    pub record: Value,
    /// Numbers of batches, where that was asked.
    #[serde(default)]
    pub batches: Option<Batches>,
    /// Rows, sealed and pending.
    #[serde(default)]
    pub rows: Vec<HeldRow>,
    /// The checkpoint of the log that they are told under, a note; none where there is no log.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// Files that the service has and cannot read: what they have of the subject is not in the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// The batch numbers that a service has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches {
    /// The next after the highest.
    pub next: u64,
    /// Those below it that it lacks.
    #[serde(default)]
    pub missing: Vec<u64>,
}

/// A row that is held, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Purpose.
    pub purpose: String,
    /// Stream.
    pub stream: String,
    /// Event.
    pub event: String,
    /// Date of receipt.
    pub received_date: String,
    /// Date on which retention removes it.
    #[serde(default)]
    pub goes_on: Option<String>,
    /// The file that it is in; none while it is not sealed.
    #[serde(default)]
    pub file: Option<String>,
    /// Number among the subject's batches that stored rows for the purpose.
    #[serde(default)]
    pub batch: Option<u64>,
    /// Sequence of the statement that it was stored under.
    #[serde(default)]
    pub consent_seq: Option<i64>,
    /// Digest of the policy that it was cleared under.
    pub policy: String,
    /// Field by field.
    #[serde(default)]
    pub fields: Vec<HeldField>,
}

/// A stored value, and what let it through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldField {
    /// Column of the table.
    pub column: String,
    /// The value.
    pub value: Value,
    /// Id of the rule.
    pub rule: String,
    /// Operator with its parameters.
    pub operator: String,
}

/// Asks a service for every epoch that it knows, each over a connection of its own. `watch` is told which is asked for.
///
/// # Errors
/// What the way to the service says; [`Error::Answer`] if it speaks of somebody else.
pub async fn ask<T: Transport>(
    identity: &Identity,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    transport: &mut T,
    mut watch: impl FnMut(u64),
) -> Result<Vec<HeldEpoch>, Error> {
    let mut caller = Caller { clock, random, offset: 0 };
    let (mut held, mut unknown) = (Vec::new(), 0);
    for epoch in 0..MOST_EPOCHS {
        watch(epoch);
        transport.part();
        let key = identity.key(epoch)?;
        let call = Call::get("/v1/subject").for_fleet(identity.fleet())?;
        let heard = patiently(&mut caller, transport, &key, &call).await?;
        if heard.reason() == Some(Reason::SubjectUnknown) {
            if is_erased(&mut caller, identity, transport, &key).await? {
                unknown = 0;
                continue;
            }
            unknown += 1;
            if unknown == UNKNOWN_EPOCHS {
                return Ok(held);
            }
            continue;
        }
        unknown = 0;
        let body = heard.success()?;
        let answer: HeldEpoch =
            serde_json::from_slice(&body).map_err(|_| Error::Answer("what a service holds of a subject"))?;
        if answer.subject != hex::encode(key.subject_id().as_bytes()) {
            return Err(Error::Answer("about the subject that asked"));
        }
        held.push(HeldEpoch { epoch, ..answer });
    }
    Err(NO_END)
}

/// Whether an epoch of which the service has nothing was erased: others may follow it.
pub(crate) async fn is_erased<T: Transport>(
    caller: &mut Caller,
    identity: &Identity,
    transport: &mut T,
    key: &SubjectKey,
) -> Result<bool, Error> {
    let call = Call::get(crate::erasure::PATH).for_fleet(identity.fleet())?;
    let heard = patiently(caller, transport, key, &call).await?;
    if heard.reason() == Some(Reason::SubjectUnknown) {
        return Ok(false);
    }
    heard.success().map(|_| true)
}

/// Asks again, when the service wants it, whoever is told to wait: it takes a few questions a second from an address.
pub(crate) async fn patiently<T: Transport>(
    caller: &mut Caller,
    transport: &mut T,
    key: &SubjectKey,
    call: &Call,
) -> Result<Heard, Error> {
    for _ in 1..MOST_TRIES {
        let heard = caller.call(transport, key, call).await?;
        match heard.retry_after() {
            Some(asked) if heard.is_temporary() => tokio::time::sleep(asked.min(LONGEST_ASKED)).await,
            _ => return Ok(heard),
        }
    }
    caller.call(transport, key, call).await
}

/// Whether the holder of a key made a statement, as it is stored.
#[must_use]
pub fn is_own(statement: &Statement, key: &PublicKey) -> bool {
    statement.to_signed().is_some_and(|signed| signed.key == *key && signed.check().is_ok())
}
