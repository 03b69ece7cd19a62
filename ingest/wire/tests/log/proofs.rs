//! Proofs: every right one holds, every altered one fails.

use candor_policy::hex;
use candor_wire::log::proof::{consistency, inclusion, is_consistent, is_included, root};
use candor_wire::merkle::{self, Hash, leaf_hash};

use crate::tree::{Plain, leaves};

/// What becomes of a path when somebody changes it, in every way that keeps its hashes hashes.
fn altered(path: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![[path, &[[0; 32]]].concat(), [&[[0; 32]], path].concat()];
    for at in 0..path.len() {
        let mut flipped = path.to_vec();
        flipped[at][at % 32] ^= 1 << (at % 8);
        let mut without = path.to_vec();
        without.remove(at);
        let mut twice = path.to_vec();
        twice.insert(at, path[at]);
        all.extend([flipped, without, twice]);
        if at > 0 {
            let mut swapped = path.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    all
}

#[test]
fn every_proof_of_a_small_tree_holds_and_no_altered_one() {
    let all = leaves(40);
    for size in 0..=40_u64 {
        let tree = Plain(&all[..size as usize]);
        let new_root = merkle::root(tree.0);
        assert_eq!(root(&tree, size).unwrap(), new_root);
        for index in 0..size {
            let (path, leaf) = (inclusion(&tree, index, size).unwrap(), all[index as usize]);
            assert_eq!(path, merkle::path(tree.0, index as usize));
            assert!(is_included(leaf, index, (size, &new_root), &path), "{index} in {size}");
            for wrong in altered(&path) {
                assert!(!is_included(leaf, index, (size, &new_root), &wrong), "{index} in {size}");
            }
            assert!(!is_included(leaf_hash(b"other"), index, (size, &new_root), &path));
            for other in (0..size).filter(|other| *other != index) {
                assert!(!is_included(leaf, other, (size, &new_root), &path));
            }
        }
        for old in 0..=size {
            let (path, old_root) = (consistency(&tree, old, size).unwrap(), merkle::root(&all[..old as usize]));
            assert!(is_consistent((old, &old_root), (size, &new_root), &path), "{old} to {size}");
            for wrong in altered(&path) {
                assert!(!is_consistent((old, &old_root), (size, &new_root), &wrong), "{old} to {size}");
            }
            let other = leaf_hash(b"another root");
            assert!(!is_consistent((old, &other), (size, &new_root), &path), "{old} to {size}");
            // Everything extends the empty log.
            assert!(
                (old == 0 && size > 0) || !is_consistent((old, &old_root), (size, &other), &path),
                "{old} to {size}"
            );
            assert!(old == size || !is_consistent((size, &new_root), (old, &old_root), &path));
        }
    }
}

/// The tree of RFC 6962, section 2.1.3, over the entries of the tests of Certificate Transparency, and the proofs that its tests
/// (google/certificate-transparency, `merkle_tree_test`) have for it.
#[test]
fn proofs_are_those_of_certificate_transparency() {
    let entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let all: Vec<Hash> = entries.iter().map(|entry| leaf_hash(&hex::decode(entry).unwrap())).collect();
    let tree = |size: u64| Plain(&all[..size as usize]);
    let text = |path: Vec<Hash>| path.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>();
    assert_eq!(
        text(inclusion(&tree(8), 0, 8).unwrap()),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        text(inclusion(&tree(3), 2, 3).unwrap()),
        ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]
    );
    assert_eq!(
        text(consistency(&tree(8), 1, 8).unwrap()),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        text(consistency(&tree(8), 6, 8).unwrap()),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        text(consistency(&tree(5), 2, 5).unwrap()),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]
    );
}
