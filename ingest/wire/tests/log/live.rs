//! What entries say together.

use candor_wire::log::entry::{
    Consents, Entry, Erased, Expired, InForce, KeyChange, KeyEvent, Sealed, Sha256Hex, Totals, Tree,
};
use candor_wire::log::live::{Broken, LiveFiles, Rule};

use crate::entries;

fn policy(n: u8) -> Entry {
    Entry::Policy(InForce { digest: Sha256Hex([n; 32]), since: i64::from(n) })
}

fn catalogue(n: u8) -> Entry {
    Entry::Catalogue(InForce { digest: Sha256Hex([n; 32]), since: i64::from(n) })
}

fn file(name: &str, rows: u64) -> Sealed {
    Sealed { path: format!("received_date=2026-11-28/part-{name}.parquet"), rows, subjects: 1, ..entries::sealed() }
}

fn successor(name: &str, rows: u64, replaces: &[u64], removed: u64) -> Sealed {
    Sealed { replaces: replaces.to_vec(), removed: Some(removed), ..file(name, rows) }
}

/// Policy 0, catalogue 1, files 2 and 3 with 10 and 5 rows.
fn begun() -> LiveFiles {
    let mut log = LiveFiles::default();
    for entry in [policy(3), catalogue(4), Entry::Sealed(file("a", 10)), Entry::Sealed(file("b", 5))] {
        log.apply(&entry).unwrap();
    }
    log
}

fn live(log: &LiveFiles) -> Vec<u64> {
    log.live().map(|(entry, _)| entry).collect()
}

#[test]
fn files_live_until_something_takes_them_away() {
    let mut log = begun();
    assert_eq!(live(&log), [2, 3]);
    log.apply(&Entry::Sealed(successor("c", 12, &[2, 3], 3))).unwrap();
    assert_eq!(live(&log), [4]);
    log.apply(&Entry::Erased(Erased { certificates: vec![], files: vec![], replaced: vec![4], removed: 3 })).unwrap();
    log.apply(&Entry::Sealed(file("d", 1))).unwrap();
    log.apply(&Entry::Erased(Erased { certificates: vec![], files: vec![6], replaced: vec![], removed: 1 })).unwrap();
    assert_eq!((live(&log), log.next()), (vec![4], 8));
    assert_eq!(log.entry_of("analytics/phone.app", &file("a", 0).path), Some(2), "also what is gone was there");
    let expired = |files: &[u64], before: &str, removed| {
        Entry::Expired(Expired {
            table: "analytics/phone.app".to_owned(),
            before: before.to_owned(),
            files: files.to_vec(),
            field: None,
            removed,
        })
    };
    assert_eq!(log.clone().apply(&expired(&[4], "2026-11-28", 12)).unwrap_err().rule, Rule::BeforeDate);
    assert_eq!(log.clone().apply(&expired(&[4], "2026-11-29", 11)).unwrap_err().rule, Rule::Removed);
    log.apply(&expired(&[4], "2026-11-29", 12)).unwrap();
    assert_eq!(live(&log), [] as [u64; 0]);
}

#[test]
fn an_entry_that_breaks_a_rule_is_named_with_it_and_changes_nothing() {
    let seal = Entry::Sealed;
    let erase = |files: &[u64], replaced: &[u64], removed| {
        Entry::Erased(Erased { certificates: vec![], files: files.to_vec(), replaced: replaced.to_vec(), removed })
    };
    let key =
        |generation, event| Entry::Key(KeyChange { usage: "subject".to_owned(), generation, event, key: None, at: 0 });
    for (entry, rule) in [
        (seal(file("a", 1)), Rule::PathOnce),
        (seal(Sealed { policy: Sha256Hex([9; 32]), ..file("c", 1) }), Rule::UnderDocument),
        (seal(Sealed { catalogue: Sha256Hex([9; 32]), ..file("c", 1) }), Rule::UnderDocument),
        (seal(successor("c", 10, &[0], 0)), Rule::TakesLive),
        (seal(successor("c", 10, &[4], 0)), Rule::TakesLive),
        (seal(successor("c", 10, &[99], 0)), Rule::TakesLive),
        (seal(Sealed { table: "ads/phone.app".to_owned(), ..successor("c", 10, &[2], 0) }), Rule::SameTable),
        (
            seal(Sealed {
                received_date: "2026-11-29".to_owned(),
                path: "received_date=2026-11-29/part-c.parquet".to_owned(),
                ..successor("c", 10, &[2], 0)
            }),
            Rule::SameUnit,
        ),
        (seal(successor("c", 10, &[2, 3], 4)), Rule::Rows),
        (seal(successor("c", 10, &[2], 11)), Rule::Rows),
        (seal(successor("c", u64::MAX >> 12, &[2], 0)), Rule::Rows),
        (erase(&[2], &[], 9), Rule::Removed),
        (erase(&[7], &[], 0), Rule::TakesLive),
        (erase(&[], &[2], 0), Rule::Successors),
        (policy(3), Rule::Succession),
        (catalogue(4), Rule::Succession),
        (key(1, KeyEvent::Rotated), Rule::KeyHistory),
        (key(1, KeyEvent::Destroyed), Rule::KeyHistory),
    ] {
        let mut log = begun();
        assert_eq!(log.apply(&entry), Err(Broken { entry: 4, rule }), "{entry:?}");
        assert_eq!((live(&log), log.next()), (vec![2, 3], 4));
    }
    let mut log = begun();
    log.apply(&seal(successor("c", 9, &[2], 1))).unwrap();
    log.apply(&erase(&[], &[4], 1)).unwrap();
    assert_eq!(log.apply(&erase(&[], &[4], 1)).unwrap_err().rule, Rule::Successors, "its rows are counted already");
    let mut log = begun();
    for entry in [key(1, KeyEvent::Created), key(2, KeyEvent::Rotated), key(1, KeyEvent::Destroyed)] {
        log.apply(&entry).unwrap();
    }
    assert_eq!(log.generation("subject"), Some(2));
    for entry in
        [key(3, KeyEvent::Created), key(2, KeyEvent::Rotated), key(1, KeyEvent::Destroyed), key(3, KeyEvent::Destroyed)]
    {
        assert_eq!(log.apply(&entry).unwrap_err().rule, Rule::KeyHistory);
    }
    let consents = |epoch| Entry::Consents(Consents { epoch, root: Sha256Hex([1; 32]), size: 0 });
    log.apply(&consents(1)).unwrap();
    assert_eq!(log.apply(&consents(1)).unwrap_err().rule, Rule::Epochs);
    let part = |epoch, part, parts| {
        let receipts = Tree { root: Sha256Hex([1; 32]), size: 0 };
        let hidden = Sha256Hex([2; 32]);
        Entry::Totals(Totals { epoch, part, parts, from: 0, to: 0, cells: Vec::new(), hidden, receipts })
    };
    for entry in [part(2, 1, 2), part(2, 2, 2), part(5, 1, 1)] {
        log.apply(&entry).unwrap();
    }
    assert_eq!(log.totals_epoch(), Some(5));
    for entry in [part(5, 1, 1), part(4, 1, 1), part(6, 2, 2)] {
        assert_eq!(log.apply(&entry).unwrap_err().rule, Rule::Epochs);
    }
    log.apply(&part(6, 1, 3)).unwrap();
    for entry in [part(7, 1, 1), part(6, 3, 3), part(6, 2, 2), part(7, 2, 3)] {
        assert_eq!(log.apply(&entry).unwrap_err().rule, Rule::Epochs);
    }
}
