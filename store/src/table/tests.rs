//! From frames to tables and back: nothing twice, nothing lost, nothing in a file that does not belong there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::{ArrayRef, Int64Array};

use super::testing::{DAY, NOON, PURPOSE, STREAM, frame, rows, text};
use super::*;
use crate::error::Kind;
use crate::flush::write_tables;
use crate::segment::testing::lists;
use crate::table::commit::{LiveFile, TableSnapshot};
use crate::table::lookup::{FoundRows, count_rows, rows_of};
use crate::work::Work;

fn table(data: &Path) -> TablePath {
    TablePath::new(data, PURPOSE, STREAM).unwrap()
}

fn found_in(data: &Path, files: &[LiveFile], subject: &str) -> Vec<FoundRows> {
    rows_of(&table(data), files, subject, &Work::default()).unwrap().into_iter().flat_map(Result::unwrap).collect()
}

fn snapshot(data: &Path) -> TableSnapshot {
    Delta::shared().unwrap().read(&table(data)).unwrap().unwrap()
}

fn files_on_disk(data: &Path) -> Vec<PathBuf> {
    let table = table(data);
    let mut found = Vec::new();
    for folder in layout::folders(&table.folder).unwrap() {
        if folder != "_delta_log" {
            found.extend(std::fs::read_dir(table.folder.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

fn footer(path: &Path) -> ParquetMetaData {
    SerializedFileReader::new(File::open(path).unwrap()).unwrap().metadata().clone()
}

fn value(about: &ParquetMetaData, key: &str) -> String {
    let pairs = about.file_metadata().key_value_metadata().unwrap();
    pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()).unwrap()
}

#[test]
fn the_same_frames_twice_add_nothing() {
    let data = tempfile::tempdir().unwrap();
    let frames = [frame(3, NOON, "p0", rows(&["a", "b"], &[])), frame(4, NOON, "p0", rows(&["a"], &[]))];
    let first = write_tables(data.path(), &frames, 5).unwrap();
    assert_eq!((first.rows, first.files), (3, 1));
    let second = write_tables(data.path(), &frames, 5).unwrap();
    assert_eq!((second.rows, second.files), (0, 0));

    // A frame of another run counts from where the table ends.
    let more = [frames[1].clone(), frame(6, NOON, "p0", rows(&["c"], &[]))];
    assert_eq!(write_tables(data.path(), &more, 6).unwrap().rows, 1);
    let snapshot = snapshot(data.path());
    assert_eq!((snapshot.lsn, snapshot.files.len()), (6, 2));
    assert_eq!(count_rows(&table(data.path()), &snapshot.files, &Work::default()).unwrap(), 4);
    assert_eq!(files_on_disk(data.path()).len(), 2);
}

#[test]
fn a_file_is_sorted_by_salted_subject_and_says_nothing_of_persons_in_its_footer() {
    let data = tempfile::tempdir().unwrap();
    let subjects: Vec<String> = (0..200).map(|n| format!("{:032x}", n % 50)).collect();
    let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let order: ArrayRef = Arc::new((0..200).map(Some).collect::<Int64Array>());
    write_tables(data.path(), &[frame(1, NOON, "p0", rows(&names, &[("n", order)]))], 1).unwrap();

    let path = files_on_disk(data.path()).remove(0);
    let about = footer(&path);
    assert_eq!(value(&about, "candor.received_date"), "2026-01-31");
    assert_eq!((value(&about, "candor.rows"), value(&about, "candor.subjects")), ("200".to_owned(), "50".to_owned()));
    assert_eq!((value(&about, "candor.policy"), value(&about, "candor.catalogue")), ("p0".to_owned(), "c0".to_owned()));
    let salt = candor_policy::hex::decode(&value(&about, "candor.salt")).unwrap();
    for column in about.row_group(0).columns() {
        let name = column.column_descr().name();
        assert_eq!(column.bloom_filter_offset().is_some(), name == "subject", "{name}");
        assert_eq!(column.statistics().is_some(), ["event", "decision"].contains(&name), "{name}");
    }

    let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap());
    let batches: Vec<_> = reader.unwrap().build().unwrap().map(Result::unwrap).collect();
    let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let (subject, n) = (all.column_by_name("subject").unwrap(), all.column_by_name("n").unwrap());
    let subject = arrow_array::cast::AsArray::as_string::<i32>(subject);
    let n = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(n);
    let key = |row: usize| {
        let mut bytes = salt.clone();
        bytes.extend_from_slice(subject.value(row).as_bytes());
        (ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref().to_vec(), n.value(row))
    };
    assert!((1..all.num_rows()).all(|row| key(row - 1) < key(row)));
}

#[test]
fn lists_are_arrays_of_the_delta_table_and_come_back_as_they_were() {
    let data = tempfile::tempdir().unwrap();
    let tags: [Option<&[Option<&str>]>; 3] = [Some(&[Some("a"), None]), None, Some(&[])];
    let batch = rows(&["s", "s", "s"], &[("tags", lists(tags.into_iter()))]);
    write_tables(data.path(), &[frame(1, NOON, "p0", rows(&["s"], &[]))], 1).unwrap();
    // The column comes later than the table.
    write_tables(data.path(), &[frame(2, NOON, "p0", batch.clone())], 2).unwrap();

    let log = std::fs::read_to_string(table(data.path()).log().join("00000000000000000002.json")).unwrap();
    assert!(log.contains(r#"\"type\":{\"type\":\"array\",\"elementType\":\"string\",\"containsNull\":true}"#), "{log}");
    let snapshot = snapshot(data.path());
    let column = snapshot.schema.field_with_name("tags").unwrap();
    assert_eq!(column.data_type(), batch.column_by_name("tags").unwrap().data_type());

    let mut found = found_in(data.path(), &snapshot.files, "s");
    found.retain(|found| found.rows.num_rows() == 3);
    assert_eq!(found[0].rows.column_by_name("tags"), batch.column_by_name("tags"));
    let mut written = files_on_disk(data.path()).into_iter().map(|path| footer(&path));
    let about = written.find(|about| about.file_metadata().num_rows() == 3).unwrap();
    let elements =
        about.row_group(0).columns().iter().find(|column| column.column_path().string() == "tags.list.element");
    assert!(elements.unwrap().statistics().is_none());
}

#[test]
fn a_crash_between_file_and_commit_leaves_no_row_twice() {
    let data = tempfile::tempdir().unwrap();
    let (table, batch) = (table(data.path()), rows(&["a", "b"], &[]));
    write_tables(data.path(), &[frame(1, NOON, "p0", batch.clone())], 1).unwrap();
    let group = testing::group(vec![batch.clone()]);
    let orphan = super::parquet::write(&table, &group).unwrap();
    std::fs::write(table.folder.join("received_date=2026-01-31/part-x.parquet.tmp"), b"torn").unwrap();
    std::fs::write(table.log().join("00000000000000000009.json.1-1.tmp"), b"torn").unwrap();
    // A table whose creation was never reached has no version at all.
    let unborn = TablePath::new(data.path(), "ads", STREAM).unwrap();
    super::parquet::write(&unborn, &group).unwrap();

    let (spared, unsealed) = (Spared::new(), |_: &str, _: &str| false);
    assert_eq!(sweep_now(data.path(), &spared, &unsealed).unwrap(), Swept { removed: 4, highest_lsn: 1 });
    assert_eq!(sweep_now(data.path(), &spared, &unsealed).unwrap(), Swept { removed: 0, highest_lsn: 1 });
    assert!(!table.folder.join(&orphan.path).exists());
    assert!(!table.leaves(&orphan.path).exists());
    assert!(table.leaves(&snapshot(data.path()).files[0].path).exists());
    write_tables(data.path(), &[frame(1, NOON, "p0", batch.clone()), frame(2, NOON, "p0", batch)], 2).unwrap();
    let snapshot = snapshot(data.path());
    assert_eq!(count_rows(&table, &snapshot.files, &Work::default()).unwrap(), 4);
    assert_eq!(files_on_disk(data.path()).len(), snapshot.files.len());
}

#[test]
fn policies_and_dates_make_files_of_their_own_in_one_commit() {
    let data = tempfile::tempdir().unwrap();
    let frames = [
        frame(1, NOON, "p0", rows(&["a"], &[])),
        frame(2, NOON, "p1", rows(&["a"], &[])),
        frame(3, NOON + DAY, "p1", rows(&["a"], &[])),
        frame(4, NOON, "p0", rows(&["b"], &[])),
    ];
    assert_eq!(write_tables(data.path(), &frames, 4).unwrap().files, 3);
    let snapshot = snapshot(data.path());
    let mut dates: Vec<_> = snapshot.files.iter().map(|file| file.received_date).collect();
    dates.sort_unstable();
    assert_eq!(dates, [20_484, 20_484, 20_485]);
    let found = found_in(data.path(), &snapshot.files, "a");
    let mut policies: Vec<_> = found.iter().map(|found| (found.received_date, found.policy.as_str())).collect();
    policies.sort_unstable();
    assert_eq!(policies, [(20_484, "p0"), (20_484, "p1"), (20_485, "p1")]);
    // Creation and one commit.
    assert_eq!(std::fs::read_dir(table(data.path()).log()).unwrap().count(), 2);
}

#[test]
fn a_table_gains_columns_and_a_changed_type_is_refused_without_a_trace() {
    let data = tempfile::tempdir().unwrap();
    write_tables(data.path(), &[frame(1, NOON, "p0", rows(&["a"], &[]))], 1).unwrap();
    let screen = frame(2, NOON, "p1", rows(&["a"], &[("screen", text(&[Some("home")]))]));
    write_tables(data.path(), &[screen], 2).unwrap();
    let gained = snapshot(data.path());
    assert!(gained.schema.field_with_name("screen").unwrap().is_nullable());

    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let changed = frame(3, NOON, "p2", rows(&["a"], &[("screen", number)]));
    let error = write_tables(data.path(), &[changed], 3).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("column screen of table analytics/phone.app"), "{error}");
    assert_eq!(snapshot(data.path()).lsn, 2);
    assert_eq!(files_on_disk(data.path()).len(), 2);
}

#[test]
fn whoever_commits_to_a_table_that_moved_is_sent_back() {
    let data = tempfile::tempdir().unwrap();
    let (table, delta, batch) = (table(data.path()), Delta::shared().unwrap(), rows(&["a"], &[]));
    let group = testing::group(vec![batch]);
    let schemas = [group.schema()];
    assert_eq!(delta.prepare(&table, &schemas).unwrap(), 0);
    let one = super::parquet::write(&table, &group).unwrap();
    let two = super::parquet::write(&table, &group).unwrap();
    delta.append(&table, &schemas, std::slice::from_ref(&one), 0, 5).unwrap();
    for (after, lsn) in [(0, 5), (0, 9), (5, 5), (5, 4)] {
        let again = delta.append(&table, &schemas, std::slice::from_ref(&two), after, lsn);
        assert_eq!(again.unwrap_err().kind(), Kind::Retry, "{after} to {lsn}");
    }
    assert_eq!(snapshot(data.path()).files.len(), 1);
}

#[test]
fn a_checkpoint_sums_the_log_up() {
    let data = tempfile::tempdir().unwrap();
    for lsn in 1..=52 {
        write_tables(data.path(), &[frame(lsn, NOON, "p0", rows(&["a"], &[]))], lsn).unwrap();
    }
    let log = table(data.path()).log();
    assert!(log.join("_last_checkpoint").exists());
    let names: Vec<_> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().ends_with(".checkpoint.parquet")), "{names:?}");
    let snapshot = snapshot(data.path());
    assert_eq!((snapshot.lsn, snapshot.files.len()), (52, 52));
}
