//! Lower-case hexadecimal, the only text form of bytes that Candor writes.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case digits a byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend(digits(*byte).map(char::from));
    }
    text
}

/// The same behind the ASCII that is there already.
pub fn append(text: &mut Vec<u8>, bytes: &[u8]) {
    let start = text.len();
    text.resize(start + bytes.len() * 2, b'0');
    write(&mut text[start..], bytes);
}

/// Writes as many bytes as there is room for.
fn write(text: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = digits(*byte);
    }
}

const fn digits(byte: u8) -> [u8; 2] {
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// Half of a SHA-256 as text: 32 digits, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex16([u8; 32]);

impl Hex16 {
    /// The digits of the first 16 bytes.
    #[must_use]
    pub fn of_first(bytes: &[u8; 32]) -> Self {
        let mut digits = [0; 32];
        write(&mut digits, bytes);
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl AsRef<str> for Hex16 {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Display for Hex16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for Hex16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes of `text`, or `None` if it is not an even number of lower-case hex digits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// 32 bytes as a field of a document: `#[serde(with = "candor_policy::hex::bytes32")]`.
pub mod bytes32 {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// # Errors
    /// As the serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::encode(bytes))
    }

    /// # Errors
    /// If it is no text of 64 digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let bytes = super::decode(&String::deserialize(from)?).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| Error::custom("expected 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_is_not_hex() {
        assert_eq!(encode(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode("001fff"), Some(vec![0, 0x1f, 0xff]));
        let bytes: [u8; 32] = std::array::from_fn(|at| (at * 37) as u8);
        assert_eq!(Hex16::of_first(&bytes).as_str(), encode(&bytes[..16]));
        let mut text = b"0x".to_vec();
        append(&mut text, &bytes);
        append(&mut text, &[]);
        assert_eq!(text, [b"0x", encode(&bytes).as_bytes()].concat());
        assert_eq!(decode("0"), None);
        assert_eq!(decode("0G"), None);
    }
}
