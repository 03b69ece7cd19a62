//! Searches bytes for canaries in every form in which a value could rest: raw, base64, hex, UTF-16, numbers as
//! little-endian, and inside the pages of Parquet files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ListArray, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};

/// A value that must not be found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Canary {
    Text(String),
    Integer(i64),
    Real(f64),
}

/// Where canaries were found: place → (canary number, form).
pub(crate) type Hits = BTreeMap<String, BTreeSet<(usize, &'static str)>>;

/// All canaries in all forms, ready for one pass over the bytes.
pub(crate) struct Needles {
    /// One bit for each possible pair of first bytes.
    pairs: Vec<bool>,
    /// First eight bytes → what may follow.
    heads: HashMap<[u8; HEAD], Vec<Needle>>,
}

struct Needle {
    bytes: Vec<u8>,
    canary: usize,
    form: &'static str,
}

/// Forms shorter than this would be found by chance.
const HEAD: usize = 8;
/// How the name of a Parquet file ends while the flusher writes it: no reader can open it before it has its own.
const BEING_WRITTEN: &str = ".parquet.tmp";

/// No file of a test is larger.
const MAX_FILE: u64 = 1 << 30;

impl Needles {
    pub(crate) fn new(canaries: &[Canary]) -> Self {
        let mut needles = Self { pairs: vec![false; 1 << 16], heads: HashMap::new() };
        for (number, canary) in canaries.iter().enumerate() {
            for (form, bytes) in forms(canary) {
                assert!(bytes.len() >= HEAD, "a canary of {} bytes as {form} would be found by chance", bytes.len());
                let head: [u8; HEAD] = bytes[..HEAD].try_into().expect("eight bytes");
                needles.pairs[pair(&head)] = true;
                needles.heads.entry(head).or_default().push(Needle { bytes, canary: number, form });
            }
        }
        needles
    }

    /// Every canary in `bytes`.
    pub(crate) fn find(&self, bytes: &[u8]) -> BTreeSet<(usize, &'static str)> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len().saturating_sub(HEAD - 1) {
            if !self.pairs[pair(&bytes[at..])] {
                continue;
            }
            let head: [u8; HEAD] = bytes[at..at + HEAD].try_into().expect("eight bytes");
            let here = self.heads.get(&head).into_iter().flatten();
            found.extend(here.filter(|needle| bytes[at..].starts_with(&needle.bytes)).map(|n| (n.canary, n.form)));
        }
        found
    }

    /// Every canary in a text, under a name.
    pub(crate) fn text(&self, name: &str, text: &str, hits: &mut Hits) {
        note(hits, name, self.find(text.as_bytes()));
    }

    /// Every canary in the files under a folder, names of files included. Gives the bytes read.
    pub(crate) fn folder(&self, folder: &Path, hits: &mut Hits) -> u64 {
        let mut read = 0;
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("the folder can be read").path();
            note(hits, "a file's name", self.find(path.to_string_lossy().as_bytes()));
            if path.is_dir() {
                read += self.folder(&path, hits);
            } else if path.is_file() {
                read += self.file(&path, hits);
            }
        }
        read
    }

    /// Whether a Parquet file under a folder has not got its name yet: its pages are still to be scanned then.
    pub(crate) fn is_being_written(folder: &Path) -> bool {
        let mut paths = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        paths.any(|path| {
            path.to_string_lossy().ends_with(BEING_WRITTEN) || path.is_dir() && Self::is_being_written(&path)
        })
    }

    /// Every canary in the deleted files that a process still has open.
    pub(crate) fn deleted_files(&self, pid: u32, hits: &mut Hits) {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is alive") {
            let path = entry.expect("the process is alive").path();
            let Ok(target) = std::fs::read_link(&path) else { continue };
            if target.to_string_lossy().ends_with(" (deleted)") {
                self.file(&path, hits);
            }
        }
    }

    fn file(&self, path: &Path, hits: &mut Hits) -> u64 {
        // A file may vanish between listing and reading: the service is running.
        let Some(bytes) = read_capped(path) else { return 0 };
        let name = path.to_string_lossy();
        note(hits, &name, self.find(&bytes));
        if path.extension().is_some_and(|extension| extension == "parquet") {
            self.parquet_pages(path, hits);
            self.parquet_values(path, hits);
        } else if !name.ends_with(BEING_WRITTEN) {
            // What is compressed outside Parquet this scan would not see.
            let zstd = bytes.windows(4).position(|window| window == [0x28, 0xb5, 0x2f, 0xfd]);
            assert_eq!(zstd, None, "{name} holds zstd that the scan cannot open");
        }
        bytes.len() as u64
    }

    /// Pages as they are after decompression: dictionaries, and whatever an encoding leaves in clear.
    fn parquet_pages(&self, path: &Path, hits: &mut Hits) {
        let file = std::fs::File::open(path).expect("the file was just read");
        let reader = SerializedFileReader::new(file).expect("a Parquet file");
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).expect("a row group");
            for column in 0..group.num_columns() {
                let mut pages = group.get_column_page_reader(column).expect("a column chunk");
                while let Some(page) = pages.get_next_page().expect("a page") {
                    note(hits, &format!("{} (page)", path.display()), self.find(page.buffer()));
                }
            }
        }
    }

    /// Values as a reader sees them: an encoding may have cut them into pieces.
    fn parquet_values(&self, path: &Path, hits: &mut Hits) {
        let file = std::fs::File::open(path).expect("the file was just read");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file").build().expect("a reader");
        for batch in reader {
            let batch: RecordBatch = batch.expect("a batch");
            for column in batch.columns() {
                // The elements of a list are a column of their own.
                let values = column.as_list_opt::<i32>().map_or(column, ListArray::values);
                for buffer in values.to_data().buffers() {
                    note(hits, &format!("{} (values)", path.display()), self.find(buffer));
                }
            }
        }
    }
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn note(hits: &mut Hits, place: &str, found: BTreeSet<(usize, &'static str)>) {
    if !found.is_empty() {
        hits.entry(place.to_owned()).or_default().extend(found);
    }
}

fn forms(canary: &Canary) -> Vec<(&'static str, Vec<u8>)> {
    match canary {
        Canary::Text(text) => text_forms(text),
        Canary::Integer(value) => vec![
            ("i64 little-endian", value.to_le_bytes().to_vec()),
            ("i64 big-endian", value.to_be_bytes().to_vec()),
            ("decimal", value.to_string().into_bytes()),
        ],
        Canary::Real(value) => vec![
            ("f64 little-endian", value.to_le_bytes().to_vec()),
            ("f64 big-endian", value.to_be_bytes().to_vec()),
            ("decimal", value.to_string().into_bytes()),
        ],
    }
}

fn text_forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("hex", bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()),
        ("hex, upper case", bytes.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect()),
        ("UTF-16 little-endian", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16 big-endian", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ];
    for shift in 0..3 {
        let inner = base64_inner(bytes, shift);
        let url_safe = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        };
        forms.push(("base64, URL-safe", inner.iter().map(url_safe).collect()));
        forms.push(("base64", inner));
    }
    forms
}

/// The characters that base64 has for `bytes` wherever they start in the encoded text: those that also depend on
/// neighbours are left out.
fn base64_inner(bytes: &[u8], shift: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut padded = vec![0; shift];
    padded.extend_from_slice(bytes);
    padded.truncate(padded.len() / 3 * 3);
    let encoded = padded.chunks_exact(3).flat_map(|chunk| {
        let word = u32::from(chunk[0]) << 16 | u32::from(chunk[1]) << 8 | u32::from(chunk[2]);
        [18, 12, 6, 0].map(|bits| ALPHABET[(word >> bits & 63) as usize])
    });
    encoded.skip([0, 2, 3][shift]).collect()
}

#[expect(clippy::disallowed_methods, reason = "capped by `take`")]
fn read_capped(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[test]
fn the_scan_finds_each_form_and_nothing_else() {
    let text = Canary::Text("somebody@example.org".to_owned());
    let canaries = [text.clone(), Canary::Integer(7_312_345_678_901_237), Canary::Real(52.518_736_42)];
    let needles = Needles::new(&canaries);
    for (number, canary) in canaries.iter().enumerate() {
        for (form, bytes) in forms(canary) {
            let around = [b"\x01\x02\x03".as_slice(), &bytes, b"\x04\x05"].concat();
            assert!(needles.find(&around).contains(&(number, form)), "{form}");
        }
    }
    assert!(needles.find(b"somebody@example.com and 52.5187364 and 7312345678901236").is_empty());
    // Against a base64 that others have made: "mailto:somebody@example.org!" and the same with one and two bytes more.
    for encoded in [
        "bWFpbHRvOnNvbWVib2R5QGV4YW1wbGUub3JnIQ==",
        "eG1haWx0bzpzb21lYm9keUBleGFtcGxlLm9yZyE=",
        "eHhtYWlsdG86c29tZWJvZHlAZXhhbXBsZS5vcmch",
    ] {
        assert!(needles.find(encoded.as_bytes()).contains(&(0, "base64")), "{encoded}");
    }
}
