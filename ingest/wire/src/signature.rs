//! Signed requests: HTTP Message Signatures (RFC 9421) by Ed25519, with the digest of the body (RFC 9530), for both ends.
//!
//! Method, authority, path and query are always covered, the digest with every body, and each header that means something
//! wherever it is present: what is not covered cannot be believed, so that it is refused.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

use crate::identity::{PublicKey, SubjectKey};
use crate::reason::Reason;

mod base;
mod input;

use base::base;
use input::Input;

/// The digest of the body as it is sent (RFC 9530).
pub static CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// What is signed, how and by whom (RFC 9421).
pub static SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The signature (RFC 9421).
pub static SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The fleet that the request is meant for.
pub static FLEET: HeaderName = HeaderName::from_static("candor-fleet");
/// Sequence of the consent statement under which the events were collected.
pub static CONSENT: HeaderName = HeaderName::from_static("candor-consent");
/// Running number of the batch, from 1.
pub static BATCH: HeaderName = HeaderName::from_static("candor-batch");
/// The value by which a source names an assigned subject.
pub static SUBJECT: HeaderName = HeaderName::from_static("candor-subject");
/// Global Privacy Control.
pub static GPC: HeaderName = HeaderName::from_static("sec-gpc");
/// An answer's receipt.
pub static RECEIPT: HeaderName = HeaderName::from_static("candor-receipt");
/// An answer's [`Reason`].
pub static REASON: HeaderName = HeaderName::from_static("candor-reason");
/// An answer's time, µs UTC.
pub static TIME: HeaderName = HeaderName::from_static("candor-time");
/// Sequence and hash of the newest statement, with [`Reason::ConsentConflict`].
pub static CONSENT_HEAD: HeaderName = HeaderName::from_static("candor-consent-head");

/// The label of our signature.
const LABEL: &str = "candor";
/// What is covered always.
const DERIVED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// What is covered where it is present.
static HEADERS: [&HeaderName; 8] =
    [&CONTENT_DIGEST, &CONTENT_TYPE, &CONTENT_ENCODING, &FLEET, &CONSENT, &BATCH, &SUBJECT, &GPC];
/// [`http::header::CONTENT_TYPE`], so that it can be pointed to.
static CONTENT_TYPE: HeaderName = http::header::CONTENT_TYPE;
/// [`http::header::CONTENT_ENCODING`], likewise.
static CONTENT_ENCODING: HeaderName = http::header::CONTENT_ENCODING;
/// Longest time between `created` and `expires`, in seconds.
pub const LONGEST_WINDOW: i64 = 300;
/// How far two clocks may be apart, in seconds.
pub const SKEW: i64 = 30;
/// Most bytes of `Signature-Input`, of `Signature` and of `Content-Digest`.
const MOST_BYTES: usize = 2_048;

/// A request as far as its signature can cover it.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Host, and port unless it is the scheme's: the header `Host`, or `:authority`.
    pub authority: &'a str,
    /// The absolute path, as it is sent.
    pub path: &'a str,
    /// What follows `?`, as it is sent.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// What a signature adds to a request.
#[derive(Clone, Debug)]
pub struct SignatureHeaders {
    /// [`CONTENT_DIGEST`], where there is a body.
    pub content_digest: Option<HeaderValue>,
    /// [`SIGNATURE_INPUT`].
    pub signature_input: HeaderValue,
    /// [`SIGNATURE`].
    pub signature: HeaderValue,
}

/// A use of a nonce: no two requests may have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// SHA-256 of key and nonce, first 16 bytes.
    pub id: [u8; 16],
    /// First second since 1970 at which the signature holds no more: until then the nonce is remembered.
    pub expires: i64,
}

/// What a request's head says, and who signed it. The body is to be held against `digest`, the nonce against those used.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who signed.
    pub key: PublicKey,
    /// The nonce.
    pub nonce: Nonce,
    /// SHA-256 that the body must have, as it is sent; also where there is none, if the request named one.
    pub digest: Option<[u8; 32]>,
    /// [`FLEET`].
    pub fleet: Option<String>,
    /// [`CONSENT`].
    pub consent: Option<i64>,
    /// [`BATCH`].
    pub batch: Option<u64>,
}

/// Why a request is not taken for what it says it is; no value of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SignatureError {
    /// The reason.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: Cow<'static, str>,
}

/// Signs a request; `created` and `expires` are seconds since 1970.
///
/// # Errors
/// If something that must be covered occurs twice or is not visible ASCII.
pub fn sign(
    key: &SubjectKey,
    head: &RequestHead<'_>,
    body: Option<&[u8]>,
    (created, expires): (i64, i64),
    nonce: [u8; 16],
) -> Result<SignatureHeaders, SignatureError> {
    let content_digest = body.map(digest_header).transpose()?;
    let mut covered: Vec<&str> = DERIVED.to_vec();
    let is_there =
        |name: &HeaderName| head.headers.contains_key(name) || (*name == CONTENT_DIGEST && content_digest.is_some());
    let present = HEADERS.iter().filter(|name| is_there(name));
    covered.extend(present.map(|name| name.as_str()));
    let quoted: Vec<String> = covered.iter().map(|name| format!("\"{name}\"")).collect();
    let parameters = format!(
        "({});created={created};expires={expires};nonce=\"{}\";keyid=\"{}\";alg=\"ed25519\"",
        quoted.join(" "),
        URL_SAFE_NO_PAD.encode(nonce),
        key.public(),
    );
    let message = base(head, content_digest.as_ref(), covered.iter().copied(), &parameters)?;
    let signature = STANDARD.encode(key.sign(message.as_bytes()));
    Ok(SignatureHeaders {
        content_digest,
        signature_input: header(format!("{LABEL}={parameters}"))?,
        signature: header(format!("{LABEL}=:{signature}:"))?,
    })
}

/// Checks the signature of a request before its body is read; `now` is in seconds since 1970.
///
/// # Errors
/// Why it is not taken: [`Reason::SignatureMissing`], `SignatureInvalid`, `SignatureTime`, `ConsentNumber` or `BatchNumber`.
pub fn verify(head: &RequestHead<'_>, has_body: bool, now: i64) -> Result<Verified, SignatureError> {
    let headers = head.headers;
    if !headers.contains_key(&SIGNATURE_INPUT) && !headers.contains_key(&SIGNATURE) {
        return Err(SignatureError::new(
            Reason::SignatureMissing,
            "this must be signed by its subject: send the headers Signature-Input and Signature (RFC 9421)",
        ));
    }
    let input = Input::parse(one(headers, &SIGNATURE_INPUT)?, LABEL)?;
    let signature = input::signature(one(headers, &SIGNATURE)?, LABEL)?;
    covers_what_it_must(head, &input, has_body)?;
    input.holds_at(now)?;
    let digest = match headers.get(&CONTENT_DIGEST) {
        Some(_) => Some(input::sha256(one(headers, &CONTENT_DIGEST)?)?),
        None => None,
    };
    let message = base(head, None, input.components.iter().map(String::as_str), &input.parameters)?;
    if !input.key.verify(message.as_bytes(), &signature) {
        let mend = "the signature does not hold: sign the request as it is sent, with the key that keyid names";
        return Err(SignatureError::invalid(mend));
    }
    Ok(Verified {
        key: input.key,
        nonce: Nonce { id: input.nonce_id(), expires: input.expires + SKEW + 1 },
        digest,
        fleet: text(headers, &FLEET)?.map(str::to_owned),
        // The signature holds: to sign the same again would mend nothing.
        consent: number(headers, &CONSENT, 0, Reason::ConsentNumber)?,
        batch: number(headers, &BATCH, 1, Reason::BatchNumber)?.map(i64::unsigned_abs),
    })
}

/// Whether a body is the one that was signed.
#[must_use]
pub fn is_digest_of(expected: &[u8; 32], body: &[u8]) -> bool {
    digest(&SHA256, body).as_ref() == expected
}

impl SignatureError {
    fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into() }
    }

    fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::SignatureInvalid, message)
    }
}

impl std::fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers hold tokens, and a query may hold anything.
        write!(f, "RequestHead({} headers)", self.headers.len())
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonce(expires {})", self.expires)
    }
}

/// Everything that must be covered is, and nothing is that is not there.
fn covers_what_it_must(head: &RequestHead<'_>, input: &Input, has_body: bool) -> Result<(), SignatureError> {
    let covers = |name: &str| input.components.iter().any(|component| component == name);
    if let Some(missing) = DERIVED.into_iter().find(|name| !covers(name)) {
        return Err(SignatureError::invalid(format!("the signature must cover {missing}")));
    }
    if has_body && !head.headers.contains_key(&CONTENT_DIGEST) {
        return Err(SignatureError::invalid("a request with a body needs Content-Digest (RFC 9530), covered"));
    }
    for name in HEADERS {
        match (head.headers.contains_key(name), covers(name.as_str())) {
            (true, false) => {
                return Err(SignatureError::invalid(format!("the header {name} is there, and not covered")));
            }
            (false, true) => {
                return Err(SignatureError::invalid(format!("the header {name} is covered, and not there")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The value of a header that must be there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|value| value.len() <= MOST_BYTES).and_then(|value| value.to_str().ok());
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(SignatureError::invalid(format!(
            "the header {name} must be there once, in visible ASCII, at most {MOST_BYTES} bytes"
        ))),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, SignatureError> {
    if headers.contains_key(name) { one(headers, name).map(|value| Some(value.trim())) } else { Ok(None) }
}

fn number(headers: &HeaderMap, name: &HeaderName, least: i64, reason: Reason) -> Result<Option<i64>, SignatureError> {
    let Some(value) = text(headers, name)? else { return Ok(None) };
    let number = value.parse::<i64>().ok().filter(|number| (least..1 << 53).contains(number) && is_plain(value));
    let wrong = || {
        let message = format!("the header {name} must be a whole number from {least} below 2^53, like 7");
        SignatureError::new(reason, message)
    };
    number.map(Some).ok_or_else(wrong)
}

/// One way to write a number, so that two devices cannot mean the same by different bytes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn digest_header(body: &[u8]) -> Result<HeaderValue, SignatureError> {
    header(format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body))))
}

fn header(text: String) -> Result<HeaderValue, SignatureError> {
    HeaderValue::try_from(text).map_err(|_| SignatureError::invalid("what is to be signed is no header"))
}
