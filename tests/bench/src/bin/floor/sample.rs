//! What the job needs of a record, taken from prost's structs or from the bytes.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

/// One record; texts are borrowed from whatever was decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample<'a> {
    pub(crate) time: u64,
    pub(crate) event: &'a str,
    pub(crate) device: &'a str,
    pub(crate) email: &'a str,
    pub(crate) address: &'a str,
    pub(crate) package: &'a str,
    pub(crate) screen: &'a str,
    pub(crate) message: &'a str,
    pub(crate) duration: i64,
    pub(crate) level: i64,
    pub(crate) temperature: f64,
}

/// A value of an attribute.
enum Scalar<'a> {
    Text(&'a str),
    Whole(i64),
    Float(f64),
}

impl<'a> Sample<'a> {
    fn set(&mut self, key: &str, value: Scalar<'a>) {
        match (key, value) {
            ("device.id", Scalar::Text(text)) => self.device = text,
            ("account.email", Scalar::Text(text)) => self.email = text,
            ("client.address", Scalar::Text(text)) => self.address = text,
            ("app.package", Scalar::Text(text)) => self.package = text,
            ("app.screen", Scalar::Text(text)) => self.screen = text,
            ("message", Scalar::Text(text)) => self.message = text,
            ("duration_ms", Scalar::Whole(number)) => self.duration = number,
            ("battery.level", Scalar::Whole(number)) => self.level = number,
            ("battery.temperature_c", Scalar::Float(number)) => self.temperature = number,
            _ => {}
        }
    }
}

/// From prost's structs.
pub(crate) fn of_structs(request: &ExportLogsServiceRequest) -> Vec<Sample<'_>> {
    let records = request.resource_logs.iter().flat_map(|of| &of.scope_logs).flat_map(|of| &of.log_records);
    records
        .map(|record| {
            let mut sample = Sample { time: record.time_unix_nano, event: &record.event_name, ..Sample::default() };
            for attribute in &record.attributes {
                let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                    Some(Value::StringValue(text)) => Scalar::Text(text),
                    Some(Value::IntValue(number)) => Scalar::Whole(*number),
                    Some(Value::DoubleValue(number)) => Scalar::Float(*number),
                    _ => continue,
                };
                sample.set(&attribute.key, value);
            }
            sample
        })
        .collect()
}

/// From the bytes: only what the job needs is looked at. Numbers are those of `opentelemetry/proto/logs/v1/logs.proto`.
pub(crate) fn walked(body: &[u8]) -> Vec<Sample<'_>> {
    let mut samples = Vec::with_capacity(candor_bench::RECORDS);
    let resources = Fields(body).filter_map(|field| field.message(1));
    let scopes = resources.flat_map(|resource| Fields(resource).filter_map(|field| field.message(2)));
    for record in scopes.flat_map(|scope| Fields(scope).filter_map(|field| field.message(2))) {
        let mut sample = Sample::default();
        for field in Fields(record) {
            match (field.number, field.value) {
                (1, Wire::Fixed(time)) => sample.time = time,
                (12, Wire::Bytes(event)) => sample.event = text(event),
                (6, Wire::Bytes(attribute)) => set_attribute(&mut sample, attribute),
                _ => {}
            }
        }
        samples.push(sample);
    }
    samples
}

fn set_attribute<'a>(sample: &mut Sample<'a>, attribute: &'a [u8]) {
    let (mut key, mut value) = ("", None);
    for field in Fields(attribute) {
        match (field.number, field.value) {
            (1, Wire::Bytes(bytes)) => key = text(bytes),
            (2, Wire::Bytes(bytes)) => value = Fields(bytes).next().and_then(scalar),
            _ => {}
        }
    }
    if let Some(value) = value {
        sample.set(key, value);
    }
}

fn scalar(field: Field<'_>) -> Option<Scalar<'_>> {
    match (field.number, field.value) {
        (1, Wire::Bytes(bytes)) => Some(Scalar::Text(text(bytes))),
        (3, Wire::Varint(number)) => Some(Scalar::Whole(number as i64)),
        (4, Wire::Fixed(bits)) => Some(Scalar::Float(f64::from_bits(bits))),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The fields of a message, in order.
struct Fields<'a>(&'a [u8]);

struct Field<'a> {
    number: u64,
    value: Wire<'a>,
}

enum Wire<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn message(self, number: u64) -> Option<&'a [u8]> {
        match self.value {
            Wire::Bytes(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> u64 {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return number;
            }
        }
        panic!("a number without an end");
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let tag = self.varint();
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()),
            1 => {
                let (bits, rest) = self.0.split_first_chunk().unwrap();
                self.0 = rest;
                Wire::Fixed(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = self.varint() as usize;
                let (bytes, rest) = self.0.split_at(length);
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            kind => panic!("the job has no wire type {kind}"),
        };
        Some(Field { number: tag >> 3, value })
    }
}

#[cfg(test)]
mod tests {
    use candor_bench::requests::{Protocol, Requests};
    use prost::Message;

    use super::*;

    #[test]
    fn both_decoders_read_the_same() {
        let mut body = Vec::new();
        Requests::new(Protocol::Protobuf, 1_000, 7).next_body(&mut body);
        let request = ExportLogsServiceRequest::decode(&body[..]).unwrap();
        let samples = walked(&body);
        assert_eq!(samples, of_structs(&request));
        assert_eq!(samples.len(), candor_bench::RECORDS);
        assert!(samples.iter().all(|sample| !sample.device.is_empty() && sample.temperature > 0.0));
    }
}
