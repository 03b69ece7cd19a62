//! The first minute, as a stranger sees it: one screen that reads well without colours, and commands that work after it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn candor(args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor"));
    // Checkpoints that it saw are kept there.
    command.args(args).current_dir(folder).env("XDG_STATE_HOME", folder.join("state")).output().unwrap()
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

#[test]
fn after_the_demo_a_subject_is_erased_and_the_folder_still_holds_together() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = candor(&[args, &["--data", "data", "--json"]].concat(), folder.path());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(candor(&["demo", "--data", "data"], folder.path()).status.code(), Some(0));
    let whole = ["audit", "verify", "--all"];
    run(&whole);
    assert!(run(&["audit", "show", "demo-phone-01"]).contains("\"phone-analytics\""));
    run(&["erasure", "request", "demo-phone-01", "--all", "--fleet", "data-fleet"]);
    let status = run(&["erasure", "status", "demo-phone-01", "--fleet", "data-fleet"]);
    assert!(status.contains("\"done\""), "{status}");
    assert!(!run(&["audit", "show", "demo-phone-01"]).contains("\"phone-analytics\""));
    for command in [&whole[..], &["audit", "totals"], &["audit", "totals", "--check"], &["store", "check"]] {
        run(command);
    }
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```text\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let demo = candor(&["demo", "--data", "candor-demo"], folder.path());
    let story = text(&demo.stdout);
    let (screen, _) = story.split_once("Try next:").unwrap();
    let (shown, screen) = (masked(shown), masked(screen));
    for (in_readme, printed) in shown.lines().zip(screen.lines()) {
        assert_eq!(in_readme, printed, "the README is not what the demo prints");
    }
    assert_eq!(shown.trim_end().lines().count(), screen.trim_end().lines().count());
}

/// Without what differs from run to run: pseudonyms and the port.
fn masked(screen: &str) -> String {
    let mut masked = String::new();
    for word in screen.split_inclusive([' ', '\n']) {
        let pseudonym = word.trim_end().strip_suffix('…').is_some_and(|w| w.bytes().all(|b| b.is_ascii_hexdigit()));
        let port = word.starts_with("(127.0.0.1:");
        masked += if pseudonym {
            "PSEUDONYM… "
        } else if port {
            "(127.0.0.1:PORT), "
        } else {
            word
        };
    }
    masked
}
