//! Files made anew: the rows that stay are the same, the others and every version that had them are gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use candor_wire::row::Rows;
use proptest::prelude::*;

use super::*;
use crate::error::Kind as ErrorKind;
use crate::flush::write_tables;
use crate::table::Spared;
use crate::table::commit::LiveFile;
use crate::table::lookup::open;
use crate::table::testing::{DAY, NOON, PURPOSE, STREAM, frame, rows, text};

fn table(data: &Path) -> TablePath {
    TablePath::new(data, PURPOSE, STREAM).unwrap()
}

fn live(data: &Path) -> Vec<LiveFile> {
    Delta::shared().unwrap().read(&table(data)).unwrap().unwrap().files
}

fn infos(data: &Path) -> Vec<FileInfo> {
    live(data).iter().map(|file| describe(&table(data), file).unwrap()).collect()
}

fn job(data: &Path, kind: Kind, fate: Fate) -> Rewrite {
    Rewrite { kind, tables: vec![TableRewrite::of(&table(data), infos(data), fate)] }
}

fn go(data: &Path, job: &Rewrite) -> Rewritten {
    run(data, job, &Unsealed, &|| true).unwrap()
}

/// Rows of all live files in canonical encoding, with how often each is there, and the subject of each.
fn held(data: &Path) -> BTreeMap<(String, Vec<u8>), u64> {
    let mut held = BTreeMap::new();
    for file in live(data) {
        for batch in open(&table(data), &file).unwrap().build().unwrap() {
            let batch: RecordBatch = batch.unwrap();
            let rows = Rows::encode(&batch, file.received_date).unwrap();
            let subjects = batch.column_by_name("subject").unwrap().as_string::<i32>();
            for row in 0..batch.num_rows() {
                *held.entry((subjects.value(row).to_owned(), rows.row(row).to_vec())).or_default() += 1;
            }
        }
    }
    held
}

fn numbered(subjects: &[u8], first: i64) -> RecordBatch {
    let names: Vec<String> = subjects.iter().map(|subject| format!("{subject:032x}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Every other request has a column that the others lack, and some rows are there twice.
    let number: ArrayRef =
        Arc::new((0..subjects.len() as i64).map(|row| Some(first + row / 2)).collect::<Int64Array>());
    let word: ArrayRef = text(&names.iter().map(|name| Some(*name)).collect::<Vec<_>>());
    if first % 2 == 0 { rows(&names, &[("n", number)]) } else { rows(&names, &[("word", word), ("n", number)]) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_stays_is_the_same_rows_and_what_goes_is_counted(
        requests in prop::collection::vec((0_i64..3, 0_u8..2, prop::collection::vec(0_u8..6, 1..9)), 1..8),
        gone in prop::collection::btree_set(0_u8..6, 0..6),
    ) {
        let data = tempfile::tempdir().unwrap();
        for (lsn, (day, policy, subjects)) in (1_u64..).zip(&requests) {
            let rows = numbered(subjects, lsn as i64);
            let frame = frame(lsn, NOON + day * DAY, &format!("p{policy}"), rows);
            write_tables(data.path(), &[frame], lsn).unwrap();
        }
        let (before, old) = (held(data.path()), infos(data.path()));
        let gone: Vec<String> = gone.iter().map(|subject| format!("{subject:032x}")).collect();
        let done = go(data.path(), &job(data.path(), Kind::Erase, Fate::Without(gone.clone())));

        let mut expected = before.clone();
        expected.retain(|(subject, _), _| !gone.contains(subject));
        prop_assert_eq!(&held(data.path()), &expected);
        let rows = |held: &BTreeMap<(String, Vec<u8>), u64>| held.values().sum::<u64>();
        prop_assert_eq!(done.rows_removed(), rows(&before) - rows(&expected));
        prop_assert_eq!(done.files_removed(), old.len() as u64);
        for file in infos(data.path()) {
            let replaced = old.iter().filter(|old| file.replaces.contains(&old.path));
            prop_assert!(replaced.clone().all(|old| (old.received_date, &old.policy) == (file.received_date, &file.policy)));
            prop_assert_eq!(file.rows, replaced.map(|old| old.rows).sum::<u64>() - file.removed);
        }
        for file in old {
            prop_assert!(!table(data.path()).folder.join(file.path).exists());
        }
        // Again finds nothing to do, and says the same.
        let again = Rewrite { kind: Kind::Compact, tables: vec![TableRewrite::of(&table(data.path()), infos(data.path()), Fate::Kept)] };
        go(data.path(), &again);
        prop_assert_eq!(&go(data.path(), &again).rows_removed(), &0);
        prop_assert_eq!(&held(data.path()), &expected);
    }
}

#[test]
fn nothing_is_left_that_an_older_version_could_be_read_from() {
    let data = tempfile::tempdir().unwrap();
    for lsn in 1..=5 {
        write_tables(data.path(), &[frame(lsn, NOON, "p0", numbered(&[1, 2], 0))], lsn).unwrap();
    }
    go(data.path(), &job(data.path(), Kind::Compact, Fate::Kept));
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(table(data.path()).log()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let expected = ["00000000000000000006.checkpoint.parquet", "00000000000000000006.json", "_last_checkpoint"];
    assert_eq!(names(), expected);
    // The table goes on: the lsn is kept, and so is every row.
    let snapshot = Delta::shared().unwrap().read(&table(data.path())).unwrap().unwrap();
    assert_eq!((snapshot.lsn, snapshot.files.len()), (5, 1));
    write_tables(data.path(), &[frame(6, NOON, "p0", numbered(&[3], 0))], 6).unwrap();
    assert_eq!(held(data.path()).values().sum::<u64>(), 11);

    // A crash between a checkpoint and the hint at it: the old hint goes, not the table.
    let hint = table(data.path()).log().join("_last_checkpoint");
    let old = std::fs::read(&hint).unwrap();
    let delta = Delta::shared().unwrap();
    delta.forget_old_versions(&table(data.path())).unwrap();
    std::fs::write(&hint, old).unwrap();
    delta.forget_old_versions(&table(data.path())).unwrap();
    assert_eq!(names(), ["00000000000000000007.checkpoint.parquet", "00000000000000000007.json"]);
    assert_eq!(delta.read(&table(data.path())).unwrap().unwrap().files.len(), 2);
}

#[test]
fn all_rows_of_a_table_can_go_and_its_folders_with_them() {
    let data = tempfile::tempdir().unwrap();
    write_tables(data.path(), &[frame(1, NOON, "p0", numbered(&[1, 2], 0))], 1).unwrap();
    let leaves = data.path().join("leaves").join(PURPOSE).join(STREAM);
    let stem = Path::new(&live(data.path())[0].path).file_stem().unwrap().to_owned();
    std::fs::create_dir_all(&leaves).unwrap();
    std::fs::write(leaves.join(&stem).with_extension("leaves"), b"derived").unwrap();
    let job = job(data.path(), Kind::Expire, Fate::Gone);
    let done = go(data.path(), &job);
    assert_eq!((done.files_removed(), done.files_added(), done.rows_removed()), (1, 0, 2));
    assert_eq!(done.changes[0].gone.len(), 1);
    assert!(live(data.path()).is_empty());
    assert_eq!(layout::folders(&table(data.path()).folder).unwrap(), ["_delta_log"]);
    assert_eq!(std::fs::read_dir(&leaves).unwrap().count(), 0);
    write_tables(data.path(), &[frame(2, NOON, "p0", numbered(&[3], 0))], 2).unwrap();
    assert_eq!(held(data.path()).len(), 1);
}

#[test]
fn a_nulled_column_is_empty_and_the_others_are_as_they_were() {
    let data = tempfile::tempdir().unwrap();
    write_tables(data.path(), &[frame(1, NOON, "p0", numbered(&[1, 2], 1))], 1).unwrap();
    let done = go(data.path(), &job(data.path(), Kind::Expire, Fate::Nulled(vec!["word".to_owned()])));
    assert_eq!((done.rows_removed(), done.files_added()), (0, 1));
    let file = live(data.path()).remove(0);
    let batch = open(&table(data.path()), &file).unwrap().build().unwrap().next().unwrap().unwrap();
    assert!(batch.column_by_name("word").is_none());
    assert!(!has_values(&table(data.path()), &file, "word").unwrap());
    assert!(has_values(&table(data.path()), &file, "n").unwrap());
    assert_eq!(batch.column_by_name("n").unwrap().null_count(), 0);
}

#[test]
fn whoever_replaces_what_is_not_there_or_adds_what_is_is_sent_back() {
    let data = tempfile::tempdir().unwrap();
    let (table, delta) = (table(data.path()), Delta::shared().unwrap());
    write_tables(data.path(), &[frame(1, NOON, "p0", numbered(&[1], 0))], 1).unwrap();
    write_tables(data.path(), &[frame(2, NOON, "p0", numbered(&[1], 0))], 2).unwrap();
    let paths: Vec<String> = live(data.path()).into_iter().map(|file| file.path).collect();
    let group = crate::table::testing::group(vec![numbered(&[1], 0)]);
    let new = crate::table::parquet::write(&table, &group).unwrap();
    let as_new = |path: &str| crate::table::parquet::WrittenFile { path: path.to_owned(), ..new.clone() };
    let refused = |removed: &[String], added: &[WrittenFile]| {
        assert_eq!(delta.replace(&table, removed, added).unwrap_err().kind(), ErrorKind::Data);
    };
    refused(&["received_date=2026-01-31/part-x.parquet".to_owned()], &[]);
    refused(&[paths[0].clone(), paths[0].clone()], &[]);
    refused(&paths[..1], &[as_new(&paths[1])]);
    refused(&paths[..1], &[new.clone(), new.clone()]);
    assert_eq!(live(data.path()).len(), 2);
    delta.replace(&table, &paths[..1], std::slice::from_ref(&new)).unwrap();
    refused(&paths[..1], &[]);
    assert_eq!(live(data.path()).len(), 2);
}

/// Every byte under a folder: of files as they are, and of Parquet files page by page as decompressed.
fn bytes_under(folder: &Path, each: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_under(&path, each);
            continue;
        }
        each(&path, &std::fs::read(&path).unwrap());
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            for group in 0..reader.num_row_groups() {
                let group = reader.get_row_group(group).unwrap();
                for column in 0..group.num_columns() {
                    for page in group.get_column_page_reader(column).unwrap() {
                        each(&path, page.unwrap().buffer());
                    }
                }
            }
        }
    }
}

fn found(folder: &Path, value: &str) -> usize {
    let mut hits = 0;
    bytes_under(folder, &mut |_, bytes| {
        hits += usize::from(bytes.windows(value.len()).any(|window| window == value.as_bytes()));
    });
    hits
}

#[test]
fn no_byte_of_what_only_the_removed_rows_had_is_left() {
    let data = tempfile::tempdir().unwrap();
    let gone = format!("{:032x}", 0xdead_beef_u32);
    for lsn in 1..=4 {
        let subjects = [gone.as_str(), "00000000000000000000000000000001"];
        let words = text(&[Some("only-hers-4711"), Some("everybody")]);
        write_tables(data.path(), &[frame(lsn, NOON, "p0", rows(&subjects, &[("word", words)]))], lsn).unwrap();
    }
    // The scan finds what is there.
    assert!(found(data.path(), "only-hers-4711") > 0 && found(data.path(), &gone) > 0);
    go(data.path(), &job(data.path(), Kind::Erase, Fate::Without(vec![gone.clone()])));
    assert_eq!((found(data.path(), "only-hers-4711"), found(data.path(), &gone)), (0, 0));
    assert!(found(data.path(), "everybody") > 0);
}

/// A log that fails so often, and counts what it was told of files without a successor.
#[derive(Debug)]
struct Failing {
    sealed: AtomicUsize,
    finished: AtomicUsize,
}

impl Failing {
    fn next(counter: &AtomicUsize) -> Result<(), Error> {
        match counter.load(Ordering::Relaxed) {
            0 => Ok(()),
            left => {
                counter.store(left - 1, Ordering::Relaxed);
                Err(Error::new(ErrorKind::Retry, "the log was not written", "as asked", "again"))
            }
        }
    }
}

impl Seal for Failing {
    fn aside(&self, _: &TablePath, _: &[LiveFile]) -> Vec<LiveFile> {
        Vec::new()
    }

    fn sealed(&self, _: &Change) -> Result<(), Error> {
        Self::next(&self.sealed)
    }

    fn finished(&self, _: Kind, _: &[TableRewrite], _: &[Change]) -> Result<(), Error> {
        Self::next(&self.finished)
    }

    fn is_known_to_replace(&self, _: &TablePath, _: &str, _: &BTreeSet<&str>) -> Option<bool> {
        None
    }
}

/// What the log does not know yet stays on disk, also through the sweep of a start, and is told the same again.
#[test]
fn old_files_go_after_the_log_and_not_before() {
    let data = tempfile::tempdir().unwrap();
    for (lsn, day) in (1..).zip([0, 0, 1]) {
        write_tables(data.path(), &[frame(lsn, NOON + day * DAY, "p0", numbered(&[1, 2], 0))], lsn).unwrap();
    }
    let (mut all, table) = (infos(data.path()), table(data.path()));
    let (old, kept): (Vec<_>, Vec<_>) = all.drain(..).partition(|file| file.received_date == 20_484);
    let part = |files: &[FileInfo], fate| TableRewrite::of(&table, files.to_vec(), fate);
    let tables = vec![part(&old, Fate::Gone), part(&kept, Fate::Nulled(vec!["n".to_owned()]))];
    let job = Rewrite { kind: Kind::Expire, tables };
    let spared: Spared = job
        .files()
        .into_iter()
        .flat_map(|((purpose, stream), paths)| {
            paths.into_iter().map(move |path| (purpose.to_owned(), stream.to_owned(), path.clone()))
        })
        .collect();
    let seal = Failing { sealed: 2.into(), finished: 2.into() };
    let there = |files: &[FileInfo]| files.iter().all(|file| table.folder.join(&file.path).exists());
    for _ in 0..4 {
        let left = run(data.path(), &job, &seal, &|| true).unwrap().left.unwrap();
        assert_eq!((left.error.kind(), left.is_begun), (ErrorKind::Retry, true));
        assert!(!is_untouched(data.path(), &job).unwrap());
        crate::table::sweep_now(data.path(), &spared, &|_, _| false).unwrap();
        assert!(there(&old));
    }
    let done = run(data.path(), &job, &seal, &|| true).unwrap();
    assert_eq!((done.changes[0].gone.len(), done.changes[0].rows_gone), (2, 4));
    assert_eq!((done.changes[1].replaced.len(), done.changes[1].added.len(), done.rows_removed()), (1, 1, 4));
    assert!(old.iter().chain(&kept).all(|file| !table.folder.join(&file.path).exists()));
    assert_eq!(held(data.path()).values().sum::<u64>(), 2);
}
