//! OTLP in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"), read as a stream into Arrow builders.
//!
//! Every dialect that clients speak is taken: integers and times as numbers or as strings, enumerations as numbers or by
//! name, members in lowerCamelCase or by their original name, a null value as `{}` or `null`; ids are hex, bytes base64.
//! Members may come in any order: what must wait for one behind it is kept as text and read when that has come.
//! A member that comes twice, or two kinds of one value, is an error; so is `null` inside an array.
//!
//! The three requests have one shape: resources hold scopes, and scopes hold items. Here is what they share.

mod logs;
mod metrics;
mod traces;
mod value;

use bumpalo::Bump;
use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use serde::de::MapAccess;

use self::value::{Kept, Nesting, Pair, Pairs};
use super::rows::{Rows, Scope};
use super::{DecodeError, DecodeLimits, push_within};
use crate::json::{Context, Member, Object};

/// Decodes the decompressed body of `POST /v1/logs`.
///
/// # Errors
/// [`DecodeError`] for what is not an `ExportLogsServiceRequest` in JSON, and for the limits.
pub fn decode_logs(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    let arena = Bump::new();
    run(&Context::new(body, &arena)?, keys, limits, &mut logs::Logs)
}

/// Decodes the decompressed body of `POST /v1/metrics`: every data point is a record.
///
/// # Errors
/// As [`decode_logs`].
pub fn decode_metrics(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    let arena = Bump::new();
    run(&Context::new(body, &arena)?, keys, limits, &mut metrics::Metrics::default())
}

/// Decodes the decompressed body of `POST /v1/traces`: every span is a record.
///
/// # Errors
/// As [`decode_logs`].
pub fn decode_traces(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    let arena = Bump::new();
    run(&Context::new(body, &arena)?, keys, limits, &mut traces::Spans::default())
}

/// What scopes of one kind of request hold, and the buffers that reading them takes.
trait Items<'b> {
    /// What errors call the request.
    const REQUEST: &'static str;
    /// Names of the member that holds the resources, of the one that holds the scopes of each, and of the one that holds
    /// the items of each.
    const NAMES: [[&'static str; 2]; 3];

    /// Reads the items, each a `LogRecord`, `Metric` or `Span`.
    type Item<'w, 'k>: Object<'b>
    where
        Self: 'w,
        'b: 'w,
        'k: 'w;

    fn item<'w, 'k>(&'w mut self, walk: &'w mut Walk<'b, 'k>) -> Self::Item<'w, 'k>
    where
        'b: 'w,
        'k: 'w;
}

/// Where a walk is, and what it keeps of the messages around.
struct Walk<'b, 'k> {
    context: &'b Context<'b>,
    rows: Rows<'k>,
    limits: DecodeLimits,
    records: usize,
    /// Attributes of the current resource.
    resource: Vec<Pair<'b>>,
    scope: Scope<'b, Kept<'b>>,
    /// Attributes of the current record.
    attributes: Vec<Pair<'b>>,
}

fn run<'b, I: Items<'b>>(
    context: &'b Context<'b>,
    keys: &KeyIndex,
    limits: &DecodeLimits,
    items: &mut I,
) -> Result<Received, DecodeError> {
    let mut walk = Walk {
        context,
        rows: Rows::new(keys, limits),
        limits: *limits,
        records: 0,
        resource: Vec::new(),
        scope: Scope::default(),
        attributes: Vec::new(),
    };
    context.object(context.text(), &mut Request { walk: &mut walk, items })?;
    Ok(walk.rows.finish())
}

impl<'b> Walk<'b, '_> {
    /// One more record: a log record, a data point or a span.
    fn count(&mut self) -> Result<(), DecodeError> {
        self.records += 1;
        if self.records > self.limits.records {
            return Err(DecodeError::TooMany { what: "records", limit: self.limits.records });
        }
        Ok(())
    }

    /// Reads the attributes of the current record.
    fn attributes<A: MapAccess<'b>>(&mut self, value: Member<'_, 'b, A>) -> Result<(), A::Error> {
        self.attributes.clear();
        attributes(value, &mut self.attributes, &self.limits, "attributes of one record")
    }
}

/// Reads attributes; `what` says of what there may be no more than the limit.
fn attributes<'b, A: MapAccess<'b>>(
    value: Member<'_, 'b, A>,
    into: &mut Vec<Pair<'b>>,
    limits: &DecodeLimits,
    what: &'static str,
) -> Result<(), A::Error> {
    let take = |key, value| push_within(into, (key, value), limits.attributes, what);
    value.objects(&mut Pairs::new(Nesting::new(limits), take))
}

struct Request<'w, 'b, 'k, I> {
    walk: &'w mut Walk<'b, 'k>,
    items: &'w mut I,
}

impl<'b, I: Items<'b>> Object<'b> for Request<'_, 'b, '_, I> {
    const WHAT: &'static str = I::REQUEST;

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        if !I::NAMES[0].contains(&name) {
            return value.skip();
        }
        let mut resources = ResourceItems { walk: self.walk, items: self.items, has_resource: false, waiting: None };
        value.objects(&mut resources).map(|()| 1)
    }
}

/// A resource and its scopes.
struct ResourceItems<'w, 'b, 'k, I> {
    walk: &'w mut Walk<'b, 'k>,
    items: &'w mut I,
    has_resource: bool,
    /// Scopes that came before their resource.
    waiting: Option<&'b str>,
}

impl<'b, 'k, I: Items<'b>> ResourceItems<'_, 'b, 'k, I> {
    fn scopes(&mut self) -> ScopeItems<'_, 'b, 'k, I> {
        ScopeItems { walk: self.walk, items: self.items, has_scope: false, waiting: None }
    }
}

impl<'b, I: Items<'b>> Object<'b> for ResourceItems<'_, 'b, '_, I> {
    const WHAT: &'static str = "an object with a resource and its scopes";

    fn begin(&mut self) {
        self.walk.resource.clear();
        self.walk.rows.next_resource();
        (self.has_resource, self.waiting) = (false, None);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "resource" => {
                value.object(&mut Resource { walk: self.walk })?;
                self.has_resource = true;
                Ok(1)
            }
            "schemaUrl" | "schema_url" => value.text().map(|_| 3),
            _ if !I::NAMES[1].contains(&name) => value.skip(),
            _ if self.has_resource => value.objects(&mut self.scopes()).map(|()| 2),
            _ => {
                self.waiting = value.raw()?;
                Ok(2)
            }
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let (context, waiting) = (self.walk.context, self.waiting.take());
        waiting.map_or(Ok(()), |text| context.objects(text, &mut self.scopes()))
    }
}

struct Resource<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
}

impl<'b> Object<'b> for Resource<'_, 'b, '_> {
    const WHAT: &'static str = "a Resource";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "attributes" => {
                let Walk { resource, limits, .. } = &mut *self.walk;
                attributes(value, resource, limits, "attributes of one resource").map(|()| 1)
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 2),
            _ => value.skip(),
        }
    }
}

/// A scope and its items.
struct ScopeItems<'w, 'b, 'k, I> {
    walk: &'w mut Walk<'b, 'k>,
    items: &'w mut I,
    has_scope: bool,
    /// Items that came before their scope.
    waiting: Option<&'b str>,
}

impl<'b, I: Items<'b>> Object<'b> for ScopeItems<'_, 'b, '_, I> {
    const WHAT: &'static str = "an object with a scope and its items";

    fn begin(&mut self) {
        self.walk.scope.clear();
        self.walk.rows.next_scope();
        (self.has_scope, self.waiting) = (false, None);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "scope" => {
                let Walk { scope, limits, .. } = &mut *self.walk;
                value.object(&mut InstrumentationScope { scope, limits })?;
                self.has_scope = true;
                Ok(1)
            }
            "schemaUrl" | "schema_url" => value.text().map(|_| 3),
            _ if !I::NAMES[2].contains(&name) => value.skip(),
            _ if self.has_scope => value.objects(&mut self.items.item(self.walk)).map(|()| 2),
            _ => {
                self.waiting = value.raw()?;
                Ok(2)
            }
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let (context, waiting) = (self.walk.context, self.waiting.take());
        waiting.map_or(Ok(()), |text| context.objects(text, &mut self.items.item(self.walk)))
    }
}

struct InstrumentationScope<'w, 'b> {
    scope: &'w mut Scope<'b, Kept<'b>>,
    limits: &'w DecodeLimits,
}

impl<'b> Object<'b> for InstrumentationScope<'_, 'b> {
    const WHAT: &'static str = "an InstrumentationScope";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "name" => {
                self.scope.name = value.text()?.unwrap_or_default();
                Ok(1)
            }
            "version" => {
                self.scope.version = value.text()?.unwrap_or_default();
                Ok(2)
            }
            "attributes" => {
                attributes(value, &mut self.scope.attributes, self.limits, "attributes of one scope").map(|()| 3)
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 4),
            _ => value.skip(),
        }
    }
}
