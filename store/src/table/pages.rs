//! A Parquet file whose pages are read one by one, where its page index says that they are.
//!
//! The library makes a compressor and a decompressor for each column chunk that it reads, which takes longer than a page does. So it is
//! told that pages are not compressed, and what it hands on is unpacked here, with one decompressor for all files of a thread.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use bytes::buf::{Buf, Reader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// Bytes at the end of a file that are read at once: its footer, its page index, and the last columns of a small one.
const END: u64 = 64 << 10;
/// Most bytes of a page that is unpacked. Ours have some 16 KiB, or one value that is longer.
const MOST_PAGE: usize = 64 << 20;

/// Bytes of a page whose memory is kept for others.
const MOST_SPARE: usize = 256 << 10;
/// Pages whose memory is kept: a file has one or two a column at a time.
const MOST_SPARES: usize = 64;

/// Decompresses pages, and takes their memory for the next; one for each thread.
#[derive(Clone)]
pub(crate) struct Unpacker(Arc<Mutex<Unpacking>>);

struct Unpacking {
    decompressor: Decompressor<'static>,
    spare: Vec<Vec<u8>>,
}

impl Unpacker {
    pub(crate) fn new() -> std::io::Result<Self> {
        let unpacking = Unpacking { decompressor: Decompressor::new()?, spare: Vec::new() };
        Ok(Self(Arc::new(Mutex::new(unpacking))))
    }

    /// What an unpacking that broke off left in it does not matter to the next.
    fn lock(&self) -> MutexGuard<'_, Unpacking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpack(&self, packed: &Bytes) -> Result<Bytes> {
        if packed.is_empty() {
            return Ok(Bytes::new());
        }
        let size = get_frame_content_size(packed).ok().flatten().and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| *size <= MOST_PAGE).ok_or_else(|| general("a page of no size that can be"))?;
        let mut unpacking = self.lock();
        let mut bytes = unpacking.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.reserve(size);
        unpacking.decompressor.decompress_to_buffer(packed, &mut bytes)?;
        if bytes.len() != size {
            return Err(general("a page that is shorter than it says"));
        }
        Ok(Bytes::from_owner(Unpacked { bytes, unpacker: self.clone() }))
    }
}

/// A page, until its memory goes back.
struct Unpacked {
    bytes: Vec<u8>,
    unpacker: Unpacker,
}

impl AsRef<[u8]> for Unpacked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let mut unpacking = self.unpacker.lock();
        if self.bytes.capacity() <= MOST_SPARE && unpacking.spare.len() < MOST_SPARES {
            unpacking.spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// The bytes of a file, the last of them in memory.
pub(crate) struct Source {
    file: File,
    len: u64,
    end: Bytes,
}

impl Source {
    pub(crate) fn new(file: File) -> std::io::Result<Self> {
        let len = file.metadata()?.len();
        let mut end = vec![0; len.min(END) as usize];
        let start = len - end.len() as u64;
        file.read_exact_at(&mut end, start)?;
        Ok(Self { file, len, end: end.into() })
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Source {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let length = self.len.saturating_sub(start).min(END);
        Ok(self.get_bytes(start, length as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| general("what is beyond its end"))?;
        if let Some(at) = start.checked_sub(self.len - self.end.len() as u64) {
            let at = at as usize;
            return Ok(self.end.slice(at..at + (end - start) as usize));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A file, and where its pages are.
pub(crate) struct Pages {
    source: Arc<Source>,
    about: ParquetMetaData,
    unpacker: Unpacker,
}

impl Pages {
    /// A file with its metadata and offset index.
    pub(crate) fn new(source: Source, about: ParquetMetaData, unpacker: &Unpacker) -> Self {
        Self { source: Arc::new(source), about, unpacker: unpacker.clone() }
    }

    /// Rows, as the file counts them.
    pub(crate) fn rows(&self) -> usize {
        self.groups().last().map_or(0, |last| last.end)
    }

    /// Rows of each row group, as the file counts them.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0_usize;
        self.about.row_groups().iter().map(move |group| {
            let begins = start;
            start = start.saturating_add(usize::try_from(group.num_rows()).unwrap_or(0));
            begins..start
        })
    }

    /// Some of the rows, of one column alone or of all; none if there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn read(&self, rows: &Range<usize>, column: Option<&str>) -> Result<Option<RecordBatch>> {
        let overlaps = |group: &Range<usize>| group.start < rows.end && rows.start < group.end;
        let groups: Vec<(usize, Range<usize>)> =
            self.groups().enumerate().filter(|(_, group)| overlaps(group)).collect();
        let (Some((_, first)), Some((_, last))) = (groups.first(), groups.last()) else { return Ok(None) };
        let (from, to) = (rows.start.max(first.start) - first.start, rows.end.min(last.end) - first.start);
        let selection = RowSelection::from_consecutive_ranges(std::iter::once(from..to), last.end - first.start);
        let schema = self.about.file_metadata().schema_descr();
        let mask = column.map_or_else(ProjectionMask::all, |column| ProjectionMask::columns(schema, [column]));
        // What somebody says of types beside the Parquet schema does not count.
        let levels = parquet_to_arrow_field_levels(schema, mask, None)?;
        let groups = Groups { pages: self, numbers: groups.into_iter().map(|(number, _)| number).collect() };
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &groups, to - from, Some(selection))?;
        let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
        match batches.as_slice() {
            [all] => Ok(Some(all.clone())),
            [first, ..] => Ok(Some(concat_batches(first.schema_ref(), &batches)?)),
            [] => Ok(None),
        }
    }

    /// The pages of a column in a row group.
    fn column(&self, group: usize, column: usize) -> Result<Box<dyn PageReader>> {
        let about = self.about.row_group(group);
        let chunk = about.column(column);
        let places = self.about.offset_index().and_then(|index| index.get(group)?.get(column));
        let places = places.map(|places| places.page_locations.clone());
        let rows = usize::try_from(about.num_rows())?;
        let pages = |chunk| SerializedPageReader::new(Arc::clone(&self.source), chunk, rows, places);
        if matches!(chunk.compression(), Compression::ZSTD(_)) {
            let packed = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
            return Ok(Box::new(Packed { pages: pages(&packed)?, unpacker: self.unpacker.clone() }));
        }
        Ok(Box::new(pages(chunk)?))
    }
}

/// Some row groups of a file.
struct Groups<'a> {
    pages: &'a Pages,
    numbers: Vec<usize>,
}

impl RowGroups for Groups<'_> {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunks: Vec<_> = self.numbers.iter().map(|group| self.pages.column(*group, column)).collect();
        Ok(Box::new(Chunks(chunks.into_iter())))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.numbers.iter().map(|number| self.pages.about.row_group(*number)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.pages.about
    }
}

/// One column of them.
struct Chunks(std::vec::IntoIter<Result<Box<dyn PageReader>>>);

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl PageIterator for Chunks {}

/// Pages that are unpacked when somebody wants them.
struct Packed {
    pages: SerializedPageReader<Source>,
    unpacker: Unpacker,
}

impl Iterator for Packed {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Packed {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.pages.get_next_page()? else { return Ok(None) };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = self.unpacker.unpack(buf)?,
            // Levels stand before what is compressed in it: no file of ours has one.
            Page::DataPageV2 { .. } => return Err(general("a page of another version")),
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

fn general(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

#[cfg(test)]
pub(crate) mod testing {
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    use ring::rand::{SecureRandom, SystemRandom};

    use super::*;

    /// Random numbers below what is asked for, from a seed that is printed.
    pub(crate) fn draws() -> impl FnMut(usize) -> usize {
        let mut seed = [0; 8];
        SystemRandom::new().fill(&mut seed).unwrap();
        let mut state = u64::from_le_bytes(seed) | 1;
        println!("seed {state}");
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) as usize % below
        }
    }

    /// A file of which nobody asks more than its pages.
    pub(crate) fn pages_of(file: File) -> Pages {
        let source = Source::new(file).unwrap();
        let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let about = reader.parse_and_finish(&source).unwrap();
        Pages::new(source, about, &Unpacker::new().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::ZstdLevel;
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

    use super::testing::{draws, pages_of};
    use super::*;
    use crate::segment::testing::lists;

    const ROWS: usize = 5_000;

    /// Columns that are one value, that are null, that are null somewhere, and lists; in row groups of 2,000 rows, in small pages.
    fn file(properties: WriterPropertiesBuilder) -> File {
        let all = 0..ROWS;
        let text =
            |of: &dyn Fn(usize) -> Option<String>| Arc::new(all.clone().map(of).collect::<StringArray>()) as ArrayRef;
        let number =
            |of: &dyn Fn(usize) -> Option<i64>| Arc::new(all.clone().map(of).collect::<Int64Array>()) as ArrayRef;
        let tags: Vec<_> =
            all.clone().map(|n| (n % 5 > 0).then(|| vec![Some(n.to_string()), None][..n % 3].to_vec())).collect();
        let loads = [0.0, -0.0, f64::NAN, 1.5];
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("same", text(&|_| Some("same".to_owned())), true),
            ("null", number(&|_| None), true),
            ("null until", number(&|n| (n >= 3_000).then_some(7)), true),
            ("same until", text(&|n| Some(if n < 2_500 { "one" } else { "another" }.to_owned())), true),
            ("holes", text(&|n| (n % 7 > 0).then(|| format!("{:x}", n * 7_919))), true),
            ("number", number(&|n| Some(n as i64)), false),
            ("load", Arc::new(all.clone().map(|n| loads[n % 4]).collect::<Float64Array>()), true),
            ("flag", Arc::new(all.clone().map(|n| Some(n % 3 == 0)).collect::<BooleanArray>()), true),
            ("tags", lists(tags.iter().map(Option::as_deref)), true),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties = properties
            .set_max_row_group_row_count(Some(2_000))
            .set_data_page_row_count_limit(300)
            .set_write_batch_size(100)
            .build();
        let file = tempfile::tempfile().unwrap();
        let mut writer = ArrowWriter::try_new(file.try_clone().unwrap(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        file
    }

    fn zstd() -> WriterPropertiesBuilder {
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()))
    }

    /// All rows, as the library reads them.
    fn all(file: &File) -> RecordBatch {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.try_clone().unwrap()).unwrap();
        builder.with_batch_size(ROWS).build().unwrap().next().unwrap().unwrap()
    }

    /// How a float is written tells 0 from -0, and a NaN is itself.
    fn text_of(rows: &RecordBatch) -> String {
        format!("{:?}", rows.columns())
    }

    #[test]
    fn rows_are_those_that_the_library_reads() {
        let mut draw = draws();
        let unpacked = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED);
        for properties in
            [zstd(), zstd().set_dictionary_enabled(false), zstd().set_offset_index_disabled(true), unpacked]
        {
            let file = file(properties);
            let (pages, all) = (pages_of(file.try_clone().unwrap()), all(&file));
            assert_eq!(pages.rows(), ROWS);
            let edges = [0..1, ROWS - 1..ROWS, 1_999..2_001, 2_000..2_001, 0..ROWS, 1_000..4_500];
            let drawn: Vec<_> = (0..30).map(|_| draw(ROWS - 1)).map(|from| from..from + 1).collect();
            let wide: Vec<_> = (0..5).map(|_| draw(ROWS - 700)).map(|from| from..from + 700).collect();
            for range in edges.into_iter().chain(drawn).chain(wide) {
                let (rows, wanted) = (pages.read(&range, None).unwrap().unwrap(), all.slice(range.start, range.len()));
                assert_eq!(rows.num_rows(), range.len(), "{range:?}");
                assert_eq!(text_of(&rows), text_of(&wanted), "{range:?}");
                let alone = pages.read(&range, Some("holes")).unwrap().unwrap();
                assert_eq!((alone.num_columns(), alone.column(0)), (1, wanted.column_by_name("holes").unwrap()));
            }
            assert!(pages.read(&(ROWS..ROWS + 9), None).unwrap().is_none());
            assert_eq!(pages.read(&(ROWS - 3..ROWS + 9), None).unwrap().unwrap().num_rows(), 3);
        }
    }

    #[test]
    fn pages_of_another_version_are_not_read() {
        let pages = pages_of(file(zstd().set_writer_version(WriterVersion::PARQUET_2_0)));
        assert!(pages.read(&(0..1), None).unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn what_is_unpacked_is_as_long_as_it_says() {
        let unpacker = Unpacker::new().unwrap();
        let unpack = |packed: Vec<u8>| unpacker.unpack(&packed.into());
        let packed = zstd::bulk::compress(&vec![7; 40_000], 1).unwrap();
        assert_eq!(unpack(packed.clone()).unwrap(), vec![7; 40_000]);
        assert_eq!(unpack(Vec::new()).unwrap(), Vec::new());
        // Memory that was another page's.
        let (one, two) = (unpack(packed.clone()).unwrap(), unpack(zstd::bulk::compress(b"short", 1).unwrap()).unwrap());
        assert_eq!((one.len(), two.as_ref()), (40_000, b"short".as_slice()));
        drop(one);
        let short = zstd::bulk::compress(b"shorter", 1).unwrap();
        assert_eq!(unpack(short.clone()).unwrap(), b"shorter".as_slice());
        assert!(unpack(short.repeat(2)).is_err(), "there is room for what it does not say");
        assert!(unpack(packed[..packed.len() - 1].to_vec()).is_err());
        assert!(unpack([packed.clone(), packed.clone()].concat()).is_err());
        assert!(unpack(b"no frame".to_vec()).is_err());
        // One that says that it is of a size that nobody should make room for: magic, "8 bytes of size, one segment", the size.
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        bomb.extend((1_u64 << 40).to_le_bytes());
        assert!(unpack([bomb, packed[9..].to_vec()].concat()).unwrap_err().to_string().contains("no size"));
        assert_eq!(unpack(packed).unwrap().len(), 40_000, "what failed does not matter to the next");
    }
}
