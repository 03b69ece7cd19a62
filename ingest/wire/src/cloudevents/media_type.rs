//! What a media type says of data: JSON, text, or bytes of some other kind.

/// Whether it is JSON's or ends in `+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    essence(content_type).split_once('/').is_some_and(|(_, kind)| kind == "json" || kind.ends_with("+json"))
}

/// The text that data is; `None` if its type is not `text/*`, or if it is not UTF-8 or names another charset.
pub(super) fn text<'b>(content_type: &str, data: &'b [u8]) -> Option<&'b str> {
    if !essence(content_type).starts_with("text/") {
        return None;
    }
    let mut charsets = content_type.split(';').skip(1).filter_map(charset);
    let readable = charsets.all(|charset| match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => true,
        "us-ascii" | "ascii" => data.is_ascii(),
        _ => false,
    });
    readable.then(|| simdutf8::basic::from_utf8(data).ok()).flatten()
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn charset(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_json() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.acme+json", "text/json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "json", "application/xml", "application/jsonx", "text/plain"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn text_is_what_says_so_and_can_be_read() {
        for kind in ["text/plain", "Text/CSV", "text/plain; charset=UTF-8", "text/html;a=b; Charset=\"utf-8\""] {
            assert_eq!(text(kind, "gr\u{fc}n".as_bytes()), Some("gr\u{fc}n"), "{kind}");
            assert_eq!(text(kind, b"gr\xfcn"), None, "{kind}");
        }
        assert_eq!(text("text/plain; charset=us-ascii", b"green"), Some("green"));
        assert_eq!(text("text/plain; charset=us-ascii", "gr\u{fc}n".as_bytes()), None);
        for kind in
            ["text/plain; charset=iso-8859-1", "text/plain; charset=utf-16", "application/xml", "texts", "text", ""]
        {
            assert_eq!(text(kind, b"green"), None, "{kind}");
        }
    }
}
