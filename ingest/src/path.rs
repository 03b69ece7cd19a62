//! Paths with parameters: `/glean/{token}/submit/{app}`. A part in braces stands for whatever a request has there.

/// Whether a path is one of those that a pattern stands for.
pub(crate) fn matches(pattern: &'static str, path: &str) -> bool {
    let (mut own, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (own.next(), parts.next()) {
            (None, None) => return true,
            (Some(own), Some(part)) if own == part || name(own).is_some() && !part.is_empty() => {}
            _ => return false,
        }
    }
}

/// What a path has in the place of `{wanted}`, as it was sent.
pub(crate) fn parameter<'p>(pattern: &'static str, wanted: &str, path: &'p str) -> Option<&'p str> {
    let mut places = pattern.split('/').zip(path.split('/'));
    places.find_map(|(own, part)| (name(own) == Some(wanted)).then_some(part))
}

/// The names of a pattern's parameters.
pub(crate) fn parameters(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern.split('/').filter_map(name)
}

/// Whether a part of a path is a UUID as text: 32 hexadecimal digits in five groups.
pub(crate) fn is_uuid(part: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| {
        if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    part.len() == UUID && part.bytes().enumerate().all(fits)
}

/// Length of a UUID as text.
const UUID: usize = 36;

/// The name of a parameter, if this part of a pattern is one.
fn name(part: &'static str) -> Option<&'static str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_part_by_part() {
        const PATTERN: &str = "/glean/{token}/submit/{app}/{ping}/{version}/{uuid}";
        let path = "/glean/a-token/submit/app/baseline/1/0-1";
        assert!(matches(PATTERN, path));
        assert_eq!(parameters(PATTERN).collect::<Vec<_>>(), ["token", "app", "ping", "version", "uuid"]);
        assert_eq!(parameter(PATTERN, "token", path), Some("a-token"));
        assert_eq!(parameter(PATTERN, "uuid", path), Some("0-1"));
        assert_eq!(parameter(PATTERN, "submit", path), None);
        for other in [
            "/glean/a-token/submit/app/baseline/1",
            "/glean/a-token/submit/app/baseline/1/0-1/2",
            "/glean//submit/app/baseline/1/0-1",
            "/glean/a-token/sent/app/baseline/1/0-1",
            "/v1/logs",
        ] {
            assert!(!matches(PATTERN, other), "{other}");
        }
    }

    #[test]
    fn a_uuid_is_32_hex_digits_in_five_groups() {
        assert!(is_uuid("167466aa-5334-44d9-a217-f91f3396a4df") && is_uuid("167466AA-5334-44D9-A217-F91F3396A4DF"));
        for other in [
            "",
            "1",
            "167466aa533444d9a217f91f3396a4df",
            "167466aa-5334-44d9-a217-f91f3396a4dg",
            "167466aa-5334-44d9-a217-f91f3396a4df0",
            "167466aa-5334-44d9-a217+f91f3396a4df",
        ] {
            assert!(!is_uuid(other), "{other}");
        }
    }
}
