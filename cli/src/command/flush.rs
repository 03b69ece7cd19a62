//! `candor flush`: has a running service seal what it holds.

use std::time::Duration;

use candor_agent::client::Client;
use candor_store::store::FlushReport;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::progress::{Bar, Progress};
use crate::render::{Report, counted};
use crate::service;
use crate::settings::Settings;

/// How often the service is asked how much is left.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let mut client = service::client(settings)?;
    let asking = service::public(settings)?;
    let mut progress = Progress::start("sealing");
    progress.follow(|bar| show_pending(bar, asking));
    let answer = service::post(&mut client, "/v1/flush", String::new()).await?;
    drop(progress);
    let done: FlushReport =
        serde_json::from_value(answer).map_err(|_| candor_agent::error::Error::Answer("a report of a flush"))?;
    let mut report =
        Report::new("flush").number("rows", "rows").number("files", "files").number("segments", "segments");
    report.row(vec![json!(done.rows), json!(done.files), json!(done.segments)]);
    report.text(format!(
        "sealed {} into {}, released {}\n",
        counted(done.rows, "row"),
        counted(done.files, "file"),
        counted(done.segments, "segment")
    ));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Moves the bar by what the service says is pending, until it is dropped. What cannot be asked is not shown.
async fn show_pending(bar: Bar, mut service: Client) {
    let mut most = 0;
    while let Ok(samples) = service::metrics(&mut service).await {
        let pending = samples.sum("candor_store_pending_rows") as u64;
        most = most.max(pending);
        bar.show(most - pending, most, "rows");
        tokio::time::sleep(LOOK).await;
    }
}
