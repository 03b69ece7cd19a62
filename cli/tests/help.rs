//! Transcripts: help texts, checks, refusals and settings as people see them. `TRYCMD=overwrite` writes them anew.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        // What a developer has set up at home must not show here.
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .case("tests/help/*.trycmd");
}
