//! The bytes that are signed: the signature base of RFC 9421, section 2.5.

use http::{HeaderMap, HeaderValue};

use super::{CONTENT_DIGEST, RequestHead, SignatureError};

/// The signature base: a line for each component, and the parameters.
///
/// `content_digest` stands for the header of that name, which a signer has not put into the request yet.
pub(super) fn base<'c>(
    head: &RequestHead<'_>,
    content_digest: Option<&HeaderValue>,
    components: impl Iterator<Item = &'c str>,
    parameters: &str,
) -> Result<String, SignatureError> {
    let mut out = String::with_capacity(512);
    for component in components {
        out.push('"');
        out.push_str(component);
        out.push_str("\": ");
        match component {
            "@method" => out.push_str(visible(head.method)?),
            "@authority" => push_authority(&mut out, visible(head.authority)?),
            "@path" => out.push_str(if head.path.is_empty() { "/" } else { visible(head.path)? }),
            "@query" => {
                out.push('?');
                out.push_str(visible(head.query.unwrap_or(""))?);
            }
            name if name == CONTENT_DIGEST.as_str() && content_digest.is_some() => {
                push_value(&mut out, name, content_digest)?;
            }
            name => push_value(&mut out, name, single(head.headers, name))?,
        }
        out.push('\n');
    }
    out.push_str("\"@signature-params\": ");
    out.push_str(parameters);
    Ok(out)
}

/// The base is ASCII, and a line break would begin another component.
fn visible(part: &str) -> Result<&str, SignatureError> {
    let is_visible = part.bytes().all(|byte| byte.is_ascii_graphic());
    is_visible.then_some(part).ok_or_else(|| {
        SignatureError::invalid(
            "method, authority, path and query are signed as they are sent: in visible ASCII, escaped",
        )
    })
}

/// In lower case, without the port that a scheme has by itself (RFC 9421, section 2.2.3).
fn push_authority(out: &mut String, authority: &str) {
    let host = authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
    out.extend(host.chars().map(|c| c.to_ascii_lowercase()));
}

fn push_value(out: &mut String, name: &str, value: Option<&HeaderValue>) -> Result<(), SignatureError> {
    let text = value.and_then(|value| value.to_str().ok()).ok_or_else(|| {
        SignatureError::invalid(format!("the header {name} is covered: it must be there once, in visible ASCII"))
    })?;
    out.push_str(text.trim());
    Ok(())
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderMap;

    use super::*;
    use crate::identity::SubjectKey;

    #[test]
    fn the_base_and_its_signature_are_those_of_rfc_9421_appendix_b_2_6() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("date", "Tue, 20 Apr 2021 02:07:55 GMT"), ("content-type", "application/json"), ("content-length", "18")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let head = RequestHead {
            method: "POST",
            authority: "example.com",
            path: "/foo",
            query: Some("param=Value&Pet=dog"),
            headers: &headers,
        };
        let components = ["date", "@method", "@path", "@authority", "content-type", "content-length"];
        let quoted = components.map(|name| format!("\"{name}\"")).join(" ");
        let parameters = format!("({quoted});created=1618884473;keyid=\"test-key-ed25519\"");
        let base = base(&head, None, components.into_iter(), &parameters).unwrap();
        assert_eq!(
            base,
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\"@authority\": example.com\n\
             \"content-type\": application/json\n\"content-length\": 18\n\"@signature-params\": (\"date\" \"@method\" \"@path\" \
             \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\""
        );
        let seed = STANDARD.decode("n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=").unwrap();
        let key = SubjectKey::of_seed(&seed.try_into().unwrap());
        let signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
        assert_eq!(STANDARD.encode(key.sign(base.as_bytes())), signature);
        assert!(key.public().verify(base.as_bytes(), &STANDARD.decode(signature).unwrap()));
    }
}
