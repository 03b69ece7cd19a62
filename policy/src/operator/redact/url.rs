//! URLs: whatever has a scheme and `://`, `www.` names, names in a common domain, and names with a path.

use memchr::{memchr_iter, memmem};

use super::text::{Counts, Text, is_word, run, run_back};
use super::{Detector, Hits, domain};

pub(super) const DETECTOR: Detector =
    Detector { name: "url", marker: "<URL>", grouped: false, shielded: false, may, find };

/// Longest scheme that is looked for before a `://`.
const MOST_SCHEME: usize = 32;
/// What ends a sentence rather than a URL.
const PUNCTUATION: [char; 8] = ['.', ',', ';', ':', '!', '?', '\'', '*'];
/// Top-level domains that are also endings of files: with a path behind, they are folders and archives.
const ENDINGS: [&str; 14] = ["so", "rs", "py", "sh", "pl", "ps", "md", "zip", "mov", "cc", "ml", "pm", "app", "java"];
/// First labels of names that are turned round: packages, not hosts.
const REVERSED: [&str; 10] = ["com", "org", "net", "edu", "gov", "io", "de", "java", "javax", "android"];

fn may(bytes: &[u8], counts: &Counts) -> bool {
    counts.dots > 0 || counts.colons > 0 && memmem::find(bytes, b"://").is_some()
}

fn find(text: &Text<'_>, hits: &mut Hits<'_>) {
    with_scheme(text, hits);
    without_scheme(text, hits);
}

fn with_scheme(text: &Text<'_>, hits: &mut Hits<'_>) {
    let mut floor = 0;
    for at in memmem::find_iter(text.bytes, b"://") {
        if at < floor {
            continue;
        }
        let scheme = run_back(&text.bytes[floor..at], MOST_SCHEME, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
        });
        let word = &text.bytes[at - scheme..at];
        let Some(letter) = word.iter().position(u8::is_ascii_alphabetic) else { continue };
        let end = tail_end(text, at + 3);
        if end > at + 3 {
            hits.push(at - scheme + letter..end);
            floor = end;
        }
    }
}

/// Where a URL ends that goes on here: at what cannot stand in one, without the punctuation of the sentence around it.
fn tail_end(text: &Text<'_>, start: usize) -> usize {
    let rest = &text.whole[start..];
    let ends = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '`' | '|' | '\\' | '^' | '{' | '}')
    };
    let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
    let mut url = url.trim_end_matches(PUNCTUATION);
    for (open, close) in [('(', ')'), ('[', ']')] {
        // Counted once, not for every bracket: a row of them must not cost the square of its length.
        let surplus = url.matches(close).count().saturating_sub(url.matches(open).count());
        let trailing = &url[url.trim_end_matches(|c| c == close || PUNCTUATION.contains(&c)).len()..];
        let keep = trailing.matches(close).count().saturating_sub(surplus);
        if surplus > 0
            && let Some((cut, _)) = trailing.match_indices(close).nth(keep)
        {
            url = url[..url.len() - trailing.len() + cut].trim_end_matches(PUNCTUATION);
        }
    }
    start + url.len()
}

fn without_scheme(text: &Text<'_>, hits: &mut Hits<'_>) {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let mut floor = 0;
    for at in memchr_iter(b'.', text.bytes) {
        if at < floor {
            continue;
        }
        let start = at - run_back(&text.bytes[floor..at], usize::MAX, part);
        let token = at + run(&text.bytes[at..], part);
        floor = token;
        if let Some(end) = host_end(text, start, token) {
            let end = match text.byte(end) {
                Some(b':') => end + port(&text.bytes[end..]),
                _ => end,
            };
            let end = if matches!(text.byte(end), Some(b'/' | b'?' | b'#')) { tail_end(text, end) } else { end };
            hits.push(start..end);
            floor = floor.max(end);
        }
    }
}

/// Where the host ends that a token is: with `www.` in any domain, else in a common one.
fn host_end(text: &Text<'_>, start: usize, token: usize) -> Option<usize> {
    let before = text.byte_before(start);
    if before.is_some_and(|byte| is_word(byte) || matches!(byte, b'@' | b'/' | b'\\' | b'$' | b'%')) {
        return None;
    }
    let end = domain::end(text, start).filter(|end| *end <= token)?;
    if text.byte(end).is_some_and(|byte| is_word(byte) || matches!(byte, b'@' | b'(')) {
        return None;
    }
    let host = &text.whole[start..end];
    let (first, _) = host.split_once('.')?;
    let (_, top) = host.rsplit_once('.')?;
    let www = first.eq_ignore_ascii_case("www");
    let path = text.byte(end) == Some(b'/') && text.byte(end + 1).is_some_and(is_word);
    let usual = domain::COMMON.contains(&top)
        || path && !ENDINGS.contains(&top) && !top.bytes().any(|b| b.is_ascii_uppercase());
    (www || usual && !REVERSED.contains(&first)).then_some(end)
}

fn port(bytes: &[u8]) -> usize {
    let digits = run(&bytes[1..bytes.len().min(7)], u8::is_ascii_digit);
    if digits > 0 { 1 + digits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;

    #[test]
    fn urls_where_they_stand() {
        for url in [
            "http://microsoft.com",
            "https://webhook.site/a8eedfd6-9d8a-44e0-b0fc-cc7d517db5dc?q=1&b=2",
            "http://internal-host:8080/path",
            "file:///home/jdoe/notes.txt",
            "content://com.android.contacts/data/3",
            "moz-extension://a8eedfd6/popup.html",
            "https://user:pass@example.org/x#y",
            "https://[2001:db8::1]:8443/x",
            "https://example.org/a_(b)",
            "https://例え.jp/ページ",
            "www.example.museum",
            "www.example.de/x?y=z",
            "microsoft.com",
            "sub.example.org:8443/path",
            "bit.ly/3xYz",
            "example.de/pfad?x=1",
        ] {
            assert_eq!(found("url", url), [url]);
            for (before, behind) in
                [("see ", "."), ("(", ")"), ("\"", "\""), ("<", ">"), ("url=", ", then"), ("['", "']")]
            {
                let text = format!("{before}{url}{behind}");
                assert_eq!(found("url", &text), [url], "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_url() {
        for text in [
            "com.example.app",
            "org.example.net",
            "java.net",
            "java.net.SocketException",
            "main.rs",
            "main.rs/7",
            "libc.so/_start",
            "bit.ly",
            "and/or/if.it",
            "report.pdf",
            "node.js",
            "1.2.3",
            "a:b//c",
            "://x",
            "http://",
            "e.g. this",
            "user@example.com",
            "src/example.com.rs",
            "System.Net",
            "call example.com()",
        ] {
            assert_eq!(found("url", text), [""; 0], "{text}");
        }
    }
}
