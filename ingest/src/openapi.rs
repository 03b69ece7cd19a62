//! `GET /openapi.json`: OpenAPI 3.1, made from the list of routes and from the types that handlers read and write.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::response::Response;
use candor_wire::statement::{ConsentRequest, SignedStatement};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::auth::TokenIn;
use crate::error::Kind;
use crate::log;
use crate::protocol::consent;
use crate::protocol::otlp::Format;
use crate::role::{Access, names};
use crate::route::{Errors, ROUTES, Route};

mod parameter;

/// What a route is for, takes and answers.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) summary: &'static str,
    pub(crate) request: Option<Content>,
    pub(crate) answer: Content,
}

/// A body and its form.
#[derive(Debug)]
pub(crate) enum Content {
    /// JSON of a schema.
    Json(SchemaOf),
    /// One of several media types, each with its schema.
    OneOf(&'static [(&'static str, SchemaOf)]),
    /// A protobuf message, by its name.
    Protobuf(&'static str),
    /// A protobuf message as gRPC frames it, by its name.
    Grpc(&'static str),
    /// The text form of `OpenMetrics`.
    OpenMetrics,
    /// Text.
    Text,
    /// Bytes of no media type.
    Bytes,
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What errors hold, in the encoding of the request.
#[derive(JsonSchema)]
#[schemars(rename = "Status")]
#[expect(dead_code, reason = "the shape of google.rpc.Status, of which only the schema is used")]
struct Status {
    /// google.rpc code.
    code: i32,
    /// What is wrong and what to do, without a value of the request.
    message: String,
}

/// What `POST /v1/consent` takes.
pub(crate) fn consent_requests(generator: &mut SchemaGenerator) -> Schema {
    let (many, own) = (one_or_many::<ConsentRequest>(generator), generator.subschema_for::<SignedStatement>());
    json_schema!({ "anyOf": [many, own] })
}

/// The schema of a type.
pub(crate) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One of a type, or an array of them.
pub(crate) fn one_or_many<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<T>();
    json_schema!({ "anyOf": [one, { "type": "array", "items": one, "maxItems": consent::MOST }] })
}

/// A document whose form is described elsewhere.
pub(crate) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// An array of such.
pub(crate) fn array(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "object" } })
}

/// Whatever its media type says.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({})
}

/// The document, made once: nothing in it changes while the process runs.
pub(crate) fn document() -> Response {
    static BYTES: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(format!("{:#}\n", describe())));
    let mut response = Response::new(Body::from(BYTES.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Two generators: what is read and what is written differ in which fields must be there.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

pub(crate) fn describe() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut schemas = Schemas {
        read: settings().for_deserialize().into_generator(),
        written: settings().for_serialize().into_generator(),
    };
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in &ROUTES {
        let method = route.method.as_str().to_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(route, &mut schemas));
    }
    let mut definitions = schemas.read.take_definitions(true);
    definitions.extend(schemas.written.take_definitions(true));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Candor",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Telemetry that the people it is about can check",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "The token of a source; its roles decide what it may call.",
                },
                "basic": {
                    "type": "http", "scheme": "basic",
                    "description": "The same token as the user's name, with an empty password.",
                },
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Signature",
                    "description": "An HTTP Message Signature (RFC 9421) by the subject's Ed25519 key, with Signature-Input.",
                },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let about = &route.about;
    let mut operation = Map::new();
    operation.insert("operationId".into(), identifier(route).into());
    operation.insert("summary".into(), about.summary.into());
    match route.access {
        Access::Public => drop(operation.insert("security".into(), json!([]))),
        Access::Roles(roles) => {
            operation.insert("description".into(), format!("Needs one of the roles {}.", names(roles)).into());
            operation.insert("security".into(), security(route.token));
            operation.insert("x-candor-roles".into(), json!(roles));
        }
        Access::RolesOrSigned(roles) => {
            let needs =
                format!("Needs one of the roles {}, or the token of a signed source and a signature.", names(roles));
            operation.insert("description".into(), needs.into());
            operation.insert("security".into(), json!([{ "bearer": [] }, { "bearer": [], "signature": [] }]));
            operation.insert("x-candor-roles".into(), json!(roles));
        }
        Access::Subject(roles) => {
            let or = if roles.is_empty() { String::new() } else { format!(", or one of the roles {}", names(roles)) };
            let needs = format!("Needs the subject's signature (RFC 9421), without a token{or}.");
            operation.insert("description".into(), needs.into());
            let by_token = (!roles.is_empty()).then(|| json!({ "bearer": [] }));
            operation.insert("security".into(), [json!({ "signature": [] })].into_iter().chain(by_token).collect());
            operation.insert("x-candor-roles".into(), json!(roles));
        }
    }
    let parameters = parameter::parameters(route);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(request) = &about.request {
        let content = content(request, &mut schemas.read);
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let answer = content(&about.answer, &mut schemas.written);
    let mut responses = Map::from_iter([("200".to_owned(), json!({ "description": "Done", "content": answer }))]);
    for kind in refusals(route) {
        responses.insert(kind.status().as_str().to_owned(), refusal(kind, route, &mut schemas.written));
    }
    operation.insert("responses".into(), responses.into());
    operation.into()
}

fn security(token: TokenIn) -> Value {
    match token {
        TokenIn::Bearer => json!([{ "bearer": [] }]),
        TokenIn::BearerOrBasic => json!([{ "bearer": [] }, { "basic": [] }]),
        // OpenAPI has no scheme for what is part of the path.
        TokenIn::Path => json!([]),
    }
}

/// `post_v1_logs`.
fn identifier(route: &Route) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("{}{}", route.method.as_str().to_lowercase(), route.path.chars().map(plain).collect::<String>())
}

fn content(content: &Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
        Content::OneOf(forms) => {
            let form = |(media_type, schema): &(&'static str, SchemaOf)| {
                ((*media_type).to_owned(), json!({ "schema": schema(generator) }))
            };
            Value::Object(forms.iter().map(form).collect())
        }
        Content::Protobuf(message) => protobuf(message),
        Content::Grpc(message) => json!({ "application/grpc": { "x-protobuf-message": message } }),
        Content::OpenMetrics => json!({ "application/openmetrics-text": { "schema": { "type": "string" } } }),
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        // JSON Schema has no word for bytes that are no text: OpenAPI 3.1 leaves their schema out.
        Content::Bytes => json!({ "application/octet-stream": {} }),
    }
}

/// The message and its JSON form. JSON Schema has no word for bytes that are no text: OpenAPI 3.1 leaves their schema out.
fn protobuf(message: &str) -> Value {
    let mut forms = Map::new();
    forms.insert(Format::Protobuf.media_type().to_owned(), json!({ "x-protobuf-message": message }));
    forms.insert(
        Format::Json.media_type().to_owned(),
        json!({ "schema": { "type": "object" }, "x-protobuf-message": message }),
    );
    forms.into()
}

/// What can be wrong with a request to a route.
fn refusals(route: &Route) -> Vec<Kind> {
    let mut kinds = Vec::new();
    if route.errors == Errors::Grpc {
        // Their status is in the trailers of a 200.
        return kinds;
    }
    if route.about.request.is_some() {
        kinds.extend([Kind::Malformed, Kind::TooLarge, Kind::UnsupportedMedia]);
    }
    if route.access != Access::Public {
        kinds.extend([Kind::Unauthenticated, Kind::Forbidden, Kind::TooFast]);
    }
    match route.access {
        Access::RolesOrSigned(_) => kinds.extend([Kind::Conflict, Kind::Unavailable]),
        Access::Subject(_) => {
            kinds.extend([Kind::Malformed, Kind::NotFound, Kind::Unavailable]);
            kinds.extend((route.method != Method::GET).then_some(Kind::Conflict));
        }
        Access::Public | Access::Roles(_) => {}
    }
    if route.method != Method::GET || ["/readyz", "/__heartbeat__"].contains(&route.path) {
        kinds.push(Kind::Unavailable);
    }
    if log::TILES.contains(&route.path) {
        kinds.extend([Kind::UnknownPath, Kind::Unavailable]);
    }
    kinds = kinds.into_iter().map(|kind| route.errors.kind(kind)).collect();
    kinds.sort_by_key(|kind| kind.status());
    kinds.dedup();
    kinds
}

fn refusal(kind: Kind, route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut content = content(&Content::Json(of::<Status>), generator);
    if route.errors == Errors::Otlp {
        // In protobuf as well, where the request is. In JSON its shape is the same for every route.
        content[Format::Protobuf.media_type()] = json!({ "x-protobuf-message": "google.rpc.Status" });
    }
    let mut response = json!({ "description": kind.line().when, "content": content });
    let header = match kind {
        Kind::Unavailable | Kind::TooFast => {
            Some(("Retry-After", json!({ "schema": { "type": "integer", "minimum": 1 } })))
        }
        Kind::Unauthenticated => Some(("WWW-Authenticate", json!({ "schema": { "type": "string" } }))),
        _ => None,
    };
    if let Some((name, header)) = header {
        response["headers"] = json!({ (name): header });
    }
    response
}
