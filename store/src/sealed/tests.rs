//! Sealed files on a disk: what was written is what is found, whatever happens to what lies beside, and to the file itself.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use candor_wire::leaf::content_of;
use proptest::prelude::*;

use super::*;
use crate::table::layout::with_batch;
use crate::table::pages::Unpacker;
use crate::table::parquet::{self, Group};
use crate::table::place::Place;
use crate::table::testing::{PURPOSE, STREAM, rows, text};

const DAY: i32 = 20_484;

fn name(subject: usize) -> String {
    format!("{subject:032x}")
}

/// Two rows for each of the subjects, in two batches.
fn batches(subjects: usize) -> Vec<RecordBatch> {
    let names: Vec<String> = (0..subjects).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let batch = |number: i64| {
        let n: ArrayRef =
            Arc::new((0..subjects as i64).map(|n| (n % 3 > 0).then_some(n * number)).collect::<Int64Array>());
        let load: ArrayRef = Arc::new((0..subjects).map(|n| Some(n as f64 / 7.0)).collect::<Float64Array>());
        let screens: Vec<_> = (0..subjects).map(|n| [Some("home"), None, Some("play")][n % 3]).collect();
        let rows = rows(&names, &[("n", n), ("load", load), ("screen", text(&screens))]);
        with_batch(&rows, Some(number)).unwrap()
    };
    vec![batch(1), batch(2)]
}

struct File {
    data: tempfile::TempDir,
    path: String,
    batches: Vec<RecordBatch>,
}

impl File {
    fn new(subjects: usize) -> Self {
        let (data, batches) = (tempfile::tempdir().unwrap(), batches(subjects));
        let group = Group {
            received_date: DAY,
            policy: "p0".into(),
            catalogue: "c0".into(),
            batches: batches.clone(),
            replaces: Vec::new(),
            removed: 0,
        };
        let path = parquet::write(&TablePath::new(data.path(), PURPOSE, STREAM).unwrap(), &group).unwrap().path;
        Self { data, path, batches }
    }

    fn table(&self) -> TablePath {
        TablePath::new(self.data.path(), PURPOSE, STREAM).unwrap()
    }

    fn parquet(&self) -> PathBuf {
        self.table().folder.join(&self.path)
    }

    fn leaves(&self) -> PathBuf {
        self.table().leaves(&self.path)
    }

    fn prove(&self, root: &Hash, subject: &str) -> Result<FileProof, Error> {
        prove(self.data.path(), (PURPOSE, STREAM), &self.path, root, subject)
    }

    /// The content of a subject, from the rows that were written.
    fn content(&self, subject: usize) -> Vec<u8> {
        let rows: Vec<RecordBatch> = self.batches.iter().map(|batch| batch.slice(subject, 1)).collect();
        content_of(&arrow_select::concat::concat_batches(&rows[0].schema(), &rows).unwrap(), DAY).unwrap()
    }
}

fn all_proofs_hold(file: &File, subjects: usize) {
    let about = about(&file.parquet()).unwrap();
    for subject in 0..subjects * 2 {
        let proof = file.prove(&about.root, &name(subject)).unwrap();
        assert_eq!(proof.is_present(), subject < subjects);
        if subject < subjects {
            let blind = blind(&about, &name(subject));
            proof.check_present(&about.root, &name(subject), &blind, &file.content(subject)).unwrap();
        } else {
            proof.check_absent(&about.root, &name(subject)).unwrap();
        }
    }
}

#[test]
fn every_subject_has_a_proof_that_holds() {
    for subjects in [1, 2, 3, 5, 8, 9, 64, 300, 1_500] {
        let file = File::new(subjects);
        let found = recompute(&file.parquet()).unwrap();
        assert_eq!(found.lies(), Vec::<&str>::new());
        assert_eq!((found.rows, found.subjects), (2 * subjects as u64, subjects as u64));
        assert_eq!((found.about.purpose.as_str(), found.about.stream.as_str()), (PURPOSE, STREAM));
        assert_eq!((found.about.received_date, found.about.replaces.len(), found.about.removed), (DAY, 0, 0));
        all_proofs_hold(&file, subjects);
    }
}

#[test]
fn what_lies_beside_can_be_lost_or_wrong() {
    let subjects = 200;
    let file = File::new(subjects);
    let whole = std::fs::read(file.leaves()).unwrap();
    let root = about(&file.parquet()).unwrap().root;

    std::fs::remove_dir_all(file.data.path().join("leaves")).unwrap();
    all_proofs_hold(&file, subjects);
    assert_eq!(std::fs::read(file.leaves()).unwrap(), whole);

    std::fs::write(file.leaves(), &whole[..whole.len() - 1]).unwrap();
    file.prove(&root, &name(7)).unwrap();
    assert_eq!(std::fs::read(file.leaves()).unwrap(), whole);

    // A page that never reached the disk, wherever it is.
    for start in (0..whole.len()).step_by(512) {
        let mut torn = whole.clone();
        torn[start..whole.len().min(start + 512)].fill(0);
        std::fs::write(file.leaves(), torn).unwrap();
        for subject in (0..subjects * 2).step_by(37) {
            assert!(file.prove(&root, &name(subject)).unwrap().leads_to(&root, &name(subject)));
        }
    }
    // Another file's.
    let other = File::new(subjects);
    std::fs::copy(other.leaves(), file.leaves()).unwrap();
    all_proofs_hold(&file, subjects);

    remove_leaves(&file.table(), &file.path).unwrap();
    remove_leaves(&file.table(), &file.path).unwrap();
    assert!(!file.leaves().exists());
}

#[test]
fn another_file_in_its_place_proves_nothing() {
    let (file, other) = (File::new(20), File::new(20));
    let root = about(&file.parquet()).unwrap().root;
    assert_ne!(root, about(&other.parquet()).unwrap().root, "two files of the same rows have one root");
    std::fs::copy(other.parquet(), file.parquet()).unwrap();
    // What lies beside is still that of the file that was sealed.
    assert!(file.prove(&root, &name(1)).is_ok());
    remove_leaves(&file.table(), &file.path).unwrap();
    let error = file.prove(&root, &name(1)).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("is not the file that was sealed"), "{error}");

    std::fs::remove_file(file.parquet()).unwrap();
    assert_eq!(file.prove(&root, &name(1)).unwrap_err().kind(), Kind::Retry);
    assert_eq!(about(&file.parquet()).unwrap_err().kind(), Kind::Retry);
}

/// A subject's rows where its proof says that they are.
fn read(file: &File, subject: usize) -> Option<RecordBatch> {
    let path = file.parquet();
    let proof = file.prove(&about(&path).unwrap().root, &name(subject)).unwrap();
    let opened = Opened::new(&path, &Unpacker::new().unwrap()).unwrap();
    assert_eq!(opened.blind(&name(subject)), blind(&about(&path).unwrap(), &name(subject)));
    opened.rows(Place::of(&proof)?, &name(subject))
}

#[test]
fn an_open_file_has_the_rows_that_its_proofs_are_of() {
    for subjects in [1, 2, 9, 300, 1_500] {
        let file = File::new(subjects);
        for subject in (0..subjects).step_by(subjects.div_ceil(40)) {
            assert_eq!(content_of(&read(&file, subject).unwrap(), DAY).unwrap(), file.content(subject));
        }
        assert!(read(&file, subjects).is_none(), "whoever is not there has no place");
    }
    let (file, unpacker) = (File::new(3), Unpacker::new().unwrap());
    std::fs::write(file.parquet(), b"PAR1").unwrap();
    assert_eq!(Opened::new(&file.parquet(), &unpacker).err().unwrap().kind(), Kind::Data);
    std::fs::remove_file(file.parquet()).unwrap();
    assert_eq!(Opened::new(&file.parquet(), &unpacker).err().unwrap().kind(), Kind::Retry);
}

fn change(path: &Path, at: usize, flip: u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ flip], at as u64).unwrap();
}

#[test]
fn rows_that_were_changed_are_found() {
    let file = File::new(30);
    let sealed = about(&file.parquet()).unwrap();
    let other = {
        let mut batches = batches(30);
        let columns = batches[1].columns().iter().enumerate().map(|(number, values)| {
            let is_load = batches[1].schema().field(number).name() == "load";
            if is_load { Arc::new(Float64Array::from(vec![1.5; 30])) as ArrayRef } else { Arc::clone(values) }
        });
        batches[1] = RecordBatch::try_new(batches[1].schema(), columns.collect()).unwrap();
        let group = Group {
            received_date: DAY,
            policy: "p0".into(),
            catalogue: "c0".into(),
            batches,
            replaces: Vec::new(),
            removed: 0,
        };
        let table = file.table();
        table.folder.join(parquet::write(&table, &group).unwrap().path)
    };
    // With the keys of the file that was sealed the rows still have another root.
    let found = recompute(&other).unwrap();
    assert_eq!(found.lies(), Vec::<&str>::new());
    assert_ne!(found.root, sealed.root);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A byte of a file that is not what it was: an error, a lie that is found, or a place that says nothing of rows.
    #[test]
    fn a_changed_byte_stops_nobody_and_fools_nobody(place: prop::sample::Index, flip in 1_u8..) {
        thread_local! {
            static FILE: File = File::new(40);
        }
        FILE.with(|file| {
            let path = file.parquet();
            let sealed = about(&path).unwrap();
            let at = place.index(std::fs::metadata(&path).unwrap().len() as usize);
            let digest_before = digest(&path).unwrap();
            change(&path, at, flip);
            let found = recompute(&path);
            prop_assert_ne!(digest(&path).unwrap(), digest_before);
            change(&path, at, flip);
            if let Ok(found) = found && found.lies().is_empty() {
                prop_assert_eq!(found.root, sealed.root);
            }
            Ok(())
        })?;
    }

    /// The same for who looks for one subject: an error, no rows, or rows of nobody else.
    #[test]
    fn a_changed_byte_gives_nobody_the_rows_of_another(place: prop::sample::Index, flip in 1_u8.., subject in 0..40_usize) {
        thread_local! {
            static FILE: (File, Unpacker) = (File::new(40), Unpacker::new().unwrap());
        }
        FILE.with(|(file, unpacker)| {
            let path = file.parquet();
            let proof = file.prove(&about(&path).unwrap().root, &name(subject)).unwrap();
            let at = place.index(std::fs::metadata(&path).unwrap().len() as usize);
            change(&path, at, flip);
            let rows = Opened::new(&path, unpacker).ok().and_then(|file| file.rows(Place::of(&proof)?, &name(subject)));
            change(&path, at, flip);
            for one in rows.iter().filter_map(|rows| rows.column_by_name("subject")) {
                prop_assert!(one.as_string::<i32>().iter().all(|one| one == Some(&name(subject))));
            }
            prop_assert_eq!(read(file, subject).map(|rows| rows.num_rows()), Some(2));
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), footer: u32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forged");
        let forged = [b"PAR1", &bytes[..], &footer.to_le_bytes(), b"PAR1"].concat();
        std::fs::write(&path, forged).unwrap();
        prop_assert_eq!(recompute(&path).unwrap_err().kind(), Kind::Data);
        prop_assert_eq!(Opened::new(&path, &Unpacker::new().unwrap()).err().unwrap().kind(), Kind::Data);
    }
}
