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
