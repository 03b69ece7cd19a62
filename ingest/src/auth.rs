//! Who is calling: a token to a source, wherever the route's clients can put it, and whether its roles reach the route.

use std::borrow::Cow;
use std::sync::Arc;

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
