//! What detectors look at: a text, how many bytes of each class it has, and its groups of digits.

use std::ops::Range;

/// How often the bytes that detectors need occur in a text: what cannot be there is not searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) digits: u32,
    pub(super) dots: u32,
    pub(super) colons: u32,
    pub(super) dashes: u32,
}

impl Counts {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut counts = Self::default();
        // No sum of a chunk overflows a byte, so that the compiler counts with the widest registers that there are.
        for chunk in bytes.chunks(255) {
            let (mut digits, mut dots, mut colons, mut dashes) = (0_u8, 0_u8, 0_u8, 0_u8);
            for byte in chunk {
                digits += u8::from(byte.is_ascii_digit());
                dots += u8::from(*byte == b'.');
                colons += u8::from(*byte == b':');
                dashes += u8::from(*byte == b'-');
            }
            counts.digits += u32::from(digits);
            counts.dots += u32::from(dots);
            counts.colons += u32::from(colons);
            counts.dashes += u32::from(dashes);
        }
        counts
    }
}

/// What stands between two groups of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    Space,
    Dash,
    Dot,
    Slash,
    /// `(`, with a space before it or not.
    Open,
    /// `)`, with a space or dash after it or not.
    Close,
    /// Anything else, and the end of the text: what follows belongs to another number.
    Break,
}

/// A longest run of digits, and what separates it from the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) gap: Gap,
}

impl Group {
    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) const fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Longest gap: a narrow no-break space.
const MAX_GAP: usize = 3;

/// The groups of a text, into a list that is used again for the next text.
pub(super) fn group(bytes: &[u8], groups: &mut Vec<Group>) {
    groups.clear();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let start = at + found;
        let end = start + run(&bytes[start..], u8::is_ascii_digit);
        if let Some(last) = groups.last_mut() {
            last.gap = gap(&bytes[last.end..start]);
        }
        groups.push(Group { start, end, gap: Gap::Break });
        at = end;
    }
}

fn gap(between: &[u8]) -> Gap {
    if between.len() > MAX_GAP {
        return Gap::Break;
    }
    match between {
        // No-break and narrow no-break space are what typesetting puts into numbers.
        b" " | b"\xc2\xa0" | b"\xe2\x80\xaf" => Gap::Space,
        // Hyphen, no-break hyphen, figure dash and en dash.
        b"-" | b"\xe2\x80\x90" | b"\xe2\x80\x91" | b"\xe2\x80\x92" | b"\xe2\x80\x93" => Gap::Dash,
        b"." => Gap::Dot,
        b"/" => Gap::Slash,
        b"(" | b" (" => Gap::Open,
        b")" | b") " | b")-" => Gap::Close,
        _ => Gap::Break,
    }
}

/// Length of the longest prefix whose bytes all pass.
pub(super) fn run(bytes: &[u8], test: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|byte| !test(byte)).unwrap_or(bytes.len())
}

/// Length of the longest suffix of at most `most` bytes that all pass.
pub(super) fn run_back(bytes: &[u8], most: usize, test: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().rev().take(most).position(|byte| !test(byte)).unwrap_or(bytes.len().min(most))
}

/// A text while detectors search it.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) whole: &'a str,
    pub(super) bytes: &'a [u8],
    /// Filled where a detector asked for them.
    pub(super) groups: &'a [Group],
}

impl Text<'_> {
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn byte_before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|before| self.byte(before))
    }

    /// Whether a word can start here: not within another, nor behind the point of a decimal number.
    pub(super) fn opens(&self, at: usize) -> bool {
        match self.byte_before(at) {
            Some(b'.') => !self.byte_before(at - 1).is_some_and(|byte| byte.is_ascii_digit()),
            before => !before.is_some_and(is_word),
        }
    }

    /// Whether a word can end here.
    pub(super) fn closes(&self, at: usize) -> bool {
        match self.byte(at) {
            Some(b'.') => !self.byte(at + 1).is_some_and(|byte| byte.is_ascii_digit()),
            after => !after.is_some_and(is_word),
        }
    }

    /// Whether a range lies in a UUID, whose groups of digits are no numbers of anything.
    pub(super) fn in_uuid(&self, range: &Range<usize>) -> bool {
        let part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
        let start = range.start - run_back(&self.bytes[..range.start], UUID, part);
        let after = &self.bytes[range.end..];
        let end = range.end + run(&after[..after.len().min(UUID)], part);
        end - start == UUID
            && self.bytes[start..end]
                .iter()
                .enumerate()
                .all(|(at, byte)| (*byte == b'-') == matches!(at, 8 | 13 | 18 | 23))
    }

    /// Whether one of the words, in lower case, stands in the `window` bytes before `at`. A digit between says that the
    /// word speaks of another number, and a marker of an earlier round says nothing.
    pub(super) fn says_before(&self, at: usize, window: usize, words: &[&str]) -> bool {
        let near = &self.bytes[at.saturating_sub(window)..at];
        let near = &near[near.iter().rposition(u8::is_ascii_digit).map_or(0, |digit| digit + 1)..];
        let stands = |start: usize, end: usize| {
            let before = start.checked_sub(1).and_then(|before| near.get(before));
            let after = near.get(end);
            let longer = [before, after].into_iter().flatten().any(u8::is_ascii_alphabetic);
            !longer && (before, after) != (Some(&b'<'), Some(&b'>'))
        };
        words.iter().any(|word| {
            let mut places = near.windows(word.len()).enumerate();
            places.any(|(at, found)| found.eq_ignore_ascii_case(word.as_bytes()) && stands(at, at + word.len()))
        })
    }

    /// Whether one of the words, in lower case, is the next one behind `at`, after up to two of the joints.
    pub(super) fn says_after(&self, at: usize, joints: &[u8], words: &[&str]) -> bool {
        let rest = &self.bytes[at..];
        let rest = &rest[run(&rest[..rest.len().min(2)], |byte| joints.contains(byte))..];
        words.iter().any(|word| {
            rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
                && !rest.get(word.len()).is_some_and(|byte| is_word(*byte))
        })
    }
}

/// Length of a UUID.
const UUID: usize = 36;

/// What words and numbers are made of. Letters outside ASCII are not: in many scripts no space stands between them and a number.
pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(text: &str) -> Vec<Gap> {
        let mut groups = Vec::new();
        group(text.as_bytes(), &mut groups);
        groups.iter().map(|group| group.gap).collect()
    }

    #[test]
    fn gaps_say_what_separates_groups() {
        assert_eq!(
            gaps("+46 (0)8-92.8/5, 7"),
            [Gap::Open, Gap::Close, Gap::Dash, Gap::Dot, Gap::Slash, Gap::Break, Gap::Break]
        );
        assert_eq!(gaps("1\u{a0}2\u{202f}3\u{2011}4  5"), [Gap::Space, Gap::Space, Gap::Dash, Gap::Break, Gap::Break]);
        assert_eq!(gaps("none"), []);
    }

    #[test]
    fn counts_agree_with_counting() {
        let text = "12.3:4-".repeat(400);
        let counts = Counts::of(text.as_bytes());
        assert_eq!(counts, Counts { digits: 1600, dots: 400, colons: 400, dashes: 400 });
    }

    #[test]
    fn words_before_are_near_whole_and_not_of_another_number() {
        let says = |text: &str| {
            Text { whole: text, bytes: text.as_bytes(), groups: &[] }.says_before(text.len(), 12, &["tel", "phone"])
        };
        assert!(says("my phone: ") && says("tel.") && says("TEL "));
        assert!(
            !says("hotel ")
                && !says("cell-phones ")
                && !says("telling ")
                && !says("tel 7, id ")
                && !says("<PHONE> ")
                && !says("tel, and far behind it ")
        );
    }

    #[test]
    fn a_uuid_is_36_bytes_of_its_shape() {
        let text = "id 550e8400-e29b-41d4-a716-446655440000.";
        let in_uuid = |text: &str| Text { whole: text, bytes: text.as_bytes(), groups: &[] }.in_uuid(&(27..39));
        assert!(in_uuid(text));
        assert!(!in_uuid(&text.replace("0000.", "00000.")) && !in_uuid(&text.replace("a716-", "a7160")));
    }
}
