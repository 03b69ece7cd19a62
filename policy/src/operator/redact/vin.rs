//! Vehicle identification numbers: 17 characters without I, O and Q, the ninth of which is the check digit (49 CFR 565.15).

use super::text::{Counts, Text, run, run_back};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "vin", marker: "<VIN>", grouped: true, shielded: false, may, find };

const LENGTH: usize = 17;
/// Place of the check digit.
const CHECK: usize = 8;
const WEIGHTS: [u32; LENGTH] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];

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
        if end - start == LENGTH && text.opens(start) && text.closes(end) && is_vin(&text.bytes[start..end]) {
            hits.push(start..end);
        }
    }
}

fn is_vin(token: &[u8]) -> bool {
    // A token of hexadecimal digits alone is far more often a part of a digest.
    let lower = token.iter().any(u8::is_ascii_lowercase);
    if lower && token.iter().any(u8::is_ascii_uppercase) || token.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let mut sum = 0;
    for (byte, weight) in token.iter().zip(WEIGHTS) {
        let Some(value) = value(byte.to_ascii_uppercase()) else { return false };
        sum += value * weight;
    }
    let check = match token[CHECK].to_ascii_uppercase() {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    sum % 11 == check
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
        for vin in
            ["1M8GDM9AXKP042788", "1HGCM82633A004352", "5GZCZ43D13S812715", "WP0ZZZ99ZTS392124", "1m8gdm9axkp042788"]
        {
            let expected: &[&str] = if vin.starts_with("WP0") { &[] } else { &[vin] };
            assert_eq!(found("vin", vin), expected, "{vin}");
            assert_eq!(found("vin", &format!("vin={vin}; x")), expected, "{vin}");
        }
    }

    #[test]
    fn every_check_digit_but_one_is_refused() {
        for vin in ["1M8GDM9A_KP042788", "5YJSA1DG_DFP14705", "JH4DA940_MS003241"] {
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
        ] {
            assert_eq!(found("vin", text), [""; 0], "{text}");
        }
    }
}
