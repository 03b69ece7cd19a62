//! Which services are trusted over TLS: those whose certificate leads to a root of the platform, or to one of a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// More than a file of roots has.
const MOST_FILE_BYTES: u64 = 8 << 20;
/// The one protocol that is spoken.
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS that trusts the roots of `file`, or those of the platform (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
pub(crate) fn config(file: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match file {
        Some(file) => of_file(file).map_err(|why| Error::Roots { of: file.display().to_string(), why })?,
        None => of_platform().map_err(|why| Error::Roots { of: "this platform".to_owned(), why })?,
    };
    let unusable = |error: rustls::Error| Error::Roots { of: "this build".to_owned(), why: error.to_string() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(unusable)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// What no later attempt would mend, if that is why a handshake failed: the other side's certificate, or that it speaks no TLS.
pub(crate) fn refused(error: &std::io::Error, authority: &str) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(_) => {
            Some(Error::Untrusted { authority: authority.to_owned(), why: error.to_string() })
        }
        rustls::Error::InvalidMessage(_) => {
            Some(Error::Address("no TLS is spoken there: take http:// or another port"))
        }
        _ => None,
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    let read = File::open(path).and_then(|file| file.take(MOST_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| format!("they cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| format!("they are not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("one is no certificate of a root: {error}"))?;
    }
    if roots.is_empty() { Err("there are none in it".to_owned()) } else { Ok(roots) }
}

fn of_platform() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Platforms keep certificates that are too old to parse beside the good ones.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    Err(found.errors.first().map_or_else(|| "it has none".to_owned(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn a_file_of_roots_is_pem_and_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let error = config(Some(&path)).unwrap_err();
            assert!(error.to_string().contains("ca.pem") && !error.is_temporary(), "{error}");
            error.to_string()
        };
        let key = signing_key.serialize_pem();
        assert!(refused(&key).contains("there are none"));
        assert!(refused("").contains("there are none"));
        assert!(!refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("AAAA"));
        std::fs::write(&path, cert.pem() + &cert.pem()).unwrap();
        assert_eq!(config(Some(&path)).unwrap().alpn_protocols, [PROTOCOL]);
        std::fs::remove_file(&path).unwrap();
        assert!(config(Some(&path)).unwrap_err().to_string().contains("cannot be read"));
    }
}
