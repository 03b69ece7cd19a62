//! The law of catalogues, for any text: refused with places in it, or read, and then its canonical form is read as the same
//! catalogue under the same digest.

use std::collections::BTreeSet;

use candor_policy::catalogue::Catalogue;
use candor_policy::digest::Digest;

use crate::place::{FILE, point_into};

/// The law of a fuzz target's input, which is the text.
pub(crate) fn catalogue(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let catalogue = match Catalogue::parse(text, FILE) {
        Ok(catalogue) => catalogue,
        Err(problems) => return point_into(&problems, text),
    };
    assert_eq!(catalogue.digest, Digest::of_bytes(catalogue.canonical.as_bytes()));
    assert_eq!(Catalogue::parse(text, FILE).unwrap().digest, catalogue.digest);
    let kept = Catalogue::from_canonical(&catalogue.canonical, FILE).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((kept.digest, &kept.canonical), (catalogue.digest, &catalogue.canonical));
    assert_eq!(declared(&kept), declared(&catalogue));
}

/// All that it declares, whatever the order.
fn declared(catalogue: &Catalogue) -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    for stream in &catalogue.streams {
        let (name, signal) = (&stream.name, stream.signal);
        declared.insert(format!("{name} {signal:?} {} {} {:?}", stream.description, stream.owner, stream.expires_day));
        declared.extend(stream.fields.iter().map(|field| format!("{name} {field:?}")));
        for event in &stream.events {
            let columns = event.fields.iter().map(|field| &stream.fields[usize::from(*field)].column);
            let columns: BTreeSet<&String> = columns.collect();
            declared.insert(format!("{name} {} {} {:?} {columns:?}", event.name, event.description, event.expires_day));
        }
    }
    declared
}

#[test]
fn depth_is_refused_or_read_and_never_fatal() {
    const LEVELS: usize = 20_000;
    let many = |piece: &str| piece.repeat(LEVELS);
    for text in [
        format!("a = {}{}", many("["), many("]")),
        format!("a = {}1{}", many("{a="), many("}")),
        format!("{}a = 1", many("a.")),
        format!("[{}a]\nb = 1", many("a.")),
        format!("a = {{ {}a = 1 }}", many("a.")),
        many("[[a]]\n"),
        many("[a.b]\n"),
    ] {
        catalogue(text.as_bytes());
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("catalogue", catalogue);
}
