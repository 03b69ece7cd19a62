//! Work on sealed files: of a running store, and of a folder that no service has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use candor_policy::plan::Plan;
use tokio::runtime::Handle;

use super::Store;
use crate::clock::Clock;
use crate::compact::{self, CompactOptions, CompactReport};
use crate::error::Error;
use crate::expire::{self, ExpireOptions, ExpireReport};
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::lock::Lock;
use crate::log::Log;
use crate::rewrite::{self, Desk};
use crate::sealing::Sealer;
use crate::settings::Settings;
use crate::shared::{Gauges, Shared};
use crate::table::layout::day_of;
use crate::unreadable::Files;
use crate::view::blocking;

impl Store {
    /// Makes small files of a day into large ones, or says which.
    ///
    /// # Errors
    /// `Request` for a table that is not there; else as the tables' writers give them.
    pub async fn compact(&self, options: CompactOptions) -> Result<CompactReport, Error> {
        compact(&self.shared, options).await
    }

    /// Removes what was kept as long as its purpose says, and values of fields that expired, or says which.
    ///
    /// # Errors
    /// As the tables' writers give them.
    pub async fn expire(&self, options: ExpireOptions) -> Result<ExpireReport, Error> {
        expire(&self.shared, options, 0).await
    }
}

/// [`Store::compact`] of a data folder that no service has open.
///
/// # Errors
/// `Retry` if one has; else as [`Store::compact`].
pub async fn compact_folder(
    settings: &Settings,
    clock: &dyn Clock,
    options: CompactOptions,
) -> Result<CompactReport, Error> {
    let today = day_of(clock.now());
    alone(settings, move |desk| compact::compact(desk, &options, today)).await
}

/// [`Store::expire`] of a data folder that no service has open.
///
/// # Errors
/// `Retry` if one has; else as [`Store::expire`].
pub async fn expire_folder(
    settings: &Settings,
    clock: &dyn Clock,
    options: ExpireOptions,
) -> Result<ExpireReport, Error> {
    let today = day_of(clock.now());
    alone(settings, move |desk| expire::expire(desk, options, (today, 0), None, &mut Files::new())).await
}

/// What [`expire_folder`] would do if these documents were in force: nothing is removed.
///
/// # Errors
/// As [`expire_folder`].
pub async fn plan_expiry(
    settings: &Settings,
    clock: &dyn Clock,
    options: ExpireOptions,
    by: Arc<Plan>,
) -> Result<ExpireReport, Error> {
    let (today, options) = (day_of(clock.now()), ExpireOptions { dry_run: true, ..options });
    alone(settings, move |desk| expire::expire(desk, options, (today, 0), Some(&by), &mut Files::new())).await
}

/// On the thread that writes tables; `alive` as [`expire::expire`] takes it.
pub(crate) async fn expire(shared: &Arc<Shared>, options: ExpireOptions, alive: i32) -> Result<ExpireReport, Error> {
    let report = rewrite::on_flusher(shared, move |flusher| {
        let mut left = Files::new();
        let outcome = expire::expire(&flusher.desk(), options, (flusher.shared().day(), alive), None, &mut left);
        // A pass that was broken off before it met any has not looked at all of them.
        if !options.dry_run && (outcome.is_ok() || !left.is_empty()) {
            flusher.shared().gauges.unreadable.of_retention(left);
        }
        outcome
    })
    .await?;
    if let Some(doubt) = &report.doubt {
        tracing::warn!(doubt, day = report.day, "retention does not believe the clock");
    }
    if !report.dry_run {
        let gauges = &shared.gauges;
        let rows = report.expired.iter().filter(|expired| expired.field.is_none()).map(|expired| expired.rows).sum();
        let files: u64 = report.expired.iter().map(|expired| expired.files).sum();
        Gauges::add(&gauges.expired_files, files);
        Gauges::add(&gauges.expired_rows, rows);
        gauges.expired_at.store(u64::try_from(shared.second()).unwrap_or(0), Ordering::Relaxed);
        gauges.clock_doubted.store(u64::from(report.doubt.is_some()), Ordering::Relaxed);
        if files > 0 {
            tracing::info!(files, rows, day = report.day, "what was kept long enough is gone");
        }
    }
    Ok(report)
}

/// On the thread that writes tables.
pub(crate) async fn compact(shared: &Arc<Shared>, options: CompactOptions) -> Result<CompactReport, Error> {
    let report =
        rewrite::on_flusher(shared, move |flusher| compact::compact(&flusher.desk(), &options, flusher.shared().day()))
            .await?;
    if !report.dry_run && !report.units.is_empty() {
        let files = report.units.iter().map(|unit| unit.files).sum();
        Gauges::add(&shared.gauges.compacted_files, files);
        tracing::info!(files, into = report.units.len(), "small files became large ones");
    }
    Ok(report)
}

/// Works on the tables of a data folder that no service has open, under its lock.
async fn alone<T: Send + 'static>(
    settings: &Settings,
    work: impl FnOnce(&Desk<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let path = settings.data.join("ledger.db");
    if !path.is_file() {
        return Err(crate::view::no_data_folder(&settings.data));
    }
    let lock = Lock::take(&settings.data)?;
    let ledger = Ledger::open(&path).await?;
    let ring = KeyRing::open_for(&settings.data, settings.key_ring.as_deref())?;
    let folder = settings.data.clone();
    let log = blocking(move || Log::reopen(&folder, &ring).map(Arc::new)).await?;
    crate::table::sweep(&settings.data, rewrite::files_of_jobs(&ledger).await?, &log).await?;
    let (data, runtime, of_work) = (settings.data.clone(), Handle::current(), ledger.clone());
    let outcome = blocking(move || {
        let sealer = Sealer::new(data.clone(), log, Arc::default());
        sealer.around(|_| Ok(((), Vec::new())))?;
        work(&Desk { data: &data, ledger: &of_work, runtime: &runtime, seal: &sealer, flusher: None })
    })
    .await;
    ledger.close().await?;
    drop(lock);
    outcome
}
