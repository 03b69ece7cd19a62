//! Certificates of erasure and requests of it: what is read is written the same, and only what the log's key signed holds.

use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Certificate, ErasureRequest, SignedCertificate};
use candor_wire::identity::SubjectKey;

pub(crate) const SUBJECT: LedgerId = LedgerId::from_bytes([5; 32]);
pub(crate) const NONCE: [u8; 32] = [6; 32];

/// The law of a fuzz target's input: the text of a certificate, signed or not, or of a request.
pub(crate) fn certificates(input: &[u8]) {
    let key = SubjectKey::of_seed(&[8; 32]);
    if let Ok(certificate) = Certificate::decode(input) {
        assert_eq!(certificate.encode().unwrap(), input);
        assert!(certificate.digest().is_ok());
    }
    if let Ok(signed) = SignedCertificate::decode(input) {
        assert_eq!(signed.encode().unwrap(), input);
        if signed.check(&key.public(), &SUBJECT).is_ok() {
            // Signatures of Ed25519 are made one way only: the key made this one, with the one nonce that it was told.
            let again = signed.certificate.sign(NONCE, &key).unwrap();
            assert_eq!(again.encode().unwrap(), input);
        }
    }
    if let Ok(request) = serde_json::from_slice::<ErasureRequest>(input)
        && request.scope.check().is_ok()
    {
        for day in [i32::MIN, 0, 20_000, i32::MAX] {
            let _ = request.scope.covers("analytics", day);
        }
    }
}
