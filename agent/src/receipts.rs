//! The device's story against the service's: receipts as they were kept, receipts as the service has them, and the rows.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::hex;
use candor_wire::counted::{counted, counted_and};
use candor_wire::receipt::{Receipt, SignedReceipt};
use candor_wire::row::hash_of;
use serde::Deserialize;

use crate::access::{RowAnswer, SubjectAnswer};
use crate::call::{Call, Heard};
use crate::deliver::{Halt, Next};
use crate::device::Device;
use crate::erase::Erasing;
use crate::error::Error;
use crate::gossip::{LogSeen, Seen, is_older};
use crate::held::{LONGEST_ASKED, MOST_RECEIPTS, MOST_TRIES};
use crate::journal::Line;
use crate::rim::Transport;

/// Receipts that one answer has at most.
const PAGE: usize = 1_000;
/// So much later than `seal_by` rows are missed in a sealed file: clocks differ by so much.
const SEALING: i64 = 60_000_000;

/// What became of a batch, as the device kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The epoch whose key signed it.
    pub epoch: u64,
    /// Its number, if it had one.
    pub batch: Option<u64>,
    /// Events that were acknowledged.
    pub events: u64,
    /// Events that the device dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The receipt, if one came.
    pub receipt: Option<SignedReceipt>,
}

/// What [`Device::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Receipts whose signature, path, subject and place in the journal hold.
    pub receipts: u64,
    /// Receipts of purposes whose rows the service has as they were signed.
    pub matched: u64,
    /// Rows that they have.
    pub rows: u64,
    /// Receipts that the device before this one got, as the service has them: it signed them.
    pub inherited: u64,
    /// Those that match whose rows are not all in a sealed file yet.
    pub pending: u64,
    /// What receipts saw of the service's log, and what it is now.
    pub log: LogSeen,
    /// What is not as it should be, by epoch and batch.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The epoch.
    pub epoch: u64,
    /// Number of the batch, if it is known.
    pub batch: Option<u64>,
    /// The purpose, if it is about rows.
    pub purpose: Option<String>,
    /// Number of the batch among those that stored rows for the purpose, as the table has it.
    pub purpose_batch: Option<u64>,
    /// What it is.
    pub what: What,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum What {
    /// The kept receipt is not one that the service signed for this device.
    #[error("the receipt that the device holds does not hold: it was not signed by the service for this key")]
    BadReceipt,
    /// Rows are gone.
    #[error("{found} of {} there", counted_and(stored, "row", "is", "are"))]
    Missing {
        /// Rows in the receipt.
        stored: u64,
        /// Rows that the service shows.
        found: u64,
    },
    /// As many rows as there should be, and not the same.
    #[error("the rows are not those of the receipt")]
    Changed,
    /// More rows than there should be.
    #[error("{} there, the receipt has {stored}", counted_and(found, "row", "is", "are"))]
    Additional {
        /// Rows in the receipt.
        stored: u64,
        /// Rows that the service shows.
        found: u64,
    },
    /// Rows of a batch that no receipt has.
    #[error("{} there that no receipt has", counted_and(found, "row", "is", "are"))]
    NoReceipt {
        /// Rows that the service shows.
        found: u64,
    },
    /// The device does not hold a receipt that the service has.
    #[error("the service has a receipt that the device does not hold")]
    UnknownHere,
    /// The service does not have a receipt that the device holds.
    #[error("the device holds a receipt that the service does not have")]
    UnknownThere,
    /// The two receipts of one number differ.
    #[error("the service has another receipt under this number")]
    Differs,
    /// Rows are not sealed, and should be.
    #[error("{} in no sealed file, and should be in one by now", counted_and(rows, "row", "is", "are"))]
    Unsealed {
        /// Rows that the service shows as pending.
        rows: u64,
    },
    /// The service accepted an erasure, and has not done it in time.
    #[error("the service accepted to erase it, the deadline is over, and there is no certificate")]
    Overdue,
    /// The answer is about a time before the receipt.
    #[error("the service's answer is under an older checkpoint of its log than a receipt has")]
    OldAnswer,
    /// A receipt saw more of the log than there is.
    #[error("the log had {} when the receipt was made, and has {found}: some were taken back", counted(seen, "entry"))]
    RolledBack {
        /// Entries that the receipt saw.
        seen: u64,
        /// Entries of the log now.
        found: u64,
    },
    /// A receipt saw other entries.
    #[error(
        "the log does not extend the {} that the receipt saw: it was forked, or written anew",
        counted(seen, "entry")
    )]
    Forked {
        /// Entries that the receipt saw.
        seen: u64,
    },
    /// The answer is under a checkpoint that the log did not sign, or that it does not extend.
    #[error("the service's answer is under a checkpoint that is not one of its log")]
    OtherAnswer,
    /// A receipt saw a log of another name, or what it saw is none.
    #[error("the receipt saw another log")]
    OtherLog,
    /// The log is not there as it should be.
    #[error("receipts saw a log, and the service shows none that its key signed")]
    UnsignedLog,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReceiptsAnswer {
    List(Vec<SignedReceipt>),
    Named { receipts: Vec<SignedReceipt> },
}

/// Rows of a purpose's batch, by stream.
type Rows<'a> = BTreeMap<(&'a str, Option<u64>), BTreeMap<&'a str, Vec<Vec<u8>>>>;

impl Device {
    /// What became of every batch, in order. Reading it checks the chain.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a line was changed.
    pub fn receipts(&mut self) -> Result<Vec<Kept>, Error> {
        self.freshen()?;
        self.journal.lines()?.into_iter().map(Kept::of).collect()
    }

    /// Checks every receipt that is kept, and holds what the service has of each epoch against them, an epoch a connection.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the journal was changed; [`Error::Service`] if the service cannot be asked.
    pub async fn check<T: Transport>(&mut self, transport: &mut T) -> Result<Check, Error> {
        let kept = self.receipts()?;
        let mut check = Check::default();
        let (mut epochs, mut seen) = (BTreeMap::<u64, Vec<Receipt>>::new(), Seen::default());
        for Kept { epoch, batch, receipt, .. } in kept {
            let Some(signed) = receipt else { continue };
            if self.is_sound(epoch, batch, &signed)? {
                check.receipts += 1;
                seen.add(epoch, &signed.receipt, &mut check);
            } else {
                check.findings.push(Finding::of(epoch, batch, What::BadReceipt));
            }
            epochs.entry(epoch).or_default().push(signed.receipt);
        }
        for epoch in self.epochs() {
            epochs.entry(epoch).or_default();
        }
        let mut result = self.check_epochs(transport, &epochs, &mut seen, &mut check).await;
        if result.is_ok() {
            // After everything that was answered under it: the log is not older than that.
            result = self.check_log(transport, &seen, &mut check).await;
        }
        self.is_stale |= matches!(result, Err(Halt::Error(_)));
        result?;
        check.findings.sort();
        check.findings.dedup();
        Ok(check)
    }

    async fn check_epochs<T: Transport>(
        &mut self,
        transport: &mut T,
        epochs: &BTreeMap<u64, Vec<Receipt>>,
        seen: &mut Seen,
        check: &mut Check,
    ) -> Result<(), Halt> {
        for (epoch, own) in epochs {
            transport.part();
            self.connected = Some((None, *epoch));
            // What was erased, or is being erased, is not there to be held against anything.
            match self.erasing(transport, *epoch).await? {
                Erasing::No => {}
                Erasing::InTime => continue,
                Erasing::Late => {
                    check.findings.push(Finding::of(*epoch, None, What::Overdue));
                    continue;
                }
            }
            let call = self.addressed(Call::get("/v1/subject"))?;
            let heard = self.ask_again(transport, *epoch, &call).await?;
            if heard.reason() == Some(candor_wire::reason::Reason::SubjectUnknown) {
                let gone = own.iter().map(|receipt| Finding::of(*epoch, Some(receipt.batch), What::UnknownThere));
                check.findings.extend(gone);
                continue;
            }
            let body = heard.success()?;
            let answer: SubjectAnswer =
                serde_json::from_slice(&body).map_err(|_| Error::Answer("what a service says of a subject"))?;
            if is_older(answer.checkpoint.as_deref(), own) {
                check.findings.push(Finding::of(*epoch, None, What::OldAnswer));
            }
            let theirs = self.receipts_there(transport, *epoch).await?;
            // A device that just took over has met nobody yet.
            self.pin(transport, *epoch).await?;
            if theirs.values().any(|signed| Some(signed.proof.key) != self.state.receipt_key) {
                self.follow(transport, *epoch).await?;
            }
            let mut own = own.clone();
            let inherited = self.inherited(*epoch, &own, &theirs)?;
            check.inherited += inherited.len() as u64;
            for receipt in &inherited {
                seen.add(*epoch, receipt, check);
            }
            own.extend(inherited);
            compare_receipts(*epoch, &own, &theirs, check);
            compare_rows(*epoch, &own, &answer.rows, self.caller.time(), check)?;
            if let Some(note) = answer.checkpoint {
                seen.answers.push((*epoch, note));
            }
        }
        Ok(())
    }

    /// Asks again, when the service wants it, if it is told to wait.
    pub(crate) async fn ask_again<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
        call: &Call,
    ) -> Result<Heard, Halt> {
        for _ in 1..MOST_TRIES {
            match self.ask(transport, None, epoch, call).await {
                Err(Halt::Next(Next::Wait(time))) if time <= LONGEST_ASKED => tokio::time::sleep(time).await,
                other => {
                    self.got_through();
                    return other;
                }
            }
        }
        self.ask(transport, None, epoch, call).await
    }

    async fn receipts_there<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
    ) -> Result<BTreeMap<u64, SignedReceipt>, Halt> {
        let mut theirs = BTreeMap::new();
        loop {
            // Behind the last number that there is comes nothing.
            let Some(from) = theirs.keys().last().map_or(Some(1), |last: &u64| last.checked_add(1)) else {
                return Ok(theirs);
            };
            let call = self.addressed(Call::get("/v1/subject/receipts").query(format!("from={from}")))?;
            let heard = self.ask_again(transport, epoch, &call).await?;
            let body = heard.success()?;
            let (ReceiptsAnswer::List(page) | ReceiptsAnswer::Named { receipts: page }) =
                serde_json::from_slice(&body).map_err(|_| Error::Answer("a list of receipts"))?;
            let is_last = page.len() < PAGE;
            let new = page.into_iter().map(|signed| (signed.receipt.batch, signed));
            theirs.extend(new.filter(|(batch, _)| *batch >= from));
            if theirs.len() > MOST_RECEIPTS {
                return Err(Error::Answer("a list of receipts that comes to an end").into());
            }
            if is_last || theirs.keys().last().is_none_or(|last| *last < from) {
                return Ok(theirs);
            }
        }
    }

    /// Receipts of the device before this one, whose journal is lost with it.
    fn inherited(
        &self,
        epoch: u64,
        own: &[Receipt],
        theirs: &BTreeMap<u64, SignedReceipt>,
    ) -> Result<Vec<Receipt>, Error> {
        if !self.state.get(epoch).is_some_and(|known| known.moved) {
            return Ok(Vec::new());
        }
        // Where recovery found the numbers, it left a line that closes those before.
        let lines = self.journal.lines()?;
        let mut closed = lines.iter().filter(|line| line.epoch == epoch && line.closed && line.receipt.is_none());
        let last = closed.find_map(|line| line.batch).unwrap_or(0);
        let here: BTreeSet<u64> = own.iter().map(|receipt| receipt.batch).collect();
        let mut inherited = Vec::new();
        for (batch, signed) in theirs.range(..=last).filter(|(batch, _)| !here.contains(batch)) {
            if self.is_sound(epoch, Some(*batch), signed)? {
                inherited.push(signed.receipt.clone());
            }
        }
        Ok(inherited)
    }

    fn is_sound(&self, epoch: u64, batch: Option<u64>, signed: &SignedReceipt) -> Result<bool, Error> {
        let subject = hex::encode(self.identity.public(epoch)?.subject_id().as_bytes());
        let receipt = &signed.receipt;
        let ours = receipt.subject == subject && receipt.fleet == self.identity.fleet();
        let mut known = self.state.receipt_keys_before.iter().chain(&self.state.receipt_key);
        Ok(ours && Some(receipt.batch) == batch && known.any(|key| signed.verify(key).is_ok()))
    }
}

impl Kept {
    fn of(line: Line) -> Result<Self, Error> {
        let damaged = |_| Error::Damaged { name: crate::journal::FILE.to_owned(), what: "a receipt in it is none" };
        let receipt = match (&line.receipt, &line.proof) {
            (Some(receipt), Some(proof)) => Some(SignedReceipt {
                receipt: serde_json::from_str(receipt.get()).map_err(damaged)?,
                proof: serde_json::from_str(proof.get()).map_err(damaged)?,
            }),
            _ => None,
        };
        Ok(Self { epoch: line.epoch, batch: line.batch, events: line.events, dropped: line.dropped, receipt })
    }
}

impl Finding {
    pub(crate) const fn of(epoch: u64, batch: Option<u64>, what: What) -> Self {
        Self { epoch, batch, purpose: None, purpose_batch: None, what }
    }

    fn of_rows(epoch: u64, batch: u64, purpose: &str, purpose_batch: Option<u64>, what: What) -> Self {
        Self { epoch, batch: Some(batch), purpose: Some(purpose.to_owned()), purpose_batch, what }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "epoch {}", self.epoch)?;
        if let Some(batch) = self.batch {
            write!(f, ", batch {batch}")?;
        }
        if let Some(purpose) = &self.purpose {
            write!(f, ", {purpose}")?;
        }
        if let Some(batch) = self.purpose_batch {
            write!(f, " (its batch {batch})")?;
        }
        write!(f, ": {}", self.what)
    }
}

fn compare_receipts(epoch: u64, own: &[Receipt], theirs: &BTreeMap<u64, SignedReceipt>, check: &mut Check) {
    let mut here = BTreeSet::new();
    for receipt in own {
        here.insert(receipt.batch);
        let what = match theirs.get(&receipt.batch) {
            None => What::UnknownThere,
            Some(other) if other.receipt != *receipt => What::Differs,
            Some(_) => continue,
        };
        check.findings.push(Finding::of(epoch, Some(receipt.batch), what));
    }
    let unknown = theirs.keys().filter(|batch| !here.contains(batch));
    check.findings.extend(unknown.map(|batch| Finding::of(epoch, Some(*batch), What::UnknownHere)));
}

fn compare_rows(epoch: u64, own: &[Receipt], answer: &[RowAnswer], now: i64, check: &mut Check) -> Result<(), Error> {
    let mut rows: Rows<'_> = BTreeMap::new();
    let mut unsealed: BTreeMap<(&str, Option<u64>), u64> = BTreeMap::new();
    for row in answer {
        if row.file.is_none() {
            *unsealed.entry((&row.purpose, row.batch)).or_default() += 1;
        }
        let bytes = URL_SAFE_NO_PAD.decode(&row.row).map_err(|_| Error::Answer("rows in base64url"))?;
        let batch = rows.entry((&row.purpose, row.batch)).or_default();
        batch.entry(&row.stream).or_default().push(bytes);
    }
    for receipt in own {
        for (purpose, stored) in receipt.purposes.iter().filter(|(_, purpose)| purpose.stored > 0) {
            let found = rows.remove(&(purpose.as_str(), stored.batch)).unwrap_or_default();
            let count = found.values().map(Vec::len).sum::<usize>() as u64;
            let streams = found.iter().map(|(stream, rows)| (*stream, rows.iter().map(Vec::as_slice).collect()));
            // What is no row, or fits into no table, was not stored so.
            let hash = hash_of(streams).ok().map(|hash| hex::encode(&hash));
            let pending = unsealed.get(&(purpose.as_str(), stored.batch)).copied().unwrap_or(0);
            let what = if hash.is_some() && stored.rows == hash && count == stored.stored {
                check.matched += 1;
                check.pending += u64::from(pending > 0);
                check.rows += count;
                if pending == 0 || now < receipt.seal_by.saturating_add(SEALING) {
                    continue;
                }
                What::Unsealed { rows: pending }
            } else if count < stored.stored {
                // Also before `seal_by`: what is not sealed yet is shown as such, and not left out.
                What::Missing { stored: stored.stored, found: count }
            } else if count > stored.stored {
                What::Additional { stored: stored.stored, found: count }
            } else {
                What::Changed
            };
            check.findings.push(Finding::of_rows(epoch, receipt.batch, purpose, stored.batch, what));
        }
    }
    for ((purpose, batch), streams) in rows {
        let found = streams.values().map(Vec::len).sum::<usize>() as u64;
        let (purpose, what) = (Some(purpose.to_owned()), What::NoReceipt { found });
        check.findings.push(Finding { epoch, batch: None, purpose, purpose_batch: batch, what });
    }
    Ok(())
}
