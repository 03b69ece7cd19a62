//! Keys of subjects that sign: an Ed25519 key for each epoch of a device, all from one seed (RFC 5869, RFC 8032).

use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::subject::SubjectId;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What the names of a key's input begin with.
const PURPOSE: &[u8] = b"candor/subject/v1";

/// The secret of a device: 32 bytes that never leave it. They are overwritten when it is dropped.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

/// The key pair of one epoch: who a device is for that long.
pub struct SubjectKey {
    pair: SigningKey,
    public: PublicKey,
}

/// An Ed25519 public key; its text is base64url without padding (RFC 4648, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name of a fleet has at most 65,535 bytes.
    #[error("the name of the fleet is too long to make a key of")]
    Fleet,
    /// The cryptographic library refused what it was given.
    #[error("no key can be made of this seed")]
    Refused,
    /// The text is no public key.
    #[error("a public key is 43 characters of base64url")]
    Text,
}

impl Seed {
    /// These bytes as a seed.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever keeps them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 32 bytes for another purpose of the device: HKDF-SHA256 with an empty salt and `info`.
    ///
    /// # Errors
    /// [`KeyError::Refused`], which does not happen for 32 bytes.
    pub fn expand(&self, info: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        hkdf(self.as_bytes(), info)
    }
}

impl Debug for Seed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl SubjectKey {
    /// The key of an epoch in a fleet: HKDF-SHA256 of the seed with an empty salt and
    /// `info = "candor/subject/v1" ‖ u16be len(fleet) ‖ fleet ‖ u64be epoch`, taken as the seed of an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Fleet`] for a name beyond 65,535 bytes.
    pub fn derive(seed: &Seed, fleet: &str, epoch: u64) -> Result<Self, KeyError> {
        let length = u16::try_from(fleet.len()).map_err(|_| KeyError::Fleet)?;
        let info = [PURPOSE, &length.to_be_bytes(), fleet.as_bytes(), &epoch.to_be_bytes()].concat();
        Ok(Self::of_seed(&*seed.expand(&info)?))
    }

    /// The key pair of an Ed25519 seed (RFC 8032, section 5.1.5): that of a service's receipts is kept so.
    #[must_use]
    pub fn of_seed(seed: &[u8; 32]) -> Self {
        let pair = SigningKey::from_bytes(seed);
        let public = PublicKey(pair.verifying_key().to_bytes());
        Self { pair, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).to_bytes()
    }

    /// Who the holder of this key is to a service.
    #[must_use]
    pub fn subject_id(&self) -> SubjectId {
        self.public.subject_id()
    }
}

impl Debug for SubjectKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        // The pair would print its public half, which is the subject's pseudonym.
        f.write_str("SubjectKey(..)")
    }
}

impl PublicKey {
    /// These bytes as a key; whether it is a point of the curve shows when it verifies something.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of the key: the id of the subject who holds it.
    #[must_use]
    pub fn subject_id(&self) -> SubjectId {
        SubjectId::of_public_key(&self.0)
    }

    /// Whether the holder of this key signed a message. A key of small order has no holder: anybody can make signatures
    /// that hold under it, one of them for many messages.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        !self.has_small_order() && self.holds(message, signature).is_some()
    }

    /// The equation of RFC 8032, section 5.1.7, without the cofactor, as OpenSSL and Go check it.
    fn holds(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let signature = Signature::from_slice(signature).ok()?;
        VerifyingKey::from_bytes(&self.0).and_then(|key| key.verify(message, &signature)).ok()
    }

    fn has_small_order(&self) -> bool {
        let mut y = self.0;
        y[31] &= 0x7f;
        SMALL_ORDER.contains(&y)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(KeyError::Text),
        }
    }
}

impl Display for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Debug for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        // It is the subject's pseudonym: no log line may have it.
        f.write_str("PublicKey(..)")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// y of the points of edwards25519 whose order divides 8, little-endian, also as p and p + 1 where that is another spelling.
const SMALL_ORDER: [[u8; 32]; 7] = [
    *b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    *b"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    *b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    *b"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    *b"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
];

/// HKDF-SHA256 with an empty salt, first 32 bytes.
fn hkdf(secret: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut out = Zeroizing::new([0; 32]);
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let info = [info];
    let filled = key.expand(&info, Bytes32).and_then(|expanded| expanded.fill(out.as_mut_slice()));
    filled.map(|()| out).map_err(|_| KeyError::Refused)
}

/// A length for HKDF.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use candor_policy::hex;

    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn keys_expand_as_in_rfc_5869_test_case_3() {
        let expanded = hkdf(&[0x0b; 22], &[]).unwrap();
        assert_eq!(hex::encode(&*expanded), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    }

    #[test]
    fn keys_sign_as_in_rfc_8032_test_3() {
        let key = SubjectKey::of_seed(&bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"));
        let public = bytes("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        assert_eq!(key.public(), PublicKey::new(public));
        let signature: [u8; 64] = bytes(concat!(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ));
        assert_eq!(key.sign(&[0xaf, 0x82]), signature);
        assert!(key.public().verify(&[0xaf, 0x82], &signature));
        assert!(!key.public().verify(&[0xaf, 0x83], &signature));
    }

    #[test]
    fn nobody_holds_a_key_of_small_order() {
        // R and A are the neutral element and S is 0: the equation of RFC 8032 holds for every message.
        let neutral = PublicKey::new(bytes(&format!("01{}", "00".repeat(31))));
        let signature = [neutral.0.as_slice(), &[0; 32]].concat();
        assert!(neutral.holds(b"any", &signature).is_some());
        assert!(!neutral.verify(b"any", &signature));
        let mut other_sign = SMALL_ORDER[2];
        other_sign[31] |= 0x80;
        assert!(PublicKey::new(other_sign).has_small_order());
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let seed = Seed::new([7; 32]);
        let key = SubjectKey::derive(&seed, "acme-fleet", 0).unwrap();
        assert_eq!(format!("{seed:?} {key:?} {:?}", key.public()), "Seed(..) SubjectKey(..) PublicKey(..)");
    }
}
