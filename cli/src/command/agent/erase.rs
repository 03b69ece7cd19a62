//! `candor agent erase` and `candor agent erasures`: everything goes, and the certificates say so.

use std::time::Duration;

use candor_agent::device::Device;
use candor_agent::erase::{CERTIFICATES, DROPPED_AS, Stage};
use candor_agent::feed::End;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{asking, deliver, open, tell_end};
use crate::args::{Erase, ErasuresArgs};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::settings::Settings;

/// How long it waits between two looks at most.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// Has everything erased.
pub(super) async fn run(args: &Erase, settings: &Settings) -> Result<Exit, Failure> {
    let mut device = open(settings)?;
    let before = dropped(&device);
    device.erase()?;
    let gone = dropped(&device) - before;
    let end = deliver(&mut device, &args.patience, settings).await?;
    let mut all_here = false;
    if end == Some(End::Delivered) {
        all_here = fetch(&mut device, Duration::from_secs(args.wait), settings).await?;
    }
    let mut report = report("agent.erase", &device, settings)?;
    report.fact("dropped", gone);
    if gone > 0 {
        report.note(format!("{} that waited: dropped", counted(gone, "event")));
    }
    report.note("nothing is sent until consent is given anew: `candor agent consent set`");
    let mut exit = tell_end(&mut report, end.as_ref());
    if exit == Exit::Done && args.wait > 0 && !all_here {
        report.note("NOT DONE YET: `candor agent erasures` fetches the certificates later");
        exit = Exit::Failed;
    }
    report.print(&settings.answer)?;
    Ok(exit)
}

/// How far the erasures are.
pub(super) async fn status(_: &ErasuresArgs, settings: &Settings) -> Result<Exit, Failure> {
    let mut device = open(settings)?;
    if settings.url.is_some() {
        fetch(&mut device, Duration::ZERO, settings).await?;
    }
    report("agent.erasures", &device, settings)?.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Looks for certificates until all are here, or the time is over.
async fn fetch(device: &mut Device, time: Duration, settings: &Settings) -> Result<bool, Failure> {
    let mut client = asking(settings)?;
    let _progress = Progress::start("waiting for certificates");
    let (until, mut pause) = (Instant::now() + time, Duration::from_millis(250));
    loop {
        let looked = device.fetch_certificates(&mut client).await;
        let left = until.saturating_duration_since(Instant::now());
        match looked {
            Ok(true) => return Ok(true),
            Ok(false) if left.is_zero() => return Ok(false),
            // A service that cannot answer now may do so within the time.
            Err(error) if left.is_zero() || !matches!(error, candor_agent::error::Error::Service(_)) => {
                return Err(error.into());
            }
            _ => sleep(pause.min(left)).await,
        }
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

fn dropped(device: &Device) -> u64 {
    device.counts().dropped.get(DROPPED_AS).copied().unwrap_or(0)
}

/// A row an epoch.
fn report(kind: &'static str, device: &Device, settings: &Settings) -> Result<Report, Failure> {
    let mut report = Report::new(kind)
        .number("epoch", "epoch")
        .column("state", "state")
        .column("id", "id")
        .column("requested_at", "asked for")
        .column("deadline", "until")
        .column("done_at", "done")
        .number("rows", "rows")
        .detail("certificate");
    let time = |micros: i64| jiff::Timestamp::from_microsecond(micros).map(|time| time.to_string()).ok();
    for (epoch, erasure) in device.erasures() {
        let is_here = erasure.stage == Stage::Done;
        let name = erasure.id.as_ref().filter(|_| is_here).map(|id| format!("{CERTIFICATES}/{id}.json"));
        report.row(vec![
            json!(epoch),
            json!(erasure.stage),
            json!(erasure.id),
            json!(erasure.requested_at.and_then(time)),
            json!(erasure.deadline.and_then(time)),
            json!(erasure.done_at.and_then(time)),
            json!(erasure.rows),
            json!(name.map(|name| settings.state.join(name))),
        ]);
    }
    report.fact("silent", device.show()?.is_silent);
    Ok(report)
}
