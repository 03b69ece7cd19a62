//! What the log says of each epoch: totals, and the roots over its receipts and its statements of consent.
//!
//! Entries come from the ledger alone, so that a crash before they are in the log makes them again, the same to the byte.

use candor_wire::log::entry::{Consents, Entry, Sha256Hex, Totals, Tree};
use candor_wire::merkle;
use candor_wire::totals::Opened;

use crate::error::{Error, Kind};
use crate::ledger::{ClosedEpoch, Ledger};
use crate::log::Log;

/// Cells of one entry: it stays well under 64 KiB.
const CELLS: usize = 100;

/// How epochs are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long one is, µs.
    pub(crate) length: i64,
    /// Numbers from 1 to below this are not shown.
    pub(crate) small: u64,
}

/// Closes the open epoch if its time is over, and puts what was closed and is not in the log yet into it. How many epochs.
///
/// # Errors
/// If the ledger cannot be read or the log not be written; call it again.
pub(crate) async fn log_epochs(ledger: &Ledger, log: &Log, now: i64, rules: Rules) -> Result<u64, Error> {
    ledger.close_epoch(now, rules.length).await?;
    let closed = ledger.closed_epochs(log.totals_epoch()).await?;
    for epoch in &closed {
        log.append(&entries(ledger, epoch, rules.small).await?)?;
    }
    Ok(closed.len() as u64)
}

/// The entries of an epoch: consents first, so that an epoch whose totals are in the log is there whole.
async fn entries(ledger: &Ledger, epoch: &ClosedEpoch, small: u64) -> Result<Vec<Entry>, Error> {
    let leaves = ledger.consent_leaves(epoch.number).await?;
    let consents = Consents {
        epoch: epoch.number,
        root: Sha256Hex(merkle::root(&leaves)),
        size: leaves.len() as u64,
    };
    let opened = ledger.opened(epoch).await?;
    let (root, size) = ledger.receipts_root(epoch).await?;
    let root = root.commitment().map_err(|why| fault(epoch, &why))?;
    let receipts = Tree { root: Sha256Hex(root), size };
    let totals = totals(epoch, &opened, receipts, small)?;
    Ok(std::iter::once(Entry::Consents(consents)).chain(totals.into_iter().map(Entry::Totals)).collect())
}

fn totals(epoch: &ClosedEpoch, opened: &Opened, receipts: Tree, small: u64) -> Result<Vec<Totals>, Error> {
    let digest = Sha256Hex(opened.digest().map_err(|why| fault(epoch, &why))?);
    let shown: Vec<_> = opened.shown(small).cloned().collect();
    let chunks: Vec<_> = if shown.is_empty() { vec![Vec::new()] } else { shown.chunks(CELLS).map(<[_]>::to_vec).collect() };
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
