//! `Signature-Input`, `Signature` and `Content-Digest` as structured fields (RFC 9651) of the one form that we take.

use ring::digest::SHA256;
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, ListSerializer, Parser};

use super::{DERIVED, HEADERS, LONGEST_WINDOW, SKEW, SignatureError};
use crate::identity::PublicKey;
use crate::reason::Reason;

/// Most components of a signature: all that there are.
const MOST_COMPONENTS: usize = 12;
/// Fewest and most characters of a nonce.
const NONCE: std::ops::RangeInclusive<usize> = 16..=64;

/// What is signed, by whom, and for how long.
pub(super) struct Input {
    /// Names of components, in order.
    pub(super) components: Vec<String>,
    /// Components and parameters as the base ends with them.
    pub(super) parameters: String,
    pub(super) key: PublicKey,
    pub(super) expires: i64,
    created: i64,
    nonce: String,
}

impl Input {
    /// The signature of a label.
    pub(super) fn parse(text: &str, label: &str) -> Result<Self, SignatureError> {
        let list = match member(text, label)? {
            ListEntry::InnerList(list) => list,
            ListEntry::Item(_) => return Err(unreadable("a list of components")),
        };
        let components = components(&list)?;
        let (mut created, mut expires, mut nonce, mut key, mut algorithm) = (None, None, None, None, None);
        for (name, value) in &list.params {
            match (name.as_str(), value) {
                ("created", BareItem::Integer(time)) => created = Some(i64::from(*time)),
                ("expires", BareItem::Integer(time)) => expires = Some(i64::from(*time)),
                ("nonce", BareItem::String(text)) if NONCE.contains(&text.as_str().len()) => {
                    nonce = Some(text.as_str().to_owned());
                }
                ("keyid", BareItem::String(text)) => key = text.as_str().parse::<PublicKey>().ok(),
                ("alg", BareItem::String(text)) => algorithm = Some(text.as_str() == "ed25519"),
                _ => {
                    return Err(unreadable(
                        "created, expires, nonce (16 to 64 characters), keyid and alg, and nothing else",
                    ));
                }
            }
        }
        let (Some(created), Some(expires), Some(nonce), Some(key), Some(true)) =
            (created, expires, nonce, key, algorithm)
        else {
            return Err(unreadable("created, expires, nonce, keyid (the public key in base64url) and alg=\"ed25519\""));
        };
        let mut serializer = ListSerializer::new();
        serializer.members(&[ListEntry::InnerList(list)]);
        let parameters = serializer.finish().ok_or_else(|| unreadable("a list of components"))?;
        Ok(Self { components, parameters, key, expires, created, nonce })
    }

    /// Whether it is for now, give or take what clocks differ by.
    pub(super) fn holds_at(&self, now: i64) -> Result<(), SignatureError> {
        let window = self.expires.saturating_sub(self.created);
        if !(1..=LONGEST_WINDOW).contains(&window) {
            let message = format!("expires must be 1 to {LONGEST_WINDOW} seconds after created");
            return Err(SignatureError::invalid(message));
        }
        if now < self.created.saturating_sub(SKEW) || now > self.expires.saturating_add(SKEW) {
            return Err(SignatureError::new(
                Reason::SignatureTime,
                "the signature is not of now: take the time from the header Candor-Time, and sign again",
            ));
        }
        Ok(())
    }

    /// SHA-256 of key and nonce, first 16 bytes.
    pub(super) fn nonce_id(&self) -> [u8; 16] {
        let mut context = ring::digest::Context::new(&SHA256);
        context.update(self.key.as_bytes());
        context.update(self.nonce.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&context.finish().as_ref()[..16]);
        id
    }
}

/// The bytes of a signature.
pub(super) fn signature(text: &str, label: &str) -> Result<[u8; 64], SignatureError> {
    bytes(&member(text, label)?).ok_or_else(|| SignatureError::invalid("the header Signature must hold 64 bytes"))
}

/// The SHA-256 of a `Content-Digest`.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], SignatureError> {
    let wrong = || SignatureError::invalid("the header Content-Digest must hold sha-256=:...:");
    let dictionary: Dictionary = Parser::new(text).parse().map_err(|_| wrong())?;
    dictionary.get("sha-256").and_then(bytes).ok_or_else(wrong)
}

fn member(text: &str, label: &str) -> Result<ListEntry, SignatureError> {
    let parsed: Option<Dictionary> = Parser::new(text).parse().ok();
    let only = parsed.filter(|dictionary| dictionary.len() == 1);
    only.and_then(|mut dictionary| dictionary.swap_remove(label)).ok_or_else(|| {
        let form =
            format!("the headers of the signature must be as in RFC 9421, with one signature of the label {label}");
        SignatureError::invalid(form)
    })
}

/// The names of the components: known ones, each once, without parameters.
fn components(list: &InnerList) -> Result<Vec<String>, SignatureError> {
    if list.items.len() > MOST_COMPONENTS {
        return Err(unreadable("each component once"));
    }
    let mut names: Vec<String> = Vec::with_capacity(list.items.len());
    for Item { bare_item, params } in &list.items {
        let name = bare_item.as_string().map(sfv::StringRef::as_str).filter(|_| params.is_empty());
        let known = |name: &&str| DERIVED.contains(name) || HEADERS.iter().any(|header| header.as_str() == *name);
        let name =
            name.filter(known).ok_or_else(|| unreadable("components that are covered here, without parameters"))?;
        if names.iter().any(|seen| seen == name) {
            return Err(unreadable("each component once"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn bytes<const N: usize>(entry: &ListEntry) -> Option<[u8; N]> {
    match entry {
        ListEntry::Item(item) => item.bare_item.as_byte_sequence()?.try_into().ok(),
        ListEntry::InnerList(_) => None,
    }
}

fn unreadable(what: &str) -> SignatureError {
    SignatureError::invalid(format!("the header Signature-Input must have {what}"))
}
