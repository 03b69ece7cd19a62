//! What whoever has the seed can hold against a service: its answers as they came, and its receipts with their places in the log.

use std::sync::Arc;

use bytes::Bytes;
use candor_wire::reason::Reason;
use candor_wire::statement::SignedStatement;
use candor_wire::verify::ReceiptEvidence;
use serde::Deserialize;

use crate::call::{Call, Caller};
use crate::error::Error;
use crate::held::{MOST_EPOCHS, MOST_RECEIPTS, NO_END, UNKNOWN_EPOCHS, is_erased, patiently};
use crate::identity::Identity;
use crate::rim::{Clock, Random, Transport};
use crate::state::{self, State};

/// Receipts of one answer, at most.
const PAGE: usize = 1_000;

/// One epoch, as a service answered.
#[derive(Clone, Debug)]
pub struct EpochEvidence {
    /// Its number.
    pub epoch: u64,
    /// `GET /v1/subject`, byte for byte.
    pub answer: Bytes,
    /// `GET /v1/subject/receipts`, all of them.
    pub receipts: Vec<ReceiptEvidence>,
}

#[derive(Deserialize)]
struct Page {
    receipts: Vec<ReceiptEvidence>,
}

/// What a device's `state.toml` says that it told the service: the statements of every epoch that the service took.
///
/// # Errors
/// [`Error::Damaged`].
pub fn statements_of(state: &[u8]) -> Result<Vec<SignedStatement>, Error> {
    let state: State = state::parse(state::FILE, state)?;
    let delivered = state.epochs.into_iter().flat_map(|mut known| {
        known.statements.truncate(known.delivered);
        known.statements
    });
    Ok(delivered.collect())
}

/// Asks a service for every epoch that it knows, each over a connection of its own. `watch` is told which is asked for.
///
/// # Errors
/// What the way to the service says; [`Error::Answer`] if it does not answer as a service does.
pub async fn gather<T: Transport>(
    identity: &Identity,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    transport: &mut T,
    mut watch: impl FnMut(u64),
) -> Result<Vec<EpochEvidence>, Error> {
    let mut caller = Caller { clock, random, offset: 0 };
    let (mut gathered, mut unknown) = (Vec::new(), 0);
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
                return Ok(gathered);
            }
            continue;
        }
        unknown = 0;
        let answer = heard.success()?;
        let mut receipts: Vec<ReceiptEvidence> = Vec::new();
        loop {
            let from = receipts.last().map_or(1, |last| last.receipt.batch.saturating_add(1));
            let call = Call::get("/v1/subject/receipts").query(format!("from={from}&totals=1"));
            let heard = patiently(&mut caller, transport, &key, &call.for_fleet(identity.fleet())?).await?;
            let page: Page =
                serde_json::from_slice(&heard.success()?).map_err(|_| Error::Answer("a list of receipts"))?;
            // Each page goes on after the one before, or there would be no end of them.
            let goes_on = page.receipts.first().is_none_or(|first| first.receipt.batch >= from);
            let fits = receipts.len() + page.receipts.len() <= MOST_RECEIPTS;
            if !goes_on || !fits || !page.receipts.is_sorted_by(|one, two| one.receipt.batch < two.receipt.batch) {
                return Err(Error::Answer("a list of receipts in order"));
            }
            let is_last = page.receipts.len() < PAGE;
            receipts.extend(page.receipts);
            if is_last {
                break;
            }
        }
        gathered.push(EpochEvidence { epoch, answer, receipts });
    }
    Err(NO_END)
}
