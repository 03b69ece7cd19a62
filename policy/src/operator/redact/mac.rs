//! MAC addresses: six (EUI-48) or eight (EUI-64) pairs of hexadecimal digits with `:` or `-`, or `aabb.ccdd.eeff`.

use memchr::memchr3_iter;

use super::text::{Counts, Text, is_word};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "mac", marker: "<MAC>", grouped: false, shielded: true, may, find };

const fn may(bytes: &[u8], counts: &Counts) -> bool {
    bytes.len() >= 14 && (counts.colons >= 5 || counts.dashes >= 5 || counts.dots >= 2)
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut floor = 0;
    for at in memchr3_iter(b':', b'-', b'.', text.bytes) {
        let separator = text.bytes[at];
        let width = if separator == b'.' { 4 } else { 2 };
        let Some(start) = at.checked_sub(width).filter(|start| *start >= floor) else { continue };
        if text.byte_before(start).is_some_and(is_word) || !is_hex(&text.bytes[start..at]) {
            continue;
        }
        let (groups, end) = chain(text.bytes, start, separator, width);
        // The rest of a chain is looked at once, whatever its length: a fingerprint is no row of addresses.
        floor = end;
        let closed = !text.byte(end).is_some_and(|byte| is_word(byte) || byte == separator && separator != b'.');
        if closed && is_address(&text.bytes[start..end], groups, separator) {
            hits.push(start..end);
        }
    }
}

/// How many groups of that width follow each other, and where the last one ends.
fn chain(bytes: &[u8], start: usize, separator: u8, width: usize) -> (usize, usize) {
    let (mut groups, mut end) = (1, start + width);
    while bytes.get(end) == Some(&separator) && bytes.get(end + 1..end + 1 + width).is_some_and(is_hex) {
        groups += 1;
        end += 1 + width;
    }
    (groups, end)
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_hexdigit)
}

fn is_address(bytes: &[u8], groups: usize, separator: u8) -> bool {
    let fits = match separator {
        // Digits alone are a number with points, or a time with dashes.
        b'.' => groups == 3 && bytes.iter().any(u8::is_ascii_alphabetic),
        b'-' => matches!(groups, 6 | 8) && !is_time(bytes),
        _ => matches!(groups, 6 | 8),
    };
    // All zeros and all ones are nobody's.
    fits && !bytes.iter().all(|byte| *byte == b'0' || *byte == separator)
        && !bytes.iter().all(|byte| byte.eq_ignore_ascii_case(&b'f') || *byte == separator)
}

/// Whether `aa-bb-cc-dd-ee-ff` reads as year, month, day, hour, minute and second.
fn is_time(bytes: &[u8]) -> bool {
    let pair = |number: usize| match bytes.get(number * 3..number * 3 + 2) {
        Some([tens, ones]) if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            Some((tens - b'0') * 10 + (ones - b'0'))
        }
        _ => None,
    };
    let most = [99, 12, 31, 23, 59, 59];
    bytes.len() == 17 && most.iter().enumerate().all(|(number, most)| pair(number).is_some_and(|pair| pair <= *most))
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn every_way_to_write_one() {
        for mac in [
            "00:1A:2B:3C:4D:5E",
            "0a:23:f5:67:89:ac",
            "AA-BB-CC-DD-EE-FF",
            "0d-B3-4a-6A-d9-cF",
            "001a.2b3c.4d5e",
            "00:0d:6f:00:0a:90:69:e7",
            "12:34:56:78:90:12",
        ] {
            assert_eq!(found("mac", mac), [mac]);
            let text = format!("mac:{mac}, [{mac}] up.");
            assert_eq!(found("mac", &text), [mac, mac], "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "00:1A:2B:3C:4D",
            "00:1A:2B:3C:4D:5E:6F",
            "00:00:00:00:00:00",
            "ff:FF:ff:ff:ff:ff",
            "00:1A:2B-3C:4D:5E",
            "00:1A:2B:3C:4D:5G",
            "x00:1A:2B:3C:4D:5E",
            "26-11-22-10-30-15",
            "1234.5678.9012",
            "2026-11-22T10:30:15",
            "SHA1 43:51:43:a1:b5:fc:8b:b7:0a:3a:a9:b1:0f:66:73:a8:43:51:43:a1",
        ] {
            assert_eq!(found("mac", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_pair_of_digits_counts() {
        for pair in 0..=255 {
            for mac in [format!("aa:bb:cc:{pair:02x}:01:02"), format!("AA-BB-CC-01-02-{pair:02X}")] {
                assert_eq!(found("mac", &mac), [mac.as_str()]);
            }
        }
    }
}
