//! IBANs (ISO 13616): country, length and structure of the SWIFT registry, remainder 1 by 97; together or in groups of four.

use super::text::{Counts, Text, is_word};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "iban", marker: "<IBAN>", grouped: true, shielded: false, may, find };

/// Longest IBAN: Russia's.
const MOST: usize = 33;
/// Country and check digits.
const HEAD: usize = 4;

/// Country, then the structure behind the check digits: n are digits, a letters, c both.
const COUNTRIES: [(&[u8; 2], &str); 89] = [
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "24c"),
    (b"HN", "4a20n"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "20c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "6n16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

const fn may(_: &[u8], counts: &Counts) -> bool {
    counts.digits >= 2
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut floor = 0;
    for group in text.groups {
        // Two letters and the group that starts with the check digits; groups within a hit are skipped.
        let Some(start) = group.start.checked_sub(2).filter(|start| *start >= floor && group.len() >= 2) else {
            continue;
        };
        if let Some(end) = iban_end(text, start) {
            hits.push(start..end);
            floor = end;
        }
    }
}

fn iban_end(text: &Text<'_>, start: usize) -> Option<usize> {
    let country = [text.byte(start)?.to_ascii_uppercase(), text.byte(start + 1)?.to_ascii_uppercase()];
    let (_, structure) = COUNTRIES.iter().find(|(code, _)| **code == country)?;
    if !text.opens(start) {
        return None;
    }
    let length = HEAD + parts(structure).map(|(count, _)| count).sum::<usize>();
    let mut chars = [0_u8; MOST];
    let chars = chars.get_mut(..length)?;
    let end = collect(text, start, chars)?;
    (text.closes(end) && has_one_case(chars) && is_valid(chars, structure)).then_some(end)
}

/// Fills `chars` from `start` on; one separator may stand after every fourth. Where the last one ended.
fn collect(text: &Text<'_>, start: usize, chars: &mut [u8]) -> Option<usize> {
    let mut at = start;
    // Written with separators or without: a text that changes its mind is not one IBAN.
    let mut separator: Option<usize> = None;
    for (place, char) in chars.iter_mut().enumerate() {
        if place > 0 && place % 4 == 0 {
            let width = separator_at(&text.bytes[at..]);
            if *separator.get_or_insert(width) != width {
                return None;
            }
            at += width;
        }
        *char = text.byte(at).filter(u8::is_ascii_alphanumeric)?;
        at += 1;
    }
    Some(at)
}

/// Length of the separator that a text starts with; 0 for none.
fn separator_at(bytes: &[u8]) -> usize {
    match bytes {
        [b' ' | b'-', next, ..] if is_word(*next) => 1,
        [0xc2, 0xa0, next, ..] if is_word(*next) => 2,
        _ => 0,
    }
}

fn has_one_case(chars: &[u8]) -> bool {
    !chars.iter().any(u8::is_ascii_lowercase) || !chars.iter().any(u8::is_ascii_uppercase)
}

fn is_valid(chars: &[u8], structure: &str) -> bool {
    let (head, account) = chars.split_at(HEAD);
    let mut rest = account;
    let fits = parts(structure).all(|(count, kind)| {
        let (part, others) = rest.split_at(count.min(rest.len()));
        rest = others;
        part.len() == count
            && part.iter().all(|byte| match kind {
                b'n' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_alphabetic(),
                _ => true,
            })
    });
    fits && head[2].is_ascii_digit() && head[3].is_ascii_digit() && remainder(account, head) == 1
}

/// Remainder by 97 of the account and then the head, with A as 10 to Z as 35.
fn remainder(account: &[u8], head: &[u8]) -> u32 {
    account.iter().chain(head).fold(0, |remainder, byte| {
        if byte.is_ascii_digit() {
            (remainder * 10 + u32::from(byte - b'0')) % 97
        } else {
            (remainder * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97
        }
    })
}

/// Counts and kinds of a structure: `4a14n` is 4 letters, then 14 digits.
fn parts(structure: &str) -> impl Iterator<Item = (usize, u8)> {
    structure.split_inclusive(|c: char| c.is_ascii_alphabetic()).map(|part| {
        let (count, kind) = part.split_at(part.len() - 1);
        (count.parse().unwrap_or(0), kind.as_bytes()[0])
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;

    /// Account, check digits and country of a structure, filled with `fill`.
    fn example(country: [u8; 2], structure: &str, digit: char, letter: char) -> String {
        let account: String = parts(structure)
            .flat_map(|(count, kind)| std::iter::repeat_n(if kind == b'n' { digit } else { letter }, count))
            .collect();
        let country = std::str::from_utf8(&country).unwrap();
        let check = 98 - remainder(account.as_bytes(), format!("{country}00").as_bytes());
        format!("{country}{check:02}{account}")
    }

    fn in_fours(iban: &str, separator: &str) -> String {
        let groups: Vec<&str> = iban.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(separator)
    }

    #[test]
    fn every_country_every_way_to_write_it() {
        for (country, structure) in COUNTRIES {
            for (digit, letter) in [('0', 'A'), ('7', 'Q'), ('9', 'Z')] {
                let iban = example(*country, structure, digit, letter);
                assert!(iban.len() <= MOST, "{iban}");
                for written in [
                    iban.clone(),
                    iban.to_lowercase(),
                    in_fours(&iban, " "),
                    in_fours(&iban, "-"),
                    in_fours(&iban, "\u{a0}"),
                ] {
                    assert_eq!(found("iban", &written), [written.as_str()]);
                    let text = format!("to {written}, {written} X in words");
                    assert_eq!(found("iban", &text), [written.as_str(), written.as_str()], "{text}");
                }
            }
        }
    }

    #[test]
    fn every_wrong_check_digit_is_refused() {
        for check in (0..100).filter(|check| *check != 89) {
            let text = format!("DE{check:02}370400440532013000");
            assert_eq!(found("iban", &text), [""; 0], "{text}");
        }
        assert_eq!(found("iban", "DE89370400440532013000"), ["DE89370400440532013000"]);
    }

    #[test]
    fn what_is_no_iban() {
        for text in [
            "DE8937040044053201300",
            "DE893704004405320130000",
            "xDE89370400440532013000",
            "DE89 3704 0044 0532 0130 0",
            "DE89 3704 0044 05320130 00",
            "De89370400440532013000",
            "KW81 aBKU 0000 0000 0000 1234 5601 01",
            "GB29 1WBK 6016 1331 9268 19",
            "QQ89370400440532013000",
        ] {
            assert_eq!(found("iban", text), [""; 0], "{text}");
        }
    }
}
