//! What a sealed file says of itself in its metadata.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candor_policy::hex;
use candor_wire::leaf::Salt;
use candor_wire::merkle::Hash;
use parquet::file::metadata::{
    KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::file::reader::ChunkReader;
use ring::digest::{Context, SHA256};

use crate::error::{Error, Kind};
use crate::table::layout;
use crate::table::parquet::{FORMAT, metadata};

/// Most bytes of a footer.
const MOST_FOOTER: u64 = 64 << 20;
/// Bytes at the end of a Parquet file: length of the footer, magic.
const TAIL: u64 = 8;

/// The metadata of a sealed file.
#[derive(Clone, PartialEq, Eq)]
pub struct About {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// SHA-256 of the policy, hex.
    pub policy: String,
    /// SHA-256 of the catalogue, hex.
    pub catalogue: String,
    /// Date of receipt, days since 1970-01-01.
    pub received_date: i32,
    /// Rows.
    pub rows: u64,
    /// Subjects: leaves.
    pub subjects: u64,
    /// What subjects are hashed with.
    pub salt: Salt,
    /// What gives them their blinds.
    pub secret: [u8; 16],
    /// Root of the file.
    pub root: Hash,
    /// Paths of the files that it takes the place of, relative to the table's folder.
    pub replaces: Vec<String>,
    /// Rows of those that are not in it any more.
    pub removed: u64,
}

impl std::fmt::Debug for About {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("About");
        shown.field("purpose", &self.purpose).field("stream", &self.stream).field("rows", &self.rows);
        shown.field("subjects", &self.subjects).field("root", &hex::encode(&self.root)).finish_non_exhaustive()
    }
}

/// What a file says of itself; nothing of it was checked.
///
/// # Errors
/// `Retry` if the file is gone: it was replaced. `Data` if it is no sealed file.
pub fn about(path: &Path) -> Result<About, Error> {
    let file = open(path)?;
    guarded(path, || footer(&file, PageIndexPolicy::Skip).and_then(|footer| read(&footer)))
}

/// SHA-256 of a file's bytes.
///
/// # Errors
/// As [`about`].
pub fn digest(path: &Path) -> Result<Hash, Error> {
    let (mut file, mut hash) = (open(path)?, Context::new(&SHA256));
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer).map_err(|why| unreadable(path, why))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Ok(digest)
}

pub(super) fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|why| {
        if why.kind() == ErrorKind::NotFound {
            let what = format!("{} is gone", path.display());
            return Error::new(Kind::Retry, what, "it was replaced meanwhile", "ask again");
        }
        Error::of_no_room(&path.display().to_string(), &why).unwrap_or_else(|| unreadable(path, why))
    })
}

/// Reads what somebody may have forged: libraries that stop at it must not stop the process.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, String>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|why| unreadable(path, why)),
        Err(_) => Err(unreadable(path, "no reader can read it")),
    }
}

/// The footer, if its length can be one, and where pages are if that is wanted. Without statistics: nobody here asks for them.
pub(super) fn footer(file: &impl ChunkReader, offset_index: PageIndexPolicy) -> Result<ParquetMetaData, String> {
    let at = file.len().checked_sub(TAIL).ok_or("it is too short for a Parquet file")?;
    let tail = file.get_bytes(at, TAIL as usize).map_err(said)?;
    let length = tail.first_chunk().map_or(u64::MAX, |length| u64::from(u32::from_le_bytes(*length)));
    if length > at || length > MOST_FOOTER {
        return Err("its footer has a length that cannot be".to_owned());
    }
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(offset_index)
        .with_metadata_options(Some(options));
    reader.try_parse(file).map_err(said)?;
    reader.finish().map_err(said)
}

pub(super) fn read(footer: &ParquetMetaData) -> Result<About, String> {
    let none = Vec::new();
    let pairs: &[KeyValue] = footer.file_metadata().key_value_metadata().unwrap_or(&none);
    let format = text(pairs, metadata::FORMAT)?;
    if format != FORMAT.to_string() {
        return Err(format!("it has format {format:.8}, and this is for format {FORMAT}"));
    }
    let date = text(pairs, metadata::RECEIVED_DATE)?;
    let replaces = find(pairs, metadata::REPLACES)
        .map_or_else(|| Ok(Vec::new()), |paths| serde_json::from_str(paths).map_err(|_| bad(metadata::REPLACES)))?;
    let removed = find(pairs, metadata::REMOVED).map_or(Ok(0), |_| number(pairs, metadata::REMOVED))?;
    Ok(About {
        purpose: text(pairs, metadata::PURPOSE)?.to_owned(),
        stream: text(pairs, metadata::STREAM)?.to_owned(),
        policy: text(pairs, metadata::POLICY)?.to_owned(),
        catalogue: text(pairs, metadata::CATALOGUE)?.to_owned(),
        received_date: layout::day_of_text(date).ok_or_else(|| bad(metadata::RECEIVED_DATE))?,
        rows: number(pairs, metadata::ROWS)?,
        subjects: number(pairs, metadata::SUBJECTS)?,
        salt: bytes(pairs, metadata::SALT)?,
        secret: bytes(pairs, metadata::SECRET)?,
        root: bytes(pairs, metadata::ROOT)?,
        replaces,
        removed,
    })
}

fn find<'a>(pairs: &'a [KeyValue], key: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
}

fn text<'a>(pairs: &'a [KeyValue], key: &str) -> Result<&'a str, String> {
    find(pairs, key).ok_or_else(|| format!("it has no {key}"))
}

fn number(pairs: &[KeyValue], key: &str) -> Result<u64, String> {
    text(pairs, key)?.parse().map_err(|_| bad(key))
}

fn bytes<const N: usize>(pairs: &[KeyValue], key: &str) -> Result<[u8; N], String> {
    let bytes = hex::decode(text(pairs, key)?).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| bad(key))
}

fn bad(key: &str) -> String {
    format!("its {key} cannot be")
}

pub(super) fn said(why: impl std::fmt::Display) -> String {
    why.to_string()
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Data, format!("cannot read {}", path.display()), why, super::CHANGED)
}
