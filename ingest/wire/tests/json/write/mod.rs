//! Requests as JSON text, in every dialect that the reader must take.

mod logs;
mod metrics;
mod traces;

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::RngExt;
use proptest::test_runner::TestRng;

/// A request that can be written as JSON.
pub(crate) trait Json {
    /// Its text.
    fn write(&self, writer: &mut Writer<'_>) -> String;
    /// The decoder under test.
    fn read(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError>;
}

/// How clients differ. Each choice that is `None` is made anew for every value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// Integers of 64 bits as strings.
    pub(crate) quoted: Option<bool>,
    /// Names as in the `.proto` files.
    pub(crate) snake: Option<bool>,
    /// `null` instead of `{}` for no value, and unknown members, and members in any order.
    pub(crate) odd: bool,
}

/// Python's exporter: integers are strings.
pub(crate) const PYTHON: Dialect = Dialect { quoted: Some(true), snake: Some(false), odd: false };
/// JavaScript's exporter: integers are numbers.
pub(crate) const JAVASCRIPT: Dialect = Dialect { quoted: Some(false), snake: Some(false), odd: false };
/// Whatever protobuf's JSON mapping allows.
pub(crate) const ANY: Dialect = Dialect { quoted: None, snake: None, odd: true };

/// Writes requests.
pub(crate) struct Writer<'r> {
    pub(crate) dialect: Dialect,
    pub(crate) rng: &'r mut TestRng,
}

type Members = Vec<(&'static str, String)>;

impl Writer<'_> {
    fn request<R>(&mut self, name: &'static str, resources: &[R], write: impl Fn(&mut Self, &R) -> String) -> String {
        let resources = self.array(resources, write);
        self.object(vec![(name, resources)])
    }

    /// What is around the scopes of a resource.
    fn of_resource(&mut self, resource: Option<&Resource>, scopes: (&'static str, String), schema_url: &str) -> String {
        let mut members = Vec::new();
        if let Some(resource) = resource {
            members.push(("resource", self.resource(resource)));
        }
        members.push(scopes);
        members.push(("schema_url", self.text(schema_url)));
        self.object(members)
    }

    /// What is around the items of a scope.
    fn of_scope(
        &mut self,
        scope: Option<&InstrumentationScope>,
        items: (&'static str, String),
        schema_url: &str,
    ) -> String {
        let mut members = Vec::new();
        if let Some(scope) = scope {
            members.push(("scope", self.scope(scope)));
        }
        members.push(items);
        members.push(("schema_url", self.text(schema_url)));
        self.object(members)
    }

    fn resource(&mut self, resource: &Resource) -> String {
        let attributes = self.array(&resource.attributes, Self::key_value);
        let dropped = resource.dropped_attributes_count.to_string();
        self.object(vec![("attributes", attributes), ("dropped_attributes_count", dropped)])
    }

    fn scope(&mut self, scope: &InstrumentationScope) -> String {
        let members = vec![
            ("name", self.text(&scope.name)),
            ("version", self.text(&scope.version)),
            ("attributes", self.array(&scope.attributes, Self::key_value)),
        ];
        self.object(members)
    }

    /// A number, or one of the names where the dialect has them.
    fn enumeration(&mut self, number: i32, names: &[(i32, &str)]) -> String {
        let word = names.iter().find(|(known, _)| *known == number && self.dialect.odd && self.rng.random());
        word.map_or(number.to_string(), |(_, name)| format!("\"{name}\""))
    }

    fn key_value(&mut self, pair: &KeyValue) -> String {
        let key = self.text(&pair.key);
        let mut members = vec![("key", key)];
        if let Some(value) = &pair.value {
            let null = value.value.is_none() && self.dialect.odd && self.rng.random();
            members.push(("value", if null { "null".to_owned() } else { self.any_value(value) }));
        }
        self.object(members)
    }

    fn any_value(&mut self, value: &AnyValue) -> String {
        let Some(value) = &value.value else { return "{}".to_owned() };
        let member = match value {
            Value::StringValue(text) => ("string_value", self.text(text)),
            Value::BoolValue(value) => ("bool_value", value.to_string()),
            Value::IntValue(value) => ("int_value", self.integer(*value)),
            Value::DoubleValue(value) => ("double_value", self.double(*value)),
            Value::BytesValue(bytes) => ("bytes_value", self.base64(bytes)),
            Value::StringValueStrindex(index) => ("string_value_strindex", index.to_string()),
            Value::ArrayValue(array) => {
                let values = self.array(&array.values, Self::any_value);
                ("array_value", self.object(vec![("values", values)]))
            }
            Value::KvlistValue(list) => {
                let values = self.array(&list.values, Self::key_value);
                ("kvlist_value", self.object(vec![("values", values)]))
            }
        };
        let mut members = vec![member];
        if self.dialect.odd && self.rng.random_ratio(1, 8) && members[0].0 != "bool_value" {
            members.push(("bool_value", "null".to_owned()));
        }
        self.object(members)
    }

    fn object(&mut self, mut members: Members) -> String {
        if self.dialect.odd {
            if self.rng.random_ratio(1, 8) {
                members.push(("not_known", r#"[{"a":[1.5e3,"\"]",null]},true]"#.to_owned()));
            }
            for at in (1..members.len()).rev() {
                members.swap(at, self.rng.random_range(0..=at));
            }
        }
        let written: Vec<String> = members.into_iter().map(|(name, value)| self.member(name, &value)).collect();
        let comma = self.gap();
        format!("{{{}}}", written.join(&format!("{comma},{comma}")))
    }

    fn member(&mut self, name: &str, value: &str) -> String {
        let snake = self.dialect.snake.unwrap_or_else(|| self.rng.random());
        let name = if snake { name.to_owned() } else { camel(name) };
        // A name may hold escapes as any string may.
        let name = if self.dialect.odd && self.rng.random_ratio(1, 16) {
            format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..])
        } else {
            name
        };
        format!("\"{name}\":{}{value}", self.gap())
    }

    fn array<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T) -> String) -> String {
        let items: Vec<String> = items.iter().map(|item| write(self, item)).collect();
        format!("[{}{}]", self.gap(), items.join(","))
    }

    fn gap(&mut self) -> &'static str {
        const GAPS: [&str; 4] = ["", " ", "\r\n", "\t"];
        if self.dialect.odd { GAPS[self.rng.random_range(0..4)] } else { "" }
    }

    #[expect(clippy::needless_pass_by_value, reason = "integers of every size, which are copied")]
    fn integer(&mut self, value: impl ToString) -> String {
        let value = value.to_string();
        if self.dialect.quoted.unwrap_or_else(|| self.rng.random()) { format!("\"{value}\"") } else { value }
    }

    fn double(&mut self, value: f64) -> String {
        let name = match value {
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            nan if nan.is_nan() => "NaN",
            _ if self.dialect.quoted.is_none() && self.rng.random() => return format!("\"{value:e}\""),
            _ => return serde_json::to_string(&value).unwrap(),
        };
        format!("\"{name}\"")
    }

    fn text(&mut self, text: &str) -> String {
        if self.dialect.odd && self.rng.random_ratio(1, 4) {
            let escaped: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            return format!("\"{}\"", escaped.concat());
        }
        serde_json::to_string(text).unwrap()
    }

    fn base64(&mut self, bytes: &[u8]) -> String {
        let url = self.dialect.odd && self.rng.random();
        let letter = |at: u32| match at {
            0..26 => char::from(b'A' + at as u8),
            26..52 => char::from(b'a' + (at - 26) as u8),
            52..62 => char::from(b'0' + (at - 52) as u8),
            62 => {
                if url {
                    '-'
                } else {
                    '+'
                }
            }
            _ => {
                if url {
                    '_'
                } else {
                    '/'
                }
            }
        };
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
            out.extend((0..=chunk.len()).map(|at| letter(bits >> (18 - 6 * at) & 63)));
            out.extend(std::iter::repeat_n('=', if url { 0 } else { 3 - chunk.len() }));
        }
        format!("\"{out}\"")
    }
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| format!("{name}{}{}", word[..1].to_ascii_uppercase(), &word[1..]))
}

fn hex(bytes: &[u8]) -> String {
    format!("\"{}\"", candor_policy::hex::encode(bytes))
}
