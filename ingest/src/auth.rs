//! Who is calling: a token to a source, wherever the route's clients can put it, and whether its roles reach the route.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::error::{Kind, Refusal};
use crate::head::{basic, bearer};
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

/// The source whose token came along, if it may call the route; none for a public one, where no token is looked at, and
/// where a subject signs without one.
pub(crate) fn caller(route: &Route, sources: &Sources, parts: &Parts) -> Result<Option<Arc<Source>>, Refusal> {
    let Some(roles) = route.access.roles() else {
        return Ok(None);
    };
    if matches!(route.access, Access::Subject(_)) && !parts.headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let token = route.token.of(route, parts);
    let source = token.and_then(|token| sources.of_token(&token)).ok_or_else(|| {
        let message = format!("this needs a token that the service knows: {}", route.token.mend());
        Refusal::new(Kind::Unauthenticated, message)
    })?;
    let reaches = match route.access {
        // A signature is asked for as well, and says whom it is about.
        Access::RolesOrSigned(_) | Access::Subject(_) if source.signed => true,
        _ => source.has_one_of(roles),
    };
    if reaches {
        return if source.signed { signed(route, source) } else { Ok(Some(Arc::clone(source))) };
    }
    let message = match (route.access, roles) {
        (Access::Subject(_), []) => {
            "this is for the subject alone: sign it with the subject's key, without a token".to_owned()
        }
        _ => format!("this token may not do that: it needs one of the roles {}", names(roles)),
    };
    Err(Refusal::new(Kind::Forbidden, message))
}

/// A signed source, where what it sends can be signed.
fn signed(route: &Route, source: &Arc<Source>) -> Result<Option<Arc<Source>>, Refusal> {
    if route.access.takes_signed() {
        return Ok(Some(Arc::clone(source)));
    }
    let mend = "this source signs what it sends, and nothing is signed here: send OTLP over HTTP to POST /v1/logs, /v1/metrics or \
                /v1/traces";
    Err(Refusal::new(Kind::Forbidden, mend))
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
