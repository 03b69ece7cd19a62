//! What the log says of each epoch: totals, and the roots over its receipts and its statements of consent.
//!
//! Entries come from the ledger alone, so that a crash before they are in the log makes them again, the same to the byte.

use std::sync::Arc;
use std::time::Duration;

use candor_wire::log::entry::{Consents, Entry, Sha256Hex, Totals, Tree};
use candor_wire::log::live::LiveFiles;
use candor_wire::merkle;
use candor_wire::totals::Opened;
use tokio::runtime::Handle;

use crate::error::{Error, Kind, end_process_after};
use crate::ledger::{ClosedEpoch, Ledger};
use crate::log::Log;
use crate::shared::Shared;
use crate::view::blocking;

/// Cells of one entry: it stays well under 64 KiB.
const CELLS: usize = 100;
/// How often it is looked whether an epoch is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// µs
const MINUTE: i64 = 60_000_000;

/// How epochs are kept.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// How long one is, µs.
    length: i64,
    /// Numbers from 1 to below this are not shown.
    small: u64,
}

/// Keeps the epochs of one store; whoever asks, one closes at a time.
#[derive(Debug)]
pub(crate) struct Epochs {
    shared: Arc<Shared>,
    ledger: Ledger,
    log: Arc<Log>,
    rules: Rules,
}

impl Epochs {
    pub(crate) fn new(shared: Arc<Shared>, ledger: Ledger, log: Arc<Log>) -> Self {
        let settings = &shared.settings.log;
        let length = i64::try_from(settings.epoch_minutes).unwrap_or(i64::MAX).saturating_mul(MINUTE);
        let rules = Rules { length, small: settings.small_count };
        Self { shared, ledger, log, rules }
    }

    /// Makes sure that nothing is added to an epoch whose totals are in the log, for a ledger that came from a backup.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        self.ledger.open_epoch_after(self.logged(), self.shared.clock.now()).await
    }

    /// Closes the open epoch if its time is over, and puts what was closed and is not in the log yet into it. How many epochs.
    ///
    /// # Errors
    /// If the ledger cannot be read or the log not be written; call it again.
    pub(crate) async fn keep(self: &Arc<Self>) -> Result<u64, Error> {
        let (epochs, runtime) = (Arc::clone(self), Handle::current());
        blocking(move || {
            // A backup copies ledger and log in one turn: what it has of an epoch is closed in both, or open in both.
            let _turn = epochs.shared.turn.take();
            // Here, since whoever asked may be gone.
            runtime.block_on(epochs.keep_in_turn()).inspect_err(Error::end_process_if_of_disk)
        })
        .await
    }

    async fn keep_in_turn(&self) -> Result<u64, Error> {
        self.ledger.close_epoch(self.shared.clock.now(), self.rules.length).await?;
        let closed = self.ledger.closed_epochs(self.logged()).await?;
        for epoch in &closed {
            let entries = entries(&self.ledger, epoch, self.rules.small).await?;
            self.log.append(&entries)?;
        }
        Ok(closed.len() as u64)
    }

    /// Does that again and again, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.keep().await {
                if error.kind() == Kind::Stop {
                    end_process_after(&error);
                }
                tracing::error!(%error, "an epoch of the log stays open, and is tried again");
            }
        }
    }

    fn logged(&self) -> u64 {
        self.log.look(LiveFiles::totals_epoch).unwrap_or(0)
    }
}

/// The entries of an epoch: consents first, so that an epoch whose totals are in the log is there whole.
async fn entries(ledger: &Ledger, epoch: &ClosedEpoch, small: u64) -> Result<Vec<Entry>, Error> {
    let leaves = ledger.consent_leaves(epoch.number).await?;
    let consents = Consents { epoch: epoch.number, root: Sha256Hex(merkle::root(&leaves)), size: leaves.len() as u64 };
    let opened = ledger.opened(epoch).await?;
    let (root, size) = ledger.receipts_root(epoch).await?;
    let root = root.commitment().map_err(|why| fault(epoch, &why))?;
    let receipts = Tree { root: Sha256Hex(root), size };
    let totals = totals(epoch, &opened, &receipts, small)?;
    Ok(std::iter::once(Entry::Consents(consents)).chain(totals.into_iter().map(Entry::Totals)).collect())
}

fn totals(epoch: &ClosedEpoch, opened: &Opened, receipts: &Tree, small: u64) -> Result<Vec<Totals>, Error> {
    let digest = Sha256Hex(opened.digest().map_err(|why| fault(epoch, &why))?);
    let shown: Vec<_> = opened.shown(small).cloned().collect();
    let chunks: Vec<_> =
        if shown.is_empty() { vec![Vec::new()] } else { shown.chunks(CELLS).map(<[_]>::to_vec).collect() };
    let parts = chunks.len() as u64;
    let part = |(part, cells)| Totals {
        epoch: epoch.number,
        part,
        parts,
        from: epoch.from,
        to: epoch.to,
        cells,
        hidden: digest,
        receipts: receipts.clone(),
    };
    Ok((1..).zip(chunks).map(part).collect())
}

fn fault(epoch: &ClosedEpoch, why: &dyn std::fmt::Display) -> Error {
    let what = format!("epoch {} cannot be put into the log", epoch.number);
    Error::new(Kind::Data, what, why, "report this: it is a fault")
}
