//! An independent audit: a file held against its `sealed` entry, row by row, and the account against the rows that are there.

use std::collections::BTreeMap;
use std::path::Path;

use candor_wire::counted::counted_and;
use candor_wire::log::entry::{Entry, Sealed};
use candor_wire::log::tile::{self, Tile, WIDTH, What};
use candor_wire::merkle::{self, Hash, leaf_hash};

use crate::access::path_of;
use crate::error::Error;
use crate::sealed;
use crate::table::layout;
use crate::view::View;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is not what the log says.
    Differs(String),
    /// It cannot be read.
    Unread(String),
}

/// Whether a file is what its entry says: bytes, rows, order, root, counts, policy, and what it takes the place of. A row group is in
/// memory at a time.
///
/// # Errors
/// What is wrong.
pub fn recompute(data: &Path, sealed: &Sealed, entries: &[Entry]) -> Result<(), Found> {
    let path = path_of(data, sealed);
    let differs = |what: &str| Err(Found::Differs(format!("its {what} not as the log says")));
    let size = std::fs::metadata(&path).map_err(|why| Found::Unread(why.to_string()))?.len();
    if size != sealed.size {
        return differs("size is");
    }
    if sealed::digest(&path).map_err(|why| Found::Unread(why.to_string()))? != sealed.file.0 {
        return differs("bytes are");
    }
    // From here on it is the file that was sealed: what is wrong with it was wrong then.
    let found = sealed::recompute(&path).map_err(|why| Found::Differs(why.to_string()))?;
    let about = &found.about;
    let of = [
        (found.root == sealed.root.0 && about.root == sealed.root.0, "root is"),
        (found.rows == sealed.rows && about.rows == sealed.rows, "rows are"),
        (found.subjects == sealed.subjects && about.subjects == sealed.subjects, "subjects are"),
        (about.policy == sealed.policy.to_string(), "policy is"),
        (about.catalogue == sealed.catalogue.to_string(), "catalogue is"),
        (layout::date_text(about.received_date).as_ref() == Some(&sealed.received_date), "date is"),
        (format!("{}/{}", about.purpose, about.stream) == sealed.table, "table is"),
        (replaced(sealed, entries) == in_order(&about.replaces), "predecessors are"),
        (sealed.removed.unwrap_or(0) == about.removed, "removed rows are"),
    ];
    of.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| differs(what))
}

/// The account of every table against its rows: what was stored is there, pending, or gone as the log says. By table, what is wrong.
///
/// # Errors
/// If something cannot be read.
pub async fn recount(view: &View, entries: &[Entry]) -> Result<Vec<(String, Option<String>)>, Error> {
    let removed = removed(entries);
    let mut tables: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for total in view.totals().await? {
        let Some(stream) = &total.count.stream else { continue };
        tables.entry(format!("{}/{stream}", total.count.purpose)).or_default().0 += total.count.stored;
    }
    for rows in view.rows().await? {
        tables.entry(format!("{}/{}", rows.purpose, rows.stream)).or_default().1 += rows.sealed + rows.pending;
    }
    let wrong = |(table, (stored, found)): (String, (u64, u64))| {
        let gone = removed.get(&table).copied().unwrap_or(0);
        let fault = (found.checked_add(gone) != Some(stored)).then(|| {
            format!("{} stored, {found} there, {gone} gone as the log says", counted_and(stored, "row", "was", "were"))
        });
        (table, fault)
    };
    Ok(tables.into_iter().map(wrong).collect())
}

/// The files of a folder's log that are not what its entries make of them: tiles of hashes and bundles of every width that is there.
/// Also how many were looked at.
///
/// # Errors
/// If they cannot be listed.
pub fn tiles(data: &Path, entries: &[Vec<u8>]) -> Result<(usize, Vec<String>), Error> {
    let mut levels: Vec<Vec<Hash>> = vec![entries.iter().map(|entry| leaf_hash(entry)).collect()];
    while let Some(level) = levels.last().filter(|level| level.len() >= WIDTH as usize) {
        let above = level.chunks_exact(WIDTH as usize).map(merkle::root).collect();
        levels.push(above);
    }
    let folder = data.join("log");
    let (mut seen, mut wrong, mut folders) = (0, Vec::new(), vec![folder.join("tile")]);
    while let Some(next) = folders.pop() {
        let failed = |why: &std::io::Error| Error::io(format!("cannot list {}", next.display()), why);
        for item in std::fs::read_dir(&next).map_err(|why| failed(&why))? {
            let path = item.map_err(|why| failed(&why))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let name = path.strip_prefix(&folder).ok().and_then(Path::to_str).unwrap_or_default();
            let expected = Tile::parse(name).and_then(|tile| bytes_of(&tile, &levels, entries));
            if expected.is_none() || std::fs::read(&path).ok() != expected {
                wrong.push(name.to_owned());
            }
        }
    }
    let size = entries.len() as u64;
    let has_last =
        |what| Tile::of(what, size.saturating_sub(1), size).is_none_or(|last| folder.join(last.to_string()).is_file());
    if !has_last(What::Hashes(0)) || !has_last(What::Entries) {
        wrong.push("the last tile, which is not there".to_owned());
    }
    Ok((seen, wrong))
}

/// What a tile is; none if the log does not reach it.
fn bytes_of(tile: &Tile, levels: &[Vec<Hash>], entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    let start = usize::try_from(tile.index().checked_mul(WIDTH)?).ok()?;
    let end = start.checked_add(usize::from(tile.width()))?;
    match tile.what() {
        What::Hashes(level) => Some(tile::hashes_to_bytes(levels.get(usize::from(level))?.get(start..end)?)),
        What::Entries => {
            let mut bytes = Vec::new();
            entries.get(start..end)?.iter().all(|entry| tile::push_entry(&mut bytes, entry)).then_some(bytes)
        }
    }
}

/// Rows that the log says are gone, by table.
#[must_use]
pub fn removed(entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut removed: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries {
        let files = match entry {
            Entry::Sealed(sealed) => {
                *removed.entry(sealed.table.clone()).or_default() += sealed.removed.unwrap_or(0);
                continue;
            }
            Entry::Erased(erased) => &erased.files,
            Entry::Expired(expired) => &expired.files,
            _ => continue,
        };
        for file in files {
            if let Some(Entry::Sealed(sealed)) = entries.get(usize::try_from(*file).unwrap_or(usize::MAX)) {
                *removed.entry(sealed.table.clone()).or_default() += sealed.rows;
            }
        }
    }
    removed
}

fn in_order(paths: &[String]) -> Vec<String> {
    let mut paths = paths.to_vec();
    paths.sort_unstable();
    paths
}

/// Paths of the files that an entry replaces, as the file itself lists them.
fn replaced(sealed: &Sealed, entries: &[Entry]) -> Vec<String> {
    let path = |entry: &u64| match entries.get(usize::try_from(*entry).unwrap_or(usize::MAX)) {
        Some(Entry::Sealed(old)) => Some(old.path.clone()),
        _ => None,
    };
    let mut paths: Vec<String> = sealed.replaces.iter().filter_map(path).collect();
    paths.sort_unstable();
    paths
}
