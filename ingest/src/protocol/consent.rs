//! `POST /v1/consent`: statements of assigned subjects, from the fleet's own backend, and those that subjects sign themselves.

use std::collections::HashSet;

use axum::response::Response;
use candor_policy::policy::Policy;
use candor_policy::subject::LedgerId;
use candor_store::signed::Recorded;
use candor_wire::reason::Reason;
use candor_wire::record::ConsentRecord;
use candor_wire::statement::{ConsentRequest, MAX_AGE, SignedStatement, Statement};
use futures::future::join_all;

use crate::body::Sent;
use crate::error::{Kind, Refusal};
use crate::published::json;
use crate::route::Call;
use crate::service::Service;
use crate::signer::Signer;

/// Most statements of one request.
pub(crate) const MOST: usize = 1_000;
/// Statements that wait for one fdatasync together. As many are no import: they cost the appender what one of them does, and whoever
/// sends one by one waits for nothing either.
const AT_ONCE: usize = 64;
/// Most bytes of the value that names a subject.
const MOST_SUBJECT_BYTES: usize = 1_024;

/// Records one statement or an array of them, and answers with their records.
pub(crate) async fn record(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let source = call.source()?;
    let sent =
        Sent::read(call.headers, call.body, &["application/json"], &service.limits, service.budget.lease()).await?;
    call.note.bytes = sent.len() as u64;
    if let Some(signer) = call.signer {
        signer.check(&sent)?;
        let plain = sent.decompress(service.limits.body_bytes)?;
        let record = record_own(service, &source.name, signer, &plain.bytes).await?;
        call.note.rows = 1;
        return Ok(json(&record));
    }
    let plain = sent.decompress(service.limits.body_bytes)?;
    let (requests, many) = parse(&plain.bytes)?;
    for (at, request) in requests.iter().enumerate() {
        check(request, service.plan.policy())
            .map_err(|why| Refusal::malformed(format!("statement {}: {why}; nothing was recorded", at + 1)))?;
    }
    if requests.len() > AT_ONCE {
        service.store.room_for(&requests).await?;
    }
    let mut records = Vec::with_capacity(requests.len());
    for run in in_runs(requests) {
        // One fdatasync serves a run; two statements of one subject never share one, so that their order holds.
        let recorded = join_all(run.into_iter().map(|request| record_one(service, &source.name, request))).await;
        for record in recorded {
            records.push(record?);
        }
    }
    call.note.rows = records.len() as u64;
    if many {
        return Ok(json(&records));
    }
    records.first().map(json).ok_or_else(crate::guard::bug)
}

/// Records the statement that a subject makes of itself.
async fn record_own(service: &Service, source: &str, signer: &Signer, body: &[u8]) -> Result<ConsentRecord, Refusal> {
    let invalid = |why: String| Refusal::because(Reason::ConsentInvalid, why);
    let statement: SignedStatement = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!("the body is, at line {line}, column {column}, not a statement as docs/FORMAT.md has it"))
    })?;
    if statement.key != signer.key {
        return Err(invalid("the statement is another key's than the one that signed the request".to_owned()));
    }
    if statement.fleet != *service.fleet {
        return Err(Refusal::because(
            Reason::FleetUnknown,
            "the statement is for another fleet: GET /v1/keys says which this is",
        ));
    }
    let statement = match service.store.record_signed(statement, source).await? {
        Recorded::Now(statement) => {
            service.metrics.consented(source);
            statement
        }
        Recorded::Known(statement) => statement,
        Recorded::Closed => {
            return Err(Refusal::because(
                Reason::KeyClosed,
                "the holder closed this key: make a statement with the next one",
            ));
        }
        Recorded::Invalid(why) => return Err(invalid(why)),
        Recorded::Conflict { head } => {
            let (sequence, hash) = head.unwrap_or((0, SignedStatement::nothing_before()));
            let mend = "the statement does not follow the newest one, which the header Candor-Consent-Head names";
            let conflict = Refusal::because(Reason::ConsentConflict, mend);
            return Err(Refusal { detail: Some(format!("{sequence} {hash}")), ..conflict });
        }
    };
    record_of(service, &signer.ledger, *statement).await
}

/// What is wrong with a statement, if anything: said without a value of it.
pub(crate) fn check(request: &ConsentRequest, policy: &Policy) -> Result<(), String> {
    let text = |name: &str, value: &str, most: usize| {
        let fine = (1..=most).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
        if fine { Ok(()) } else { Err(format!("{name} must have 1 to {most} visible ASCII characters")) }
    };
    if request.subject.is_empty() || request.subject.len() > MOST_SUBJECT_BYTES {
        return Err(format!("subject must have 1 to {MOST_SUBJECT_BYTES} bytes"));
    }
    let known = |name: &String| policy.purposes.iter().any(|purpose| purpose.name == *name);
    if !request.purposes.keys().all(known) {
        let names: Vec<&str> = policy.purposes.iter().map(|purpose| purpose.name.as_str()).collect();
        return Err(format!("a purpose is not one that the policy declares: {}", names.join(", ")));
    }
    text("notice.version", &request.notice.version, 64)?;
    text("notice.language", &request.notice.language, 35)?;
    if request.age_from.is_some_and(|age| age > MAX_AGE) {
        return Err(format!("age_from is an age in years, at most {MAX_AGE}"));
    }
    if request.expires.as_ref().is_some_and(|day| day.parse::<jiff::civil::Date>().is_err()) {
        return Err("expires must be a day, YYYY-MM-DD".into());
    }
    if request.granted_at.as_ref().is_some_and(|time| time.parse::<jiff::Timestamp>().is_err()) {
        return Err("granted_at must be a time as in RFC 3339, like 2026-01-31T12:00:00Z".into());
    }
    Ok(())
}

/// Where a statement's JSON goes wrong, in our words: serde's can quote a value.
pub(crate) fn what_is_wrong(error: &serde_json::Error) -> &'static str {
    use serde_json::error::Category;
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => "not JSON",
        Category::Data => {
            "not a consent statement: it has subject, purposes (name, each once, to given, refused, withdrawn, ...), notice \
             (version, language) and, if wanted, age_from, expires, granted_at"
        }
    }
}

async fn record_one(service: &Service, source: &str, request: ConsentRequest) -> Result<ConsentRecord, Refusal> {
    let subject = service.store.keys().ledger_id(&request.subject);
    let statement = service.store.record_consent(request, source).await?;
    service.metrics.consented(source);
    record_of(service, &subject, statement).await
}

/// The record of a statement that is in force, or was.
async fn record_of(service: &Service, subject: &LedgerId, statement: Statement) -> Result<ConsentRecord, Refusal> {
    let mut history = service.store.consent_history(subject).await?;
    // Another statement may have come since: this answer is about this one, and about what others of its number leave of it.
    history.retain(|one| one.sequence <= statement.sequence);
    if !history.contains(&statement) {
        // An erasure took it in the meantime; that it was recorded is true all the same.
        history.push(statement.clone());
    }
    let record = ConsentRecord::new(&history, &service.plan, &service.parties);
    record.and_then(|record| record.about(&statement)).map_err(|_| crate::guard::bug())
}

/// The statements of a body, and whether it is an array.
fn parse(body: &[u8]) -> Result<(Vec<ConsentRequest>, bool), Refusal> {
    let many = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let parsed = if many {
        serde_json::from_slice::<Vec<ConsentRequest>>(body)
    } else {
        serde_json::from_slice::<ConsentRequest>(body).map(|request| vec![request])
    };
    let requests = parsed.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::malformed(format!("the body is, at line {line}, column {column}, {}", what_is_wrong(&error)))
    })?;
    if requests.len() > MOST {
        let message = format!("the request has more than {MOST} statements: send smaller batches");
        return Err(Refusal::new(Kind::TooLarge, message));
    }
    Ok((requests, many))
}

/// Cuts statements into runs in which no subject occurs twice, so that the statements of a run can be recorded together.
pub(crate) fn in_runs(requests: Vec<ConsentRequest>) -> Vec<Vec<ConsentRequest>> {
    let mut runs: Vec<Vec<ConsentRequest>> = Vec::new();
    let mut subjects = HashSet::new();
    for request in requests {
        let repeated = !subjects.insert(request.subject.clone());
        match runs.last_mut() {
            Some(run) if !repeated && run.len() < AT_ONCE => run.push(request),
            _ => {
                subjects = HashSet::from([request.subject.clone()]);
                runs.push(vec![request]);
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subject: &str) -> ConsentRequest {
        let text = format!(r#"{{"subject":"{subject}","purposes":{{}},"notice":{{"version":"1","language":"de"}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn one_statement_or_an_array_of_them() {
        let one = serde_json::to_vec(&request("a")).unwrap();
        assert!(matches!(parse(&one), Ok((requests, false)) if requests.len() == 1));
        let many = serde_json::to_vec(&vec![request("a"); 3]).unwrap();
        assert!(matches!(parse(&many), Ok((requests, true)) if requests.len() == 3));
        let too_many = serde_json::to_vec(&vec![request("a"); MOST + 1]).unwrap();
        assert_eq!(parse(&too_many).unwrap_err().kind, Kind::TooLarge);
    }

    #[test]
    fn an_error_says_where_and_never_what_was_there() {
        for body in [
            r#"{"subject":"secret-1","purposes":{"analytics":"secret-2"},"notice":{"version":"1","language":"de"}}"#,
            r#"{"subject":"secret-1","secret-3":1}"#,
            r#"{"subject":17,"purposes":"secret-2"}"#,
            r#"{"subject":"secret-1"#,
            "secret-4",
            "",
        ] {
            let refusal = parse(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind, Kind::Malformed);
            assert!(refusal.message.contains("line") && !refusal.message.contains("secret"), "{}", refusal.message);
        }
    }

    #[test]
    fn no_run_has_a_subject_twice_and_the_order_of_a_subject_holds() {
        let runs = in_runs(["a", "b", "a", "a", "c"].map(request).into());
        let subjects: Vec<Vec<&str>> =
            runs.iter().map(|run| run.iter().map(|request| request.subject.as_str()).collect()).collect();
        assert_eq!(subjects, [vec!["a", "b"], vec!["a"], vec!["a", "c"]]);
        let many: Vec<_> = (0..150).map(|i| request(&i.to_string())).collect();
        assert_eq!(in_runs(many).iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 22]);
    }
}
