//! Entries of a log and the rules for their sequence: what is read is what was written, and what is live can be found.

use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;

/// The law of a fuzz target's input: an entry a line. One that breaks a rule ends it, as it ends whoever checks a log.
pub(crate) fn entries(input: &[u8]) {
    let mut files = LiveFiles::default();
    for line in input.split(|byte| *byte == b'\n') {
        let Ok(entry) = Entry::decode(line) else { continue };
        assert_eq!(entry.encode().unwrap(), line, "another text of the same entry is taken");
        if files.apply(&entry).is_err() {
            break;
        }
        let live: Vec<(u64, String, String)> =
            files.live().map(|(number, sealed)| (number, sealed.table.clone(), sealed.path.clone())).collect();
        for (number, table, path) in live {
            assert_eq!(files.entry_of(&table, &path), Some(number));
            assert!(files.live_file(number).is_some_and(|sealed| sealed.path == path && sealed.table == table));
        }
    }
}
