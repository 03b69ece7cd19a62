//! Phone numbers of any country: international ones, and national ones by the way they are grouped.
//!
//! No checksum helps here. Groupings that little else has are enough; others need a word such as `tel` beside them.

use super::text::{Counts, Gap, Group, Text, run};
use super::{Detector, Hits};

mod shape;

use shape::{Strength, strength};

pub(super) const DETECTOR: Detector =
    Detector { name: "phone", marker: "<PHONE>", grouped: true, shielded: true, may, find };

/// E.164 allows fifteen digits; seven are a local number.
const LEAST: usize = 7;
const MOST: usize = 15;
const MOST_GROUPS: usize = 6;
/// How far before a number a word may stand, and how far before one without groups.
const WINDOW: usize = 40;
const NEAR: usize = 24;
const WORDS_BEFORE: [&str; 27] = [
    "phone",
    "phones",
    "tel",
    "telephone",
    "smartphone",
    "cellphone",
    "mobile",
    "cell",
    "fax",
    "call",
    "calling",
    "called",
    "dial",
    "contact",
    "sms",
    "whatsapp",
    "hotline",
    "desk",
    "office",
    "telefon",
    "telefono",
    "handy",
    "mobil",
    "tlf",
    "gsm",
    "reach",
    "pager",
];
const WORDS_AFTER: [&str; 7] = ["office", "fax", "mobile", "desk", "cell", "phone", "tel"];
/// What is measured is not called.
const UNITS: [&str; 22] = [
    "ns", "us", "ms", "s", "sec", "seconds", "b", "bytes", "byte", "kb", "mb", "gb", "kib", "mib", "rows", "items",
    "events", "records", "times", "px", "km", "m",
];

const fn may(_: &[u8], counts: &Counts) -> bool {
    counts.digits as usize >= LEAST
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut at = 0;
    while at < text.groups.len() {
        match number_at(text, at) {
            Some(number) => {
                let end = extension_end(text, number.end);
                hits.push(number.start..end);
                at += number.groups;
            }
            None => at += 1,
        }
    }
}

/// A number that starts at a group, or with the sign or bracket before it.
struct Number {
    start: usize,
    end: usize,
    groups: usize,
}

fn number_at(text: &Text<'_>, at: usize) -> Option<Number> {
    let start = text.groups[at].start;
    let before = &text.bytes[..start];
    let opening = match before {
        [.., b'(', b'+'] | [.., b'+', b'('] => start - 2,
        [.., b'+'] => start - 1,
        [.., b'('] => return area_in_brackets(text, at, start - 1),
        _ => return national(text, at),
    };
    let free = !text.byte_before(opening).is_some_and(|byte| byte.is_ascii_alphanumeric());
    if free { international(text, at, opening) } else { None }
}

/// `+49 30 1234567`, `+46 (0)8 928 571 38`, `+447700677662`.
fn international(text: &Text<'_>, at: usize, start: usize) -> Option<Number> {
    if !has_country_code(text, text.groups[at].start) {
        return None;
    }
    let mut digits = 0;
    let mut found = None;
    for (number, group) in text.groups[at..].iter().take(MOST_GROUPS + 2).enumerate() {
        digits += group.len();
        if digits > MOST {
            break;
        }
        let enough = if number == 0 { digits > LEAST } else { digits >= LEAST };
        if enough && ends(text, group.end) && !(number == 0 && text.says_after(group.end, b" ", &UNITS)) {
            found = Some(Number { start, end: group.end, groups: number + 1 });
        }
        // A number of this length is whole: what follows a space is the next one.
        if group.gap == Gap::Break || digits >= 12 && group.gap == Gap::Space {
            break;
        }
    }
    found
}

/// No country's code starts with a zero (E.164).
fn has_country_code(text: &Text<'_>, at: usize) -> bool {
    text.byte(at).is_some_and(|byte| matches!(byte, b'1'..=b'9'))
}

/// `(415) 555-0132`, `(0)30 1234567`, and `0 (532) 1234567` from the bracket on.
fn area_in_brackets(text: &Text<'_>, at: usize, start: usize) -> Option<Number> {
    let area = text.groups[at];
    let called = text.byte_before(start).is_some_and(|byte| byte.is_ascii_alphanumeric());
    if called || area.gap != Gap::Close || !(2..=5).contains(&area.len()) {
        return None;
    }
    let mut digits = 0;
    let mut found = None;
    for (number, group) in text.groups.get(at + 1..)?.iter().take(MOST_GROUPS).enumerate() {
        digits += group.len();
        // Nine are a mobile number of Brazil, 5-4.
        let length = (5..=8).contains(&digits) || digits == 9 && number == 1;
        let whole = length && area.len() + digits > LEAST;
        let grouped = number > 0 || area.len() >= 3 && digits >= 6;
        if whole && grouped && ends(text, group.end) {
            found = Some(Number { start, end: group.end, groups: number + 2 });
        }
        if !matches!(group.gap, Gap::Space | Gap::Dash | Gap::Dot) || digits >= 8 {
            break;
        }
    }
    found
}

fn national(text: &Text<'_>, at: usize) -> Option<Number> {
    let first = text.groups[at];
    if !starts(text, at) {
        return None;
    }
    if first.gap == Gap::Open && first.len() <= 3 && text.byte_before(first.start) != Some(b'-') {
        let number = area_in_brackets(text, at + 1, text.groups.get(at + 1)?.start)?;
        return Some(Number { start: first.start, end: number.end, groups: number.groups + 1 });
    }
    let exit = text.bytes[first.start..].starts_with(b"00") && has_country_code(text, first.start + 2);
    if exit && first.len() <= 5 && first.gap != Gap::Break {
        return international_after_exit_code(text, at);
    }
    let most = text.groups[at..].iter().take(MOST_GROUPS).position(|group| group.gap == Gap::Break);
    let most = most.map_or(MOST_GROUPS.min(text.groups.len() - at), |last| last + 1);
    (1..=most).rev().find_map(|count| {
        let groups = &text.groups[at..at + count];
        let end = groups.last()?.end;
        let certain = match strength(text.bytes, groups) {
            Strength::No => return None,
            Strength::Strong => true,
            Strength::Weak => false,
        };
        if !ends(text, end)
            || !stands_alone(text, at, count)
            || !(certain || is_called_a_number(text, groups, &text.groups[at + count..]))
        {
            return None;
        }
        Some(Number { start: first.start, end, groups: count })
    })
}

/// `001-518-640-0854`, `0044 20 7123 4567`.
fn international_after_exit_code(text: &Text<'_>, at: usize) -> Option<Number> {
    let number = international_groups(text, at)?;
    let end = text.groups[at + number - 1].end;
    Some(Number { start: text.groups[at].start, end, groups: number })
}

fn international_groups(text: &Text<'_>, at: usize) -> Option<usize> {
    let mut digits = 0;
    let mut found = None;
    for (number, group) in text.groups[at..].iter().take(MOST_GROUPS).enumerate() {
        digits += group.len();
        if digits > MOST + 2 {
            break;
        }
        if number > 0 && digits >= 11 && ends(text, group.end) {
            found = Some(number + 1);
        }
        if !matches!(group.gap, Gap::Space | Gap::Dash) || digits >= 13 && group.gap == Gap::Space {
            break;
        }
    }
    found
}

/// Whether a number can start with this group: not in a word or a path, nor behind a sign or a joint of a longer one.
fn starts(text: &Text<'_>, at: usize) -> bool {
    let start = text.groups[at].start;
    let joined = at > 0 && matches!(text.groups[at - 1].gap, Gap::Dash | Gap::Dot | Gap::Slash | Gap::Open);
    let before = text.byte_before(start);
    let inner = matches!(before, Some(b'-' | b'/')) && start >= 2 && text.bytes[start - 2].is_ascii_alphanumeric();
    text.opens(start) && !joined && !inner && !matches!(before, Some(b'$'))
}

/// Whether a number can end here: before an extension, or where no word and no number goes on.
fn ends(text: &Text<'_>, end: usize) -> bool {
    text.closes(end) || extension_end(text, end) > end
}

/// Where `x459`, ` ext. 459` or `;ext=459` behind a number ends.
fn extension_end(text: &Text<'_>, end: usize) -> usize {
    let rest = &text.bytes[end..];
    let marks = ["x", " x", " ext. ", " ext ", " ext.", "ext", ";ext="];
    let mark = marks.iter().find(|mark| {
        rest.get(..mark.len()).is_some_and(|found| found.eq_ignore_ascii_case(mark.as_bytes()))
            && rest.get(mark.len()).is_some_and(u8::is_ascii_digit)
    });
    let Some(mark) = mark else { return end };
    let digits = run(&rest[mark.len()..], u8::is_ascii_digit);
    let after = end + mark.len() + digits;
    if digits <= 6 && text.closes(after) { after } else { end }
}

/// Whether groups are not a part of a longer number or list: the joint before and behind them is none, or a space.
fn stands_alone(text: &Text<'_>, at: usize, count: usize) -> bool {
    let behind = text.groups[at + count - 1].gap;
    if matches!(behind, Gap::Dash | Gap::Dot | Gap::Slash) {
        return false;
    }
    let spaced = |group: &&Group| group.gap == Gap::Space;
    let after = text.groups[at + count - 1..].iter().take(3).take_while(spaced).count();
    let before = text.groups[..at].iter().rev().take(3).take_while(spaced).count();
    before + after < 3
}

fn is_called_a_number(text: &Text<'_>, groups: &[Group], behind: &[Group]) -> bool {
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return false };
    let window = if groups.len() == 1 { NEAR } else { WINDOW };
    // A unit stands behind the last group of a row, of which these may be the first ones.
    let mut row = std::iter::once(last).chain(behind.iter().take(MOST_GROUPS));
    let whole = row.find(|group| group.gap != Gap::Space).unwrap_or(last);
    !text.says_after(whole.end, b" ", &UNITS)
        && (text.says_before(first.start, window, &WORDS_BEFORE) || text.says_after(last.end, b" -(,", &WORDS_AFTER))
}

#[cfg(test)]
mod tests;
