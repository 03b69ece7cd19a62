//! The floor: what the job costs on one core with nothing that it does not need.
//!
//! Decode, digest of the body, Arrow columns, operators, segment with fdatasync a request, then sort and Parquet. The decoder is
//! prost's structs, as in any service that is not written for speed (`structs`), or a walk of the bytes (`walk`). Files are sealed if
//! that is wanted: it is what a job needs whose rows can be proved.
//! `floor FOLDER EVENTS SUBJECTS PURPOSES [structs|walk] [sealed]`

mod columns;
mod file;
mod sample;
mod seal;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use candor_bench::RECORDS;
use candor_bench::requests::{Protocol, Requests};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use ring::hmac;

/// Rows of a file, as the service's segments have them.
const FILE_ROWS: usize = 262_144;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let folder = Path::new(&args[1]);
    let number = |i: usize| args[i].parse::<usize>().unwrap();
    let (events, subjects, purposes) = (number(2), number(3), number(4));
    let walks = args.get(5).is_some_and(|decoder| decoder == "walk");
    let is_sealed = args.get(6).is_some_and(|sealed| sealed == "sealed");
    std::fs::create_dir_all(folder).unwrap();
    let mut segment = File::create(folder.join("segment")).unwrap();
    let mut requests = Requests::new(Protocol::Protobuf, subjects, 0);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    let mut body = Vec::new();
    let mut held: Vec<Vec<RecordBatch>> = vec![Vec::new(); purposes];
    let mut files = 0;
    for request in 0..events.div_ceil(RECORDS) {
        requests.next_body(&mut body);
        std::hint::black_box(hmac::sign(&key, &body));
        let decoded;
        let samples = if walks {
            sample::walked(&body)
        } else {
            decoded = ExportLogsServiceRequest::decode(&body[..]).unwrap();
            sample::of_structs(&decoded)
        };
        assert_eq!(samples.len(), RECORDS);
        for (purpose, held) in held.iter_mut().enumerate() {
            let batch = columns::columns(&samples, &key, purpose);
            append(&mut segment, &batch);
            held.push(batch);
        }
        segment.sync_data().unwrap();
        if (request + 1) % (FILE_ROWS / RECORDS) == 0 || (request + 1) * RECORDS >= events {
            for held in &mut held {
                file::write(&folder.join(format!("{files}.parquet")), &std::mem::take(held), is_sealed);
                files += 1;
            }
        }
    }
}

fn append(segment: &mut File, batch: &RecordBatch) {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    segment.write_all(&crc32c::crc32c(&bytes).to_le_bytes()).unwrap();
    segment.write_all(&bytes).unwrap();
}
