//! The rows of a bundle as a Parquet file, for people and their tools: a row a stored value.

use candor_wire::verify::Answer;
use serde_json::json;

use super::gathered::{Gathered, senseless};
use crate::exit::{Exit, Failure};
use crate::render::{Format, Report};

/// The file, and how many rows are held.
pub(super) fn parquet(gathered: &Gathered) -> Result<(Vec<u8>, usize), Failure> {
    let mut report = Report::new("audit.rows").number("epoch", "epoch").number("row", "row");
    for key in ["purpose", "stream", "event", "received_date", "field", "value", "rule", "operator", "policy", "file"] {
        report = report.column(key, key);
    }
    report = report.number("batch", "batch").number("consent_seq", "consent_seq");
    let mut held = 0;
    for told in &gathered.subjects {
        let answer: Answer = serde_json::from_slice(&told.answer)
            .map_err(|why| Failure::new(Exit::Failed, format!("the answer {}", senseless(&why))))?;
        for row in &answer.rows {
            held += 1;
            for field in &row.fields {
                let value = field.value.as_str().map_or_else(|| field.value.to_string(), str::to_owned);
                report.row(vec![
                    json!(told.epoch),
                    json!(held),
                    json!(row.purpose),
                    json!(row.stream),
                    json!(row.event),
                    json!(row.received_date),
                    json!(field.column),
                    json!(value),
                    json!(field.rule),
                    json!(field.operator),
                    json!(row.policy),
                    json!(row.file),
                    json!(row.batch),
                    json!(row.consent_seq),
                ]);
            }
        }
    }
    Ok((report.render(Format::Parquet)?, held))
}
