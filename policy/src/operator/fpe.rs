//! `fpe_ff1`: format-preserving encryption, a pseudonym of the same length and alphabet that the key's holder can undo.

use std::any::Any;
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::BlockCipherEncrypt;
use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use fpe::ff1::{FF1, FlexibleNumeralString};
use hmac::Mac;

use super::parameters::{Parameters, error};
use super::repeats::texts;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Parameter, Rank};
use crate::catalogue::FieldType;
use crate::keys::HmacKey;

const MEND: &str = "write `radix = 10` (digits) up to `radix = 36` (digits, then a to z), `key = \"analytics\"`, and if you like a `tweak`";
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Longest value: the arithmetic costs the square of it, and no serial number is near.
const MOST_CHARACTERS: usize = 256;
const MOST_TWEAK_BYTES: usize = 256;
/// NIST SP 800-38G Rev. 1, 5.1: with fewer possible values, each can be tried out.
const LEAST_DOMAIN: usize = 1_000_000;

/// FF1 of NIST SP 800-38G with AES-256 under a key of its own for each purpose, column and generation. Never FF3: it is broken.
#[derive(Debug)]
struct FpeFf1 {
    key: String,
    radix: u32,
    tweak: String,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let key = parameters.text("key", MEND)?.to_owned();
    let radix = parameters.required("radix", 2..=36, MEND)? as u32;
    let tweak = match parameters.get("tweak") {
        None => String::new(),
        Some(Parameter::Text(tweak)) if tweak.len() <= MOST_TWEAK_BYTES => tweak.clone(),
        Some(_) => {
            let message = format!("`tweak` of `fpe_ff1` must be a text of at most {MOST_TWEAK_BYTES} bytes");
            return Err(error(&message, MEND));
        }
    };
    Ok(Arc::new(FpeFf1 { key, radix, tweak }))
}

/// `HMAC-SHA256(key, u16be 0 ‖ "candor/ff1/v1" ‖ 0x00 ‖ u16be len(domain) ‖ domain ‖ u64be generation)`, with
/// `domain = purpose ‖ 0x00 ‖ column`. The zeros keep it apart from pseudonyms of `hmac`, whose domain is never empty:
/// a stored tag must not be half of a key.
fn derived_key(key: &HmacKey, context: &OperatorContext<'_>) -> [u8; 32] {
    let domain = [context.purpose.as_bytes(), &[0], context.column.as_bytes()].concat();
    let mut state = key.keyed().clone();
    state.update(&[0, 0]);
    state.update(b"candor/ff1/v1\0");
    state.update(&(domain.len() as u16).to_be_bytes());
    state.update(&domain);
    state.update(&key.generation().to_be_bytes());
    state.finalize().into_bytes().into()
}

/// `None` for text outside the alphabet, of fewer than 10^6 possible values, or too long.
fn encrypt<C: BlockCipherEncrypt + Clone>(ff1: &FF1<C>, radix: u32, tweak: &[u8], text: &str) -> Option<String> {
    if text.len() > MOST_CHARACTERS {
        return None;
    }
    let numeral = |char: u8| match char {
        b'0'..=b'9' => Some(char - b'0'),
        b'a'..=b'z' => Some(char - b'a' + 10),
        _ => None,
    };
    let numeral = |char: u8| numeral(char).map(u16::from).filter(|numeral| u32::from(*numeral) < radix);
    let numerals: Vec<u16> = text.bytes().map(numeral).collect::<Option<_>>()?;
    let encrypted: Vec<u16> = ff1.encrypt(tweak, &FlexibleNumeralString::from(numerals)).ok()?.into();
    encrypted.iter().map(|numeral| ALPHABET.get(usize::from(*numeral)).map(|char| char::from(*char))).collect()
}

impl Operator for FpeFf1 {
    fn name(&self) -> &'static str {
        "fpe_ff1"
    }

    fn rank(&self) -> Rank {
        Rank::Pseudonym
    }

    fn parameters(&self) -> String {
        let tweak = if self.tweak.is_empty() { String::new() } else { format!(" tweak={}", self.tweak) };
        format!("key={} radix={}{tweak}", self.key, self.radix)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.name() == self.name() && other.parameters() == self.parameters()
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        // A whole number has no length of its own: 007 and 7 are one.
        (input == FieldType::String).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        Some("fpe_ff1")
    }

    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn refuses(&self, values: &[String]) -> Option<BuildError> {
        (values.len() < LEAST_DOMAIN).then(|| {
            let message = format!(
                "`fpe_ff1` needs a domain of at least {LEAST_DOMAIN} values, and the field declares {}",
                values.len()
            );
            error(&message, "use `hmac`, or `keep` if the values name nobody")
        })
    }

    fn apply(&self, values: &ArrayRef, context: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        const NAME: &str = "fpe_ff1";
        let key = context.keys.named(&self.key).ok_or_else(|| OperatorError::MissingKey(self.key.clone()))?;
        let values = values.as_string_opt::<i32>().ok_or(OperatorError::WrongType(NAME))?;
        let ff1 = FF1::<Aes256>::new(derived_key(key, context).as_ref(), self.radix)
            .map_err(|_| OperatorError::WrongType(NAME))?;
        Ok(Arc::new(texts(values.iter(), 16, |text| encrypt(&ff1, self.radix, self.tweak.as_bytes(), text))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
