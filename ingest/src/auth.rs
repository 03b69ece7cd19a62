//! Who is calling: `Authorization: Bearer TOKEN` to a source, and whether its roles reach the route.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::error::{Kind, Refusal};
use crate::role::{Access, names};
use crate::source::{Source, Sources};

/// The source that may call a route; none for a public one, where no token is looked at.
pub(crate) fn caller(access: Access, sources: &Sources, headers: &HeaderMap) -> Result<Option<Arc<Source>>, Refusal> {
    let Access::Roles(roles) = access else {
        return Ok(None);
    };
    let source = bearer(headers).and_then(|token| sources.of_token(token)).ok_or_else(|| {
        let mend = "this needs a token that the service knows: send the header `Authorization: Bearer TOKEN`";
        Refusal::new(Kind::Unauthenticated, mend)
    })?;
    if source.has_one_of(roles) {
        return Ok(Some(Arc::clone(source)));
    }
    let message = format!("this token may not do that: it needs one of the roles {}", names(roles));
    Err(Refusal::new(Kind::Forbidden, message))
}

/// The token of the one `Authorization` header; two of them are ambiguous, so neither counts.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
}
