//! Files that the log has as live and their table does not list: somebody else committed to it. They are evidence, so no start removes
//! them; but they hold what they hold, so that erasure and retention have to know of them.

use std::collections::HashSet;

use candor_wire::log::live::LiveFiles;

use crate::error::{Error, Kind};
use crate::log::Log;
use crate::table::commit::LiveFile;
use crate::table::layout::{self, TablePath};

/// Whether the log has a file as live.
pub(crate) fn is_live(files: &LiveFiles, table: &str, path: &str) -> bool {
    files.entry_of(table, path).is_some_and(|entry| files.live_file(entry).is_some())
}

/// Why it is not made anew: no commit can put another in its place, and without that nobody may say that its rows are gone.
pub(crate) fn stays(table: &TablePath, file: &LiveFile) -> Error {
    let what = format!("{} is not made anew", table.file_name(&file.path));
    let why = "it is live in the log, and its table does not list it";
    let mend = "somebody else committed to the table: restore the version before that, or a backup";
    Error::new(Kind::Data, what, why, mend)
}

/// Such files of a table that lists these, as far as they are on disk.
pub(crate) fn of(log: &Log, table: &TablePath, listed: &[LiveFile]) -> Vec<LiveFile> {
    let name = table.name();
    let listed: HashSet<&str> = listed.iter().map(|file| file.path.as_str()).collect();
    let mut aside: Vec<LiveFile> = log.look(|files| {
        let of_table =
            files.live().filter(|(_, sealed)| sealed.table == name && !listed.contains(sealed.path.as_str()));
        let file = |received_date, path: &str, size| LiveFile { path: path.to_owned(), size, received_date };
        of_table
            .filter_map(|(_, sealed)| {
                Some(file(layout::day_of_text(&sealed.received_date)?, &sealed.path, sealed.size))
            })
            .collect()
    });
    aside.retain(|file| table.folder.join(&file.path).exists());
    aside
}
