//! Names of hosts: labels with points whose last one is a top-level domain of the root zone, or one for private use.

use super::text::{Text, run};

/// Longest name and label (RFC 1035).
const MOST: usize = 253;
const MOST_LABEL: usize = 63;
/// Names that are in use without being in the root zone: RFC 2606, RFC 6762 appendix G, RFC 7686, and ICANN's `internal`.
const PRIVATE: [&str; 13] = [
    "local",
    "lan",
    "internal",
    "corp",
    "home",
    "intranet",
    "private",
    "localdomain",
    "localhost",
    "example",
    "test",
    "invalid",
    "onion",
];
/// Domains that a sentence without a space after its point is more likely to end with than to continue.
pub(super) const COMMON: [&str; 6] = ["com", "org", "net", "edu", "gov", "mil"];

/// Where the name that starts here ends.
pub(super) fn end(text: &Text<'_>, start: usize) -> Option<usize> {
    let rest = text.whole.get(start..)?;
    let wide = rest
        .char_indices()
        .take(MOST + 1)
        .find(|(_, c)| !(c.is_alphanumeric() || matches!(c, '.' | '-')))
        .map_or_else(|| rest.char_indices().nth(MOST + 1).map_or(rest.len(), |(at, _)| at), |(at, _)| at);
    // Where no spaces are written, letters of another script may follow at once.
    let narrow = run(&rest.as_bytes()[..wide], u8::is_ascii);
    [wide, narrow].into_iter().find_map(|end| name_of(&rest[..end])).map(|length| start + length)
}

/// Length of the name that such a run is or starts with.
fn name_of(run: &str) -> Option<usize> {
    let mut name = run.trim_end_matches(['.', '-']);
    if name.len() > MOST {
        return None;
    }
    let mut sentence = false;
    loop {
        let (rest, last) = name.rsplit_once('.')?;
        // A dash behind the domain joins it to something else.
        let top = last.split('-').next().unwrap_or(last);
        for top in [last, top] {
            let length = rest.len() + 1 + top.len();
            if is_top(top) && (!sentence || is_common(top)) && rest.split('.').all(is_label) {
                return Some(length);
            }
        }
        if sentence {
            return None;
        }
        sentence = true;
        name = rest;
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= MOST_LABEL && !label.starts_with('-') && !label.ends_with('-')
}

pub(super) fn is_common(label: &str) -> bool {
    COMMON.iter().any(|common| label.eq_ignore_ascii_case(common))
}

/// Whether a label is a top-level domain. Those in other scripts are not looked up: any two letters of one will do.
fn is_top(label: &str) -> bool {
    if label.is_ascii() {
        label.len() >= 2
            && (tld::exist_case_insensitive(label) || PRIVATE.iter().any(|known| label.eq_ignore_ascii_case(known)))
    } else {
        label.chars().count() >= 2 && label.chars().all(|c| !c.is_ascii() && c.is_alphabetic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<&str> {
        end(&Text { whole: text, bytes: text.as_bytes(), groups: &[] }, 0).map(|end| &text[..end])
    }

    #[test]
    fn names_end_in_a_top_level_domain() {
        for host in [
            "example.com",
            "a.b-c.example.co.uk",
            "xn--80ak6aa92e.com",
            "mail.corp",
            "EXAMPLE.ORG",
            "пример.рф",
            "münchen.de",
        ] {
            assert_eq!(name(host), Some(host));
            for behind in [".", "...", "-", ", x", "/x", " x"] {
                assert_eq!(name(&format!("{host}{behind}")), Some(host), "{host}{behind}");
            }
        }
        assert_eq!(name("example.com-Fax"), Some("example.com"));
        assert_eq!(name("example.com.Please"), Some("example.com"));
        assert_eq!(name("example.com请回复"), Some("example.com"));
    }

    #[test]
    fn other_names_are_no_hosts() {
        for text in [
            "jetpack",
            "eric.h.jung",
            "johnathan.nightingale",
            "4.17.21",
            "-.com",
            "a..com",
            ".com",
            "x-.com",
            "image.png",
            "",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(&format!("{}.com", "a".repeat(64))), None);
        assert_eq!(name(&format!("{}com", "a.".repeat(200))), None);
    }
}
