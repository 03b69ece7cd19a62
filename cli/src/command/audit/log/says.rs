//! What an entry says, in a line for people.

use candor_wire::log::entry::{Entry, KeyEvent, Sealed};

use crate::render::{counted, shorten};

/// What an entry says.
pub(super) fn says(entry: &Entry) -> String {
    match entry {
        Entry::Sealed(sealed) => says_sealed(sealed),
        Entry::Policy(document) | Entry::Catalogue(document) => {
            format!("{} is in force", shorten(&document.digest.to_string(), 16))
        }
        Entry::Key(change) => {
            let event = match change.event {
                KeyEvent::Created => "was created",
                KeyEvent::Rotated => "took the place of the one before",
                KeyEvent::Destroyed => "was destroyed",
            };
            format!("{}: generation {} {event}", change.usage, change.generation)
        }
        Entry::Totals(totals) => {
            let (offered, stored) = totals
                .cells
                .iter()
                .fold((0_u64, 0_u64), |(o, s), cell| (o.saturating_add(cell.offered), s.saturating_add(cell.stored)));
            format!("epoch {}: {stored} of {} stored, beside small cells", totals.epoch, counted(offered, "record"))
        }
        Entry::Consents(consents) => {
            format!("epoch {}: {}", consents.epoch, counted(consents.size, "statement"))
        }
        Entry::Erased(erased) => format!(
            "{} removed for {}: {} replaced, {} gone",
            counted(erased.removed, "row"),
            counted(erased.certificates.len(), "certificate"),
            counted(erased.replaced.len(), "file"),
            erased.files.len()
        ),
        Entry::Expired(expired) => format!(
            "{} before {}: {} removed, {} gone",
            expired.table,
            expired.before,
            counted(expired.removed, "row"),
            counted(expired.files.len(), "file")
        ),
    }
}

fn says_sealed(sealed: &Sealed) -> String {
    let (rows, subjects) = (counted(sealed.rows, "row"), counted(sealed.subjects, "subject"));
    let instead = match sealed.removed {
        None => String::new(),
        Some(removed) => format!(", instead of {:?} less {}", sealed.replaces, counted(removed, "row")),
    };
    format!("{} of {}: {rows} of {subjects}{instead}", sealed.table, sealed.received_date)
}
