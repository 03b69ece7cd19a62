//! Sealed files: what they say of themselves, whether it is so, and what shows a subject what they have of it.
//!
//! `docs/FORMAT.md`, "Sealed files", is the authority. A file carries what its root is made of, so that whoever has it can make
//! the root again ([`recompute`]). Proofs ([`prove`]) come from the tree over its leaves, which lies beside and can be lost.

mod about;
mod opened;
mod recompute;
#[cfg(test)]
mod tests;
mod tree;

pub use about::{About, about, digest};
pub(crate) use opened::Opened;
pub use recompute::{Recomputed, recompute};
pub(crate) use tree::Tree;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use candor_policy::hex;
use candor_wire::leaf::{FileProof, Secret};
use candor_wire::merkle::Hash;

use crate::error::{Error, Kind};
use crate::storage;
use crate::table::layout::TablePath;
use tree::Stored;

/// What a sealed file has of a subject: the file as its `sealed` entry names it, with the root that it has there.
///
/// # Errors
/// `Retry` if the file was replaced meanwhile; `Data` if it is not the one that was sealed.
pub fn prove(data: &Path, table: (&str, &str), path: &str, root: &Hash, subject: &str) -> Result<FileProof, Error> {
    let table = TablePath::new(data, table.0, table.1)?;
    let leaves = table.leaves(path);
    if let Some(proof) = Stored::open(&leaves, root).and_then(|stored| FileProof::of(&stored, subject).ok())
        && proof.leads_to(root, subject)
    {
        return Ok(proof);
    }
    // It is not there, or not whole: a crash, a full disk, somebody's hand.
    let (mut entries, mut hashes) = (Vec::new(), Vec::new());
    let found = recompute::leaves(&table.folder.join(path), |entry, hash| {
        entries.push(entry);
        hashes.push(hash);
    })?;
    if found.root != *root {
        let what = format!("{} is not the file that was sealed", table.file_name(path));
        let why = format!("its root is {} and was {}", hex::encode(&found.root), hex::encode(root));
        return Err(Error::new(Kind::Data, what, why, CHANGED));
    }
    let tree = Tree::new(found.about.salt, entries, hashes);
    fail::fail_point!("sealed::before_leaves");
    // The proof does not need it on the disk.
    let _ = tree.write(&leaves);
    // Files go before what lies beside them: one that is gone by now took the older leaves with it.
    if !table.folder.join(path).exists() {
        let _ = remove_leaves(&table, path);
    }
    let Ok(proof) = FileProof::of(&tree, subject);
    Ok(proof)
}

/// The key of a subject's leaf in a file; it is for the subject alone.
///
/// # Errors
/// As [`about`].
pub fn blind(about: &About, subject: &str) -> Hash {
    Secret::new(about.secret).blind(subject)
}

/// Removes what lies beside a file of a table, before or after the file itself.
pub(crate) fn remove_leaves(table: &TablePath, path: &str) -> std::io::Result<()> {
    storage::remove_if_there(&table.leaves(path))
}

/// Removes what lies beside files that are not among these any more, or is unfinished.
pub(crate) fn sweep_leaves(table: &TablePath, live: &HashSet<String>) -> Result<(), Error> {
    let kept: HashSet<PathBuf> = live.iter().map(|path| table.leaves(path)).collect();
    let folder = storage::parent(&table.leaves("any"));
    let failed = |why: &std::io::Error| Error::io(format!("cannot clean {}", folder.display()), why);
    let entries = match std::fs::read_dir(&folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|why| failed(&why))?,
    };
    for entry in entries {
        let path = entry.map_err(|why| failed(&why))?.path();
        if !kept.contains(&path) {
            storage::remove_if_there(&path).map_err(|why| failed(&why))?;
        }
    }
    Ok(())
}

const CHANGED: &str = "restore the file from a backup, or find out who changed it";
