//! Consent through the API: what it takes, what it answers, and that it is in force when it answers.

use http::StatusCode;

use super::world::{World, body_of, opened};

fn statement(subject: &str, analytics: &str) -> String {
    format!(
        r#"{{"subject":"{subject}","purposes":{{"analytics":"{analytics}"}},"notice":{{"version":"2026-01","language":"de"}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_holds_for_what_comes_after_its_answer() {
    let world = World::open().await;
    world.logs(body_of("phone-1", opened(0, 5))).await;
    assert_eq!(world.consent(&statement("phone-1", "withdrawn")).await.status, StatusCode::OK);
    world.logs(body_of("phone-1", opened(5, 5))).await;
    assert_eq!((world.stored("analytics").await, world.stored("diagnostics").await), (5, 10));
    assert_eq!(world.consent(&statement("phone-1", "given")).await.status, StatusCode::OK);
    world.logs(body_of("phone-1", opened(10, 5))).await;
    assert_eq!(world.stored("analytics").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_record_of_the_full_state_without_the_subject() {
    let world = World::open().await;
    let answer = world.consent(&statement("phone-2", "refused")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.text().contains("diagnostics"), "what was left out is there as it was: {}", answer.text());
    assert!(!answer.text().contains("phone-2"), "{}", answer.text());
    let many = format!("[{},{}]", statement("phone-3", "given"), statement("phone-4", "given"));
    assert_eq!(world.consent(&many).await.json().as_array().map(Vec::len), Some(2));
    assert_eq!(world.metric("candor_consent_statements_total{source=\"officers\"}").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_two_statements_in_one_request_stands() {
    let world = World::open().await;
    let both = format!("[{},{}]", statement("phone-3", "given"), statement("phone-3", "withdrawn"));
    assert_eq!(world.consent(&both).await.status, StatusCode::OK);
    world.logs(body_of("phone-3", opened(0, 5))).await;
    assert_eq!(world.stored("analytics").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folders_statements_never_undo_what_a_subject_said_later() {
    let world = World::open().await;
    world.consent(&statement("phone-1", "withdrawn")).await;
    let world = world.restart().await;
    world.logs(body_of("phone-1", opened(0, 5))).await;
    assert_eq!((world.stored("analytics").await, world.stored("diagnostics").await), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_statements_are_refused_whole_and_without_their_values() {
    let world = World::open().await;
    let good = statement("phone-3", "given");
    for (bad, mend) in [
        (good.replace("analytics", "secret"), "analytics"),
        (good.replace("\"given\"", "\"secret\""), "line 1"),
        (good.replace("phone-3", ""), "subject"),
        (good.replace("2026-01", ""), "notice.version"),
        (good.replace("{\"subject\"", "{\"expires\":\"secret\",\"subject\""), "YYYY-MM-DD"),
        (good.replace("{\"subject\"", "{\"granted_at\":\"secret\",\"subject\""), "RFC 3339"),
        (good.replace("{\"subject\"", "{\"age_from\":200,\"subject\""), "age_from"),
        (good.replace("{\"subject\"", "{\"secret\":1,\"subject\""), "line 1"),
        (good.replace("\"analytics\":", "\"analytics\":\"withdrawn\",\"analytics\":"), "each once"),
        ("secret".into(), "not JSON"),
    ] {
        let answer = world.consent(&format!("[{good},{bad}]")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(answer.text().contains(mend), "{} does not say {mend}", answer.text());
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    assert_eq!(world.metric("candor_consent_statements_total{source=\"officers\"}").await, 0, "nothing was recorded");
}
