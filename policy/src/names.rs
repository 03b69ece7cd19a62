//! What names may look like: in paths, columns and conditions there is no room for look-alikes.

/// What a kind of name must be: a test and the sentence that says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameRule {
    pub(crate) what: &'static str,
    pub(crate) says: &'static str,
    test: fn(&str) -> bool,
}

impl NameRule {
    pub(crate) fn allows(&self, name: &str) -> bool {
        (self.test)(name)
    }
}

/// Name of a catalogue or policy.
pub(crate) const DOCUMENT: NameRule = NameRule {
    what: "name of the document",
    says: "use up to 64 letters, digits, `.`, `_` and `-`",
    test: |name| name.len() <= 64 && starts_alphanumeric(name) && name.bytes().all(is_label),
};

/// Name of a purpose: also a folder.
pub(crate) const PURPOSE: NameRule = NameRule {
    what: "name of a purpose",
    says: "use up to 64 lower-case letters, digits, `_` and `-`, the first one a letter or digit",
    test: |name| name.len() <= 64 && is_word(name),
};

/// Name of a stream: also a folder.
pub(crate) const STREAM: NameRule = NameRule {
    what: "name of a stream",
    says: "use words of lower-case letters, digits, `_` and `-`, joined by dots, up to 100 characters",
    test: |name| name.len() <= 100 && name.split('.').all(is_word),
};

/// Name of an event, as devices send it.
pub(crate) const EVENT: NameRule = NameRule {
    what: "name of an event",
    says: "use up to 255 printable ASCII characters without quotes; spaces one at a time and inside only",
    test: |name| {
        !name.is_empty()
            && name.len() <= 255
            // Analytics libraries send names like `Order Completed`; two that look alike must not both be possible.
            && name.split(' ').all(|word| !word.is_empty())
            && name.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'\'' | b'"' | b'`' | b'\\'))
    },
};

/// Name of a column.
pub(crate) const COLUMN: NameRule = NameRule {
    what: "column",
    says: "use snake_case: lower-case letters, digits and `_`, the first one a letter, up to 64 characters",
    test: |name| {
        name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    },
};

/// Name of a jurisdiction.
pub(crate) const JURISDICTION: NameRule = NameRule {
    what: "name of a jurisdiction",
    says: "use up to 32 letters, digits, `.`, `_` and `-`: EU, US-CA",
    test: |name| name.len() <= 32 && starts_alphanumeric(name) && name.bytes().all(is_label),
};

/// Id of a rule.
pub(crate) const RULE: NameRule = NameRule {
    what: "id of a rule",
    says: "use up to 100 letters, digits, `.`, `_`, `:`, `/` and `-`",
    test: |name| {
        name.len() <= 100 && starts_alphanumeric(name) && name.bytes().all(|b| is_label(b) || matches!(b, b':' | b'/'))
    },
};

/// Name of a file that a policy names, from the policy's folder.
pub(crate) const FILE: NameRule = NameRule {
    what: "name of a file",
    says: "use the way from the policy's folder, without `..`: letters, digits, `.`, `_` and `-`, folders joined by `/`",
    test: |name| {
        name.len() <= 200 && name.split('/').all(|part| starts_alphanumeric(part) && part.bytes().all(is_label))
    },
};

/// Columns that every table has; a field cannot be called so.
pub(crate) const RESERVED_COLUMNS: [&str; 7] =
    ["event", "time", "received_date", "subject", "batch", "consent_seq", "decision"];

/// Name that conditions give to a value or jurisdiction that nothing declares.
pub(crate) const UNKNOWN: &str = "unknown";

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn starts_alphanumeric(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

const fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_become_folders_cannot_climb_or_hide() {
        for bad in ["", "..", "a/b", "../x", ".a", "a.", "a..b", "_a", "A", "a b", "ａ", "a\u{202e}b"] {
            assert!(!STREAM.allows(bad), "{bad}");
            assert!(!PURPOSE.allows(bad), "{bad}");
        }
        assert!(STREAM.allows("phone.app") && STREAM.allows("car-2.drive_log"));
        assert!(PURPOSE.allows("analytics") && !PURPOSE.allows("a.b"));
    }

    #[test]
    fn other_names() {
        assert!(COLUMN.allows("imei_2") && !COLUMN.allows("2imei") && !COLUMN.allows("_x") && !COLUMN.allows("Imei"));
        for good in ["phone.app.opened", "Device Paired", "org-example-hub.baseline"] {
            assert!(EVENT.allows(good), "{good}");
        }
        for bad in ["", " ", " a", "a ", "a  b", "a\tb", "a\u{a0}b", "it's", "a\u{e4}"] {
            assert!(!EVENT.allows(bad), "{bad}");
        }
        assert!(JURISDICTION.allows("US-CA") && !JURISDICTION.allows("*"));
        assert!(RULE.allows("phone-analytics") && !RULE.allows("a rule"));
        assert!(DOCUMENT.allows("acme-fleet") && !DOCUMENT.allows("-x"));
        assert!(FILE.allows("hierarchies/city.csv") && !FILE.allows("../city.csv") && !FILE.allows("a/..b"));
    }
}
