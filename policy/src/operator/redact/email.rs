//! E-mail addresses: RFC 5322's common form, internationalised ones (RFC 6532), and `%40` for the `@` as in URLs.

use memchr::memchr2;

use super::text::{Counts, Text};
use super::{Detector, Hits, domain};

pub(super) const DETECTOR: Detector =
    Detector { name: "email", marker: "<EMAIL>", grouped: false, shielded: false, may, find };

/// RFC 5321 allows 64 bytes before the `@`. Longer ones are cut there rather than let through.
const MOST_LOCAL: usize = 256;

fn may(bytes: &[u8], _: &Counts) -> bool {
    memchr2(b'@', b'%', bytes).is_some()
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    let (mut floor, mut at) = (0, 0);
    while let Some(found) = memchr2(b'@', b'%', &text.bytes[at..]) {
        let sign = at + found;
        at = sign + 1;
        let host = match &text.bytes[sign..] {
            [b'@', ..] => sign + 1,
            [b'%', b'4', b'0', ..] => sign + 3,
            _ => continue,
        };
        let Some(start) = local_start(text, floor, sign) else { continue };
        if let Some(end) = domain::end(text, host) {
            hits.push(start..end);
            (floor, at) = (end, end);
        }
    }
}

/// Where the part before the sign starts.
fn local_start(text: &Text<'_>, floor: usize, sign: usize) -> Option<usize> {
    let before = text.whole.get(floor..sign)?;
    if before.ends_with('"') {
        return quoted_start(before).map(|start| floor + start);
    }
    let start = before
        .char_indices()
        .rev()
        .take(MOST_LOCAL)
        .take_while(|(_, c)| is_local(*c))
        .last()
        .map_or(before.len(), |(start, _)| start);
    // What only joins words in an address does not start one: a quote, a dash, a percent sign.
    let local = &before[start..];
    let trimmed = local.trim_start_matches(|c: char| c.is_ascii_punctuation());
    (!trimmed.is_empty()).then_some(floor + before.len() - trimmed.len())
}

/// Start of `"john doe"` before the sign.
fn quoted_start(before: &str) -> Option<usize> {
    let inner = before.len() - 1;
    let open = before.char_indices().rev().skip(1).take(MOST_LOCAL).find(|(_, c)| *c == '"')?.0;
    (open + 1 < inner).then_some(open)
}

/// RFC 5322 allows more punctuation, `=`, `/` and `{` among it; in log texts that is what stands around an address. Letters
/// of scripts that are written without spaces would take the sentence before an address with it.
fn is_local(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '.' | '_' | '+' | '-' | '%' | '&' | '\'' | '~')
        || ('\u{80}'..'\u{530}').contains(&c) && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn addresses_where_they_stand() {
        for email in [
            "info@presidio.site",
            "user@xn--80ak6aa92e.com",
            "first.last+tag@sub.example.co.uk",
            "o'brien@example.ie",
            "a@b.co",
            "jürgen@münchen.de",
            "почта@пример.рф",
            "JOHN_DOE@EXAMPLE.ORG",
            "john.@docomo.ne.jp",
            "john%40example.com",
            "\"john doe\"@example.com",
            "root@db.internal",
        ] {
            assert_eq!(found("email", email), [email]);
            for (before, behind) in
                [("mailto:", "?subject=x"), ("<", ">"), ("email=", "&x"), ("('", "')"), ("to ", ". Then")]
            {
                let text = format!("{before}{email}{behind}");
                assert_eq!(found("email", &text), [email], "{text}");
            }
        }
        assert_eq!(found("email", "请联系john@example.com谢谢"), ["john@example.com"]);
        assert_eq!(found("email", "a@b.com,c@d.org;e@f.net"), ["a@b.com", "c@d.org", "e@f.net"]);
    }

    #[test]
    fn what_only_looks_so() {
        for text in [
            "{ec8030f7-c20a-464f-9b0e-13a3a9e97384}@example.org",
            "jid0-RvYT2rGWfM8q5yWxIxAHYAeo5Qg@jetpack",
            "@testpilot-addon",
            "foxyproxy@eric.h.jung",
            "masspasswordreset@johnathan.nightingale",
            "tabgroups@quicksaver",
            "i7-3770 CPU @ 3.40GHz",
            "lodash@4.17.21",
            "icon@2x.png",
            "git@host:x/y",
            "@example.com",
            "a@",
            "100%40 done",
            "@@@@",
        ] {
            assert_eq!(found("email", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_local_part_beyond_all_bounds_is_cut_not_spared() {
        let text = format!("{}@example.com", "a".repeat(1000));
        assert_eq!(found("email", &text)[0].len(), 256 + "@example.com".len());
    }
}
