//! What a start puts into memory: consent and repeats from the ledger, and on top of them what is still in segments.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use candor_wire::statement::Statement;

use crate::closed::ClosedSegment;
use crate::consent::{key_of, subject_of};
use crate::error::{Error, Kind};
use crate::flusher::digest_of;
use crate::ledger::Ledger;
use crate::segment::read::{Account, SegmentReader};
use crate::segment::recover::{count_set_aside, recover};
use crate::shared::{Gauges, Shared};

/// Fills the memory of a store that has just been made and mends its segments, which then wait for the flusher.
/// Gives the lsn of the next frame.
pub(crate) async fn load(shared: &Shared, ledger: &Ledger) -> Result<u64, Error> {
    let released = ledger.released_lsn().await?;
    ledger.each_newest_statement(|statement| put_in_force(shared, &statement).map(drop)).await?;
    let enter = |digest, received_at| shared.repeats.release([(digest, received_at)]);
    ledger.each_repeat_since(shared.horizon(), enter).await?;
    let recovered = recover(&shared.settings.data)?;
    for path in &recovered.segments {
        shared.closed.push(replay(shared, path, released)?);
    }
    let next_lsn = recovered.next_lsn.max(released + 1);
    let gauges = &shared.gauges;
    gauges.lsn.store(next_lsn - 1, Ordering::Relaxed);
    gauges.flushed_lsn.store(released, Ordering::Relaxed);
    gauges.set_aside.store(count_set_aside(&shared.settings.data), Ordering::Relaxed);
    Ok(next_lsn)
}

/// Applies the frames that the ledger does not have.
fn replay(shared: &Shared, path: &Path, released: u64) -> Result<ClosedSegment, Error> {
    let mut reader = SegmentReader::open(path).map_err(|error| error.into_error(path))?;
    let mut segment = ClosedSegment { path: path.to_path_buf(), last_lsn: 0, rows: 0, opened: Instant::now() };
    while let Some(frame) = reader.next().map_err(|error| reader.failed(&error))? {
        segment.last_lsn = frame.lsn;
        if frame.lsn <= released {
            continue;
        }
        match frame.account()? {
            Account::Batch(header) => {
                segment.rows += header.tables.iter().map(|table| table.rows).sum::<u64>();
                shared.repeats.hold(digest_of(&header)?, header.reply);
            }
            Account::Statement(statement) => {
                let subject = put_in_force(shared, &statement)?;
                shared.recent.push(subject, frame.lsn, *statement);
            }
        }
    }
    Gauges::add(&shared.gauges.pending_rows, segment.rows);
    Ok(segment)
}

fn put_in_force(shared: &Shared, statement: &Statement) -> Result<candor_policy::subject::LedgerId, Error> {
    let subject = subject_of(statement).ok_or_else(|| {
        Error::new(
            Kind::Data,
            "a consent statement on disk has no ledger id",
            "it is not 64 hex digits",
            "restore ledger.db from a backup",
        )
    })?;
    shared.consent.set(key_of(&subject), shared.purposes.compact(statement));
    Ok(subject)
}
