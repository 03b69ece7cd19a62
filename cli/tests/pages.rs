//! Completions that shells take, and manual pages that `man` shows: one for each command, also where settings are broken.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn candor(args: &[&str], folder: &Path) -> Output {
    std::fs::write(folder.join("candor.toml"), "this is = = no TOML").unwrap();
    Command::new(env!("CARGO_BIN_EXE_candor")).args(args).current_dir(folder).output().unwrap()
}

/// What a program says of a text on its standard input; none where it is not installed.
fn complaint(program: &str, arguments: &[&str], text: &[u8]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        let line = format!("SKIPPED: {program} is missing\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    child.stdin.take().unwrap().write_all(text).unwrap();
    Some(String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned())
}

#[test]
fn each_shell_has_completions_that_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = candor(&["completions", shell], folder.path());
        assert!(script.status.success(), "{shell}");
        let text = String::from_utf8(script.stdout.clone()).unwrap();
        for word in ["totals", "doctor", "show-origin", "token-file"] {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        if shell == "bash" {
            assert!(complaint("bash", &["-n"], &script.stdout).is_none_or(|said| said.is_empty()));
        }
    }
    assert_eq!(candor(&["completions", "sh"], folder.path()).status.code(), Some(2));
    assert_eq!(candor(&["config", "show"], folder.path()).status.code(), Some(78), "other commands need settings");
}

#[test]
fn each_command_has_a_page_that_formats_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    let done = candor(&["man", "--out", pages.to_str().unwrap()], folder.path());
    assert!(done.status.success() && done.stdout.is_empty());
    let names: Vec<_> = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
    let has = |name: &str| names.iter().any(|path| path.file_name().is_some_and(|found| found == name));
    assert!(has("candor.1") && has("candor-audit-totals.1") && has("candor-top.1"), "{names:?}");
    for page in &names {
        let text = std::fs::read(page).unwrap();
        if let Some(said) = complaint("groff", &["-man", "-Tutf8", "-ww"], &text) {
            assert_eq!(said, "", "{}", page.display());
        }
    }
    let whole = candor(&["man"], folder.path());
    assert_eq!(whole.stdout, std::fs::read(pages.join("candor.1")).unwrap());
    let nowhere = candor(&["man", "--out", "candor.toml/pages"], folder.path());
    assert_eq!(nowhere.status.code(), Some(1));
}
