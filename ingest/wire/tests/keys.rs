//! Ed25519 as others have it: the same signatures as `ring`, and the same verdicts, at the edges too. A failure prints the
//! input and proptest's seed.

use candor_policy::hex;
use candor_wire::identity::{PublicKey, SubjectKey};
use proptest::prelude::*;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Message, key and signature of the edge cases of "Taming the Many `EdDSAs`" (Chalkias, Garillot, Nikolaenko, 2020; the vectors
/// are those of `ed25519-speccheck`), and whether they hold: a key of small order has no holder, scalars are below the order of
/// the group, and the equation is the one without the cofactor.
const EDGES: [(&str, &str, &str, bool); 10] = [
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        true,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        true,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        false,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        false,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        false,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        false,
    ),
    (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
        false,
    ),
    (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
        false,
    ),
];

/// Keys of small order are the one difference: `ring` takes them.
const OF_SMALL_ORDER: usize = 2;

#[test]
fn edges_are_what_the_paper_says_and_ring_says_the_same() {
    for (number, (message, key, signature, holds)) in EDGES.into_iter().enumerate() {
        let [message, signature] = [message, signature].map(|text| hex::decode(text).unwrap());
        let key: [u8; 32] = hex::decode(key).unwrap().try_into().unwrap();
        assert_eq!(PublicKey::new(key).verify(&message, &signature), holds, "case {number}");
        if number >= OF_SMALL_ORDER {
            assert_eq!(is_valid_for_ring(&key, &message, &signature), holds, "case {number}");
        }
    }
}

fn is_valid_for_ring(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

proptest! {
    #[test]
    fn ring_makes_the_same_keys_and_signatures(seed: [u8; 32], message: Vec<u8>) {
        let (ours, rings) = (SubjectKey::of_seed(&seed), Ed25519KeyPair::from_seed_unchecked(&seed).unwrap());
        let (public, signature) = (ours.public(), ours.sign(&message));
        prop_assert_eq!(public.as_bytes().as_slice(), rings.public_key().as_ref());
        prop_assert_eq!(signature.to_vec(), rings.sign(&message).as_ref().to_vec());
        prop_assert!(public.verify(&message, &signature));
        prop_assert!(!public.verify(&message, &signature[..63]));
    }

    #[test]
    fn one_bit_more_or_less_is_refused_as_by_ring(seed: [u8; 32], message: [u8; 40], bit in 0_usize..8 * (32 + 40 + 64)) {
        let key = SubjectKey::of_seed(&seed);
        let mut all = [key.public().as_bytes().as_slice(), &message, &key.sign(&message)].concat();
        all[bit / 8] ^= 1 << (bit % 8);
        let (public, rest) = all.split_at(32);
        let (message, signature) = rest.split_at(40);
        prop_assert!(!PublicKey::new(public.try_into().unwrap()).verify(message, signature));
        prop_assert!(!is_valid_for_ring(public, message, signature));
    }
}
