//! `candor flush`: has a running service seal what it holds.

use candor_store::store::FlushReport;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::service;
use crate::settings::Settings;

pub(crate) async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let mut client = service::client(settings)?;
    let progress = Progress::start("sealing");
    let answer = service::post(&mut client, "/v1/flush", String::new()).await?;
    drop(progress);
    let done: FlushReport =
        serde_json::from_value(answer).map_err(|_| candor_agent::error::Error::Answer("a report of a flush"))?;
    let mut report =
        Report::new("flush").number("rows", "rows").number("files", "files").number("segments", "segments");
    report.row(vec![json!(done.rows), json!(done.files), json!(done.segments)]);
    report.text(format!(
        "sealed {} into {}, released {}\n",
        counted(done.rows as usize, "row"),
        counted(done.files as usize, "file"),
        counted(done.segments as usize, "segment")
    ));
    report.print(settings.format)?;
    Ok(Exit::Done)
}
