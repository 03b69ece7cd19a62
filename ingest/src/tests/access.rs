//! Who may call what: every route with every role, without a token and with an unknown one.

use axum::body::Body;
use http::{Request, StatusCode, Version};

use super::world::{World, token};
use crate::auth::TokenIn;
use crate::role::{Access, Role};
use crate::route::{Errors, ROUTES, Route};

/// What a request offers as its token.
#[derive(Clone, Copy, Debug)]
enum Offer<'a> {
    Nothing,
    /// A token, where the route's clients put theirs.
    Token(&'a str),
    /// An `Authorization` header.
    Header(&'a str),
}

async fn status(world: &World, route: &Route, offer: Offer<'_>) -> StatusCode {
    let in_path = if let Offer::Token(token) = offer { token } else { "nothing" };
    let path = route.path.replace("{token}", in_path).replace("{uuid}", "0b1c").replace(['{', '}'], "");
    let mut request = Request::builder().method(route.method.clone()).uri(path);
    if route.errors == Errors::Grpc {
        request = request.version(Version::HTTP_2).header("content-type", "application/grpc");
    }
    match offer {
        Offer::Token(token) if route.token != TokenIn::Path => {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Offer::Header(value) => request = request.header("authorization", value),
        _ => {}
    }
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    if let Some(code) = answer.headers.get("grpc-status") {
        assert_eq!(answer.status, StatusCode::OK);
        return match code.to_str().unwrap() {
            "16" => StatusCode::UNAUTHORIZED,
            "7" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"candor\"");
    }
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_it_declares_and_nobody_else() {
    let world = World::open().await;
    for route in &ROUTES {
        for role in Role::ALL {
            let found = status(&world, route, Offer::Token(&token(role))).await;
            let allowed = match route.access {
                Access::Public => true,
                Access::Roles(roles) | Access::RolesOrSigned(roles) | Access::Subject(roles) => roles.contains(&role),
            };
            assert_eq!(found != StatusCode::FORBIDDEN, allowed, "{role} at {}: {found}", route.path);
            assert_ne!(found, StatusCode::UNAUTHORIZED, "{role} at {}", route.path);
        }
        let public = route.access == Access::Public;
        for bad in [
            Offer::Nothing,
            Offer::Token("unknown-token"),
            // Without the colon that ends a user's name, and with a password.
            Offer::Header("Basic dG9rZW4tb2YtZGV2aWNl"),
            Offer::Header("Basic dG9rZW4tb2YtZGV2aWNlOnB3"),
            Offer::Header("token-of-device"),
            Offer::Header("Bearer "),
        ] {
            let found = status(&world, route, bad).await;
            assert_eq!(found != StatusCode::UNAUTHORIZED, public, "{bad:?} at {}: {found}", route.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_only_where_the_routes_clients_put_it() {
    let world = World::open().await;
    let basic = "Basic dG9rZW4tb2YtZGV2aWNlOg==";
    for route in ROUTES.iter().filter(|route| route.access != Access::Public) {
        let allowed = status(&world, route, Offer::Header(basic)).await != StatusCode::UNAUTHORIZED;
        assert_eq!(allowed, route.token == TokenIn::BearerOrBasic, "{}", route.path);
        let allowed =
            status(&world, route, Offer::Header("Bearer token-of-operator")).await != StatusCode::UNAUTHORIZED;
        assert_eq!(allowed, route.token != TokenIn::Path, "{}", route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_read_for_somebody_unknown() {
    let world = World::open().await;
    let request = Request::post("/v1/logs").header("content-type", "application/x-protobuf");
    let answer = world.send(request.body(Body::from("not protobuf")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "and not 400");
    assert_eq!(world.metric("candor_request_body_bytes_total{source=\"devices\"}").await, 0);
}
