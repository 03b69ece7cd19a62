//! `hmac`: a keyed pseudonym, different for each purpose, column and key generation.

use std::any::Any;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use hashbrown::HashMap;
use hmac::Mac;

use super::parameters::Parameters;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;
use crate::hex::Hex16;
use crate::keys::{HmacKey, Keyed};

/// Half of the tag: 128 bits keep pseudonyms apart, and a column of them costs half as much.
const TAG_BYTES: usize = 16;

/// `HMAC-SHA256(key, u16be len(domain) ‖ domain ‖ u64be generation ‖ canonical value)[..16]` in lower-case hex,
/// with `domain = purpose ‖ 0x00 ‖ column`. Text is taken as it came, a whole number as its decimal text.
#[derive(Debug)]
struct Hmac {
    key: String,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let key = parameters.text("key", "name the key: `key = \"analytics\"`, one key for each purpose")?;
    Ok(Arc::new(Hmac { key: key.to_owned() }))
}

/// The keyed state after everything but the value.
fn keyed_state(key: &HmacKey, context: &OperatorContext<'_>) -> Keyed {
    let domain = [context.purpose.as_bytes(), &[0], context.column.as_bytes()].concat();
    let mut state = key.keyed().clone();
    state.update(&(domain.len() as u16).to_be_bytes());
    state.update(&domain);
    state.update(&key.generation().to_be_bytes());
    state
}

/// One tag for each distinct value: an id repeats in every row of its device.
fn pseudonyms<V: std::hash::Hash + Eq + Copy>(
    state: &Keyed,
    values: impl ExactSizeIterator<Item = Option<V>>,
    canonical: impl Fn(V, &mut Keyed),
) -> StringArray {
    let mut seen: HashMap<V, Hex16, foldhash::quality::RandomState> = HashMap::default();
    let mut last: Option<(V, Hex16)> = None;
    let mut out = StringBuilder::with_capacity(values.len(), values.len() * TAG_BYTES * 2);
    for value in values {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        let tag = match last {
            // Rows of one device come together.
            Some((same, tag)) if same == value => tag,
            _ => *seen.entry(value).or_insert_with(|| {
                let mut state = state.clone();
                canonical(value, &mut state);
                Hex16::of_first(&state.finalize().into_bytes().into())
            }),
        };
        last = Some((value, tag));
        out.append_value(tag.as_str());
    }
    out.finish()
}

impl Operator for Hmac {
    fn name(&self) -> &'static str {
        "hmac"
    }

    fn rank(&self) -> Rank {
        Rank::Pseudonym
    }

    fn parameters(&self) -> String {
        format!("key={}", self.key)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.key == other.key)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        // Two floats that print alike may differ, and a boolean has two pseudonyms: whoever sees both knows them.
        matches!(input, FieldType::String | FieldType::I64).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        Some("hmac")
    }

    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn apply(&self, values: &ArrayRef, context: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let key = context.keys.named(&self.key).ok_or_else(|| OperatorError::MissingKey(self.key.clone()))?;
        let state = keyed_state(key, context);
        if let Some(text) = values.as_string_opt::<i32>() {
            return Ok(Arc::new(pseudonyms(&state, text.iter(), |value, state| state.update(value.as_bytes()))));
        }
        let numbers = values.as_primitive_opt::<Int64Type>().ok_or(OperatorError::WrongType("hmac"))?;
        Ok(Arc::new(pseudonyms(&state, numbers.iter(), |value, state| state.update(value.to_string().as_bytes()))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Float64Array, Int64Array};

    use super::super::Parameter;
    use super::super::clean::assert_clean;
    use super::super::tests_support::{context_keys, operator};
    use super::*;

    fn run(purpose: &str, column: &str, values: impl Array + 'static) -> Result<ArrayRef, OperatorError> {
        let (keys, values): (_, ArrayRef) = (context_keys(), Arc::new(values));
        let context = OperatorContext { purpose, column, keys: &keys };
        let operator = operator("hmac", &[("key", Parameter::Text(purpose.into()))]);
        let out = operator.apply(&values, &context)?;
        assert_clean(&out);
        assert_eq!(out.len(), values.len());
        Ok(out)
    }

    fn one(purpose: &str, column: &str, value: &str) -> String {
        let out = run(purpose, column, StringArray::from(vec![value])).unwrap();
        out.as_string::<i32>().value(0).to_owned()
    }

    /// RFC 4231, test case 1.
    #[test]
    fn the_primitive_is_hmac_sha256() {
        let tag = <Keyed as hmac::KeyInit>::new_from_slice(&[0x0b; 20]).unwrap().chain_update(b"Hi There");
        let hex = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(crate::hex::encode(&tag.finalize().into_bytes()), hex);
    }

    /// Computed by Python's `hmac`, which shares no code with ours, with the keys of `context_keys`:
    ///
    /// ```python
    /// d = purpose.encode() + b"\0" + column.encode()
    /// m = len(d).to_bytes(2, "big") + d + generation.to_bytes(8, "big") + value.encode()
    /// hmac.new(key, m, hashlib.sha256).digest()[:16].hex()
    /// ```
    #[test]
    fn own_vectors() {
        for (column, value, hex) in [
            ("imei", "490154203237518", "b1bae1c4f73b390dd3449a22bdb12887"),
            ("account_email", "Ada@Example.org ", "7a10fdc9e6a59cd5bdfe2d8ef31e921d"),
            ("city", "Zürich", "3eae6851a5dcdc6602366f5b072b657e"),
            ("imei", "", "129f5ccecd72f1d1c37db84fe72d5697"),
        ] {
            assert_eq!(one("analytics", column, value), hex, "{column}");
        }
        let number = run("analytics", "odometer_km", Int64Array::from(vec![-42])).unwrap();
        assert_eq!(number.as_string::<i32>().value(0), "bd85b9d09afcc7d7e358a3ee8c38f523");
        // Generation 2 of another key: purposes must not be joinable.
        assert_eq!(one("marketing", "imei", "490154203237518"), "6c0ba6c9065e056c43a602feaab79b48");
    }

    #[test]
    fn repeats_and_nulls_keep_their_rows() {
        let values = vec![Some("a"), None, Some("b"), Some("a")];
        let out = run("analytics", "imei", StringArray::from(values)).unwrap();
        let out = out.as_string::<i32>();
        assert!(out.is_null(1) && out.null_count() == 1);
        assert_eq!(out.value(0), out.value(3));
        assert_ne!(out.value(0), out.value(2));
        assert_ne!(out.value(0), one("analytics", "serial", "a"), "two columns must not be joinable");
    }

    #[test]
    fn without_its_key_it_gives_nothing() {
        let error = run("unheard_of", "imei", StringArray::from(vec!["490154203237518"])).unwrap_err();
        assert_eq!(error, OperatorError::MissingKey("unheard_of".into()));
        assert!(!error.to_string().contains("4901"));
        let floats = run("analytics", "speed", Float64Array::from(vec![1.5]));
        assert_eq!(floats.unwrap_err(), OperatorError::WrongType("hmac"));
    }

    #[test]
    fn only_the_same_key_covers() {
        let hmac = |key: &str| operator("hmac", &[("key", Parameter::Text(key.into()))]);
        assert!(hmac("a").covers(&*hmac("a")));
        assert!(!hmac("a").covers(&*hmac("b")));
        assert_eq!(hmac("a").key(), Some("a"));
        assert_eq!(hmac("a").output(FieldType::F64), None);
    }
}
