//! `candor audit`: what is held, why, and an account of what is not.

mod ask;
mod bundle;
mod device;
mod gathered;
pub(super) mod log;
mod rows;
mod show;
mod verify;
mod whole;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use candor_store::view::{TableRows, Total};
use serde_json::{Map, Value, json};

use crate::cells;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Format, Report, counted, counted_and};
use crate::service;
use crate::settings::Settings;

pub(crate) use show::show;
pub(crate) use verify::{export, verify};
pub(crate) use whole::{sign, totals as check_totals};

/// A query over all tables.
pub(crate) async fn query(sql: &str, settings: &Settings) -> Result<Exit, Failure> {
    let sql = service::or_stdin(sql, "query")?;
    let mut progress = Progress::start("querying");
    let view = service::view(settings).await?;
    progress.watch(view.work(), "rows");
    let batches = view.query(&sql).await?;
    drop(progress);
    let report = of_batches(batches, settings.answer.format)
        .map_err(|e| Failure::new(Exit::Failed, format!("a value has no text: {e}")))?;
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Offered = stored + dropped by reason, and the stored rows counted again.
pub(crate) async fn totals(settings: &Settings) -> Result<Exit, Failure> {
    let mut progress = Progress::start("counting");
    let view = service::view(settings).await?;
    progress.watch(view.work(), "files");
    // Who asks for an account and cannot have it must not take that for a balanced one.
    let unread = |error| Failure { exit: Exit::CouldNotVerify, ..Failure::from(error) };
    let (totals, tables) = (view.totals().await.map_err(unread)?, view.rows().await.map_err(unread)?);
    drop(progress);
    let mismatches = mismatches(&totals, &tables);
    totals_report(&totals, &mismatches).print(&settings.answer)?;
    Ok(if mismatches.is_empty() { Exit::Done } else { Exit::VerificationFailed })
}

/// The account for people and programs; `mismatches` are told below it.
pub(crate) fn totals_report(totals: &[Total], mismatches: &[String]) -> Report {
    let mut report = Report::new("audit.totals")
        .column("source", "source")
        .column("purpose", "purpose")
        .column("stream", "stream")
        .number("offered", "offered =")
        .number("stored", "stored +")
        .number("dropped", "dropped")
        .column("reasons", "dropped because")
        .number("found", "found")
        .detail("balances")
        .detail("removed");
    for Total { source, count, found, removed } in totals {
        let dropped: u64 = count.dropped.values().sum();
        report.row(vec![
            json!(source),
            json!(count.purpose),
            json!(count.stream.as_deref().unwrap_or("(undeclared)")),
            json!(count.offered),
            json!(count.stored),
            json!(dropped),
            Value::Object(by_size(count.dropped.iter().map(|(reason, n)| (reason.name(), *n)))),
            json!(found),
            json!(count.balances()),
            json!(removed),
        ]);
    }
    let sum = |of: fn(&Total) -> u64| totals.iter().map(of).sum::<u64>();
    let (offered, stored) = (sum(|t| t.count.offered), sum(|t| t.count.stored));
    report.fact("offered", offered);
    report.fact("stored", stored);
    report.fact("dropped", sum(|t| t.count.dropped.values().sum()));
    report.fact("balances", mismatches.is_empty());
    report.fact("mismatches", mismatches.to_vec());
    if totals.is_empty() {
        report.note("nothing was received yet");
    } else if mismatches.is_empty() {
        report.note(format!(
            "it balances: each event once for each purpose, {offered} = {stored} + {}",
            offered - stored
        ));
    }
    for mismatch in mismatches {
        report.note(format!("DOES NOT BALANCE: {mismatch}"));
    }
    report
}

/// What does not add up: accounts in themselves, and accounts against the rows that are there.
pub(crate) fn mismatches(totals: &[Total], tables: &[TableRows]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut stored: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for Total { source, count, .. } in totals {
        let stream = count.stream.as_deref().unwrap_or("(undeclared)");
        if !count.balances() {
            let dropped: u64 = count.dropped.values().sum();
            let (offered, stored) = (count.offered, count.stored);
            wrong.push(format!(
                "{source} {}/{stream}: {offered} offered, {stored} stored, {dropped} dropped",
                count.purpose
            ));
        }
        *stored.entry((&count.purpose, stream)).or_default() += count.stored;
    }
    let mut found: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for table in tables {
        found.insert((&table.purpose, &table.stream), table.sealed + table.pending + table.removed);
        stored.entry((&table.purpose, &table.stream)).or_default();
    }
    for ((purpose, stream), stored) in &stored {
        let found = found.get(&(*purpose, *stream)).copied().unwrap_or(0);
        if *stored != found {
            wrong.push(format!(
                "{purpose}/{stream}: the account says {} stored, {found} there or removed",
                counted_and(*stored, "row", "is", "are")
            ));
        }
    }
    wrong
}

/// Reasons and their counts, the largest first: `no_consent 12, no_rule 3` for people.
pub(crate) fn by_size<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Map<String, Value> {
    let mut counts: Vec<_> = counts.filter(|(_, n)| *n > 0).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts.into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect()
}

fn of_batches(batches: Vec<RecordBatch>, format: Format) -> Result<Report, ArrowError> {
    let mut report = Report::new("audit.query");
    if let Some(batch) = batches.first() {
        for field in batch.schema().fields() {
            let name = field.name().clone();
            report = if field.data_type().is_numeric() {
                report.number(name.clone(), name)
            } else {
                report.column(name.clone(), name)
            };
        }
    }
    if format == Format::Parquet {
        report.batches(batches);
        return Ok(report);
    }
    let mut count = 0;
    for batch in &batches {
        for row in cells::rows(batch)? {
            report.row(row.into_iter().map(|(_, value)| value).collect());
            count += 1;
        }
    }
    report.note(counted(count, "row"));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use candor_policy::counts::Count;
    use candor_policy::reason::Reason;

    use super::*;

    fn total(source: &str, stored: u64, offered: u64) -> Total {
        let dropped = BTreeMap::from([(Reason::NoConsent, 3), (Reason::NoRule, 4)]);
        let count = Count { stream: Some("s".to_owned()), purpose: "p".to_owned(), offered, stored, dropped };
        Total { source: source.to_owned(), count, found: None, removed: None }
    }

    fn table(sealed: u64, pending: u64) -> TableRows {
        TableRows { purpose: "p".to_owned(), stream: "s".to_owned(), sealed, pending, removed: 0 }
    }

    #[test]
    fn accounts_must_add_up_and_match_the_rows_of_all_sources() {
        let totals = [total("a", 5, 12), total("b", 1, 8)];
        assert!(mismatches(&totals, &[table(4, 2)]).is_empty());
        assert!(mismatches(&totals, &[table(4, 1)])[0].contains("6 rows are stored, 5 there"));
        assert!(mismatches(&[], &[table(1, 0)])[0].contains("0 rows are stored, 1 there"));
        assert!(mismatches(&[total("a", 5, 13)], &[table(5, 0)])[0].contains("13 offered, 5 stored, 7 dropped"));
        let report = totals_report(&totals, &[]);
        let text = |format| String::from_utf8(report.render(format).unwrap()).unwrap();
        let json: Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(json["rows"][0]["reasons"], json!({ "no_rule": 4, "no_consent": 3 }));
        let text = text(Format::Csv);
        assert!(text.contains("a,p,s,12,5,7,\"no_rule 4, no_consent 3\",,true"), "{text}");
    }
}
