//! The vectors of `docs/FORMAT.md` against `tests/python/vectors.py`, which computes each of them and shares no line with Candor.

use serde_json::Value;

use crate::clients::{python, run};
use crate::world::workspace;

#[test]
fn the_page_has_what_another_program_computes() {
    let Some(python) = python() else { return };
    let output = run(&python, "vectors.py", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut vectors = Vec::new();
    texts(&serde_json::from_slice(&output.stdout).unwrap(), &mut vectors);
    assert!(vectors.len() > 80, "only {} of them", vectors.len());
    let page = std::fs::read_to_string(workspace().join("docs/FORMAT.md")).unwrap();
    let missing: Vec<&String> = vectors.iter().filter(|vector| !page.contains(vector.as_str())).collect();
    assert!(missing.is_empty(), "docs/FORMAT.md does not say {missing:#?}");
}

/// All texts of a document.
fn texts(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        Value::Object(all) => all.values().for_each(|one| texts(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
