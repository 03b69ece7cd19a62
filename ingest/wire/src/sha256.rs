//! SHA-256 of what lies in memory whole: padded where it lies, without a hasher's buffer between (FIPS 180-4, sections 5.1.1
//! and 6.2).
//!
//! Leaves and nodes of trees are messages of one or two blocks, millions of them: what is copied and zeroed around a block costs
//! a quarter of the block. The blocks themselves are the library's.

use std::slice::from_ref;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// State before the first block.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const BLOCK: usize = 64;
/// What the end of the last block has: the length in bits.
const LENGTH: usize = 8;

/// A message that begins with a tag, twice, and is written piece by piece in memory that was used before: the tag fills a block,
/// which is hashed once for all messages that have it (as the tagged hashes of BIP 340 do).
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    tag: Hash,
    /// State after the block of the tag, once there was one.
    state: Option<[u32; 8]>,
    bytes: Vec<u8>,
    /// What was hashed already, if there was something long.
    hashed: Option<Sha256>,
}

impl Tagged {
    /// Begins anew.
    pub(crate) fn begin(&mut self, tag: &Hash) {
        if self.state.is_none() || self.tag != *tag {
            self.tag = *tag;
            let mut state = START;
            compress256(&mut state, block_of(tag).as_chunks().0);
            self.state = Some(state);
        }
        self.bytes.clear();
        self.hashed = None;
    }

    /// What is short is appended here.
    pub(crate) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is long is hashed from where it lies, after what was appended.
    pub(crate) fn long(&mut self, bytes: &[u8]) {
        let hash = self.hashed.get_or_insert_with(|| Sha256::new_with_prefix(block_of(&self.tag)));
        hash.update(&self.bytes);
        hash.update(bytes);
        self.bytes.clear();
    }

    /// Hash of all of it.
    pub(crate) fn hash(&mut self) -> Hash {
        if let Some(mut hash) = self.hashed.take() {
            hash.update(&self.bytes);
            return hash.finalize().into();
        }
        let (state, blocks) = self.blocks();
        after(state, blocks)
    }

    /// Hashes of two messages. A processor waits for each step of one hash before the next; block by block in turns, it has another
    /// to go on with.
    pub(crate) fn hash_both(&mut self, other: &mut Self) -> [Hash; 2] {
        if self.hashed.is_some() || other.hashed.is_some() {
            return [self.hash(), other.hash()];
        }
        let ((mut state, blocks), (mut other_state, other_blocks)) = (self.blocks(), other.blocks());
        let (both, more) = blocks.split_at(blocks.len().min(other_blocks.len()));
        let (other_both, other_more) = other_blocks.split_at(both.len());
        for (block, other_block) in both.iter().zip(other_both) {
            compress256(&mut state, from_ref(block));
            compress256(&mut other_state, from_ref(other_block));
        }
        [after(state, more), after(other_state, other_more)]
    }

    /// The blocks behind that of the tag, padded, and the state before them; nothing was hashed yet.
    fn blocks(&mut self) -> ([u32; 8], &[[u8; BLOCK]]) {
        let bits = (BLOCK + self.bytes.len()) as u64 * 8;
        self.bytes.push(0x80);
        self.bytes.resize((self.bytes.len() + LENGTH).next_multiple_of(BLOCK) - LENGTH, 0);
        self.bytes.extend_from_slice(&bits.to_be_bytes());
        (self.state.unwrap_or(START), self.bytes.as_chunks().0)
    }
}

/// A tag, twice.
fn block_of(tag: &Hash) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..32].copy_from_slice(tag);
    block[32..].copy_from_slice(tag);
    block
}

/// Hash of a message that begins with a tag, twice.
pub(crate) fn of_tagged(tag: &Hash, parts: &[&[u8]]) -> Hash {
    let hash = Sha256::new_with_prefix(block_of(tag));
    parts.iter().fold(hash, Sha256::chain_update).finalize().into()
}

/// Hash of two parts; of up to 55 bytes, one block.
#[inline]
pub(crate) fn of_pair(one: &[u8], other: &[u8]) -> Hash {
    let len = one.len() + other.len();
    if len > BLOCK - LENGTH - 1 {
        return Sha256::new_with_prefix(one).chain_update(other).finalize().into();
    }
    let mut block = [0; BLOCK];
    block[..one.len()].copy_from_slice(one);
    block[one.len()..len].copy_from_slice(other);
    block[len] = 0x80;
    block[BLOCK - LENGTH..].copy_from_slice(&(len as u64 * 8).to_be_bytes());
    after(START, from_ref(&block))
}

/// Hash of a byte and two hashes, which are two blocks.
pub(crate) fn of_hashes(first: u8, left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; BLOCK]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[0] = first;
    bytes[1..33].copy_from_slice(left);
    bytes[33..65].copy_from_slice(right);
    bytes[65] = 0x80;
    bytes[2 * BLOCK - LENGTH..].copy_from_slice(&(65_u64 * 8).to_be_bytes());
    after(START, &blocks)
}

/// Hash of the last blocks of a message.
fn after(mut state: [u32; 8], blocks: &[[u8; BLOCK]]) -> Hash {
    compress256(&mut state, blocks);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST's examples for SHA-256: messages of one block and of two.
    #[test]
    fn published_vectors() {
        let vectors = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (text, hash) in vectors {
            assert_eq!(candor_policy::hex::encode(&of_pair(text.as_bytes(), b"")), hash);
        }
    }

    #[test]
    fn every_length_is_hashed_as_the_library_does() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut message = Tagged::default();
        for len in 0..=bytes.len() {
            let whole: Hash = Sha256::digest(&bytes[..len]).into();
            for cut in [0, len / 3, len] {
                let (one, other) = bytes[..len].split_at(cut);
                assert_eq!(of_pair(one, other), whole, "{len}, {cut}");
                // One tag for several messages, as it mostly is.
                let tag = [len as u8 / 4; 32];
                let whole: Hash = Sha256::digest([&tag, &tag, one, other].concat()).into();
                message.begin(&tag);
                message.bytes().extend_from_slice(one);
                message.bytes().extend_from_slice(other);
                assert_eq!(message.hash(), whole, "{len}, {cut}");
                assert_eq!(of_tagged(&tag, &[one, other]), whole, "{len}, {cut}");
                message.begin(&tag);
                message.bytes().extend_from_slice(one);
                message.long(other);
                message.bytes().extend_from_slice(one);
                let longer: Hash = Sha256::digest([&tag, &tag, one, other, one].concat()).into();
                assert_eq!(message.hash(), longer, "{len}, {cut}");
            }
        }
        let (left, right): ([u8; 32], [u8; 32]) = ([3; 32], [250; 32]);
        let whole: Hash = Sha256::digest([&[1][..], &left, &right].concat()).into();
        assert_eq!(of_hashes(1, &left, &right), whole);
    }
}
