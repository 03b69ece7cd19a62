//! `hmac`: a keyed pseudonym, different for each purpose, column and key generation.

use std::any::Any;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use hmac::Mac;

use super::canonical::{self, Canonical};
use super::parameters::{Parameters, error};
use super::repeats::texts;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Parameter, Rank};
use crate::catalogue::FieldType;
use crate::hex::Hex16;
use crate::keys::{HmacKey, Keyed};

/// Characters of a tag. Half of it, 128 bits, keeps pseudonyms apart, and a column of them costs half as much.
const TAG_WIDTH: usize = 32;

/// `HMAC-SHA256(key, u16be len(domain) ‖ domain ‖ u64be generation ‖ canonical value)[..16]` in lower-case hex,
/// with `domain = purpose ‖ 0x00 ‖ column`. Text is taken as it came unless `canonical` says how it is spelt, a whole number
/// as its decimal text.
#[derive(Debug)]
struct Hmac {
    key: String,
    canonical: Option<Canonical>,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let key = parameters.text("key", "name the key: `key = \"analytics\"`, one key for each purpose")?;
    let canonical = match parameters.get("canonical") {
        None => None,
        Some(given) => {
            let known = |(name, _): &&(&str, Canonical)| matches!(given, Parameter::Text(text) if text == name);
            let Some((_, canonical)) = canonical::NAMES.iter().find(known) else {
                let names = canonical::NAMES.map(|(name, _)| name).join(", ");
                let mend = format!("use one of: {names}; or leave it out, and text is taken as it came");
                return Err(error("`canonical` of `hmac` must be a kind of text that it knows", &mend));
            };
            Some(*canonical)
        }
    };
    Ok(Arc::new(Hmac { key: key.to_owned(), canonical }))
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

/// The tag of a value's canonical text.
fn tag(state: &Keyed, canonical: &str) -> Hex16 {
    Hex16::of_first(&state.clone().chain_update(canonical).finalize().into_bytes().into())
}

impl Operator for Hmac {
    fn name(&self) -> &'static str {
        "hmac"
    }

    fn rank(&self) -> Rank {
        Rank::Pseudonym
    }

    fn parameters(&self) -> String {
        let canonical = self.canonical.map_or_else(String::new, |canonical| format!(" canonical={}", canonical.name()));
        format!("key={}{canonical}", self.key)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        let Some(theirs) = other.as_any().downcast_ref::<Self>() else {
            // What `fpe_ff1` makes tells the length, and the key undoes it.
            return other.name() == "fpe_ff1" && other.key() == Some(&self.key);
        };
        // With one spelling, spellings are not told apart.
        self.key == theirs.key && (theirs.canonical.is_none() || self.canonical == theirs.canonical)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        // Two floats that print alike may differ, and a boolean has two pseudonyms: whoever sees both knows them.
        let fits = input == FieldType::String || input == FieldType::I64 && self.canonical.is_none();
        fits.then_some(DataType::Utf8)
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
            return Ok(Arc::new(match self.canonical {
                None => texts(text.iter(), TAG_WIDTH, |value| Some(tag(&state, value))),
                Some(canonical) => texts(text.iter(), TAG_WIDTH, |value| Some(tag(&state, &canonical.of(value)?))),
            }));
        }
        let numbers = values.as_primitive_opt::<Int64Type>().filter(|_| self.canonical.is_none());
        let numbers = numbers.ok_or(OperatorError::WrongType("hmac"))?;
        Ok(Arc::new(texts(numbers.iter(), TAG_WIDTH, |value| Some(tag(&state, &value.to_string())))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Float64Array, Int64Array, StringArray};

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

    /// Computed by the same Python, of the canonical text.
    #[test]
    fn one_spelling_gives_one_pseudonym() {
        let keys = context_keys();
        for (canonical, column, spellings, hex) in [
            ("email", "account_email", ["Ada@Example.org ", "ada@example.org"], "a23ad3675109d2aaba361965fa161511"),
            ("phone", "phone", ["+49 (0)30 1234-5678", "00493012345678"], "d8b123fda5b77f54cbbb9820c2b4d5b5"),
            ("mac", "mac", ["00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e"], "903c984afac5ce820b80c6f646d4e2c5"),
        ] {
            let context = OperatorContext { purpose: "analytics", column, keys: &keys };
            let parameters =
                [("key", Parameter::Text("analytics".into())), ("canonical", Parameter::Text(canonical.into()))];
            let hmac = operator("hmac", &parameters);
            let values: ArrayRef = Arc::new(StringArray::from([&spellings[..], &["neither"]].concat()));
            let out = hmac.apply(&values, &context).unwrap();
            assert_clean(&out);
            assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![Some(hex), Some(hex), None]), "{canonical}");
            assert_eq!((hmac.output(FieldType::I64), hmac.output(FieldType::String)), (None, Some(DataType::Utf8)));
            let plain = operator("hmac", &parameters[..1]);
            assert!(hmac.covers(&*plain) && !plain.covers(&*hmac) && hmac.covers(&*hmac));
        }
        let wrong = [("key".to_owned(), Parameter::Text("a".into())), ("canonical".to_owned(), Parameter::Bool(true))];
        let error = super::super::build("hmac", &wrong.into()).unwrap_err();
        assert!(error.message.contains("`canonical`") && error.mend.contains("email, phone, mac"));
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
