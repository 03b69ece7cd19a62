//! IP addresses: IPv4, and IPv6 in every form of RFC 4291, with a zone or a prefix length.
//!
//! Four small numbers with points are more often a version than an address; what stands around them decides.

use std::net::{Ipv4Addr, Ipv6Addr};

use memchr::memchr_iter;

use super::text::{Counts, Text, is_word, run, run_back};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "ip", marker: "<IP>", grouped: false, shielded: false, may, find };

/// Longest IPv6 address in text: eight groups, the last two as IPv4.
const MOST_V6: usize = 45;
const MOST_V4: usize = 15;
const VERSION_WORDS: [&str; 19] = [
    "version",
    "versions",
    "ver",
    "release",
    "releases",
    "firmware",
    "fw",
    "build",
    "sdk",
    "driver",
    "revision",
    "rev",
    "patch",
    "upgrade",
    "upgraded",
    "downgraded",
    "update",
    "updated",
    "v",
];
const ADDRESS_WORDS: [&str; 9] = ["ip", "ipv4", "address", "addr", "host", "server", "client", "peer", "dns"];

const fn may(bytes: &[u8], counts: &Counts) -> bool {
    counts.dots >= 3 && counts.digits >= 4 || counts.colons >= 2 && bytes.len() >= 3
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    v6(text, hits);
    v4(text, hits);
}

/// Runs of hexadecimal digits, colons and points that are an address as a whole.
fn v6(text: &Text<'_>, hits: &mut Hits<'_>) {
    let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut floor = 0;
    for at in memchr_iter(b':', text.bytes) {
        if at < floor {
            continue;
        }
        let start = at - run_back(&text.bytes[floor..at], 4, u8::is_ascii_hexdigit);
        let end = at + run(&text.bytes[at..], part);
        floor = end;
        if let Some(found) = address_in(text, start, end) {
            let end = suffix_end(text, found.end, 128);
            floor = floor.max(end);
            hits.push(found.start..end);
        }
    }
}

/// The address in a run: without a label such as `src:` before it, and the point or colon of the sentence behind it.
fn address_in(text: &Text<'_>, start: usize, end: usize) -> Option<std::ops::Range<usize>> {
    let trim = |end: usize| {
        let bytes = &text.bytes[start..end];
        let points = run_back(bytes, bytes.len(), |byte| *byte == b'.');
        let end = end - points;
        let colons = run_back(&text.bytes[start..end], 3, |byte| *byte == b':');
        if colons == 1 { end - 1 } else { end }
    };
    let end = trim(end);
    let label = run(&text.bytes[start..end], u8::is_ascii_hexdigit) + 1;
    [start, start + label].into_iter().filter(|start| *start < end && end - *start <= MOST_V6).find_map(|start| {
        let address = text.whole.get(start..end)?;
        let before = text.byte_before(start);
        let opens = !before.is_some_and(is_word) && before != Some(b'.');
        let parses = address.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_unspecified());
        // `dead::beef` is a path in a program: an address without any digit in its groups is spelt rarely.
        let plausible = address.bytes().any(|byte| byte.is_ascii_digit()) || !address.contains("::");
        (opens && parses && plausible && !text.byte(end).is_some_and(is_word)).then_some(start..end)
    })
}

/// Where `%eth0` or `/64` behind an address ends.
fn suffix_end(text: &Text<'_>, end: usize, most: u32) -> usize {
    let rest = &text.bytes[end..];
    match rest {
        [b'%', zone @ ..] if most == 128 => end + 1 + run(&zone[..zone.len().min(16)], |byte| is_word(*byte)),
        [b'/', length @ ..] => {
            let digits = run(&length[..length.len().min(4)], u8::is_ascii_digit);
            let value = length[..digits].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
            let after = end + 1 + digits;
            if (1..=3).contains(&digits) && value <= most && text.closes(after) { after } else { end }
        }
        _ => end,
    }
}

fn v4(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut floor = 0;
    // Where the last version ended: what follows it after `to` or `->` is one as well.
    let mut version_end = None;
    for at in memchr_iter(b'.', text.bytes) {
        if at < floor {
            continue;
        }
        let start = at - run_back(&text.bytes[floor..at], 4, u8::is_ascii_digit);
        let run = run(&text.bytes[start..], |byte| byte.is_ascii_digit() || *byte == b'.');
        floor = start + run;
        let Some((end, ip)) = quad(text, start, run) else { continue };
        if is_version(text, start, end, ip, version_end) {
            version_end = Some(end);
        } else {
            hits.push(start..suffix_end(text, end, 32));
        }
    }
}

/// The address that a run of digits and points starts with, if it stands alone.
fn quad(text: &Text<'_>, start: usize, run: usize) -> Option<(usize, Ipv4Addr)> {
    let before = text.byte_before(start);
    if before.is_some_and(is_word) || before == Some(b'.') {
        return None;
    }
    let numbers = &text.bytes[start..start + run.min(MOST_V4 + 1)];
    let fourth = memchr_iter(b'.', numbers).nth(3).unwrap_or(numbers.len());
    let ip: Ipv4Addr = text.whole.get(start..start + fourth)?.parse().ok()?;
    let end = start + fourth;
    let more = text.byte(end) == Some(b'.') && text.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit());
    (!text.byte(end).is_some_and(is_word) && (!more || is_local(ip))).then_some((end, ip))
}

/// Networks whose first numbers no version has.
fn is_local(ip: Ipv4Addr) -> bool {
    (ip.is_private() && ip.octets()[0] != 10) || ip.is_loopback() || ip.is_link_local()
}

fn is_version(text: &Text<'_>, start: usize, end: usize, ip: Ipv4Addr, version_end: Option<usize>) -> bool {
    if is_local(ip) {
        return false;
    }
    let before = &text.bytes[..start];
    let letter = |at: usize| text.byte(at).is_some_and(|byte| byte.is_ascii_alphanumeric());
    // `lib-1.2.3.4`, `Browser/1.2.3.4`; but `example.com/93.184.216.34` is how programs name a host with its address.
    let product = match before.last() {
        Some(b'-') => start >= 2 && letter(start - 2),
        Some(b'/') if start >= 2 && letter(start - 2) => {
            let name = run_back(&before[..start - 1], 64, |byte| is_word(*byte) || matches!(byte, b'.' | b'-'));
            ip.octets()[0] != 10 && !before[start - 1 - name..start - 1].contains(&b'.')
        }
        _ => false,
    };
    let file = match text.byte(end) {
        Some(b'.') => text.byte(end + 1).is_some_and(|byte| byte.is_ascii_lowercase()),
        Some(b'-' | b'+') => text.byte(end + 1).is_some_and(|byte| byte.is_ascii_alphabetic()),
        _ => false,
    };
    let follows = version_end.is_some_and(|last| {
        let between = &text.bytes[last..start];
        between.len() <= 6 && between.iter().all(|byte| matches!(byte, b' ' | b',' | b'-' | b'>' | b't' | b'o'))
    });
    let small = ip.octets().iter().all(|octet| *octet < 10) && !ip.is_unspecified();
    let routed = matches!(text.byte(end), Some(b':' | b'/')) && text.byte(end + 1).is_some_and(|b| b.is_ascii_digit());
    product
        || file
        || follows
        || says_version(text, start)
        || small && !routed && !text.says_before(start, 16, &ADDRESS_WORDS)
}

/// Whether the word before, but for `is` or `number`, speaks of a version.
fn says_version(text: &Text<'_>, start: usize) -> bool {
    let mut at = start;
    for _ in 0..3 {
        at -= run_back(&text.bytes[..at], 4, |byte| !is_word(*byte) && *byte < 0x80);
        let length = run_back(&text.bytes[..at], 12, u8::is_ascii_alphabetic);
        let word = &text.bytes[at - length..at];
        if VERSION_WORDS.iter().any(|version| word.eq_ignore_ascii_case(version.as_bytes())) {
            return true;
        }
        let filler = ["is", "number", "no", "to", "from", "code", "name"];
        if length == 0 || !filler.iter().any(|filler| word.eq_ignore_ascii_case(filler.as_bytes())) {
            return false;
        }
        at -= length;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn ipv4_where_it_stands() {
        for (text, ip) in [
            ("192.168.0.1", "192.168.0.1"),
            ("IP: 203.0.113.77.", "203.0.113.77"),
            ("(203.0.113.77)", "203.0.113.77"),
            ("203.0.113.77:443", "203.0.113.77"),
            ("http://203.0.113.77/x", "203.0.113.77"),
            ("subnet 203.0.113.0/24,", "203.0.113.0/24"),
            ("connect to example.com/93.184.216.34 (port 443)", "93.184.216.34"),
            ("localhost/127.0.0.1:8080", "127.0.0.1"),
            ("/10.0.0.7:53124", "10.0.0.7"),
            ("server 8.8.8.8", "8.8.8.8"),
            ("0.0.0.0", "0.0.0.0"),
            ("Version 2.1 from 203.0.113.9", "203.0.113.9"),
            ("192.168.2.1@eth0", "192.168.2.1"),
        ] {
            assert_eq!(found("ip", text), [ip], "{text}");
        }
    }

    #[test]
    fn every_octet_counts() {
        for octet in 0..=999 {
            for text in [format!("{octet}.11.12.13"), format!("98.11.{octet}.13"), format!("98.11.12.{octet}")] {
                let expected: &[&str] = if octet < 256 { &[text.as_str()] } else { &[] };
                assert_eq!(found("ip", &text), expected);
            }
        }
    }

    #[test]
    fn versions_and_other_numbers() {
        for text in [
            "version 12.0.33.7",
            "v12.0.33.7",
            "firmware: 12.0.33.7",
            "Version number is 12.0.33.7",
            "Browser/12.0.33.7 (X11)",
            "lib-12.0.33.7.jar",
            "12.0.33.7-beta",
            "upgraded from 12.0.33.7 to 12.0.34.1",
            "1.2.3.4",
            "1.3.6.1.4.1.2021",
            "98.11.12.13.14",
            "256.256.256.256",
            "120.0.6099.109",
            "text198.11.12.13",
            "98.011.12.13",
            "at 12:34:56",
            "std::vec and dead::beef",
            "aa:bb:cc:dd:ee:ff",
            "::ffff:192.168.1",
            "2001:db8::256.1.1.1",
            "2001::db8::1",
            "gggg:hhhh::1234",
            "::",
        ] {
            assert_eq!(found("ip", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn ipv6_in_every_form() {
        for ip in [
            "684D:1111:222:3333:4444:5555:6:77",
            "2400:c401::5054:ff:fe1b:b031",
            "2001:db8::1",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:0:192.168.1.1",
            "64:ff9b::192.0.2.1",
            "2001:db8:0:0:0:0:192.168.1.1",
            "2001:db8::/32",
            "fe80::1%eth0",
            "ff02::1",
            "abcd:abcd:abcd:abcd:abcd:abcd:abcd:abcd",
        ] {
            assert_eq!(found("ip", ip), [ip]);
            let text = format!("src:{ip}, '{ip}' then {ip}.");
            assert_eq!(found("ip", &text), [ip, ip, ip], "{text}");
        }
        assert_eq!(found("ip", "[2001:db8::1]:8080: refused, 2001:db8::1: gone"), ["2001:db8::1", "2001:db8::1"]);
    }
}
