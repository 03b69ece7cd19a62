//! The floor: what the job costs on one core with a struct decoder (prost) and nothing that it does not need.
//!
//! Decode, digest of the body, Arrow columns, operators, segment with fdatasync a request, then sort and Parquet.
//! `floor FOLDER EVENTS SUBJECTS PURPOSES`

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use candor_bench::{RECORDS, Requests};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use prost::Message;
use ring::{digest, hmac};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let folder = Path::new(&args[1]);
    let number = |i: usize| args[i].parse::<usize>().unwrap();
    let (events, subjects, purposes) = (number(2), number(3), number(4));
    std::fs::create_dir_all(folder).unwrap();
    let mut segment = File::create(folder.join("segment")).unwrap();
    let mut requests = Requests::new(subjects);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    let mut body = Vec::new();
    let mut held: Vec<Vec<RecordBatch>> = vec![Vec::new(); purposes];
    let mut files = 0;
    for request in 0..events.div_ceil(RECORDS) {
        requests.next_body(&mut body);
        std::hint::black_box(hmac::sign(&key, &body));
        let decoded = ExportLogsServiceRequest::decode(&body[..]).unwrap();
        for (purpose, held) in held.iter_mut().enumerate() {
            let batch = columns(&decoded, &key, purpose);
            append(&mut segment, &batch);
            held.push(batch);
        }
        segment.sync_data().unwrap();
        if (request + 1) % (262_144 / RECORDS) == 0 || (request + 1) * RECORDS >= events {
            for held in &mut held {
                write_file(&folder.join(format!("{files}.parquet")), &std::mem::take(held));
                files += 1;
            }
        }
    }
}

fn schema() -> SchemaRef {
    let utf8 = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        utf8("event"),
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        utf8("subject"),
        utf8("device_hmac"),
        utf8("email_hmac"),
        utf8("address"),
        utf8("package"),
        utf8("screen"),
        Field::new("duration_ms", DataType::Int64, true),
        Field::new("level", DataType::Int64, true),
        Field::new("temperature", DataType::Float64, true),
    ]))
}

fn columns(request: &ExportLogsServiceRequest, key: &hmac::Key, purpose: usize) -> RecordBatch {
    let mut event = StringBuilder::new();
    let mut time = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut text: Vec<StringBuilder> = (0..6).map(|_| StringBuilder::new()).collect();
    let (mut duration, mut level, mut temperature) = (Int64Builder::new(), Int64Builder::new(), Float64Builder::new());
    let mut pseudonyms: HashMap<(u8, &str), String> = HashMap::new();
    for record in request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records) {
        event.append_value(&record.event_name);
        time.append_value((record.time_unix_nano / 1000) as i64);
        for attribute in &record.attributes {
            let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
            match (attribute.key.as_str(), value) {
                ("device.id", Some(Value::StringValue(v))) => {
                    text[0].append_value(
                        pseudonyms.entry((0, v)).or_insert_with(|| pseudonym(key, purpose, b"subject", v)),
                    );
                    text[1].append_value(
                        pseudonyms.entry((1, v)).or_insert_with(|| pseudonym(key, purpose, b"device", v)),
                    );
                }
                ("account.email", Some(Value::StringValue(v))) => {
                    text[2]
                        .append_value(pseudonyms.entry((2, v)).or_insert_with(|| pseudonym(key, purpose, b"email", v)));
                }
                ("client.address", Some(Value::StringValue(v))) => {
                    let ip: std::net::Ipv4Addr = v.parse().unwrap();
                    text[3].append_value(std::net::Ipv4Addr::from(u32::from(ip) & 0xffff_ff00).to_string());
                }
                ("app.package", Some(Value::StringValue(v))) => text[4].append_value(v),
                ("app.screen", Some(Value::StringValue(v))) => text[5].append_value(v),
                ("duration_ms", Some(Value::IntValue(v))) => duration.append_value(*v),
                ("battery.level", Some(Value::IntValue(v))) => level.append_value(*v),
                ("battery.temperature_c", Some(Value::DoubleValue(v))) => temperature.append_value(*v),
                _ => {}
            }
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(event.finish()), Arc::new(time.finish())];
    arrays.extend(text.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    arrays.push(Arc::new(duration.finish()));
    arrays.push(Arc::new(level.finish()));
    arrays.push(Arc::new(temperature.finish()));
    RecordBatch::try_new(schema(), arrays).unwrap()
}

fn pseudonym(key: &hmac::Key, purpose: usize, domain: &[u8], value: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(&[purpose as u8]);
    context.update(domain);
    context.update(value.as_bytes());
    let digits = b"0123456789abcdef";
    let tag = context.sign();
    tag.as_ref()[..16]
        .iter()
        .flat_map(|b| [digits[usize::from(b >> 4)], digits[usize::from(b & 15)]])
        .map(char::from)
        .collect()
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

fn write_file(path: &Path, batches: &[RecordBatch]) {
    let all = arrow_select::concat::concat_batches(&schema(), batches).unwrap();
    let subject = all.column(2).as_any().downcast_ref::<StringArray>().unwrap();
    let mut salted: HashMap<&str, [u8; 32]> = HashMap::new();
    let mut order: Vec<([u8; 32], u32)> = subject
        .iter()
        .enumerate()
        .map(|(row, s)| {
            let s = s.unwrap();
            let hash = salted.entry(s).or_insert_with(|| {
                let mut context = digest::Context::new(&digest::SHA256);
                context.update(b"salt");
                context.update(s.as_bytes());
                context.finish().as_ref().try_into().unwrap()
            });
            (*hash, row as u32)
        })
        .collect();
    order.sort_unstable();
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, row)| row));
    let sorted = arrow_select::take::take_record_batch(&all, &order).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_bloom_filter_enabled("subject".into(), true)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema(), Some(properties)).unwrap();
    writer.write(&sorted).unwrap();
    writer.into_inner().unwrap().sync_all().unwrap();
}
