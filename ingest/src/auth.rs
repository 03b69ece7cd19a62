//! Who is calling: a token to a source, wherever the route's clients can put it, and whether its roles reach the route.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::error::{Kind, Refusal};
use crate::role::{Access, names};
use crate::route::Route;
use crate::source::{Source, Sources};

/// Where requests to a route have their token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenIn {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// The same, or `Authorization: Basic` with the token as the user's name and no password.
    BearerOrBasic,
    /// The part of the path that the route calls `token`, for clients that can send nothing but a path. It may be
    /// percent-encoded, in whole or in part.
    Path,
}

/// The source that may call a route; none for a public one, where no token is looked at.
pub(crate) fn caller(route: &Route, sources: &Sources, parts: &Parts) -> Result<Option<Arc<Source>>, Refusal> {
    let Access::Roles(roles) = route.access else {
        return Ok(None);
    };
    let token = route.token.of(route, parts);
    let source = token.and_then(|token| sources.of_token(&token)).ok_or_else(|| {
        let message = format!("this needs a token that the service knows: {}", route.token.mend());
        Refusal::new(Kind::Unauthenticated, message)
    })?;
    if source.has_one_of(roles) {
        return Ok(Some(Arc::clone(source)));
    }
    let message = format!("this token may not do that: it needs one of the roles {}", names(roles));
    Err(Refusal::new(Kind::Forbidden, message))
}

impl TokenIn {
    fn of<'p>(self, route: &Route, parts: &'p Parts) -> Option<Cow<'p, str>> {
        match self {
            Self::Bearer => bearer(&parts.headers).map(Cow::Borrowed),
            Self::BearerOrBasic => {
                bearer(&parts.headers).map(Cow::Borrowed).or_else(|| basic(&parts.headers).map(Cow::Owned))
            }
            Self::Path => percent_decode_str(route.parameter("token", parts.uri.path())?).decode_utf8().ok(),
        }
    }

    const fn mend(self) -> &'static str {
        match self {
            Self::Bearer => "send the header `Authorization: Bearer TOKEN`",
            Self::BearerOrBasic => {
                "it is the write key, which the header `Authorization: Basic` has without a password"
            }
            Self::Path => "it is the part of the path between `/glean/` and `/submit/`",
        }
    }
}

/// The user's name of the one `Authorization: Basic` header, if it has no password.
fn basic(headers: &HeaderMap) -> Option<String> {
    let bytes = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let mut name = String::from_utf8(bytes).ok()?;
    // The first colon ends the name: there must be nothing behind it.
    let colon = name.find(':')?;
    (colon + 1 == name.len()).then(|| name.truncate(colon))?;
    Some(name)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// What the one `Authorization` header has of a scheme; two of them are ambiguous, so neither counts.
fn credentials<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header_only() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        assert_eq!(bearer(&with(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&with(&["bearer  abc "])), Some("abc"));
        assert_eq!(bearer(&with(&["Basic abc"])), None);
        assert_eq!(bearer(&with(&["abc"])), None);
        assert_eq!(bearer(&with(&[])), None);
        assert_eq!(bearer(&with(&["Bearer abc", "Bearer def"])), None);
    }

    #[test]
    fn a_write_key_is_the_name_of_a_user_without_a_password() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            basic(&headers)
        };
        let basic_of = |plain: &str| of(&format!("Basic {}", STANDARD.encode(plain)));
        assert_eq!(basic_of("example-write-key:").as_deref(), Some("example-write-key"));
        assert_eq!(of("bAsIc ZXhhbXBsZS13cml0ZS1rZXk6").as_deref(), Some("example-write-key"));
        for other in ["example-write-key", "example-write-key:password", "example-write-key::", "", "\u{ff}"] {
            assert_eq!(basic_of(other), None, "{other}");
        }
        assert_eq!(of("Basic example-write-key:"), None, "that is no base64");
        assert_eq!(of("Bearer ZXhhbXBsZS13cml0ZS1rZXk6"), None);
    }
}
