//! What receipts saw of the service's log, held against the log that the service shows: a log that was turned back or forked is
//! noticed by whoever holds a receipt.

use std::collections::BTreeMap;

use bytes::Bytes;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::follow::{Followed, Need};
use candor_wire::log::note::{Note, VerifierKey};
use candor_wire::merkle::Hash;
use candor_wire::receipt::Receipt;

use crate::deliver::Halt;
use crate::device::Device;
use crate::error::Error;
use crate::receipts::{Check, Finding, What};
use crate::rim::Transport;

/// What receipts saw, and answers are under.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Name of the log, size and root, with the epoch and batch of a receipt that has it.
    receipts: BTreeMap<(String, u64, Hash), (u64, u64)>,
    /// Notes of answers, by epoch; nothing is checked yet.
    pub(crate) answers: Vec<(u64, String)>,
}

/// What is known of the service's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSeen {
    /// Different checkpoints that receipts have.
    pub checkpoints: u64,
    /// Entries of the largest of them.
    pub newest: u64,
    /// Entries of the log that the service shows; none where it shows none that holds.
    pub size: Option<u64>,
}

impl Seen {
    /// Takes the checkpoint of a receipt whose signature holds; one that cannot be read is a finding.
    pub(crate) fn add(&mut self, epoch: u64, receipt: &Receipt, check: &mut Check) {
        let Some(text) = &receipt.checkpoint else { return };
        match Checkpoint::parse(text) {
            Ok(seen) => {
                self.receipts.entry((seen.origin, seen.size, seen.root)).or_insert((epoch, receipt.batch));
            }
            Err(_) => check.findings.push(Finding::of(epoch, Some(receipt.batch), What::OtherLog)),
        }
    }

    /// Entries of the largest checkpoint.
    pub(crate) fn newest(&self) -> u64 {
        self.receipts.keys().map(|(_, size, _)| *size).max().unwrap_or(0)
    }
}

/// Whether an answer is under a checkpoint that is older than those of receipts that came before it. What it says of its size is held
/// against the log by [`Device::check_log`].
pub(crate) fn is_older(answer: Option<&str>, receipts: &[Receipt]) -> bool {
    let of_receipt = |receipt: &Receipt| Checkpoint::parse(receipt.checkpoint.as_deref()?).ok().map(|seen| seen.size);
    let newest = receipts.iter().filter_map(of_receipt).max();
    let of_answer = answer.and_then(|note| Note::parse(note.as_bytes()).ok());
    newest > of_answer.and_then(|note| Checkpoint::parse(note.text()).ok()).map(|checkpoint| checkpoint.size)
}

impl Device {
    /// Holds what receipts saw against the log, as anybody can read it.
    pub(crate) async fn check_log<T: Transport>(
        &mut self,
        transport: &mut T,
        seen: &Seen,
        check: &mut Check,
    ) -> Result<(), Halt> {
        check.log = LogSeen { checkpoints: seen.receipts.len() as u64, newest: seen.newest(), size: None };
        let Some((_, (epoch, batch))) = seen.receipts.last_key_value() else { return Ok(()) };
        // Who reads the log is none of its business.
        transport.part();
        let keys = self.log_keys(transport, *epoch).await?;
        let note = self.of_log(transport, "checkpoint").await?;
        let Ok(now) = SignedCheckpoint::open(&note, &keys, &[]) else {
            check.findings.push(Finding::of(*epoch, Some(*batch), What::UnsignedLog));
            return Ok(());
        };
        let mut log = Followed::new(now.checkpoint);
        check.log.size = Some(log.checkpoint().size);
        for ((origin, size, root), (epoch, batch)) in &seen.receipts {
            let before = Checkpoint::new(origin.clone(), *size, *root);
            let what = if *origin != log.checkpoint().origin {
                What::OtherLog
            } else if *size > log.checkpoint().size {
                What::RolledBack { seen: *size, found: log.checkpoint().size }
            } else if self.extends(transport, &mut log, &before).await? {
                continue;
            } else {
                What::Forked { seen: *size }
            };
            check.findings.push(Finding::of(*epoch, Some(*batch), what));
        }
        for (epoch, note) in &seen.answers {
            let signed = SignedCheckpoint::open(note.as_bytes(), &keys, &[]).map(|signed| signed.checkpoint);
            let is_of_log = match signed {
                Ok(seen) if seen.size <= log.checkpoint().size => self.extends(transport, &mut log, &seen).await?,
                _ => false,
            };
            if !is_of_log {
                check.findings.push(Finding::of(*epoch, None, What::OtherAnswer));
            }
        }
        Ok(())
    }

    async fn extends<T: Transport>(
        &mut self,
        transport: &mut T,
        log: &mut Followed,
        before: &Checkpoint,
    ) -> Result<bool, Halt> {
        loop {
            let tile = match log.extends(before) {
                Ok(extends) => return Ok(extends),
                Err(Need::Tile(tile)) => tile,
                Err(Need::Nothing) => return Ok(false),
            };
            let bytes = self.of_log(transport, &tile.to_string()).await?;
            if !log.put(tile, &bytes) {
                return Err(Error::Answer("a tile of the log").into());
            }
        }
    }

    async fn of_log<T: Transport>(&mut self, transport: &mut T, name: &str) -> Result<Bytes, Halt> {
        Ok(self.read(transport, &format!("/log/{name}")).await?.success()?)
    }

    async fn log_keys<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<Vec<VerifierKey>, Halt> {
        let keys = self.keys_of(transport, epoch).await?;
        let keys: Result<Vec<VerifierKey>, _> = keys.log.iter().map(|key| key.vkey.parse()).collect();
        Ok(keys.map_err(|_| Error::Answer("keys of a log"))?)
    }
}
