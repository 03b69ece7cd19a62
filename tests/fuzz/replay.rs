//! Holds a law against the committed corpus of its fuzz target, in an ordinary test: crates take this file in by its path.

use std::path::{Path, PathBuf};

/// Runs the law on every file of `tests/fuzz/corpus/TARGET`, and says how many there were. A corpus that is not there, or is
/// empty, fails like one that breaks the law.
pub(crate) fn replay(target: &str, law: fn(&[u8])) {
    let folder = corpus(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let broken: Vec<&PathBuf> = files
        .iter()
        .filter(|file| {
            let input = std::fs::read(file).unwrap();
            std::panic::catch_unwind(|| law(&input)).is_err()
        })
        .collect();
    println!("{target}: {} files replayed", files.len());
    assert!(!files.is_empty(), "{} is empty", folder.display());
    assert!(broken.is_empty(), "the law is broken by {broken:#?}");
}

/// The folder of a corpus, from any crate of the repository.
fn corpus(target: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = crates.map(|folder| folder.join("tests/fuzz/corpus").join(target));
    folders.find(|folder| folder.is_dir()).unwrap_or_else(|| panic!("tests/fuzz/corpus/{target} is not there"))
}
