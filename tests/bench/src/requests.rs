//! Requests ready to be sent: a few are encoded, and all that follow are these with other times and numbers patched in.

use std::ops::Range;
use std::str::FromStr;

use prost::Message;

use crate::job::Numbers;
use crate::{RECORDS, job, json};

/// Requests that differ in their texts.
const TEMPLATES: usize = 64;
/// Times start here (2026-11-01T00:00:00Z), in nanoseconds.
const START: u64 = 1_793_491_200_000_000_000;
/// Nanoseconds from one record to the next.
const STEP: u64 = 1_000_000;
/// Devices that the templates name by themselves; of more, each request names the next ones.
const NAMED: usize = TEMPLATES * RECORDS;

/// How a request goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over HTTP, protobuf.
    Protobuf,
    /// OTLP over HTTP, JSON.
    Json,
    /// OTLP over gRPC.
    Grpc,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "protobuf" => Ok(Self::Protobuf),
            "json" => Ok(Self::Json),
            "grpc" => Ok(Self::Grpc),
            other => Err(format!("no protocol is called {other:?}: protobuf, json or grpc")),
        }
    }
}

/// Bodies whose records all differ, in time and numbers, made by patching: the sender costs little.
#[derive(Debug)]
pub struct Requests {
    protocol: Protocol,
    templates: Vec<Template>,
    subjects: usize,
    records: usize,
    next: u64,
}

#[derive(Debug)]
struct Template {
    body: Vec<u8>,
    /// Where each record's time is.
    times: Vec<usize>,
    /// Where its numbers are.
    durations: Vec<usize>,
    levels: Vec<usize>,
    temperatures: Vec<usize>,
    /// Where the digits of each record's device are, and twice those of its account; only in large fleets.
    devices: Vec<usize>,
    accounts: Vec<usize>,
}

impl Requests {
    /// Requests whose records come from `subjects` devices. What `first` requests before would have said is left out.
    #[must_use]
    pub fn new(protocol: Protocol, subjects: usize, first: u64) -> Self {
        Self::of(protocol, 0..subjects, first, RECORDS)
    }

    /// Requests of one device, with another number of records in each.
    #[must_use]
    pub fn of_device(protocol: Protocol, device: usize, first: u64, records: usize) -> Self {
        Self::of(protocol, device..device + 1, first, records)
    }

    fn of(protocol: Protocol, subjects: Range<usize>, first: u64, records: usize) -> Self {
        let templates = (0..TEMPLATES).map(|which| Template::new(protocol, which, &subjects, records)).collect();
        Self { protocol, templates, subjects: subjects.len(), records, next: first }
    }

    /// The next request's body.
    pub fn next_body(&mut self, body: &mut Vec<u8>) {
        let template = &self.templates[self.next as usize % TEMPLATES];
        body.clear();
        body.extend_from_slice(&template.body);
        let first = self.next * self.records as u64;
        for (at, row) in (first..first + self.records as u64).enumerate() {
            let (time, numbers) = (START + row * STEP, Numbers::of(row));
            let places = (template.times[at], template.durations[at], template.levels[at], template.temperatures[at]);
            match self.protocol {
                Protocol::Json => patch_text(body, places, time, numbers),
                Protocol::Protobuf | Protocol::Grpc => patch_message(body, places, time, numbers),
            }
        }
        for (row, at) in (first..).zip(&template.devices) {
            write_digits(&mut body[*at..*at + 8], row % self.subjects as u64);
        }
        for (count, at) in template.accounts.iter().enumerate() {
            let row = first + count as u64 / 2;
            write_digits(&mut body[*at..*at + 6], row % self.subjects as u64 % 1_000_000);
        }
        self.next += 1;
    }
}

impl Template {
    fn new(protocol: Protocol, which: usize, subjects: &Range<usize>, records: usize) -> Self {
        let request = job::request(which, subjects, records);
        let message = || request.encode_to_vec();
        let (body, mark, skip) = match protocol {
            Protocol::Json => (json::encode(&request), job::TIME.to_string().into_bytes(), 0),
            Protocol::Protobuf => (message(), fixed_time(), 1),
            Protocol::Grpc => (framed(&message()), fixed_time(), 1),
        };
        let times: Vec<usize> = places(&body, &mark).map(|at| at + skip).collect();
        let after = |key: &str, value: &str, tag: usize| -> Vec<usize> {
            // In a message, the key is followed by a tag, a length and the value's own tag.
            let mark =
                if protocol == Protocol::Json { format!(r#""{key}","value":{{"{value}":"#) } else { key.to_owned() };
            let skip = if protocol == Protocol::Json { mark.len() + tag } else { mark.len() + 3 };
            places(&body, mark.as_bytes()).map(|at| at + skip).collect()
        };
        // Whole numbers are in quotes.
        let (durations, levels) = (after("duration_ms", "intValue", 1), after("battery.level", "intValue", 1));
        let temperatures = after("battery.temperature_c", "doubleValue", 0);
        assert!([&durations, &levels, &temperatures].iter().all(|places| places.len() == records));
        let (mut devices, mut accounts) = (Vec::new(), Vec::new());
        if subjects.len() > NAMED {
            devices.extend(places(&body, b"device-").map(|at| at + 7));
            accounts.extend(places(&body, b"user").map(|at| at + 4));
            assert_eq!((devices.len(), accounts.len()), (records, 2 * records));
        }
        assert_eq!(times.len(), records);
        Self { body, times, durations, levels, temperatures, devices, accounts }
    }
}

/// Where time, duration, level and temperature of a record are.
type Places = (usize, usize, usize, usize);

fn patch_message(body: &mut [u8], places: Places, time: u64, numbers: Numbers) {
    let (at, duration, level, temperature) = places;
    body[at..at + 8].copy_from_slice(&time.to_le_bytes());
    let bits = numbers.duration;
    body[duration..duration + 3].copy_from_slice(&[bits as u8 | 0x80, (bits >> 7) as u8 | 0x80, (bits >> 14) as u8]);
    body[level] = numbers.level as u8;
    body[temperature..temperature + 8].copy_from_slice(&(numbers.temperature as f64 / 10.0).to_le_bytes());
}

fn patch_text(body: &mut [u8], places: Places, time: u64, numbers: Numbers) {
    let (at, duration, level, temperature) = places;
    write_digits(&mut body[at..at + 19], time);
    write_digits(&mut body[duration..duration + 5], numbers.duration);
    write_digits(&mut body[level..level + 2], numbers.level);
    write_digits(&mut body[temperature..temperature + 2], numbers.temperature / 10);
    write_digits(&mut body[temperature + 3..temperature + 4], numbers.temperature % 10);
}

/// `time_unix_nano` is field 1, fixed64: tag 0x09.
fn fixed_time() -> Vec<u8> {
    let mut mark = vec![0x09];
    mark.extend(job::TIME.to_le_bytes());
    mark
}

/// A message as gRPC sends it: not compressed, and its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

fn places<'a>(body: &'a [u8], mark: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    memchr::memmem::find_iter(body, mark)
}

fn write_digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    fn decoded(requests: &mut Requests) -> ExportLogsServiceRequest {
        let mut body = Vec::new();
        requests.next_body(&mut body);
        ExportLogsServiceRequest::decode(&body[..]).unwrap()
    }

    #[test]
    fn every_record_has_a_time_of_its_own_and_a_large_fleet_names_every_device() {
        let fleet = NAMED + RECORDS;
        let mut requests = Requests::new(Protocol::Protobuf, fleet, 0);
        let (mut times, mut devices) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..fleet / RECORDS {
            for record in decoded(&mut requests).resource_logs.iter().flat_map(|of| &of.scope_logs[0].log_records) {
                times.insert(record.time_unix_nano);
                let Some(Value::StringValue(device)) = record.attributes[0].value.clone().unwrap().value else {
                    panic!()
                };
                devices.insert(device);
            }
        }
        assert_eq!((times.len(), devices.len()), (fleet, fleet));
        assert_eq!(devices.last().unwrap(), &format!("device-{:08}-4f1c", fleet - 1));
    }

    #[test]
    fn what_is_left_out_is_what_came_before() {
        let mut all = Requests::new(Protocol::Protobuf, 1_000, 0);
        let mut rest = Requests::new(Protocol::Protobuf, 1_000, 1);
        decoded(&mut all);
        assert_eq!(decoded(&mut all), decoded(&mut rest));
    }

    #[test]
    fn numbers_are_patched_where_they_are() {
        let mut requests = Requests::new(Protocol::Protobuf, 1_000, 7 * TEMPLATES as u64);
        let request = decoded(&mut requests);
        for (row, record) in (7 * NAMED as u64..).zip(&request.resource_logs[0].scope_logs[0].log_records) {
            let value = |number: usize| record.attributes[number].value.clone().unwrap().value.unwrap();
            let numbers = Numbers::of(row);
            assert_eq!(value(7), Value::IntValue(numbers.duration as i64));
            assert_eq!(value(8), Value::IntValue(numbers.level as i64));
            assert_eq!(value(9), Value::DoubleValue(numbers.temperature as f64 / 10.0));
        }
    }

    #[test]
    fn a_patched_text_is_what_would_have_been_written() {
        // The first request's numbers are those of its template.
        let (mut patched, which) = (Vec::new(), 5);
        Requests::new(Protocol::Json, 1_000, which).next_body(&mut patched);
        let written = String::from_utf8(json::encode(&job::request(which as usize, &(0..1_000), RECORDS))).unwrap();
        let times = |text: &str| text.replace(&job::TIME.to_string(), "");
        let without: String = (0..RECORDS as u64).fold(String::from_utf8(patched).unwrap(), |text, row| {
            text.replace(&(START + (which * RECORDS as u64 + row) * STEP).to_string(), "")
        });
        assert_eq!(without, times(&written));
    }

    #[test]
    fn json_and_grpc_say_the_same() {
        let (mut json, mut message, mut call) = (Vec::new(), Vec::new(), Vec::new());
        for (protocol, body) in
            [(Protocol::Json, &mut json), (Protocol::Protobuf, &mut message), (Protocol::Grpc, &mut call)]
        {
            Requests::new(protocol, 1_000, 3).next_body(body);
        }
        assert_eq!(call[5..], message);
        assert_eq!(call[..5], framed(&message)[..5]);
        let json = String::from_utf8(json).unwrap();
        assert!(json.contains(&format!(r#""timeUnixNano":"{}""#, START + 3 * RECORDS as u64 * STEP)));
        assert_eq!(json.matches(r#""intValue":""#).count(), 2 * RECORDS);
    }
}
