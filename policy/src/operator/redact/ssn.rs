//! US social security numbers: area 001 to 899 but 666, group 01 to 99, serial 0001 to 9999.
//!
//! Since 2011 numbers are drawn at random: no area, group or serial but these is ruled out.

use super::text::{Counts, Gap, Group, Text};
use super::{Detector, Hits};

pub(super) const DETECTOR: Detector =
    Detector { name: "ssn", marker: "<SSN>", grouped: true, shielded: true, may, find };

const LENGTH: usize = 9;
/// What must stand before digits that are not grouped 3-2-4.
const WORDS: [&str; 4] = ["ssn", "ssns", "social security", "social security number"];
const WINDOW: usize = 32;

const fn may(_: &[u8], counts: &Counts) -> bool {
    counts.digits as usize >= LENGTH
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut at = 0;
    while at < text.groups.len() {
        match (1..=3).rev().find(|count| is_ssn(text, at, *count)) {
            Some(count) => {
                hits.push(text.groups[at].start..text.groups[at + count - 1].end);
                at += count;
            }
            None => at += 1,
        }
    }
}

fn is_ssn(text: &Text<'_>, at: usize, count: usize) -> bool {
    let Some(groups) = text.groups.get(at..at + count) else { return false };
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return false };
    let joined = groups[..count - 1].iter().all(|group| group.gap == first.gap);
    if !joined || groups.iter().map(Group::len).sum::<usize>() != LENGTH {
        return false;
    }
    let apart = at.checked_sub(1).is_none_or(|before| matches!(text.groups[before].gap, Gap::Break | Gap::Close))
        && matches!(last.gap, Gap::Break | Gap::Space | Gap::Open);
    if !text.opens(first.start) || !text.closes(last.end) {
        return false;
    }
    let mut digits = [0_u8; LENGTH];
    let all = groups.iter().flat_map(|group| &text.bytes[group.range()]);
    digits.iter_mut().zip(all).for_each(|(place, digit)| *place = *digit);
    let plain = matches!(groups, [area, middle, _]
        if area.len() == 3 && middle.len() == 2 && matches!(first.gap, Gap::Dash | Gap::Space));
    let named = || {
        (count == 1 || matches!(first.gap, Gap::Dash | Gap::Space | Gap::Dot))
            && text.says_before(first.start, WINDOW, &WORDS)
    };
    is_given(&digits) && (plain && apart || named())
}

fn is_given(digits: &[u8; LENGTH]) -> bool {
    let (area, rest) = digits.split_at(3);
    let (group, serial) = rest.split_at(2);
    area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000"
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn every_area_group_and_serial() {
        for area in 0..1000 {
            let text = format!("{area:03}-12-3456");
            let given = area != 0 && area != 666 && area < 900;
            assert_eq!(!found("ssn", &text).is_empty(), given, "{text}");
        }
        for group in 0..100 {
            let text = format!("123-{group:02}-3456");
            assert_eq!(!found("ssn", &text).is_empty(), group != 0, "{text}");
        }
        for serial in 0..10_000 {
            let text = format!("123-12-{serial:04}");
            assert_eq!(!found("ssn", &text).is_empty(), serial != 0, "{text}");
        }
    }

    #[test]
    fn separators_and_words() {
        for ssn in ["078-05-1123", "078 05 1123", "078\u{2011}05\u{2011}1123"] {
            assert_eq!(found("ssn", &format!("abc {ssn} abc")), [ssn]);
        }
        for ssn in ["078051123", "078.05.1123", "078-051123", "07805-1123"] {
            assert_eq!(found("ssn", ssn), [""; 0], "{ssn}");
            assert_eq!(found("ssn", &format!("SSN: {ssn}")), [ssn]);
        }
    }

    #[test]
    fn parts_of_other_numbers() {
        for text in ["1-078-05-1123", "078-05-1123-4", "078-05-11234", "0078-05-1123", "693-09.4444", "v078-05-1123"] {
            assert_eq!(found("ssn", text), [""; 0], "{text}");
        }
        assert_eq!(found("ssn", "12345678-078 05 1123"), [""; 0]);
    }
}
