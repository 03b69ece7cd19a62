//! Signed requests from outside: whatever is signed is taken, whatever is changed afterwards is refused by name, and no
//! header takes a verifier apart. A failure prints the input, and proptest's seed with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::reason::Reason;
use candor_wire::signature::{RequestHead, SKEW, SignatureError, Verified, is_digest_of, sign, verify};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NOW: i64 = 1_795_377_600;
const BODY: &[u8] = b"{\"resourceLogs\":[]}";
const COVERED: [&str; 7] =
    ["content-type", "content-encoding", "candor-fleet", "candor-consent", "candor-batch", "candor-subject", "sec-gpc"];

/// A request that can be changed.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    authority: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    has_body: bool,
}

impl Request {
    fn head(&self) -> RequestHead<'_> {
        let query = self.query.as_deref();
        RequestHead {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query,
            headers: &self.headers,
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn get(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    fn sign(mut self, epoch: u64, window: (i64, i64), nonce: [u8; 16]) -> Self {
        let signed = sign(&key(epoch), &self.head(), self.has_body.then_some(BODY), window, nonce).unwrap();
        if let Some(digest) = signed.content_digest {
            self.headers.insert("content-digest", digest);
        }
        self.headers.insert("signature-input", signed.signature_input);
        self.headers.insert("signature", signed.signature);
        self
    }

    fn verify(&self) -> Result<Verified, SignatureError> {
        verify(&self.head(), self.has_body, NOW)
    }

    fn refusal(&self) -> Option<Reason> {
        self.verify().err().map(|error| error.reason)
    }
}

fn key(epoch: u64) -> SubjectKey {
    SubjectKey::derive(&Seed::new([7; 32]), "acme-fleet", epoch).unwrap()
}

/// With every header that can be covered.
fn full() -> Request {
    let mut request = Request {
        method: "POST".to_owned(),
        authority: "candor.example:4318".to_owned(),
        path: "/v1/logs".to_owned(),
        query: Some("a=1".to_owned()),
        headers: HeaderMap::new(),
        has_body: true,
    };
    let values = ["application/json", "zstd", "acme-fleet", "1", "17", "1", "device-01", "1"];
    for (name, value) in COVERED.into_iter().zip(values) {
        request.set(name, value);
    }
    request
}

fn signed() -> Request {
    full().sign(0, (NOW, NOW + 60), [9; 16])
}

fn requests() -> impl Strategy<Value = Request> {
    let texts = vec(option::of("[!-~]([ -~]{0,20}[!-~])?"), 4);
    let numbers = (option::of(0_i64..1 << 53), option::of(1_u64..1 << 53));
    let target =
        ("[A-Z]{1,8}", "[A-Za-z0-9.-]{1,20}(:[0-9]{1,5})?", "/[!-\"$->@-~]{0,30}", option::of("[!-\"$-~]{0,30}"));
    (target, any::<bool>(), texts, numbers).prop_map(|((method, authority, path, query), has_body, texts, numbers)| {
        let mut request = Request { method, authority, path, query, headers: HeaderMap::new(), has_body };
        let names = ["content-type", "content-encoding", "candor-fleet", "candor-subject"];
        for (name, text) in names.into_iter().zip(texts) {
            if let Some(text) = text {
                request.set(name, &text);
            }
        }
        if let Some(consent) = numbers.0 {
            request.set("candor-consent", &consent.to_string());
        }
        if let Some(batch) = numbers.1 {
            request.set("candor-batch", &batch.to_string());
        }
        request
    })
}

fn parsed(request: &Request, name: &str) -> sfv::Dictionary {
    sfv::Parser::new(&request.get(name)).parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_signed_is_taken(
        request in requests(), epoch in 0_u64..3, before in -60_i64..=30, window in 1_i64..=300, nonce: [u8; 16],
    ) {
        let created = NOW + before;
        let request = request.sign(epoch, (created, created + window), nonce);
        let verified = request.verify();
        if created + window + SKEW < NOW {
            prop_assert_eq!(verified.unwrap_err().reason, Reason::SignatureTime);
            return Ok(());
        }
        let verified = verified.unwrap();
        prop_assert_eq!(verified.key, key(epoch).public());
        prop_assert_eq!(verified.digest.is_some_and(|digest| is_digest_of(&digest, BODY)), request.has_body);
        prop_assert_eq!(verified.nonce.expires, created + window + SKEW + 1);
        prop_assert_eq!(verified.batch.map(|batch| batch.to_string()), request.headers.get("candor-batch").map(|_| request.get("candor-batch")));
        prop_assert_eq!(verified.fleet, request.headers.get("candor-fleet").map(|_| request.get("candor-fleet")));
    }

    #[test]
    fn no_header_takes_a_verifier_apart(
        name in prop::sample::select(vec!["signature-input", "signature", "content-digest", "candor-consent", "candor-batch", "candor-fleet"]),
        value in prop_oneof![vec(any::<u8>(), 0..3_000), "[ -~]{0,300}".prop_map(String::into_bytes)],
    ) {
        let mut request = signed();
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        prop_assume!(request.headers[name] != value);
        request.headers.insert(name, value);
        prop_assert!(request.verify().is_err());
    }

    #[test]
    fn a_byte_of_a_signature_that_is_changed_undoes_it(at in 0_usize..600, other in b' '..=b'~', which: bool) {
        let name = if which { "signature-input" } else { "signature" };
        let mut request = signed();
        let mut value = request.get(name).into_bytes();
        let at = at % value.len();
        prop_assume!(value[at] != other);
        value[at] = other;
        let changed = HeaderValue::from_bytes(&value).unwrap();
        request.headers.insert(name, changed);
        if request.verify().is_ok() {
            // Structured fields have several ways to write the same, such as blanks, or bits behind the last byte of a base64.
            prop_assert_eq!(parsed(&request, name), parsed(&signed(), name), "{}", request.get(name));
        }
    }
}

type Change = fn(&mut Request);

#[test]
fn every_part_that_is_changed_is_refused_by_name() {
    use Reason::{BatchNumber, ConsentNumber, SignatureInvalid, SignatureMissing, SignatureTime};
    assert_eq!(signed().refusal(), None);
    let changes: [(&str, Reason, Change); 9] = [
        ("method", SignatureInvalid, |r| r.method = "PUT".to_owned()),
        ("authority", SignatureInvalid, |r| r.authority = "candor.example".to_owned()),
        ("path", SignatureInvalid, |r| r.path = "/v1/traces".to_owned()),
        ("query", SignatureInvalid, |r| r.query = Some("a=2".to_owned())),
        ("no query", SignatureInvalid, |r| r.query = None),
        ("a line break in the path", SignatureInvalid, |r| r.path.push_str("\n\"@query\": ?")),
        ("no signature", SignatureMissing, |r| {
            r.headers.remove("signature");
            r.headers.remove("signature-input");
        }),
        ("half a signature", SignatureInvalid, |r| _ = r.headers.remove("signature")),
        ("no digest", SignatureInvalid, |r| _ = r.headers.remove("content-digest")),
    ];
    for (what, reason, change) in changes {
        let mut request = signed();
        change(&mut request);
        assert_eq!(request.refusal(), Some(reason), "{what}");
    }
    for name in COVERED.into_iter().chain(["content-digest", "signature-input", "signature"]) {
        let mut altered = signed();
        let value = altered.get(name);
        altered.set(name, if name == "content-digest" { "sha-256=:AAAA:" } else { "2" });
        assert_eq!(altered.refusal(), Some(SignatureInvalid), "{name} changed");
        let mut doubled = signed();
        doubled.headers.append(name, HeaderValue::from_str(&value).unwrap());
        assert_eq!(doubled.refusal(), Some(SignatureInvalid), "{name} doubled");
        let mut dropped = signed();
        dropped.headers.remove(name);
        assert_eq!(dropped.refusal(), Some(SignatureInvalid), "{name} dropped");
    }
    for name in COVERED {
        let mut added = full();
        added.headers.remove(name);
        let mut added = added.sign(0, (NOW, NOW + 60), [9; 16]);
        assert_eq!(added.refusal(), None);
        added.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        assert_eq!(added.refusal(), Some(SignatureInvalid), "{name} added");
    }
    for (name, value, reason) in [
        ("candor-batch", "0", BatchNumber),
        ("candor-batch", "07", BatchNumber),
        ("candor-batch", "9007199254740992", BatchNumber),
        ("candor-consent", "-1", ConsentNumber),
        ("candor-consent", "01", ConsentNumber),
        ("candor-consent", "x", ConsentNumber),
        ("candor-consent", "9007199254740992", ConsentNumber),
    ] {
        let mut request = full();
        request.set(name, value);
        assert_eq!(request.sign(0, (NOW, NOW + 60), [9; 16]).refusal(), Some(reason), "{name}: {value}");
    }
    for (created, expires, reason) in [
        (NOW - 330, NOW - 30, None),
        (NOW - 331, NOW - 31, Some(SignatureTime)),
        (NOW + 30, NOW + 90, None),
        (NOW + 31, NOW + 91, Some(SignatureTime)),
        (NOW, NOW + 301, Some(SignatureInvalid)),
        (NOW, NOW, Some(SignatureInvalid)),
    ] {
        assert_eq!(full().sign(0, (created, expires), [9; 16]).refusal(), reason, "{created} {expires}");
    }
}

#[test]
fn every_parameter_and_component_that_is_changed_is_refused() {
    let input = signed().get("signature-input");
    let other = key(1).public().to_string();
    let nonce = input.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let keyid = key(0).public().to_string();
    for (from, to) in [
        (format!("created={NOW}"), format!("created={}", NOW + 1)),
        (format!(";created={NOW}"), String::new()),
        (format!("expires={}", NOW + 60), format!("expires={}", NOW + 61)),
        (format!("expires={}", NOW + 60), format!("expires={}.0", NOW + 60)),
        (format!("expires={}", NOW + 60), format!("expires=@{}", NOW + 60)),
        (nonce.to_owned(), "A".repeat(22)),
        (nonce.to_owned(), "A".repeat(15)),
        (keyid.clone(), other),
        (keyid, "key-1".to_owned()),
        ("alg=\"ed25519\"".to_owned(), "alg=\"rsa-pss-sha512\"".to_owned()),
        (";alg=\"ed25519\"".to_owned(), String::new()),
        (";alg=".to_owned(), ";tag=\"x\";alg=".to_owned()),
        ("candor=".to_owned(), "sig1=".to_owned()),
        ("\"@method\" ".to_owned(), String::new()),
        ("\"@method\"".to_owned(), "\"@method\" \"@method\"".to_owned()),
        ("\"@method\"".to_owned(), "\"@method\";req".to_owned()),
        ("\"@method\"".to_owned(), "\"@method\" \"@scheme\"".to_owned()),
        ("\"@method\" \"@authority\"".to_owned(), "\"@authority\" \"@method\"".to_owned()),
        ("\"candor-batch\"".to_owned(), "\"candor-batch\";sf".to_owned()),
        ("\"candor-batch\" ".to_owned(), String::new()),
        ("\"candor-batch\"".to_owned(), "\"Candor-Batch\"".to_owned()),
        ("\"candor-batch\"".to_owned(), "\"candor-batch\" \"host\"".to_owned()),
    ] {
        let mut request = signed();
        let changed = input.replacen(&from, &to, 1);
        assert_ne!(changed, input, "{from}");
        request.set("signature-input", &changed);
        assert_eq!(request.refusal(), Some(Reason::SignatureInvalid), "{changed}");
    }
    let mut second = signed();
    second.set("signature-input", &format!("{input}, sig1=()"));
    assert_eq!(second.refusal(), Some(Reason::SignatureInvalid), "a second signature");
    let mut huge = signed();
    huge.set("signature-input", &format!("{input}{}", ";x".repeat(2_048)));
    assert_eq!(huge.refusal(), Some(Reason::SignatureInvalid));
}

#[test]
fn nothing_of_a_request_is_printed() {
    let mut request = signed();
    request.set("authorization", "Bearer secret-token");
    let shown = format!("{:?} {:?}", request.head(), request.verify().unwrap());
    assert!(!shown.contains("secret-token") && !shown.contains(&key(0).public().to_string()), "{shown}");
}
