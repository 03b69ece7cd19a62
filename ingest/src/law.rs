//! The law of what is read before anybody is known: path, headers and the frame of a gRPC message, for any bytes. Nothing panics, what
//! is read is what is there, and what cannot be told apart is not told apart. A fuzz target and its corpus are held against it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candor_wire::cloudevents::decode_binary;
use candor_wire::otlp::DecodeLimits;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::framing::{Broken, Framing};
use crate::head::{
    Encoding, basic, bearer, content_encoding, content_length, event_attributes, gpc, grpc_encoding, grpc_timeout,
    has_event_attributes, media_type,
};
use crate::path::{is_uuid, matches, parameter, parameters};

const PATTERNS: [&str; 3] = ["/v1/logs", "/glean/{token}/submit/{app}/{ping}/{version}/{uuid}", "/{a}/{b}"];

/// The law of a fuzz target's input: a path, a line for each header, an empty line, a byte that says how the body is cut, and the body.
pub(crate) fn headers(input: &[u8]) {
    let (path, mut rest) = line(input);
    let mut headers = HeaderMap::new();
    while !rest.is_empty() {
        let (header, after) = line(rest);
        rest = after;
        let Some(colon) = header.iter().position(|byte| *byte == b':') else { break };
        let name = HeaderName::from_bytes(&header[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&header[colon + 1..])) {
            headers.append(name, value);
        }
    }
    if let Ok(path) = std::str::from_utf8(path) {
        a_path_is_its_parts(path);
    }
    codings_have_one_reading(&headers);
    one_who_opts_out_is_enough(&headers);
    credentials_are_in_the_one_header(&headers);
    a_timeout_is_what_it_says(&headers);
    event_attributes_come_once(&headers, rest);
    if let Some((size, body)) = rest.split_first() {
        a_message_is_the_same_however_it_is_cut(body, usize::from(*size).max(1));
    }
}

fn a_path_is_its_parts(path: &str) {
    for pattern in PATTERNS.into_iter().filter(|pattern| matches(pattern, path)) {
        let mut built = pattern.to_owned();
        for name in parameters(pattern) {
            let part = parameter(pattern, name, path).unwrap();
            assert!(!part.is_empty() && !part.contains('/'));
            built = built.replacen(&format!("{{{name}}}"), part, 1);
        }
        assert!(built == path || path.contains('{'), "{built} is not {path}");
    }
    let uuid = path.rsplit('/').next().unwrap_or_default();
    let groups: Vec<&str> = uuid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit());
    assert_eq!(is_uuid(uuid), hex && lengths == [8, 4, 4, 4, 12], "{uuid}");
}

fn codings_have_one_reading(headers: &HeaderMap) {
    if let Some(found) = media_type(headers) {
        assert_eq!(found, found.trim().to_ascii_lowercase());
        assert!(!found.contains(';'));
    }
    for (name, read) in [("content-encoding", content_encoding(headers)), ("grpc-encoding", grpc_encoding(headers))] {
        let Some(value) = headers.get(name) else {
            assert_eq!(read, Some(Encoding::Identity));
            continue;
        };
        let known = value.to_str().is_ok_and(|text| text.is_empty() || Encoding::of(text).is_some());
        assert!(read.is_none() || known, "{name} was guessed");
        assert!(name == "grpc-encoding" || read.is_none() || headers.get_all(name).iter().count() == 1);
    }
    if let Some(length) = content_length(headers) {
        let text = headers["content-length"].to_str().unwrap();
        assert_eq!(text.trim_start_matches('+').trim_start_matches('0'), length.to_string().trim_start_matches('0'));
    }
}

/// Whoever joins headers of one name on the way writes a comma between them: of that text a 1 counts that stands alone between commas.
fn one_who_opts_out_is_enough(headers: &HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all("sec-gpc").iter().map(HeaderValue::as_bytes).collect();
    let joined = all.join(&b',');
    let stands_alone = joined
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'1' && ends_at(joined[..at].iter().rev()) && ends_at(joined[at + 1..].iter()));
    assert_eq!(gpc(headers), stands_alone);
    for (added, expected) in [("0", stands_alone), ("1", true)] {
        let mut more = headers.clone();
        more.append("sec-gpc", HeaderValue::from_static(added));
        assert_eq!(gpc(&more), expected, "what is said after it takes nothing back");
    }
}

/// Whether on this side of something there is nothing, or a comma, but for spaces.
fn ends_at<'b>(mut side: impl Iterator<Item = &'b u8>) -> bool {
    side.find(|byte| !byte.is_ascii_whitespace()).is_none_or(|byte| *byte == b',')
}

fn credentials_are_in_the_one_header(headers: &HeaderMap) {
    let values: Vec<&HeaderValue> = headers.get_all("authorization").iter().collect();
    let (bearer, basic) = (bearer(headers), basic(headers));
    assert!(bearer.is_none() || basic.is_none(), "one header is of two schemes");
    if bearer.is_none() && basic.is_none() {
        return;
    }
    let [value] = values[..] else { panic!("{} headers were believed", values.len()) };
    let (scheme, credentials) = value.to_str().unwrap().split_once(' ').unwrap();
    match (bearer, basic) {
        (Some(token), _) => assert!(scheme.eq_ignore_ascii_case("bearer") && token == credentials.trim()),
        (_, Some(name)) => {
            assert!(scheme.eq_ignore_ascii_case("basic") && !name.contains(':'));
            assert_eq!(STANDARD.encode(format!("{name}:")), credentials.trim());
        }
        (None, None) => {}
    }
}

fn a_timeout_is_what_it_says(headers: &HeaderMap) {
    let Some(time) = grpc_timeout(headers) else { return };
    let text = headers["grpc-timeout"].to_str().unwrap();
    let amount: u32 = text[..text.len() - 1].parse().unwrap();
    let unit = match &text[text.len() - 1..] {
        "H" => Duration::from_hours(1),
        "M" => Duration::from_mins(1),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        _ => Duration::from_nanos(1),
    };
    assert_eq!(time, unit * amount);
    assert!(amount <= 99_999_999 && text.len() <= 9);
}

fn event_attributes_come_once(headers: &HeaderMap, body: &[u8]) {
    let Ok(attributes) = event_attributes(headers) else { return };
    assert!(attributes.is_sorted_by(|one, next| one.0 < next.0), "a header comes twice");
    for (name, value) in &attributes {
        assert!(name.starts_with("ce-") || name == "content-type");
        assert_eq!(headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [value.as_bytes()]);
    }
    assert_eq!(attributes.iter().any(|(name, _)| name.starts_with("ce-")), has_event_attributes(headers));
    let pairs: Vec<(&str, &str)> = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // No stream is declared: whatever is an event counts, and nothing of it is kept.
    let keys = candor_policy::key_index::KeyIndex::new([], Vec::new());
    if let Ok(event) = decode_binary(&pairs, body, &keys, &DecodeLimits::default()) {
        assert_eq!((event.received.records(), event.received.groups().len()), (1, 0));
    }
}

fn a_message_is_the_same_however_it_is_cut(body: &[u8], size: usize) {
    const MOST: usize = 1_000;
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut framing, mut message) = (Framing::new(MOST), Vec::new());
        for piece in pieces {
            message.extend_from_slice(framing.next(piece)?);
        }
        framing.end().map(|compressed| (compressed, message))
    };
    let whole = read(&mut std::iter::once(body));
    assert_eq!(read(&mut body.chunks(size)), whole);
    match whole {
        Ok((compressed, message)) => {
            let length = (message.len() as u32).to_be_bytes();
            assert_eq!([&[u8::from(compressed)][..], &length, &message].concat(), body);
            assert!(message.len() <= MOST);
        }
        Err(Broken::TooLong) => assert!(body.len() >= 5),
        Err(_) => {}
    }
}

/// The bytes before the first line feed, and those after it.
fn line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("headers", headers);
}
