//! Files that a policy names: their texts come in as an argument, each is read once, and all become part of the document.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names;
use crate::operator::{BuildError, Hierarchy};

/// Reads a file that a policy names, from wherever the caller keeps its policy: a name is a relative path without `..`.
pub type ReadFile<'a> = dyn Fn(&str) -> Result<String, BuildError> + 'a;

/// Most bytes of all files of a policy: the document is published with them.
const MOST_BYTES: usize = 8 << 20;

/// The files of one policy while it is read.
pub(crate) struct Files<'a> {
    read: &'a ReadFile<'a>,
    held: RefCell<BTreeMap<String, Held>>,
}

/// A file that an operator asked for.
struct Held {
    text: String,
    hierarchy: Result<Arc<Hierarchy>, BuildError>,
}

impl<'a> Files<'a> {
    pub(crate) const fn new(read: &'a ReadFile<'a>) -> Self {
        Self { read, held: RefCell::new(BTreeMap::new()) }
    }

    /// For a policy that can name none.
    pub(crate) fn none() -> Files<'static> {
        Files::new(&no_file)
    }

    /// The hierarchy in a file.
    pub(crate) fn hierarchy(&self, name: &str) -> Result<Arc<Hierarchy>, BuildError> {
        if let Some(held) = self.held.borrow().get(name) {
            return held.hierarchy.clone();
        }
        let held = self.hold(name)?;
        let hierarchy = held.hierarchy.clone();
        self.held.borrow_mut().insert(name.to_owned(), held);
        hierarchy
    }

    /// The texts of all files that were asked for, by name.
    pub(crate) fn into_texts(self) -> BTreeMap<String, String> {
        self.held.into_inner().into_iter().map(|(name, held)| (name, held.text)).collect()
    }

    fn hold(&self, name: &str) -> Result<Held, BuildError> {
        if !names::FILE.allows(name) {
            return Err(BuildError {
                message: format!("`{}` cannot be the {}", name.escape_debug(), names::FILE.what),
                mend: names::FILE.says.to_owned(),
            });
        }
        let text = (self.read)(name)?;
        let others: usize = self.held.borrow().values().map(|held| held.text.len()).sum();
        if text.len() + others > MOST_BYTES {
            return Err(BuildError {
                message: format!("with `{name}` the files of this policy have more than {MOST_BYTES} bytes"),
                mend: "leave out values that no device sends: they become `*` anyway".to_owned(),
            });
        }
        let hierarchy = Hierarchy::parse(&text).map(Arc::new).map_err(|error| BuildError {
            message: format!("`{name}` is no hierarchy: {}", error.message),
            mend: error.mend,
        });
        Ok(Held { text, hierarchy })
    }
}

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({} held)", self.held.borrow().len())
    }
}

/// Says that there is no file of that name.
pub(crate) fn no_file(name: &str) -> Result<String, BuildError> {
    Err(BuildError {
        message: format!("there is no file `{name}`: the policy was read without its folder"),
        mend: "read the policy from its fleet folder".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_is_read_once_and_kept() {
        let reads = Cell::new(0);
        let read = |_: &str| {
            reads.set(reads.get() + 1);
            Ok("Berlin;DE\n".to_owned())
        };
        let files = Files::new(&read);
        let (one, two) = (files.hierarchy("city.csv").unwrap(), files.hierarchy("city.csv").unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(reads.get(), 1);
        assert_eq!(files.into_texts(), BTreeMap::from([("city.csv".to_owned(), "Berlin;DE\n".to_owned())]));
    }

    #[test]
    fn names_cannot_leave_the_folder_and_are_not_asked_for() {
        let read = |name: &str| -> Result<String, BuildError> { panic!("{name} was read") };
        for name in
            ["../secret.csv", "/etc/passwd", "a/../b.csv", "a//b.csv", ".ring.toml", "a\\b.csv", "", "a/.b", "c:/x"]
        {
            assert!(Files::new(&read).hierarchy(name).unwrap_err().message.contains("cannot be"), "{name}");
        }
    }

    #[test]
    fn all_files_together_have_a_limit() {
        let read = |_: &str| Ok(format!("a;{}\n", "x".repeat(MOST_BYTES / 2)));
        let files = Files::new(&read);
        assert!(files.hierarchy("one.csv").is_ok());
        let error = files.hierarchy("two.csv").unwrap_err();
        assert!(error.message.contains("`two.csv`") && error.message.contains("bytes"));
        assert_eq!(files.into_texts().len(), 1);
    }

    #[test]
    fn without_files_there_are_none() {
        assert!(Files::none().hierarchy("city.csv").unwrap_err().message.contains("`city.csv`"));
    }
}
