//! Bearer tokens: only their SHA-256 is kept, and comparing happens on hashes.

use std::path::Path;

use candor_policy::digest::Digest;

use crate::toml_text::Text;

/// Shorter tokens can be guessed.
const LEAST: usize = 8;
/// A file that is longer holds something else.
const MOST_FILE_BYTES: u64 = 4_096;

/// The SHA-256 of a token. Looking one up by hash takes a time that says nothing of the token.
pub(crate) fn hash(token: &str) -> Digest {
    Digest::of_bytes(token.as_bytes())
}

/// Reads a token file: one line, trimmed. The error says what is wrong with it, never what is in it.
pub(crate) fn read(path: &Path) -> Result<Digest, String> {
    let text =
        Text::read(path, MOST_FILE_BYTES, "").map_err(|problem| format!("{} {}", problem.file, problem.message))?;
    let token = text.text.trim();
    if token.len() < LEAST {
        return Err(format!("{} has a token of fewer than {LEAST} characters", text.file));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} must hold one line of visible ASCII characters without blanks", text.file));
    }
    Ok(hash(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_one_trimmed_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::write(&path, "  example-token\n").unwrap();
        assert_eq!(read(&path).unwrap(), hash("example-token"));
        for bad in ["short\n", "", "two lines\n", "first-line\nsecond-line\n", &"x".repeat(5_000)] {
            std::fs::write(&path, bad).unwrap();
            let error = read(&path).unwrap_err();
            assert!(bad.trim().is_empty() || !error.contains(bad.trim()), "the error shows the token");
        }
        assert!(read(&folder.path().join("absent")).is_err());
    }
}
