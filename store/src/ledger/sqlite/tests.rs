//! The ledger by itself: what is entered is read back, once.

use candor_policy::consent::ConsentState;
use candor_wire::statement::{Assertion, Notice};

use super::*;

fn statement(subject: u8, sequence: i64) -> Statement {
    Statement {
        ledger_id: hex::encode(&[subject; 32]),
        sequence,
        previous: "0".repeat(64),
        purposes: BTreeMap::from([("analytics".to_owned(), ConsentState::Given)]),
        notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
        received_at: "2026-01-01T00:00:00Z".to_owned(),
        asserted_by: Assertion::Controller,
        source: "devices".to_owned(),
        signed: None,
    }
}

fn release(up_to_lsn: u64) -> Release {
    let count = Count {
        stream: None,
        purpose: "analytics".to_owned(),
        offered: 3,
        stored: 1,
        dropped: BTreeMap::from([(Reason::NoConsent, 2)]),
    };
    Release {
        up_to_lsn,
        counts: vec![("devices".to_owned(), count.clone()), ("devices".to_owned(), count)],
        repeats: vec![(BatchDigest([7; 16]), 1_000, Reply { rejected: 2, message: "two".to_owned() })],
        statements: vec![statement(1, 1), statement(2, 1), statement(1, 2)],
        forget_before: 0,
        ..Release::default()
    }
}

#[tokio::test]
async fn a_release_counts_once_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).await.unwrap();
    assert_eq!(ledger.released_lsn().await.unwrap(), 0);
    ledger.release(&release(5)).await.unwrap();
    ledger.release(&release(5)).await.unwrap();
    ledger.close().await.unwrap();

    let ledger = Ledger::open(&path).await.unwrap();
    let (lsn, totals) = ledger.released().await.unwrap();
    assert_eq!(lsn, 5);
    assert_eq!(totals.len(), 1);
    assert_eq!((totals[0].1.offered, totals[0].1.stored), (6, 2));
    assert_eq!(totals[0].1.dropped, BTreeMap::from([(Reason::NoConsent, 4)]));
    assert!(totals[0].1.stream.is_none() && totals[0].1.balances());
    let mut newest = Vec::new();
    let keep = |statement| {
        newest.push(statement);
        Ok(())
    };
    ledger.each_newest_statement(keep).await.unwrap();
    assert_eq!(newest, [statement(1, 2), statement(2, 1)]);
    let history = ledger.history(&LedgerId::from_bytes([1; 32])).await.unwrap();
    assert_eq!(history, [statement(1, 1), statement(1, 2)]);

    let (digest, reply) = (BatchDigest([7; 16]), Reply { rejected: 2, message: "two".to_owned() });
    assert_eq!(ledger.repeat(&digest, 1_000).await.unwrap(), Some(reply));
    assert_eq!(ledger.repeat(&digest, 1_001).await.unwrap(), None, "beyond the horizon");
    assert_eq!(ledger.repeat(&BatchDigest([8; 16]), 0).await.unwrap(), None);
    let mut known = Vec::new();
    ledger.each_repeat_since(1_000, |digest, received_at| known.push((digest, received_at))).await.unwrap();
    assert_eq!(known, [(digest, 1_000)]);
    ledger.release(&Release { up_to_lsn: 6, forget_before: 1_001, ..Release::default() }).await.unwrap();
    assert_eq!(ledger.repeat(&digest, 0).await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_sees_commits_beside_the_writer_and_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    assert!(Ledger::open_read_only(&path).await.is_err());
    let writer = Ledger::open(&path).await.unwrap();
    let reader = Ledger::open_read_only(&path).await.unwrap();
    assert_eq!(reader.released_lsn().await.unwrap(), 0);
    writer.release(&release(9)).await.unwrap();
    writer.keep_document("policy", "ab", "{}", 1).await.unwrap();
    assert_eq!(reader.released_lsn().await.unwrap(), 9);
    assert_eq!(reader.document("ab").await.unwrap().as_deref(), Some("{}"));
    assert!(reader.release(&release(10)).await.is_err());
    reader.close().await.unwrap();

    // After a clean stop there is no WAL; a reader must not need one.
    writer.close().await.unwrap();
    let reader = Ledger::open_read_only(&path).await.unwrap();
    assert_eq!(reader.released_lsn().await.unwrap(), 9);
}

#[tokio::test]
async fn statements_cannot_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.db")).await.unwrap();
    ledger.release(&release(1)).await.unwrap();
    let changed = sqlx::query("UPDATE statements SET json = '{}'").execute(&ledger.pool).await;
    assert!(changed.unwrap_err().to_string().contains("never changed"));
}
