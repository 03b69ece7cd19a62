//! What the headers of a request say, read from bytes that anybody may send. Pure: from headers to values, and nothing else.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    /// The zlib format, as HTTP means it (RFC 9110, 8.4.1.2).
    Deflate,
    Zstd,
}

impl Encoding {
    /// What is accepted, for messages and `/v1/limits`.
    pub(crate) const NAMES: [&str; 4] = ["identity", "gzip", "deflate", "zstd"];

    /// The encoding of a name as headers write it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The media type of a header, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// The one content coding, if it is one that is taken; two headers are two codings.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map_or(Some(Encoding::Identity), encoding);
    first.filter(|_| values.next().is_none())
}

/// How gRPC messages that say they are compressed are, if it is one that is taken.
pub(crate) fn grpc_encoding(headers: &HeaderMap) -> Option<Encoding> {
    headers.get(GRPC_ENCODING).map_or(Some(Encoding::Identity), encoding)
}

/// The length that a body is announced with.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the request itself opts out (Global Privacy Control): `Sec-GPC: 1`, also where somebody on the way added another one
/// or joined both (RFC 9110, 5.3). Whichever came first, one that opts out does.
pub(crate) fn gpc(headers: &HeaderMap) -> bool {
    let mut members = headers.get_all("sec-gpc").iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii() == b"1")
}

/// The token of the one `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// The user's name of the one `Authorization: Basic` header, if it has no password.
pub(crate) fn basic(headers: &HeaderMap) -> Option<String> {
    let bytes = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let mut name = String::from_utf8(bytes).ok()?;
    // The first colon ends the name: there must be nothing behind it.
    let colon = name.find(':')?;
    (colon + 1 == name.len()).then(|| name.truncate(colon))?;
    Some(name)
}

/// The time that a gRPC client gives (`grpc-timeout`): at most eight digits and a unit. What is not written so is no limit.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_hours(amount)),
        "M" => Some(Duration::from_mins(amount)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Whether there are headers that are attributes of an event.
pub(crate) fn has_event_attributes(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(EVENT_ATTRIBUTE))
}

/// The headers that are part of an event in the binary mode of CloudEvents, in the order of their names; the error says what is wrong.
pub(crate) fn event_attributes(headers: &HeaderMap) -> Result<Vec<(String, String)>, &'static str> {
    let mut attributes = Vec::new();
    for name in headers.keys().filter(|name| name.as_str().starts_with(EVENT_ATTRIBUTE) || **name == CONTENT_TYPE) {
        let mut values = headers.get_all(name).iter();
        // Producers ought to percent-encode what is not ASCII; some send UTF-8 as it is.
        let text = values.next().and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let text = text.ok_or("a ce- header is not UTF-8: percent-encode it")?;
        if values.next().is_some() {
            return Err("a ce- header, or the Content-Type, comes twice: send each once");
        }
        attributes.push((name.as_str().to_owned(), text.to_owned()));
    }
    attributes.sort_unstable();
    Ok(attributes)
}

/// What the names of headers begin with that are attributes of an event.
const EVENT_ATTRIBUTE: &str = "ce-";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

fn encoding(value: &HeaderValue) -> Option<Encoding> {
    Encoding::of(value.to_str().ok()?)
}

/// What the one `Authorization` header has of a scheme; two of them are ambiguous, so neither counts.
fn credentials<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn names_of_encodings_are_read_as_headers_write_them() {
        for name in Encoding::NAMES {
            assert!(Encoding::of(name).is_some(), "{name}");
        }
        assert_eq!(Encoding::of(" GZIP "), Some(Encoding::Gzip));
        assert_eq!(Encoding::of("br"), None);
        assert_eq!(Encoding::of("gzip, gzip"), None);
    }

    #[test]
    fn a_request_opts_out_wherever_one_of_its_signals_does() {
        let of = |values: &[&'static [u8]]| {
            let pairs: Vec<_> = values.iter().map(|value| ("sec-gpc", *value)).collect();
            gpc(&headers(&pairs))
        };
        for on in [&[b"1".as_slice()][..], &[b"0", b"1"], &[b"1", b"0"], &[b"1, 1"], &[b"0 ,\t1 "], &[b"\xff,1"]] {
            assert!(of(on), "{on:?}");
        }
        for off in [&[b"".as_slice()][..], &[], &[b"0"], &[b"0, 0", b"0"], &[b"11"], &[b"1 1"], &[b"true"]] {
            assert!(!of(off), "{off:?}");
        }
    }

    #[test]
    fn one_content_encoding_is_taken_and_two_are_not() {
        assert_eq!(content_encoding(&headers(&[])), Some(Encoding::Identity));
        assert_eq!(content_encoding(&headers(&[("content-encoding", b"GZIP")])), Some(Encoding::Gzip));
        for other in [b"br".as_slice(), b"gzip, gzip", b"\xff"] {
            assert_eq!(content_encoding(&headers(&[("content-encoding", other)])), None);
        }
        let twice = [("content-encoding", b"gzip".as_slice()), ("content-encoding", b"gzip")];
        assert_eq!(content_encoding(&headers(&twice)), None, "two headers are two codings");
    }

    #[test]
    fn a_token_is_read_from_one_bearer_header_only() {
        let with = |values: &[&'static [u8]]| {
            let pairs: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            bearer(&headers(&pairs)).map(str::to_owned)
        };
        assert_eq!(with(&[b"Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&[b"bearer  abc "]).as_deref(), Some("abc"));
        assert_eq!(with(&[b"Basic abc"]), None);
        assert_eq!(with(&[b"abc"]), None);
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[b"Bearer abc", b"Bearer def"]), None);
    }

    #[test]
    fn a_write_key_is_the_name_of_a_user_without_a_password() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            basic(&headers)
        };
        let basic_of = |plain: &str| of(&format!("Basic {}", STANDARD.encode(plain)));
        assert_eq!(basic_of("example-write-key:").as_deref(), Some("example-write-key"));
        assert_eq!(of("bAsIc ZXhhbXBsZS13cml0ZS1rZXk6").as_deref(), Some("example-write-key"));
        for other in ["example-write-key", "example-write-key:password", "example-write-key::", "", "\u{ff}"] {
            assert_eq!(basic_of(other), None, "{other}");
        }
        assert_eq!(of("Basic example-write-key:"), None, "that is no base64");
        assert_eq!(of("Bearer ZXhhbXBsZS13cml0ZS1rZXk6"), None);
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let of = |value: &'static str| grpc_timeout(&headers(&[("grpc-timeout", value.as_bytes())]));
        assert_eq!(of("10S"), Some(Duration::from_secs(10)));
        assert_eq!(of("9999m"), Some(Duration::from_millis(9_999)));
        assert_eq!(of("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(of("1n"), Some(Duration::from_nanos(1)));
        for other in ["", "S", "10", "10s", "-1S", "123456789S", "1.5S", "S1"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn only_attributes_of_the_event_are_taken_from_the_head_and_each_once() {
        let taken = event_attributes(&headers(&[
            ("ce-type", b"t"),
            ("authorization", b"Bearer secret"),
            ("content-type", b"text/plain"),
            ("ce-id", "\u{e4}".as_bytes()),
        ]));
        let expected = [("ce-id", "\u{e4}"), ("ce-type", "t"), ("content-type", "text/plain")];
        assert_eq!(taken.unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for wrong in [&[("ce-id", b"1".as_slice()), ("ce-id", b"2")][..], &[("ce-id", b"\xff")]] {
            assert!(event_attributes(&headers(wrong)).is_err());
        }
    }
}
