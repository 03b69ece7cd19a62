//! One spelling for e-mail addresses, phone numbers and MAC addresses, so that one thing gets one pseudonym.

use std::borrow::Cow;

/// Which spelling; what does not look like one is null, since it would get a pseudonym that nothing else shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canonical {
    Email,
    Phone,
    Mac,
}

/// As policies write them.
pub(super) const NAMES: [(&str, Canonical); 3] =
    [("email", Canonical::Email), ("phone", Canonical::Phone), ("mac", Canonical::Mac)];

/// ITU-T E.164, 6.2: at most 15 digits with the country code. Nothing shorter than 7 reaches a subscriber from abroad.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

impl Canonical {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Mac => "mac",
        }
    }

    pub(super) fn of(self, text: &str) -> Option<Cow<'_, str>> {
        let text = text.trim();
        match self {
            Self::Email => email(text),
            Self::Phone => phone(text).map(Cow::Owned),
            Self::Mac => mac(text).map(Cow::Owned),
        }
    }
}

/// In lower case on both sides of the `@`: RFC 5321 lets mailboxes differ by case, and no provider does.
fn email(text: &str) -> Option<Cow<'_, str>> {
    let (mailbox, domain) = text.rsplit_once('@')?;
    if mailbox.is_empty() || domain.is_empty() || text.contains(char::is_whitespace) {
        return None;
    }
    let is_lower = !text.chars().any(char::is_uppercase);
    Some(if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) })
}

/// E.164 with `+`. A national number is null: which country it is in, it does not say.
fn phone(text: &str) -> Option<String> {
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let number = text.strip_prefix('+').or_else(|| text.strip_prefix("00"))?;
    let mut out = String::from("+");
    // The trunk prefix of `+49 (0)30 …` is not dialled from abroad (ITU-T E.123, 7.3).
    for char in number.replacen("(0)", "", 1).chars() {
        match char {
            '0'..='9' => out.push(char),
            ' ' | '\u{a0}' | '-' | '\u{2010}' | '\u{2011}' | '.' | '/' | '(' | ')' => {}
            _ => return None,
        }
    }
    (PHONE_DIGITS.contains(&(out.len() - 1)) && !out.starts_with("+0")).then_some(out)
}

/// EUI-48 or EUI-64 as lower-case pairs with colons, from pairs with `:` or `-`, groups of four with `.` or `:`, or no separator.
fn mac(text: &str) -> Option<String> {
    let separator = text.chars().find(|char| !char.is_ascii_hexdigit());
    let is_group = |length: usize| {
        let mut groups = text.split(|char| Some(char) == separator);
        groups.all(|group| group.len() == length)
    };
    let fits = match separator {
        None => true,
        Some('-') => is_group(2),
        Some(':') => is_group(2) || is_group(4),
        Some('.') => is_group(4),
        Some(_) => false,
    };
    let mut digits = String::with_capacity(text.len());
    for char in text.chars().filter(|char| Some(*char) != separator) {
        digits.push(char.is_ascii_hexdigit().then(|| char.to_ascii_lowercase())?);
    }
    if !fits || !matches!(digits.len(), 12 | 16) {
        return None;
    }
    let pairs: Vec<&str> = (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2)).collect();
    Some(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(canonical: Canonical, text: &str) -> Option<String> {
        canonical.of(text).map(Cow::into_owned)
    }

    #[test]
    fn mail_in_lower_case() {
        for text in ["ada@example.org", "Ada@Example.ORG", "  ADA@example.org\n"] {
            assert_eq!(of(Canonical::Email, text).as_deref(), Some("ada@example.org"), "{text}");
        }
        assert_eq!(of(Canonical::Email, "ÄDA+1@Bücher.example").as_deref(), Some("äda+1@bücher.example"));
        for text in ["", "ada", "@example.org", "ada@", "ada lovelace@example.org"] {
            assert_eq!(of(Canonical::Email, text), None, "{text}");
        }
    }

    /// Forms of ITU-T E.123 (international notation), RFC 3966 (`tel:`) and what people type; the numbers are the
    /// fictional ones of the Bundesnetzagentur, Ofcom and the North American Numbering Plan.
    #[test]
    fn phone_numbers_in_e164() {
        for (text, number) in [
            ("+49 30 23125 555", "+493023125555"),
            ("+49 (0)30 23125-555", "+493023125555"),
            ("0049/30/23125555", "+493023125555"),
            ("tel:+1-201-555-0123", "+12015550123"),
            ("+1 (201) 555-0123", "+12015550123"),
            ("+44\u{a0}20\u{a0}7946\u{a0}0958", "+442079460958"),
            ("+442079460958", "+442079460958"),
        ] {
            assert_eq!(of(Canonical::Phone, text).as_deref(), Some(number), "{text}");
        }
        for text in [
            "",
            "+",
            "030 23125555",
            "+49 30 CALL",
            "+1 201 555 0123 ext. 5",
            "+123456",
            "+1234567890123456",
            "+049302312",
            "+१२३४५६७८९",
        ] {
            assert_eq!(of(Canonical::Phone, text), None, "{text}");
        }
    }

    /// The notations of IEEE 802 (hyphens), the IETF (colons, RFC 7042), Cisco (dots) and bare digits.
    #[test]
    fn mac_addresses_in_pairs() {
        for text in ["00-1A-2B-3C-4D-5E", "00:1a:2b:3c:4d:5e", "001a.2b3c.4d5e", "001A:2B3C:4D5E", "001a2b3c4d5e"] {
            assert_eq!(of(Canonical::Mac, text).as_deref(), Some("00:1a:2b:3c:4d:5e"), "{text}");
        }
        assert_eq!(of(Canonical::Mac, "02-00-5E-FF-FE-10-00-01").as_deref(), Some("02:00:5e:ff:fe:10:00:01"));
        for text in [
            "",
            "0:1a:2b:3c:4d:5e",
            "00:1a-2b:3c-4d:5e",
            "00:1a:2b:3c:4d",
            "001a2b3c4d5g",
            "00 1a 2b 3c 4d 5e",
            "00:1a:2b:3c:4d:5e:",
            "0:01a2:b3c4:d5e",
        ] {
            assert_eq!(of(Canonical::Mac, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_text_is_stable_and_nothing_panics(text in "\\PC{0,24}|[+0-9() -]{0,20}|[0-9a-fA-F:.-]{0,24}|[A-Za-zÀ-ÿ@.]{0,12}") {
            for (_, canonical) in NAMES {
                if let Some(once) = of(canonical, &text) {
                    prop_assert_eq!(of(canonical, &once), Some(once.clone()));
                }
            }
        }
    }
}
