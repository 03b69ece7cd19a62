//! What a start puts into memory: consent and repeats from the ledger, and on top of them what is still in segments.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;

use crate::closed::ClosedSegment;
use crate::consent::{erased, key_of, subject_of};
use crate::error::{Error, Kind};
use crate::flusher::digest_of;
use crate::ledger::Ledger;
use crate::nonces::NonceUse;
use crate::receipts::Told;
use crate::segment::codec::receipt_json;
use crate::segment::frame::BatchHeader;
use crate::segment::read::{Account, SegmentReader};
use crate::segment::recover::{count_set_aside, recover};
use crate::shared::{Gauges, Shared};

/// Fills the memory of a store that has just been made and mends its segments, which then wait for the flusher.
/// A ledger that is older than tombstones may speak of subjects that were erased.
pub(crate) async fn load(shared: &Shared, ledger: &Ledger, is_older: bool) -> Result<Loaded, Error> {
    let released = ledger.released_lsn().await?;
    ledger.each_newest_statement(|statement| put_in_force(shared, &statement, is_older).map(drop)).await?;
    let enter = |digest, received_at| shared.repeats.release([(digest, received_at)]);
    ledger.each_repeat_since(shared.horizon(), enter).await?;
    ledger
        .each_numbered(|subject, numbers, stored| {
            shared.batches.change(key_of(&subject), |batches| {
                batches.numbers = numbers;
                for (name, count) in &stored {
                    if let Some(purpose) = shared.purposes.number(name) {
                        batches.set_stored(purpose, *count);
                    }
                }
            });
        })
        .await?;
    ledger.each_nonce(shared.second(), |nonce| shared.nonces.remember(nonce)).await?;
    let recovered = recover(&shared.settings.data)?;
    let mut erased = Vec::new();
    for path in &recovered.segments {
        shared.closed.push(replay(shared, path, released, &mut erased)?);
    }
    let next_lsn = recovered.next_lsn.max(released + 1);
    let gauges = &shared.gauges;
    gauges.lsn.store(next_lsn - 1, Ordering::Relaxed);
    gauges.flushed_lsn.store(released, Ordering::Relaxed);
    gauges.set_aside.store(count_set_aside(&shared.settings.data), Ordering::Relaxed);
    Ok(Loaded { next_lsn, erased })
}

/// What a start found.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Of the next frame.
    pub(crate) next_lsn: u64,
    /// Subjects that were erased and that frames speak of.
    pub(crate) erased: Vec<LedgerId>,
}

/// Applies the frames that the ledger does not have.
fn replay(shared: &Shared, path: &Path, released: u64, erased: &mut Vec<LedgerId>) -> Result<ClosedSegment, Error> {
    let mut seen = |subject: LedgerId| erased.extend(Some(subject).filter(|one| shared.consent.tombstones.holds(one)));
    let mut reader = SegmentReader::open(path).map_err(|error| error.into_error(path))?;
    let mut segment = ClosedSegment { path: path.to_path_buf(), last_lsn: 0, rows: 0, opened: Instant::now() };
    while let Some(frame) = reader.next().map_err(|error| reader.failed(&error))? {
        segment.last_lsn = frame.lsn;
        if frame.lsn <= released {
            continue;
        }
        match frame.account()? {
            Account::Batch(header, receipt) => {
                segment.rows += header.tables.iter().map(|table| table.rows).sum::<u64>();
                match receipt {
                    None => shared.repeats.hold(digest_of(&header)?, header.reply),
                    Some(receipt) => {
                        seen(subject_of_receipt(&receipt)?);
                        hold_numbered(shared, frame.lsn, *header, &receipt)?;
                    }
                }
            }
            Account::Statement(statement) => {
                let subject = put_in_force(shared, &statement, true)?;
                seen(subject);
                shared.recent.push(subject, frame.lsn, *statement);
            }
        }
    }
    Gauges::add(&shared.gauges.pending_rows, segment.rows);
    Ok(segment)
}

/// Takes the number of a batch whose frame waits for the flusher.
fn hold_numbered(shared: &Shared, lsn: u64, header: BatchHeader, receipt: &Receipt) -> Result<(), Error> {
    let subject = subject_of_receipt(receipt)?;
    shared.batches.change(key_of(&subject), |batches| {
        batches.numbers.take(receipt.batch);
        for (name, purpose) in &receipt.purposes {
            if let (Some(number), Some(count)) = (shared.purposes.number(name), purpose.batch) {
                batches.set_stored(number, count);
            }
        }
    });
    if let Some(nonce) = nonce_of(&header) {
        shared.nonces.remember(nonce);
    }
    let told = Told::new(receipt_json(receipt)?, header.reply);
    shared.receipts.push((subject, receipt.batch), lsn, told);
    Ok(())
}

/// Whose batch a receipt is for.
pub(crate) fn subject_of_receipt(receipt: &Receipt) -> Result<LedgerId, Error> {
    let bytes = hex::decode(&receipt.subject).and_then(|bytes| bytes.try_into().ok());
    bytes.map(LedgerId::from_bytes).ok_or_else(|| {
        let mend = "start the version of candor that wrote it";
        Error::new(Kind::Data, "a receipt names no subject", "it is not 64 hex digits", mend)
    })
}

/// The nonce that a numbered batch used.
pub(crate) fn nonce_of(header: &BatchHeader) -> Option<NonceUse> {
    let nonce = header.nonce.as_ref()?;
    let id = hex::decode(&nonce.id)?.try_into().ok()?;
    Some(NonceUse { id, expires: nonce.expires })
}

fn put_in_force(shared: &Shared, statement: &Statement, may_be_erased: bool) -> Result<LedgerId, Error> {
    let subject = subject_of(statement).ok_or_else(|| {
        Error::new(
            Kind::Data,
            "a consent statement on disk has no ledger id",
            "it is not 64 hex digits",
            "restore ledger.db from a backup",
        )
    })?;
    if may_be_erased && shared.consent.tombstones.holds(&subject) {
        shared.consent.set(key_of(&subject), erased());
        return Ok(subject);
    }
    let (key, state) = (key_of(&subject), shared.purposes.compact(statement));
    let before = shared.consent.of(&key);
    // Of two statements of one number, what both permit is in force.
    let twice = before.sequence() == state.sequence() && before.sequence() != 0;
    shared.consent.set(key, if twice { state.and(before) } else { state });
    Ok(subject)
}
