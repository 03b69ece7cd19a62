//! The first minute, as a stranger sees it: one screen that reads well without colours, and commands that work after it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn candor(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candor")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_demo_tells_a_story_and_leaves_a_folder_to_look_into() {
    let folder = tempfile::tempdir().unwrap();
    let demo = candor(&["demo", "--data", "data"], folder.path());
    let story = text(&demo.stdout);
    assert_eq!((demo.status.code(), text(&demo.stderr)), (Some(0), String::new()));
    for part in [
        "sent 60 events",
        "demo-phone-01 sent phone.app.opened",
        "by rule phone-analytics",
        "owner.01@example.com  →",
        "(hmac)",
        "dropped: free-text",
        "afterwards, 0 were stored",
        "Try next:",
    ] {
        assert!(story.contains(part), "{part} is missing in:\n{story}");
    }
    assert!(!story.contains("DOES NOT BALANCE"));
    assert!(!story.contains('\u{1b}'), "no colours off a terminal");
    let (screen, commands) = story.split_once("Try next:").unwrap();
    assert!(screen.lines().count() < 60, "{screen}");
    let too_wide = |line: &&str| line.chars().count() > 105 && !line.contains("/tables/");
    assert_eq!(screen.lines().find(too_wide), None);
    assert!(commands.contains("D=data  F=data-fleet"), "{commands}");

    assert_eq!(candor(&["audit", "totals", "--data", "data"], folder.path()).status.code(), Some(0));
    let held = candor(&["audit", "show", "demo-phone-01", "--data", "data", "--format", "csv"], folder.path());
    let held = text(&held.stdout);
    assert!(held.contains(",account_email_hmac,") && !held.contains("owner.01@example.com"), "{held}");
    assert_eq!(candor(&["policy", "check", "data-fleet"], folder.path()).status.code(), Some(0));
    assert_eq!(candor(&["demo", "--data", "data"], folder.path()).status.code(), Some(2), "it overwrites nothing");
}
