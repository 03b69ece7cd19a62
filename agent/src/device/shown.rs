//! A device, for people to look at.

use candor_policy::hex;
use candor_wire::identity::PublicKey;
use candor_wire::statement::SignedStatement;

use super::{Counts, Device};
use crate::error::Error;

/// A device, for people to look at.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Name of the fleet.
    pub fleet: String,
    /// The epoch that events are collected in.
    pub epoch: u64,
    /// Microseconds until it ends, as far as the clock can be believed.
    pub epoch_left: i64,
    /// Public key of the epoch.
    pub key: PublicKey,
    /// What the service calls the subject of this epoch, hex.
    pub subject: String,
    /// Epochs that have statements, receipts or waiting events.
    pub epochs: Vec<u64>,
    /// The statement in force.
    pub consent: Option<SignedStatement>,
    /// Statements that the service does not have yet, all epochs together.
    pub undelivered: usize,
    /// Closing statements of the owner before that the service does not have yet.
    pub leaving: usize,
    /// Nothing is sent until consent is given anew: everything was erased, or the key was closed.
    pub is_silent: bool,
    /// The service's receipt key, once it is known.
    pub receipt_key: Option<PublicKey>,
    /// Microseconds by which the service's clock is ahead.
    pub clock_offset: i64,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Receipts that are kept.
    pub receipts: u64,
    /// Hash of the journal's last line, hex: it fixes all of them.
    pub chain: String,
    /// What became of the events.
    pub counts: Counts,
}

impl Device {
    /// All of it, for people.
    ///
    /// # Errors
    /// [`Error::Identity`] if the fleet's name makes no key.
    pub fn show(&self) -> Result<Shown, Error> {
        let key = self.identity.public(self.state.epoch)?;
        let behind = |epochs: &[crate::state::EpochState]| {
            let open = epochs.iter().filter(|epoch| epoch.is_behind());
            open.map(|epoch| epoch.statements.len() - epoch.delivered).sum::<usize>()
        };
        Ok(Shown {
            fleet: self.identity.fleet().to_owned(),
            epoch: self.state.epoch,
            epoch_left: self.state.timer.left,
            key,
            subject: hex::encode(key.subject_id().as_bytes()),
            epochs: self.epochs().into_iter().collect(),
            consent: self.consented().cloned(),
            undelivered: behind(&self.state.epochs),
            leaving: self.leaving.iter().map(|leaving| behind(&leaving.epochs)).sum(),
            is_silent: self.state.is_silent,
            receipt_key: self.state.receipt_key,
            clock_offset: self.caller.offset,
            spool_bytes: self.spool.bytes(),
            receipts: self.journal.sums.receipts,
            chain: hex::encode(self.journal.chain()),
            counts: self.counts(),
        })
    }
}
