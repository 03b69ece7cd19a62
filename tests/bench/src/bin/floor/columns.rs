//! Samples as the columns of one purpose: two ids pseudonymised, an address cut, the e-mail taken out of a text.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ring::hmac;

use crate::sample::Sample;

/// Where the subject is among the columns.
pub(crate) const SUBJECT: usize = 2;

pub(crate) fn schema() -> SchemaRef {
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
        utf8("message"),
        Field::new("duration_ms", DataType::Int64, true),
        Field::new("level", DataType::Int64, true),
        Field::new("temperature", DataType::Float64, true),
    ]))
}

pub(crate) fn columns(samples: &[Sample<'_>], key: &hmac::Key, purpose: usize) -> RecordBatch {
    let mut text: Vec<StringBuilder> = (0..4).map(|_| StringBuilder::new()).collect();
    let mut message = StringBuilder::new();
    let mut pseudonyms: HashMap<(u8, &str), String> = HashMap::new();
    for sample in samples {
        let device = sample.device;
        text[0]
            .append_value(pseudonyms.entry((0, device)).or_insert_with(|| pseudonym(key, purpose, b"subject", device)));
        text[1]
            .append_value(pseudonyms.entry((1, device)).or_insert_with(|| pseudonym(key, purpose, b"device", device)));
        let email = sample.email;
        text[2].append_value(pseudonyms.entry((2, email)).or_insert_with(|| pseudonym(key, purpose, b"email", email)));
        let address: Ipv4Addr = sample.address.parse().unwrap();
        text[3].append_value(Ipv4Addr::from(u32::from(address) & 0xffff_ff00).to_string());
        redact(sample.message, &mut message);
    }
    let time = TimestampMicrosecondArray::from_iter_values(samples.iter().map(|s| (s.time / 1_000) as i64));
    let mut arrays: Vec<ArrayRef> = vec![plain(samples, |s| s.event), Arc::new(time.with_timezone("UTC"))];
    arrays.extend(text.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
    arrays.extend([plain(samples, |s| s.package), plain(samples, |s| s.screen)]);
    arrays.push(Arc::new(message.finish()));
    arrays.push(Arc::new(Int64Array::from_iter_values(samples.iter().map(|s| s.duration))));
    arrays.push(Arc::new(Int64Array::from_iter_values(samples.iter().map(|s| s.level))));
    arrays.push(Arc::new(Float64Array::from_iter_values(samples.iter().map(|s| s.temperature))));
    RecordBatch::try_new(schema(), arrays).unwrap()
}

fn plain<'a>(samples: &[Sample<'a>], of: impl Fn(&Sample<'a>) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(samples.iter().map(of)))
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

/// The text with a marker for the one address in it: a look for the sign first, then for its ends.
fn redact(text: &str, out: &mut StringBuilder) {
    let Some(sign) = memchr::memchr(b'@', text.as_bytes()) else { return out.append_value(text) };
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let start = text[..sign].rfind(|c| !part(c)).map_or(0, |at| at + 1);
    let end = text[sign + 1..].find(|c| !part(c)).map_or(text.len(), |at| sign + 1 + at);
    out.append_value([&text[..start], "<EMAIL>", &text[end..]].concat());
}
