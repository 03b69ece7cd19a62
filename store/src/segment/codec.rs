//! A frame's payload: Arrow IPC streams and a JSON header behind them. Encoded on workers, decoded after the checksum.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::MetadataVersion;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::ArrowError;
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;

use crate::error::{Error, Kind};
use crate::segment::frame::{BatchFrame, BatchHeader, Frame, FrameTable, TableSpan};
use crate::segment::fresh::fresh;
use crate::segment::layout::{BATCH, MAX_PAYLOAD, NUMBERED, STATEMENT};

/// What the JSON of a receipt takes at most beside the names in it, with its length; of a purpose in it, and of a count. Of names of
/// logs only those that are longer than a hundred bytes are too long for it.
const MOST_AROUND_A_RECEIPT: usize = 640 + 200;
const MOST_AROUND_A_PURPOSE: usize = 192;
const MOST_AROUND_A_COUNT: usize = 24;

/// A payload ready to be appended, checksum included; only its lsn is missing.
pub(crate) struct Encoded {
    pub(crate) kind: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) payload_crc: u32,
    /// Rows in it, over all tables.
    pub(crate) rows: u64,
}

/// Encodes a request. `header.tables` is made here from the tables: (purpose, stream, rows).
pub(crate) fn encode_batch<'a>(
    mut header: BatchHeader,
    tables: impl IntoIterator<Item = (&'a str, &'a str, &'a RecordBatch)>,
) -> Result<Encoded, Error> {
    let mut payload = Vec::new();
    header.tables.clear();
    for (purpose, stream, rows) in tables {
        let start = payload.len();
        fresh(rows).and_then(|rows| write_ipc(&rows, &mut payload)).map_err(|error| not_encoded(&error))?;
        header.tables.push(TableSpan {
            purpose: purpose.to_owned(),
            stream: stream.to_owned(),
            rows: rows.num_rows() as u64,
            bytes: (payload.len() - start) as u64,
        });
    }
    let rows = header.tables.iter().map(|table| table.rows).sum();
    let ipc = payload.len();
    serde_json::to_writer(&mut payload, &header).map_err(|error| not_encoded(&error))?;
    // The header comes last, so that the streams are written in place; its length ends the payload.
    let json = (payload.len() - ipc) as u32;
    payload.extend_from_slice(&json.to_le_bytes());
    Encoded::new(BATCH, payload, rows)
}

/// Encodes a consent statement.
pub(crate) fn encode_statement(statement: &Statement) -> Result<Encoded, Error> {
    let payload = serde_json::to_vec(statement).map_err(|error| not_encoded(&error))?;
    Encoded::new(STATEMENT, payload, 0)
}

/// The frame that a payload holds. Call it only with bytes whose checksum held: Arrow's readers trust lengths.
pub(crate) fn decode(kind: u32, lsn: u64, payload: &[u8]) -> Result<Frame, Error> {
    match kind {
        BATCH => decode_batch(lsn, payload).map(Frame::Batch),
        NUMBERED => {
            let (batch, receipt) = split_receipt(lsn, payload)?;
            let mut frame = decode_batch(lsn, batch)?;
            frame.receipt = Some(Box::new(read_receipt(lsn, receipt)?));
            Ok(Frame::Batch(frame))
        }
        STATEMENT => decode_statement(lsn, payload).map(|statement| Frame::Statement { lsn, statement }),
        other => Err(unknown_kind(lsn, other)),
    }
}

/// The header of a batch frame without its rows.
pub(crate) fn decode_header(kind: u32, lsn: u64, payload: &[u8]) -> Result<BatchHeader, Error> {
    match kind {
        BATCH => split(lsn, payload).map(|(header, _)| header),
        NUMBERED => split(lsn, split_receipt(lsn, payload)?.0).map(|(header, _)| header),
        other => Err(unknown_kind(lsn, other)),
    }
}

/// The receipt of a frame, if it is that of a numbered batch.
pub(crate) fn decode_receipt(kind: u32, lsn: u64, payload: &[u8]) -> Result<Option<Receipt>, Error> {
    if kind == NUMBERED { read_receipt(lsn, split_receipt(lsn, payload)?.1).map(Some) } else { Ok(None) }
}

/// The statement of a statement frame.
pub(crate) fn decode_statement(lsn: u64, payload: &[u8]) -> Result<Statement, Error> {
    // A parser's message may quote the text.
    serde_json::from_slice(payload).map_err(|_| not_decoded(lsn, "its statement is not the JSON of this version"))
}

/// The bytes of a receipt that are hashed, signed and kept.
pub(crate) fn receipt_json(receipt: &Receipt) -> Result<String, Error> {
    receipt.to_json().map_err(|error| not_encoded(&error))
}

impl Encoded {
    fn new(kind: u32, payload: Vec<u8>, rows: u64) -> Result<Self, Error> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::new(
                Kind::Request,
                "a request is too large to be stored",
                format!("{} bytes after clearing, {MAX_PAYLOAD} are the most", payload.len()),
                "send fewer records a request",
            ));
        }
        let payload_crc = crc32c::crc32c(&payload);
        Ok(Self { kind, payload, payload_crc, rows })
    }

    /// Makes room for a receipt, so that the appender need not move the rows when it comes.
    pub(crate) fn reserve_for(&mut self, draft: &Receipt) {
        let purposes = draft.purposes.iter().map(|(name, purpose)| {
            let reasons = purpose.dropped.keys().map(|reason| reason.len() + MOST_AROUND_A_COUNT);
            name.len() + MOST_AROUND_A_PURPOSE + reasons.sum::<usize>()
        });
        self.payload.reserve_exact(MOST_AROUND_A_RECEIPT + draft.fleet.len() + purposes.sum::<usize>());
    }

    /// Makes a batch a numbered one: its receipt goes behind everything else, and is known at the append only.
    pub(crate) fn add_receipt(&mut self, json: &str) -> Result<(), Error> {
        let length = (json.len() as u32).to_le_bytes();
        if self.payload.len() + json.len() + length.len() > MAX_PAYLOAD {
            return Err(not_encoded(&"its receipt does not fit behind it"));
        }
        for part in [json.as_bytes(), &length] {
            self.payload.extend_from_slice(part);
            self.payload_crc = crc32c::crc32c_append(self.payload_crc, part);
        }
        self.kind = NUMBERED;
        Ok(())
    }
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoded(kind {}, {} bytes, {} rows)", self.kind, self.payload.len(), self.rows)
    }
}

/// One IPC stream: plain, and aligned to 8 bytes only, since a frame's place in the file is arbitrary.
pub(crate) fn write_ipc(rows: &RecordBatch, to: &mut Vec<u8>) -> Result<(), ArrowError> {
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(to, &rows.schema(), options)?;
    writer.write(rows)?;
    writer.finish()
}

fn decode_batch(lsn: u64, payload: &[u8]) -> Result<BatchFrame, Error> {
    let (header, mut streams) = split(lsn, payload)?;
    let mut tables = Vec::with_capacity(header.tables.len());
    for span in &header.tables {
        let Some((stream, rest)) = streams.split_at_checked(span.bytes as usize) else {
            return Err(not_decoded(lsn, "its tables are longer than it is"));
        };
        streams = rest;
        let rows = read_ipc(stream).map_err(|error| not_decoded(lsn, &error.to_string()))?;
        if rows.num_rows() as u64 != span.rows {
            return Err(not_decoded(lsn, "a table has another number of rows than its header says"));
        }
        tables.push(FrameTable { purpose: span.purpose.clone(), stream: span.stream.clone(), rows });
    }
    if !streams.is_empty() {
        return Err(not_decoded(lsn, "it holds bytes that no table owns"));
    }
    Ok(BatchFrame { lsn, header, tables, receipt: None })
}

/// A numbered batch and its receipt.
fn split_receipt(lsn: u64, payload: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let short = || not_decoded(lsn, "its receipt is longer than it is");
    let (rest, length) = payload.split_last_chunk::<4>().ok_or_else(short)?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
    Ok(rest.split_at(start))
}

fn read_receipt(lsn: u64, json: &[u8]) -> Result<Receipt, Error> {
    let receipt: Option<Receipt> = serde_json::from_slice(json).ok();
    // Its device has the hash of these bytes: whatever would be written otherwise is not what was signed.
    let same = |receipt: &Receipt| receipt.to_json().is_ok_and(|again| again.as_bytes() == json);
    receipt.filter(same).ok_or_else(|| not_decoded(lsn, "its receipt is not the JSON of this version"))
}

fn split(lsn: u64, payload: &[u8]) -> Result<(BatchHeader, &[u8]), Error> {
    let short = || not_decoded(lsn, "its header is longer than it is");
    let (rest, length) = payload.split_last_chunk::<4>().ok_or_else(short)?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
    let (streams, json) = rest.split_at(start);
    let header =
        serde_json::from_slice(json).map_err(|_| not_decoded(lsn, "its header is not the JSON of this version"))?;
    Ok((header, streams))
}

fn read_ipc(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let rows = reader.next().transpose()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&schema)));
    if reader.next().is_some() {
        return Err(ArrowError::IpcError("more than one record batch".to_owned()));
    }
    Ok(rows)
}

fn unknown_kind(lsn: u64, kind: u32) -> Error {
    not_decoded(lsn, &format!("it is of the unknown kind {kind}"))
}

fn not_encoded(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Stop, "a cleared batch cannot be encoded", why, "this is a fault of candor: report it")
}

fn not_decoded(lsn: u64, why: &str) -> Error {
    Error::new(
        Kind::Data,
        format!("frame {lsn} cannot be read though its checksum holds"),
        why,
        "start the version of candor that wrote it",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::testing;

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(rows in testing::rows(), source in "[a-z]{1,8}", rejected in any::<u64>()) {
            let header = testing::header(&source, rejected);
            let tables = [("p", "a.b", &rows), ("q", "a.b", &rows)];
            let encoded = encode_batch(header.clone(), tables).unwrap();
            prop_assert_eq!(encoded.rows, 2 * rows.num_rows() as u64);
            prop_assert_eq!(crc32c::crc32c(&encoded.payload), encoded.payload_crc);
            let Frame::Batch(frame) = decode(encoded.kind, 7, &encoded.payload).unwrap() else { panic!() };
            prop_assert_eq!(frame.lsn, 7);
            prop_assert_eq!(&frame.header.source, &header.source);
            prop_assert_eq!(&frame.header.reply, &header.reply);
            prop_assert_eq!(&frame.tables[1].rows, &rows);
            prop_assert_eq!(&frame.tables[1].purpose, "q");
            prop_assert_eq!(decode_header(BATCH, 7, &encoded.payload).unwrap(), frame.header);
        }
    }

    #[test]
    fn a_receipt_is_behind_everything_else_and_comes_back_byte_for_byte() {
        let (header, rows) = (testing::numbered_header(7), testing::some_rows(3));
        let mut encoded = encode_batch(header, [("p", "a.b", &rows)]).unwrap();
        let plain = encoded.payload.clone();
        let mut receipt = testing::receipt(1, 7);
        let mut draft = receipt.clone();
        receipt.checkpoint = Some(format!("candor/a-fleet-with-a-long-name\n1234567890\n{}=\n", "x".repeat(43)));
        draft.purposes.values_mut().for_each(|purpose| purpose.batch = None);
        encoded.reserve_for(&draft);
        let place = encoded.payload.as_ptr();
        let json = receipt_json(&receipt).unwrap();
        encoded.add_receipt(&json).unwrap();
        assert_eq!(encoded.payload.as_ptr(), place, "rows were moved for a receipt");
        assert_eq!((encoded.kind, encoded.rows), (NUMBERED, 3));
        assert_eq!(crc32c::crc32c(&encoded.payload), encoded.payload_crc);
        assert_eq!(encoded.payload, [&plain[..], json.as_bytes(), &(json.len() as u32).to_le_bytes()].concat());
        let Frame::Batch(frame) = decode(NUMBERED, 9, &encoded.payload).unwrap() else { panic!() };
        assert_eq!((frame.receipt.as_deref(), frame.number_for("p")), (Some(&receipt), Some(7)));
        assert_eq!((frame.number_for("q"), &frame.tables[0].rows), (None, &rows));
        assert_eq!(frame.to_payload().unwrap(), encoded.payload);
        println!("a receipt of one purpose: {} bytes of JSON", json.len());
    }

    #[test]
    fn a_receipt_that_is_not_the_bytes_that_were_signed_is_refused() {
        let json = receipt_json(&testing::receipt(1, 7)).unwrap();
        let sealed = |json: &str| {
            let mut encoded = encode_batch(testing::numbered_header(7), []).unwrap();
            encoded.add_receipt(json).unwrap();
            (decode(NUMBERED, 1, &encoded.payload).map(drop), decode_receipt(NUMBERED, 1, &encoded.payload).map(drop))
        };
        assert!(matches!(sealed(&json), (Ok(()), Ok(()))));
        let others = [
            "{}".to_owned(),
            String::new(),
            json.replace("{\"batch\"", "{ \"batch\""),
            json.replacen("\"batch\":7", "\"batch\":7.0", 1),
            json.replacen("\"batch\":7", "\"batch\":9007199254740993", 1),
            json.replace("\"fleet\":\"test\"", "\"fleet\":\"t\\u0065st\""),
        ];
        for other in others {
            assert!(matches!(sealed(&other), (Err(_), Err(_))), "{other}");
        }
        let mut encoded = encode_batch(testing::numbered_header(7), []).unwrap();
        encoded.add_receipt(&json).unwrap();
        let last = encoded.payload.len() - 1;
        for payload in [&encoded.payload[..last], &encoded.payload[..3], b"\xff\xff\xff\xff"] {
            assert_eq!(decode(NUMBERED, 1, payload).unwrap_err().kind(), Kind::Data);
        }
    }

    #[test]
    fn a_statement_comes_back_as_it_was() {
        let statement = testing::statement(3, 1, true);
        let encoded = encode_statement(&statement).unwrap();
        let Frame::Statement { lsn, statement: back } = decode(encoded.kind, 9, &encoded.payload).unwrap() else {
            panic!()
        };
        assert_eq!((lsn, back), (9, statement));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let encoded = encode_batch(testing::header("s", 0), [("p", "a.b", &testing::some_rows(3))]).unwrap();
        for payload in [&encoded.payload[1..], &encoded.payload[..2], b"\xff\xff\xff\xff"] {
            assert_eq!(decode(BATCH, 1, payload).unwrap_err().kind(), Kind::Data);
        }
        assert_eq!(decode(99, 1, &encoded.payload).unwrap_err().kind(), Kind::Data);
    }
}
