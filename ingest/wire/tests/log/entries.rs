//! Entries: their bytes, and what is refused.

use std::collections::BTreeMap;

use candor_wire::log::entry::{
    Consents, Entry, EntryError, Erased, Expired, InForce, KeyChange, KeyEvent, MOST_BYTES, Sealed, Sha256Hex, Totals,
    Tree,
};
use candor_wire::totals::Cell;

pub(crate) fn sealed() -> Sealed {
    Sealed {
        table: "analytics/phone.app".to_owned(),
        path: "received_date=2026-11-28/part-00.parquet".to_owned(),
        file: Sha256Hex([1; 32]),
        size: 4096,
        root: Sha256Hex([2; 32]),
        rows: 10,
        subjects: 3,
        received_date: "2026-11-28".to_owned(),
        policy: Sha256Hex([3; 32]),
        catalogue: Sha256Hex([4; 32]),
        replaces: Vec::new(),
        removed: None,
    }
}

fn every() -> Vec<Entry> {
    let key = |usage: &str, event, key: Option<&str>| {
        Entry::Key(KeyChange {
            usage: usage.to_owned(),
            generation: 2,
            event,
            key: key.map(str::to_owned),
            at: 1_795_377_600_000_000,
        })
    };
    vec![
        Entry::Sealed(sealed()),
        Entry::Sealed(Sealed { replaces: vec![0, 7], removed: Some(0), ..sealed() }),
        Entry::Policy(InForce { digest: Sha256Hex([5; 32]), since: 1 }),
        Entry::Catalogue(InForce { digest: Sha256Hex([6; 32]), since: 0 }),
        key("log", KeyEvent::Rotated, Some("vkey")),
        key("receipts", KeyEvent::Created, Some("key")),
        key("named/analytics", KeyEvent::Destroyed, None),
        Entry::Totals(Totals {
            epoch: 1,
            part: 1,
            parts: 1,
            from: 0,
            to: 3_600_000_000,
            cells: vec![Cell {
                source: "phones".to_owned(),
                stream: "phone.app".to_owned(),
                purpose: "ads".to_owned(),
                offered: 3,
                stored: 2,
                dropped: BTreeMap::from([("no_consent".to_owned(), 1)]),
            }],
            hidden: Sha256Hex([7; 32]),
            receipts: Tree { root: Sha256Hex([8; 32]), size: 2 },
        }),
        Entry::Consents(Consents { epoch: 1, root: Sha256Hex([9; 32]), size: 1 }),
        Entry::Erased(Erased {
            certificates: vec![Sha256Hex([10; 32])],
            files: vec![1],
            replaced: vec![2, 3],
            removed: 5,
        }),
        Entry::Expired(Expired {
            table: "ads/car.drive".to_owned(),
            before: "2026-01-01".to_owned(),
            files: vec![],
            field: Some("vin".to_owned()),
            removed: 0,
        }),
    ]
}

#[test]
fn entries_are_canonical_json_and_come_back() {
    for entry in every() {
        let bytes = entry.encode().unwrap();
        assert_eq!(Entry::decode(&bytes), Ok(entry.clone()), "{}", String::from_utf8_lossy(&bytes));
        let kind = format!("\"kind\":\"{}\"", entry.kind());
        assert!(String::from_utf8(bytes).unwrap().contains(&kind));
    }
    let policy = Entry::Policy(InForce { digest: Sha256Hex([5; 32]), since: 1 }).encode().unwrap();
    assert_eq!(
        String::from_utf8(policy).unwrap(),
        format!("{{\"digest\":\"{}\",\"kind\":\"policy\",\"since\":1}}", "05".repeat(32))
    );
}

#[test]
fn every_other_way_to_write_an_entry_is_refused() {
    for entry in every() {
        let text = String::from_utf8(entry.encode().unwrap()).unwrap();
        let digest = text.find("0505").map(|at| (at, "0505"));
        for other in [
            format!(" {text}"),
            format!("{text}\n"),
            text.replacen(':', ": ", 1),
            text.replacen('"', "\"\\u006", 1),
            text.replacen(":1,", ":1.0,", 1).replacen(":2,", ":2e0,", 1) + " ",
            text.replacen('{', "{\"more\":1,", 1),
            text.replacen("\"kind\":", "\"kind\":\"policy\",\"kind\":", 1),
            text.replacen('}', ",\"zzz\":null}", 1),
            text[..text.len() - 1].to_owned(),
            digest.map_or_else(|| "null".to_owned(), |(_, found)| text.replacen(found, "0A05", 1)),
        ] {
            assert!(Entry::decode(other.as_bytes()).is_err(), "{other}");
        }
    }
    for text in ["", "{}", "[]", "null", "{\"kind\":\"other\"}", "{\"kind\":\"sealed\"}", "\u{feff}{}"] {
        assert!(Entry::decode(text.as_bytes()).is_err());
    }
    // An empty list that says nothing is left out.
    let text = String::from_utf8(Entry::Sealed(sealed()).encode().unwrap()).unwrap();
    assert_eq!(
        Entry::decode(text.replace("\"root\"", "\"replaces\":[],\"root\"").as_bytes()),
        Err(EntryError::NotCanonical)
    );
}

#[test]
fn what_cannot_be_is_neither_written_nor_read() {
    let refused = |change: &dyn Fn(&mut Sealed), field: &'static str| {
        let mut changed = sealed();
        change(&mut changed);
        assert_eq!(Entry::Sealed(changed).encode(), Err(EntryError::Field(field)));
    };
    refused(&|sealed| sealed.table = "analytics".to_owned(), "table");
    refused(&|sealed| sealed.table = "../phone.app".to_owned(), "table");
    refused(&|sealed| sealed.table = "a/b/c".to_owned(), "table");
    refused(&|sealed| sealed.path = "part-00.parquet".to_owned(), "path");
    refused(&|sealed| sealed.path = "received_date=2026-11-28/../x.parquet".to_owned(), "path");
    refused(&|sealed| sealed.path = "received_date=2026-11-27/part-00.parquet".to_owned(), "path");
    refused(&|sealed| sealed.path = "received_date=2026-11-28/\u{1b}[2J.parquet".to_owned(), "path");
    refused(&|sealed| sealed.received_date = "2026-13-01".to_owned(), "received_date");
    refused(&|sealed| sealed.received_date = "20261128".to_owned(), "received_date");
    refused(&|sealed| sealed.size = 1 << 53, "size");
    refused(&|sealed| sealed.rows = 2, "subjects");
    refused(&|sealed| sealed.removed = Some(0), "removed");
    refused(&|sealed| sealed.replaces = vec![1], "removed");
    refused(&|sealed| (sealed.replaces, sealed.removed) = (vec![2, 1], Some(1)), "replaces");
    refused(&|sealed| (sealed.replaces, sealed.removed) = (vec![1, 1], Some(1)), "replaces");

    let many = Entry::Erased(Erased {
        certificates: vec![Sha256Hex([1; 32]); 1000],
        files: vec![],
        replaced: vec![],
        removed: 0,
    });
    assert_eq!(many.encode(), Err(EntryError::TooLong));
    assert_eq!(Entry::decode(&vec![b' '; MOST_BYTES + 1]), Err(EntryError::TooLong));
    let key = |usage: &str, key: Option<&str>, generation| {
        Entry::Key(KeyChange {
            usage: usage.to_owned(),
            generation,
            event: KeyEvent::Created,
            key: key.map(str::to_owned),
            at: 0,
        })
        .encode()
    };
    assert_eq!(key("log", None, 1), Err(EntryError::Field("key")));
    assert_eq!(key("subject", Some("k"), 1), Err(EntryError::Field("key")));
    assert_eq!(key("named/", None, 1), Err(EntryError::Field("use")));
    assert_eq!(key("subject", None, 0), Err(EntryError::Field("generation")));
    assert_eq!(
        Entry::Policy(InForce { digest: Sha256Hex([5; 32]), since: 1 << 53 }).encode(),
        Err(EntryError::Field("since"))
    );
}
