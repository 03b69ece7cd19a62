//! How a service's receipt key is followed by another: the old one signs the new one, and whoever knows the old one goes on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::identity::{PublicKey, SubjectKey};

/// What the signed message begins with.
const CONTEXT: &[u8] = b"candor/receipt-key/v1\n";
/// Most successions that are looked at: a key a day for two years.
pub const MOST: usize = 1_000;

/// A receipt key and the one that took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The key that signs, base64url.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub before: PublicKey,
    /// The key that follows, base64url.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub key: PublicKey,
    /// Ed25519 over `"candor/receipt-key/v1\n" ‖ key` by the one before, base64url.
    pub signature: String,
}

impl Succession {
    /// The old key's word that the new one follows it.
    #[must_use]
    pub fn announce(before: &SubjectKey, key: &PublicKey) -> Self {
        let signature = URL_SAFE_NO_PAD.encode(before.sign(&message(key)));
        Self { before: before.public(), key: *key, signature }
    }

    /// Whether the key before signed it.
    #[must_use]
    pub fn holds(&self) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(&self.signature);
        signature.is_ok_and(|signature| self.before.verify(&message(&self.key), &signature))
    }
}

/// The keys that follow `known`, in order, as far as each was signed by the one before it. Successions are in the order in
/// which they happened; what does not lead on from `known` is passed over.
#[must_use]
pub fn followers(known: &PublicKey, successions: &[Succession]) -> Vec<PublicKey> {
    let mut keys = Vec::new();
    let mut last = *known;
    for succession in successions.iter().take(MOST) {
        if succession.before == last && succession.holds() {
            last = succession.key;
            keys.push(last);
        }
    }
    keys
}

fn message(key: &PublicKey) -> Vec<u8> {
    [CONTEXT, key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SubjectKey {
        SubjectKey::of_seed(&[seed; 32])
    }

    /// The vector of the format page: computed by Python's `cryptography`, seeds 32 × 08 and 32 × 09.
    #[test]
    fn a_succession_has_the_bytes_of_the_format_page() {
        let succession = Succession::announce(&key(8), &key(9).public());
        assert!(succession.holds());
        let json = serde_json::to_string(&succession).unwrap();
        assert_eq!(json, VECTOR, "{json}");
        assert_eq!(serde_json::from_str::<Succession>(VECTOR).unwrap(), succession);
    }

    const VECTOR: &str = concat!(
        r#"{"before":"E5j2LG0aRXxRumpLXz29L2n8qTIWIY3ImX5Ba9F9k8o","#,
        r#""key":"_RckOFqgx1tk-3jNYC-h2ZH96_drE8WO1wLqyDXp9hg","#,
        r#""signature":"pY_KnuCqW1OQGgF7MNLxGaxNgvPX47vL0osDbMWaRqJ6KkWlQSKi0WBNhJauLtuoHUSwF8v3ndFIWD_uctkgCA"}"#
    );

    #[test]
    fn a_chain_leads_from_any_key_of_it_to_the_newest() {
        let keys: Vec<SubjectKey> = (1..=4).map(key).collect();
        let chain: Vec<Succession> =
            keys.windows(2).map(|two| Succession::announce(&two[0], &two[1].public())).collect();
        for (at, from) in keys.iter().enumerate() {
            let expected: Vec<PublicKey> = keys[at + 1..].iter().map(SubjectKey::public).collect();
            assert_eq!(followers(&from.public(), &chain), expected, "from {at}");
        }
        assert!(followers(&key(9).public(), &chain).is_empty());
    }

    #[test]
    fn nobody_but_the_key_before_names_its_follower() {
        let (old, new, thief) = (key(1), key(2), key(3));
        let honest = Succession::announce(&old, &new.public());
        for forged in [
            Succession { before: old.public(), ..Succession::announce(&thief, &thief.public()) },
            Succession { key: thief.public(), ..honest.clone() },
            Succession { signature: String::new(), ..honest.clone() },
        ] {
            assert!(!forged.holds());
            assert!(followers(&old.public(), &[forged]).is_empty());
        }
        // Who holds the old key alone cannot speak for the new one.
        let late = Succession::announce(&old, &thief.public());
        assert_eq!(followers(&new.public(), std::slice::from_ref(&late)), []);
        assert_eq!(followers(&old.public(), &[honest, late]), [new.public()]);
    }
}
