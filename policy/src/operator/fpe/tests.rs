//! NIST's samples, vectors of our own, and what must hold for every text.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes192};
use arrow_array::{Int64Array, StringArray};
use proptest::prelude::*;

use super::super::clean::assert_clean;
use super::super::tests_support::{context_keys, operator};
use super::*;

fn ff1(key: &str, radix: i64, tweak: &str) -> OperatorRef {
    let mut parameters = vec![("key", Parameter::Text(key.into())), ("radix", Parameter::Integer(radix))];
    if !tweak.is_empty() {
        parameters.push(("tweak", Parameter::Text(tweak.into())));
    }
    operator("fpe_ff1", &parameters)
}

fn run(operator: &OperatorRef, purpose: &str, column: &str, values: &[Option<String>]) -> Vec<Option<String>> {
    let keys = context_keys();
    let context = OperatorContext { purpose, column, keys: &keys };
    let out = operator.apply(&(Arc::new(StringArray::from(values.to_vec())) as ArrayRef), &context).unwrap();
    assert_clean(&out);
    out.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn one(operator: &OperatorRef, column: &str, value: &str) -> Option<String> {
    let purpose = operator.key().unwrap();
    run(operator, purpose, column, &[Some(value.to_owned())]).remove(0)
}

fn nist<C: BlockCipherEncrypt + KeyInit + Clone>(key: &str, radix: u32, tweak: &str, text: &str) -> String {
    let [key, tweak] = [key, tweak].map(|hex| crate::hex::decode(hex).unwrap());
    encrypt(&FF1::<C>::new(&key, radix).unwrap(), radix, &tweak, text).unwrap()
}

/// NIST, "Block Cipher Modes of Operation: FF1 Method for Format-Preserving Encryption", samples 1 to 9.
#[test]
fn nist_samples_1_to_9() {
    let key = "2b7e151628aed2a6abf7158809cf4f3cef4359d8d580aa4f7f036d6f04fc6a94";
    let cases = [
        (10, "", "0123456789", ["2433477484", "2830668132", "6657667009"]),
        (10, "39383736353433323130", "0123456789", ["6124200773", "2496655549", "1001623463"]),
        (
            36,
            "3737373770717273373737",
            "0123456789abcdefghi",
            ["a9tv40mll9kdu509eum", "xbj3kv35jrawxv32ysr", "xs8a0azh2avyalyzuwd"],
        ),
    ];
    for (radix, tweak, text, samples) in cases {
        assert_eq!(nist::<Aes128>(&key[..32], radix, tweak, text), samples[0]);
        assert_eq!(nist::<Aes192>(&key[..48], radix, tweak, text), samples[1]);
        assert_eq!(nist::<Aes256>(key, radix, tweak, text), samples[2]);
    }
}

/// Computed by FF1 in Python, written from SP 800-38G over `cryptography`'s AES and true to NIST's samples, with the keys
/// of `context_keys`:
///
/// ```python
/// d = purpose.encode() + b"\0" + column.encode()
/// m = bytes(2) + b"candor/ff1/v1\0" + len(d).to_bytes(2, "big") + d + generation.to_bytes(8, "big")
/// ff1(hmac.new(key, m, hashlib.sha256).digest(), radix, tweak.encode(), value)
/// ```
#[test]
fn own_vectors() {
    for (key, radix, tweak, column, value, encrypted) in [
        ("analytics", 10, "", "imei", "490154203237518", "408868981533245"),
        ("analytics", 10, "imei-2026", "imei", "490154203237518", "774167785655370"),
        ("analytics", 36, "", "serial", "c02xk0jgh5", "omo6suiw7v"),
        ("marketing", 10, "", "imei", "490154203237518", "919503812792433"),
        ("analytics", 10, "", "code", "000000", "869571"),
        ("analytics", 2, "", "bits", "01010101010101010101", "10100000100011001000"),
    ] {
        assert_eq!(one(&ff1(key, radix, tweak), column, value).as_deref(), Some(encrypted), "{column} {value}");
    }
    let longest = one(&ff1("analytics", 10, ""), "long", &"9".repeat(MOST_CHARACTERS)).unwrap();
    assert!(longest.starts_with("29427206605491740310"));
    assert!(crate::digest::Digest::of_bytes(longest.as_bytes()).to_string().starts_with("3ecb6d9c80e6d1a3"));
}

#[test]
fn what_cannot_be_hidden_or_is_not_of_the_alphabet_is_null() {
    let digits = ff1("analytics", 10, "");
    for text in ["", "12345", "12345a", "49-015420323751", "٤٩٠١٥٤", "490154203237518 ", "１２３４５６"] {
        assert_eq!(one(&digits, "imei", text), None, "{text}");
    }
    assert_eq!(one(&digits, "imei", &"1".repeat(MOST_CHARACTERS + 1)), None);
    // 36^3 is 46,656, 36^4 is 1,679,616.
    let letters = ff1("analytics", 36, "");
    assert_eq!(one(&letters, "serial", "abc"), None);
    assert_eq!(one(&letters, "serial", "ABCD"), None);
    assert_eq!(one(&letters, "serial", "abcd").unwrap().len(), 4);
    assert_eq!((digits.output(FieldType::I64), digits.output(FieldType::String)), (None, Some(DataType::Utf8)));
}

#[test]
fn without_its_key_it_gives_nothing() {
    let keys = context_keys();
    let context = OperatorContext { purpose: "analytics", column: "imei", keys: &keys };
    let text: ArrayRef = Arc::new(StringArray::from(vec!["490154203237518"]));
    let error = ff1("unheard_of", 10, "").apply(&text, &context).unwrap_err();
    assert_eq!(error, OperatorError::MissingKey("unheard_of".into()));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![490_154_203_237_518]));
    let error = ff1("analytics", 10, "").apply(&numbers, &context).unwrap_err();
    assert_eq!(error, OperatorError::WrongType("fpe_ff1"));
}

#[test]
fn its_parameters_are_checked() {
    let error = |name: &str, value: Parameter| {
        let mut parameters = std::collections::BTreeMap::from([
            ("key".to_owned(), Parameter::Text("analytics".into())),
            ("radix".to_owned(), Parameter::Integer(10)),
        ]);
        parameters.insert(name.to_owned(), value);
        super::super::build("fpe_ff1", &parameters).unwrap_err().message
    };
    assert!(error("radix", Parameter::Integer(1)).contains("2 to 36"));
    assert!(error("radix", Parameter::Integer(37)).contains("`radix`"));
    assert!(error("tweak", Parameter::Integer(1)).contains("`tweak`"));
    assert!(error("tweak", Parameter::Text("x".repeat(257))).contains("`tweak`"));
    assert!(error("key", Parameter::Text(String::new())).contains("`key`"));
    assert!(ff1("analytics", 10, "").refuses(&["home".into()]).unwrap().message.contains("declares 1"));
}

#[test]
fn only_the_same_covers_and_hmac_of_the_same_key_is_stricter() {
    let hmac = |key: &str| operator("hmac", &[("key", Parameter::Text(key.into()))]);
    assert!(ff1("a", 10, "").covers(&*ff1("a", 10, "")));
    for other in [ff1("b", 10, ""), ff1("a", 36, ""), ff1("a", 10, "t")] {
        assert!(!ff1("a", 10, "").covers(&*other));
    }
    assert!(hmac("a").covers(&*ff1("a", 10, "")) && !ff1("a", 10, "").covers(&*hmac("a")));
    assert!(!hmac("b").covers(&*ff1("a", 10, "")));
}

/// The arithmetic of each length and radix at its extremes: nothing panics, and the key undoes it.
#[test]
fn every_length_and_radix_can_be_undone() {
    for radix in 2..=36_u32 {
        let cipher = FF1::<Aes256>::new(&[7; 32], radix).unwrap();
        for length in (1..=64).chain([127, 128, 129, 255, MOST_CHARACTERS]) {
            for char in [ALPHABET[0], ALPHABET[radix as usize - 1]] {
                let text = char::from(char).to_string().repeat(length);
                let encrypted = encrypt(&cipher, radix, b"t", &text);
                assert_eq!(encrypted.is_some(), f64::from(radix).powi(length as i32) >= 1e6, "{radix}^{length}");
                let Some(encrypted) = encrypted else { continue };
                let numerals: Vec<u16> =
                    encrypted.bytes().map(|c| ALPHABET.iter().position(|known| *known == c).unwrap() as u16).collect();
                let undone: Vec<u16> = cipher.decrypt(b"t", &FlexibleNumeralString::from(numerals)).unwrap().into();
                assert!(undone.iter().all(|numeral| ALPHABET[usize::from(*numeral)] == char), "{radix}^{length}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn length_and_alphabet_stay_and_two_values_never_meet(
        values in proptest::collection::vec(proptest::option::of("[0-9]{6,18}|[0-9a-z]{0,8}"), 0..12),
    ) {
        let encrypted = run(&ff1("analytics", 10, ""), "analytics", "imei", &values);
        for (value, text) in values.iter().zip(&encrypted) {
            let digits = value.as_ref().filter(|value| value.len() >= 6 && value.bytes().all(|b| b.is_ascii_digit()));
            prop_assert_eq!(text.as_ref().map(String::len), digits.map(String::len));
            prop_assert!(text.as_ref().is_none_or(|text| text.bytes().all(|b| b.is_ascii_digit())));
            for (other, other_text) in values.iter().zip(&encrypted) {
                prop_assert_eq!(value == other && text.is_some(), text == other_text && text.is_some());
            }
        }
    }
}
