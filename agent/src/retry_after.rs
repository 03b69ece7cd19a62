//! How long a service wants to be left alone: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// What it asked for, if it did so in a form that is known. A date counts from the service's own `Date`, so that it does not matter whose
/// clock errs; from `now` (µs UTC) only where it sent none.
pub(crate) fn asked(headers: &HeaderMap, now: Option<i64>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // More digits than a number holds are a number nevertheless.
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Some(Duration::MAX);
    }
    let sent = headers.get(DATE).and_then(|date| micros(date.to_str().ok()?));
    let wait = micros(text)?.saturating_sub(sent.or(now)?);
    Some(Duration::from_micros(u64::try_from(wait).unwrap_or(0)))
}

/// An IMF-fixdate, which is what RFC 5322 says of dates, and more strictly so.
fn micros(date: &str) -> Option<i64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(date.trim()).ok().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asks(retry_after: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
        asked(&headers, Some(784_111_770_000_000))
    }

    #[test]
    fn seconds_and_dates_are_followed_and_nothing_else() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(asks("30", None), seconds(30));
        assert_eq!(asks("99999999999999999999999", None), Some(Duration::MAX));
        let then = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(asks(then, Some("Sun, 06 Nov 1994 08:47:37 GMT")), seconds(120));
        assert_eq!(asks(then, Some("Sun, 06 Nov 1994 09:00:00 GMT")), seconds(0));
        assert_eq!(asks(then, None), seconds(7));
        assert_eq!(asked(&HeaderMap::new(), Some(0)), None);
        for other in ["", "soon", "-1", "1.5", "1994-11-06T08:49:37Z"] {
            assert_eq!(asks(other, None), None, "{other}");
        }
    }
}
