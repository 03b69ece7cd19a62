//! Vehicle identification numbers: 17 characters without I, O and Q (ISO 3779).
//!
//! The check digit, the ninth, is a rule of North America alone (49 CFR 565.15). Elsewhere makers fill that place as they
//! like, often with Z, so the structure that ISO 3779 gives to all has to do, or a word that says what the number is.

use super::text::{Counts, Text, run, run_back};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "vin", marker: "<VIN>", grouped: true, shielded: false, may, find };

const LENGTH: usize = 17;
/// Place of the check digit.
const CHECK: usize = 8;
const WEIGHTS: [u32; LENGTH] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
/// Where the digits of the serial number begin that every maker has.
const SERIAL: usize = 13;
/// Digits behind letters alone that are more than a serial number: those of parts, orders and appliances look so.
const NUMBER: usize = 9;
/// Makers that describe their vehicles in digits.
const DIGITS: [&[u8]; 4] = [b"WDB", b"ZAR", b"ZFA", b"ZLA"];
/// Digits in a row before a letter that no vehicle has: a day of the calendar does.
const DAY: usize = 8;
/// What says that a number is one, and how far before it.
const WORDS: [&str; 14] = [
    "vin",
    "fin",
    "chassis",
    "vehicle identification number",
    "fahrgestellnummer",
    "fahrgestellnr",
    "fahrzeugidentnummer",
    "fahrzeugidentifizierungsnummer",
    "identifizierungsnummer",
    "chassisnummer",
    "ch\u{e2}ssis",
    "bastidor",
    "telaio",
    "nadwozia",
];
const NEAR: usize = 40;

const fn may(bytes: &[u8], counts: &Counts) -> bool {
    bytes.len() >= LENGTH && counts.digits > 0
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut floor = 0;
    for group in text.groups.iter().filter(|group| group.len() < LENGTH) {
        if group.start < floor {
            continue;
        }
        // One byte more than fits tells that a word is too long.
        let start = group.start - run_back(&text.bytes[..group.start], LENGTH, u8::is_ascii_alphanumeric);
        let end = group.start
            + run(&text.bytes[group.start..text.bytes.len().min(group.start + LENGTH + 1)], |byte| {
                byte.is_ascii_alphanumeric()
            });
        floor = end;
        if end - start == LENGTH && text.opens(start) && text.closes(end) {
            let named = || text.says_before(start, NEAR, &WORDS);
            if is_vin(&text.bytes[start..end], named) {
                hits.push(start..end);
            }
        }
    }
}

fn is_vin(token: &[u8], named: impl Fn() -> bool) -> bool {
    let (lower, upper) = (token.iter().any(u8::is_ascii_lowercase), token.iter().any(u8::is_ascii_uppercase));
    if lower == upper {
        return false;
    }
    let Some(sum) = sum(token) else { return false };
    // A token of hexadecimal digits alone is far more often a part of a digest.
    let hexadecimal = token.iter().all(u8::is_ascii_hexdigit);
    let fits = is_check_digit(token[CHECK], sum % 11);
    match token[0] {
        // North America, and what ISO 3780 gives to nobody.
        b'0'..=b'5' => fits && !hexadecimal,
        _ => !hexadecimal && (fits || has_serial(token)) && has_description(token) || named(),
    }
}

fn is_check_digit(byte: u8, expected: u32) -> bool {
    match byte.to_ascii_uppercase() {
        b'X' => expected == 10,
        digit => digit.is_ascii_digit() && u32::from(digit - b'0') == expected,
    }
}

/// Whether it ends in four digits.
fn has_serial(token: &[u8]) -> bool {
    token[SERIAL..].iter().all(u8::is_ascii_digit)
}

/// Whether it is more than a name before a number, and has no day in it.
fn has_description(token: &[u8]) -> bool {
    let number = token.len() - run(token, u8::is_ascii_alphabetic);
    let is_counted = number >= NUMBER && token[LENGTH - number..].iter().all(u8::is_ascii_digit);
    let day = |part: &[u8]| part[..DAY].iter().all(u8::is_ascii_digit) && !part[DAY].is_ascii_digit();
    let in_digits = DIGITS.iter().any(|maker| token[..maker.len()].eq_ignore_ascii_case(maker));
    (!is_counted || in_digits) && !token.windows(DAY + 1).any(day)
}

/// The sum that the check digit is of; `None` for what has a character that no number may have.
fn sum(token: &[u8]) -> Option<u32> {
    token.iter().zip(WEIGHTS).map(|(byte, weight)| Some(value(byte.to_ascii_uppercase())? * weight)).sum()
}

/// What a character counts in the sum; `None` where none may stand.
const fn value(byte: u8) -> Option<u32> {
    Some(match byte {
        b'0'..=b'9' => (byte - b'0') as u32,
        b'A'..=b'H' => (byte - b'A') as u32 + 1,
        b'J'..=b'N' => (byte - b'J') as u32 + 1,
        b'P' => 7,
        b'R' => 9,
        b'S'..=b'Z' => (byte - b'S') as u32 + 2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn published_examples() {
        for vin in [
            "1M8GDM9AXKP042788",
            "1HGCM82633A004352",
            "5GZCZ43D13S812715",
            "1m8gdm9axkp042788",
            // No check digit: Z in its place, a digit that does not fit, makers of all continents.
            "WP0ZZZ99ZTS392124",
            "WVWZZZ1JZ3W386752",
            "WAUZZZ8K9DA123456",
            "WDB9066331S123456",
            "TMBJJ7NE8L0123456",
            "VF1BM0B0H12345678",
            "SB1BR56L60E123456",
            "YV1244862G1234567",
            "JTEBZ29J100123456",
            "AHTFR22G506012345",
            "6T1BD3FK20X123456",
            "9BWZZZ377VT004251",
            "ZFA31200000745586",
            "WVWZZZCDZMW123456",
            "wvwzzz1jz3w386752",
        ] {
            assert_eq!(found("vin", vin), [vin], "{vin}");
            assert_eq!(found("vin", &format!("got {vin}; x")), [vin], "{vin}");
        }
    }

    #[test]
    fn a_word_stands_for_structure() {
        for text in [
            "VIN: WABC4CDEFGHJK23LM",
            "Fahrgestellnummer WABC4CDEFGHJK23LM",
            "{\"vehicle.vin\": \"WABC4CDEFGHJK23LM\"}",
            "no. de ch\u{e2}ssis = wabc4cdefghjk23lm",
            "FIN WABCDEF2345678901",
        ] {
            assert_eq!(found("vin", text).len(), 1, "{text}");
        }
        for text in
            ["id WABC4CDEFGHJK23LM", "vin 7, id WABC4CDEFGHJK23LM", "vin 1M8GDM9AXKP042789", "vin 12345678901234567"]
        {
            assert_eq!(found("vin", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_check_digit_but_one_is_refused() {
        for vin in ["1M8GDM9A_KP042788", "5YJSA1DG_DFP14705", "2HGFA165_8HE14705"] {
            let fits =
                "0123456789X".chars().filter(|check| !found("vin", &vin.replace('_', &check.to_string())).is_empty());
            assert_eq!(fits.count(), 1, "{vin}");
            let letters = ('A'..='W').filter(|check| !found("vin", &vin.replace('_', &check.to_string())).is_empty());
            assert_eq!(letters.count(), 0, "{vin}");
        }
    }

    #[test]
    fn what_is_no_vin() {
        for text in [
            "11111111111111111",
            "1M8GDM9AXKP04278",
            "1M8GDM9AXKP0427889",
            "1M8GDM9AXKPO42788",
            "1M8gdm9axkp042788",
            "_1M8GDM9AXKP042788",
            "1M8GDM9AXKP042789",
            "_WVWZZZ1JZ3W386752",
            "WVWZZZ1JZ3W38675",
            "WVWZZZ1JZ3W386752.5",
            "WVWZZZ1JZ3W38675A",
            "WVWZZZIJZ3W386752",
            "ZYX20261122000123",
            "PART7672781829655",
            "SN20261122A123456",
            "FEDCBA98765432101",
        ] {
            assert_eq!(found("vin", text), [""; 0], "{text}");
        }
    }
}
