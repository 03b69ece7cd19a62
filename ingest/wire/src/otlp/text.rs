//! Text that waits to be written: bytes that are known to be UTF-8.

/// Bytes that are UTF-8. Columns are checked once more when they become arrays, all texts at once, so that here it pays
/// to ask for ASCII first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Text<'v>(&'v [u8]);

impl<'v> Text<'v> {
    /// The text that bytes are, if they are one.
    #[inline]
    pub(crate) fn new(bytes: &'v [u8]) -> Option<Self> {
        (is_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok()).then_some(Self(bytes))
    }

    #[inline]
    pub(crate) const fn bytes(self) -> &'v [u8] {
        self.0
    }

    /// For the few that are more than written.
    pub(crate) fn as_str(self) -> &'v str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl<'v> From<&'v str> for Text<'v> {
    #[inline]
    fn from(text: &'v str) -> Self {
        Self(text.as_bytes())
    }
}

/// Whether no byte has its upper bit set, by words: texts are short, and the last word may overlap the one before.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    let words = bytes.as_chunks().0.iter();
    let all = words.fold(u64::from_ne_bytes(*last), |all, word| all | u64::from_ne_bytes(*word));
    all & 0x8080_8080_8080_8080 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_std_says_is_one() {
        for length in 0..40 {
            let ascii = vec![b'x'; length];
            assert_eq!(Text::new(&ascii).map(Text::bytes), Some(&*ascii));
            for at in 0..length {
                for bytes in [&[0xff][..], &[0x80], &[0xc3], "\u{fc}".as_bytes(), "\u{1f600}".as_bytes()] {
                    let mut text = ascii.clone();
                    text.splice(at..=at, bytes.iter().copied());
                    let expected = std::str::from_utf8(&text).ok();
                    assert_eq!(Text::new(&text).map(Text::as_str), expected, "{text:02x?}");
                }
            }
        }
    }
}
