//! TLS by rustls with ring: a certificate and its key from files, read again when they change or on SIGHUP.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::Error;
use crate::settings::Tls;

/// HTTP/2 for gRPC and whoever else wants it.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// More than a chain of certificates has.
const MOST_FILE_BYTES: u64 = 1 << 20;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The configuration in force, for every new connection.
pub(crate) type Current = watch::Receiver<Arc<ServerConfig>>;

/// Reads certificate and key.
pub(crate) fn load(files: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let (certificate, key) = (&files.certificate, &files.key);
    let write = "write the certificate and the chain above it in PEM, the certificate first";
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| problem(certificate, format!("is not PEM: {error}"), write))?;
    if chain.is_empty() {
        return Err(problem(certificate, "holds no certificate".into(), write));
    }
    let pem = read(key)?;
    // What the parser says of a key could hold a piece of it.
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let why = if is_encrypted(&pem) { "holds an encrypted key" } else { "holds no private key" };
        problem(key, why.into(), "write the key in PEM, without a passphrase: PKCS#8, PKCS#1 or SEC1")
    })?;
    let unusable = |error: rustls::Error| {
        let mend = "the key must be that of the first certificate: P-256, P-384, Ed25519, or RSA from 2048 bits";
        problem(certificate, format!("and its key cannot be used: {error}"), mend)
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// Reads the files again on SIGHUP and when they changed, until nobody listens. What cannot be used changes nothing:
/// the certificate before it stays in force, and the log says why.
pub(crate) async fn follow(files: Tls, current: watch::Sender<Arc<ServerConfig>>) {
    let mut seen = stamp(&files);
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = async {
            match hangup.as_mut() {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            _ = asked => true,
            () = tokio::time::sleep(LOOK) => false,
            () = current.closed() => return,
        };
        let now = stamp(&files);
        if !asked && now == seen {
            continue;
        }
        seen = now;
        let read = files.clone();
        match tokio::task::spawn_blocking(move || load(&read)).await {
            Ok(Ok(config)) => {
                current.send_replace(config);
                tracing::info!("the TLS certificate was read again");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the TLS files cannot be used: the certificate before stays"),
            Err(_) => tracing::warn!("reading the TLS files met a bug: the certificate before stays"),
        }
    }
}

/// What changes when a file does, whether it is written, replaced, or a link to another one.
fn stamp(files: &Tls) -> [Option<(i64, i64, u64, u64)>; 2] {
    let of = |file: Metadata| (file.mtime(), file.mtime_nsec(), file.len(), file.ino());
    [&files.certificate, &files.key].map(|path| std::fs::metadata(path).ok().map(of))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mend = "name files that the service may read: `tls.certificate` and `tls.key` in candor.toml";
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    let read = File::open(path).and_then(|file| file.take(MOST_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| problem(path, format!("cannot be read: {error}"), mend))?;
    Ok(bytes)
}

/// Whether a key is behind a passphrase: PKCS#8 says so by its label, the older forms by a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let says = |line: &[u8]| line == b"-----BEGIN ENCRYPTED PRIVATE KEY-----" || line == b"Proc-Type: 4,ENCRYPTED";
    pem.split(|byte| *byte == b'\n').any(|line| says(line.trim_ascii()))
}

fn problem(file: &Path, why: String, mend: &'static str) -> Error {
    Error::Tls { file: file.to_owned(), why, mend }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

    use super::*;

    /// A new certificate for `localhost` and its key, in files of a folder.
    pub(crate) fn write(folder: &Path) -> Tls {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = Tls { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.certificate, cert.pem()).unwrap();
        std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_mend_and_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path());
        assert!(load(&files).is_ok());
        let key = std::fs::read_to_string(&files.key).unwrap();
        let refused = |name: &str| {
            let error = load(&files).unwrap_err();
            assert_eq!(error.kind(), candor_store::error::Kind::Data);
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("mend:"), "{text}");
            assert!(!key.lines().any(|line| !line.starts_with('-') && text.contains(line)), "{text}");
            text
        };
        for broken in ["", "nothing", &key[..key.len() / 2]] {
            std::fs::write(&files.key, broken).unwrap();
            refused("key.pem");
        }
        let body = key.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
        let (label, header) = ("ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n");
        for (label, header) in [(label, ""), ("EC PRIVATE KEY", header)] {
            std::fs::write(&files.key, format!("-----BEGIN {label}-----\n{header}\n{body}\n-----END {label}-----\n"))
                .unwrap();
            let text = refused("key.pem");
            assert!(text.contains("holds an encrypted key") && text.contains("without a passphrase"), "{text}");
        }
        std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        // Curves and lengths that ring has: of others it says no more than that it cannot read them.
        assert!(refused("cert.pem").contains("P-256, P-384, Ed25519, or RSA from 2048 bits"));
        std::fs::write(&files.certificate, &key).unwrap();
        refused("cert.pem");
        std::fs::remove_file(&files.certificate).unwrap();
        refused("cert.pem");
    }

    #[tokio::test]
    async fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path());
        let (sender, mut current) = watch::channel(load(&files).unwrap());
        let following = tokio::spawn(follow(files.clone(), sender));
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::write(&files.key, "broken").unwrap();
        assert!(tokio::time::timeout(LOOK * 2, current.changed()).await.is_err(), "the one before stays");
        write(folder.path());
        tokio::time::timeout(LOOK * 5, current.changed()).await.unwrap().unwrap();
        drop(current);
        following.await.unwrap();
    }
}
