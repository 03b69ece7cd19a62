//! Heads of signed requests: what holds was signed for this method, path and query, by whoever it names, and for this time.

use candor_wire::signature::{RequestHead, verify};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Seconds since 1970 that signatures are held against.
pub(crate) const NOW: i64 = 1_795_377_600;
pub(crate) const AUTHORITY: &str = "service.example";

/// The law of a fuzz target's input: method, path and query in lines of their own, a line for each header, an empty line, a body.
pub(crate) fn signed(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let (Some(method), Some(path), Some(query)) = (text(), text(), text()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            headers.append(name, value);
        }
    }
    let has_body = lines.next().is_some_and(|body| !body.is_empty());
    let query = Some(query).filter(|query| !query.is_empty());
    let head = RequestHead { method, authority: AUTHORITY, path, query, headers: &headers };
    let Ok(_) = verify(&head, has_body, NOW) else { return };
    let other_path = format!("{path}x");
    let others = [
        RequestHead { method: "PATCH", authority: AUTHORITY, path, query, headers: &headers },
        RequestHead { method, authority: "other.example", path, query, headers: &headers },
        RequestHead { method, authority: AUTHORITY, path: &other_path, query, headers: &headers },
        RequestHead { method, authority: AUTHORITY, path, query: Some("other=1"), headers: &headers },
    ];
    assert!(others.iter().all(|other| verify(other, has_body, NOW).is_err()), "it holds for another request");
    assert!(verify(&head, has_body, NOW + 86_400).is_err(), "it holds a day later");
}
