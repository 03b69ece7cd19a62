//! A view shows what was acknowledged, once, wherever it lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use candor_policy::catalogue::Catalogue;
use candor_policy::policy::Policy;

use super::*;
use crate::flush::write_tables;
use crate::ledger::Release;
use crate::segment::codec;
use crate::segment::testing::lists;
use crate::segment::writer::SegmentWriter;
use crate::table::testing::{NOON, PURPOSE, STREAM, frame, rows, text};

const CATALOGUE: &str = r#"
catalogue = "test"
[stream."phone.app"]
description = "Apps"
owner = "a@example.com"
expires = "2030-01-01"
[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"
[stream."phone.app".field.screen]
type = "string"
from = "attributes.screen"
category = "user.behavior"
role = "plain"
description = "Which screen"
[stream."phone.app".field.tags]
type = "list<string>"
from = "attributes.tags"
category = "user.behavior"
role = "plain"
description = "Tags"
"#;

const POLICY: &str = r#"
policy = "test"
jurisdiction = { from = "resource.region", EU = ["DE"] }
[purpose.analytics]
description = "Which screens are used"
use = "analytics.reporting"
basis = { EU = "consent" }
retain = "30 days"
[[rule]]
id = "apps"
stream = "phone.app"
purpose = "analytics"
emit.screen = { op = "keep" }
emit.tags = { op = "keep" }
emit.time = { op = "time_floor", unit = "hour" }
"#;

fn append(data: &Path, frames: &[Frame]) {
    let wal = data.join("wal");
    std::fs::create_dir_all(&wal).unwrap();
    let mut writer = SegmentWriter::create(&wal, frames[0].lsn(), 1 << 20, 0).unwrap();
    for frame in frames {
        let encoded = match frame {
            Frame::Batch(batch) => codec::encode_batch(
                batch.header.clone(),
                batch.tables.iter().map(|table| (table.purpose.as_str(), table.stream.as_str(), &table.rows)),
            ),
            Frame::Statement { statement, .. } => codec::encode_statement(statement),
        };
        assert_eq!(writer.append(&encoded.unwrap()).unwrap(), frame.lsn());
    }
    writer.sync().unwrap();
}

async fn release(ledger: &Ledger, frames: &[Frame]) {
    let counts =
        frames.iter().filter_map(batch).map(|frame| (frame.header.source.clone(), frame.header.counts[0].clone()));
    let up_to_lsn = frames.last().unwrap().lsn();
    ledger.release(&Release { up_to_lsn, counts: counts.collect(), ..Release::default() }).await.unwrap();
}

async fn count(view: &View, sql: &str) -> i64 {
    view.query(sql).await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_and_pending_rows_are_shown_once_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let keys = KeyRing::open_or_create(data, &[]).unwrap().keys();
    let me = keys.subject_id(&keys.ledger_id("imei-1")).in_table(PURPOSE).to_string();
    let other = keys.subject_id(&keys.ledger_id("imei-2")).in_table(PURPOSE).to_string();

    let (catalogue, policy) = (Catalogue::parse(CATALOGUE, "c").unwrap(), Policy::parse(POLICY, "p").unwrap());
    let (c, p) = (catalogue.digest.to_string(), policy.digest.to_string());
    let ledger = Ledger::open(&data.join("ledger.db")).await.unwrap();
    ledger.keep_document("catalogue", &c, &catalogue.canonical, 0).await.unwrap();
    ledger.keep_document("policy", &p, &policy.canonical, 0).await.unwrap();

    let with_screen = |lsn, screen: &str| {
        let tags: [Option<&[Option<&str>]>; 2] = [Some(&[Some(screen), None]), None];
        let columns = [("screen", text(&[Some(screen), None])), ("tags", lists(tags.into_iter()))];
        let mut made = frame(lsn, NOON, &p, rows(&[&me, &other], &columns));
        if let Frame::Batch(batch) = &mut made {
            batch.header.catalogue.clone_from(&c);
        }
        made
    };
    let frames = [with_screen(1, "home"), with_screen(2, "settings"), with_screen(3, "search")];
    append(data, &frames);
    // As after a crash between the commit and the release of the segment.
    blocking({
        let (data, frames) = (data.to_path_buf(), frames.clone());
        move || write_tables(&data, &frames[..2], 2)
    })
    .await
    .unwrap();

    let view = View::open(data).await.unwrap();
    assert_eq!(count(&view, "SELECT count(*) FROM analytics.\"phone.app\"").await, 6);
    assert_eq!(count(&view, "SELECT count(*) FROM analytics.\"phone.app\" WHERE screen = 'home'").await, 1);
    let by_date = "SELECT count(screen) FROM analytics.\"phone.app\" WHERE received_date = DATE '2026-01-31'";
    assert_eq!(count(&view, by_date).await, 3);
    let tagged = "SELECT count(tag) FROM (SELECT unnest(tags) AS tag FROM analytics.\"phone.app\")";
    assert_eq!(count(&view, tagged).await, 3);
    let of_me = format!("SELECT count(*) FROM analytics.\"phone.app\" WHERE subject = '{me}'");
    assert_eq!(count(&view, &of_me).await, 3);

    let explained = "EXPLAIN ANALYZE SELECT * FROM analytics.\"phone.app\" WHERE subject = 'nobody'";
    let explained = view.query(explained).await.unwrap()[0].column(1).as_string::<i32>().value(0).to_owned();
    assert!(explained.contains("row_groups_pruned_bloom_filter=1 total → 0 matched"), "{explained}");

    let held = view.held("imei-1").await.unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(held.iter().filter(|row| row.file.is_some()).count(), 2);
    for row in &held {
        assert_eq!(
            (row.purpose.as_str(), row.stream.as_str(), row.event.as_str()),
            (PURPOSE, STREAM, "phone.app.opened")
        );
        assert_eq!((row.received_date.as_str(), row.goes_on.as_deref()), ("2026-01-31", Some("2026-03-02")));
        assert_eq!((row.consent_seq, row.policy.as_str()), (Some(7), p.as_str()));
        let fields: Vec<_> = row.fields.iter().map(|field| (field.column.as_str(), field.rule.as_str())).collect();
        assert_eq!(fields, [("time", "apps"), ("screen", "apps"), ("tags", "apps")]);
        assert_eq!(row.fields[2].value, serde_json::json!([row.fields[1].value, null]));
        assert!(row.fields[0].operator.contains("time_floor"), "{}", row.fields[0].operator);
        assert_eq!(row.fields[0].value, "2026-01-31T12:00:00Z");
    }
    assert_eq!(view.held("imei-3").await.unwrap().len(), 0);

    let totals = view.totals().await.unwrap();
    assert_eq!(totals.len(), 1);
    assert_eq!((totals[0].count.offered, totals[0].count.stored, totals[0].found), (6, 6, Some(6)));
    release(&ledger, &frames[..2]).await;
    let again = View::open(data).await.unwrap().totals().await.unwrap();
    assert_eq!((again[0].count.stored, again[0].found), (6, Some(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_queries_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    assert_eq!(View::open(data).await.unwrap_err().kind(), Kind::Data);
    Ledger::open(&data.join("ledger.db")).await.unwrap();
    append(data, &[frame(1, NOON, "p0", rows(&["a"], &[]))]);
    let view = View::open(data).await.unwrap();
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE analytics.\"phone.app\"",
        "INSERT INTO analytics.\"phone.app\" SELECT * FROM analytics.\"phone.app\"",
        "COPY analytics.\"phone.app\" TO 'out.parquet'",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * FROM '/etc/hosts'",
        "SELECT nothing FROM nowhere",
    ] {
        assert_eq!(view.query(sql).await.unwrap_err().kind(), Kind::Request, "{sql}");
    }
    let empty = view.query("SELECT event FROM analytics.\"phone.app\" WHERE subject = 'b'").await.unwrap();
    assert_eq!(empty[0].schema().field(0).name(), "event");
    assert_eq!(empty.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    let tables = view.query("SHOW TABLES").await.unwrap();
    assert!(tables.iter().map(RecordBatch::num_rows).sum::<usize>() >= 1);
}

/// A writer appends, flushes, releases and removes segments while views are opened: none of them may lose a row that
/// was appended before it was opened, or show one twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_beside_a_writer_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_path_buf();
    let ledger = Ledger::open(&data.join("ledger.db")).await.unwrap();
    let (appended, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (data, appended, begun) = (data.clone(), Arc::clone(&appended), Arc::clone(&begun));
        tokio::spawn(async move {
            for lsn in 1..=25 {
                let frames = vec![frame(lsn, NOON, "p0", rows(&["a"], &[]))];
                begun.store(lsn, Ordering::SeqCst);
                append(&data, &frames);
                appended.store(lsn, Ordering::SeqCst);
                let (folder, written) = (data.clone(), frames.clone());
                blocking(move || write_tables(&folder, &written, lsn)).await.unwrap();
                release(&ledger, &frames).await;
                std::fs::remove_file(data.join("wal").join(crate::segment::file_name(lsn))).unwrap();
            }
        })
    };
    let mut views = 0;
    while !writer.is_finished() {
        let before = appended.load(Ordering::SeqCst);
        // Flushing after each frame can wear any reader out: that is told, and nothing wrong is shown.
        let view = match View::open(&data).await {
            Ok(view) => view,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Retry, "{error}");
                continue;
            }
        };
        let after = begun.load(Ordering::SeqCst);
        let rows: u64 = view.rows().await.unwrap().iter().map(|table| table.sealed + table.pending).sum();
        let stored: u64 = view.totals().await.unwrap().iter().map(|total| total.count.stored).sum();
        assert!((before..=after).contains(&rows), "{before} <= {rows} <= {after}");
        assert_eq!(rows, stored);
        views += 1;
    }
    writer.await.unwrap();
    assert!(views > 0);
    let view = View::open(&data).await.unwrap();
    assert_eq!(count(&view, "SELECT count(*) FROM analytics.\"phone.app\"").await, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_table_without_rows_answers_with_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.db")).await.unwrap();
    let sql = "SELECT * FROM analytics.\"phone.app\"";
    let view = View::open(folder.path()).await.unwrap();
    assert_eq!(view.query(sql).await.unwrap_err().kind(), Kind::Request, "nothing declares it yet");

    let (catalogue, policy) = (Catalogue::parse(CATALOGUE, "c").unwrap(), Policy::parse(POLICY, "p").unwrap());
    ledger.keep_document("catalogue", &catalogue.digest.to_string(), &catalogue.canonical, 1).await.unwrap();
    ledger.keep_document("policy", &policy.digest.to_string(), &policy.canonical, 1).await.unwrap();
    let view = View::open(folder.path()).await.unwrap();
    let answer = view.query(sql).await.unwrap();
    assert_eq!(answer.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    let schema = answer[0].schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        columns,
        ["event", "time", "subject", "batch", "consent_seq", "decision", "screen", "tags", "received_date"]
    );
    assert_eq!(count(&view, "SELECT count(*) FROM analytics.\"phone.app\"").await, 0);
    assert!(view.query("SELECT * FROM analytics.\"phone.ap\"").await.is_err());
}
