//! `candor policy`: checking a fleet folder, and explaining what a policy does to one event.

use std::fmt::Write as _;
use std::path::Path;

use candor_agent::event::EventLimits;
use candor_ingest::fleet::Fleet;
use candor_policy::explain::{FieldExplanation, PurposeExplanation};
use candor_policy::problem::{Problem, Problems};
use candor_store::clock::SystemClock;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, SourceSpan};
use serde_json::{Value, json};

use crate::args::Explain;
use crate::command::{catalogue, consent};
use crate::exit::{Exit, Failure};
use crate::explain::{Answer, Outcome, Question, explain as explain_event, sentence, subject_path};
use crate::render::{Report, Width, cell_text, counted, grid, printable, shorten};
use crate::sample::Request;
use crate::service;
use crate::settings::Settings;

/// Columns that problems are wrapped to.
const PROBLEM_WIDTH: usize = 100;
/// Longest value of an event that the table for people shows.
const SHOWN: usize = 32;

/// Checks a fleet folder as `serve` would.
pub(crate) fn check(settings: &Settings) -> Result<Exit, Failure> {
    let folder = settings.fleet()?;
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", folder.display()))
            .mend("a fleet folder holds catalogue.toml, policy.toml and sources.toml"));
    }
    let mut report = Report::new("policy.check");
    for key in ["file", "line", "column", "message", "mend", "also"] {
        report = report.column(key, key);
    }
    let exit = match Fleet::load(folder) {
        Ok(fleet) => {
            report.fact("ok", true);
            report.note(summary(folder, &fleet));
            Exit::Done
        }
        Err(Problems(problems)) => {
            report.fact("ok", false);
            for p in &problems {
                let also = p.also.as_ref().map(|also| json!({ "line": also.line, "what": also.what }));
                report.row(vec![
                    json!(p.file),
                    json!(p.line),
                    json!(p.column),
                    json!(p.message),
                    json!(p.mend),
                    json!(also),
                ]);
            }
            report.text(problems.iter().map(draw).collect::<Result<Vec<_>, _>>()?.join("\n"));
            report.note(counted(problems.len(), "problem"));
            Exit::CheckFailed
        }
    };
    report.print(&settings.answer)?;
    Ok(exit)
}

/// Explains one event: per purpose and field the matched rules, the winner, and what would be stored.
pub(crate) fn explain(args: &Explain, settings: &Settings) -> Result<Exit, Failure> {
    let folder = settings.fleet()?;
    let plan = catalogue::plan(folder)?;
    let names: Vec<&str> = plan.policy().purposes.iter().map(|purpose| purpose.name.as_str()).collect();
    let request = read_request(&args.event)?;
    let question = Question {
        request: &request,
        consent: consent::assignments(&args.consent, Some(&names))?,
        age_from: args.age_from,
        guardian: args.guardian,
        gpc: args.gpc,
        subject: subject_path(folder, args.source.as_deref())?,
    };
    let answer = explain_event(&plan, &question, &SystemClock)?;
    report(&answer).print(&settings.answer)?;
    Ok(Exit::Done)
}

fn summary(folder: &Path, fleet: &Fleet) -> String {
    let (catalogue, policy) = (fleet.plan.catalogue(), fleet.plan.policy());
    let sum = |of: fn(&candor_policy::catalogue::Stream) -> usize| catalogue.streams.iter().map(of).sum::<usize>();
    let lines = [
        format!("{}: no problems", folder.display()),
        list(
            &format!("catalogue {}", catalogue.name),
            &[
                (catalogue.streams.len(), "stream"),
                (sum(|stream| stream.events.len()), "event"),
                (sum(|stream| stream.fields.len()), "field"),
            ],
        ),
        list(
            &format!("policy {}", policy.name),
            &[(policy.purposes.len(), "purpose"), (policy.rules().len(), "rule"), (fleet.plan.tables().len(), "table")],
        ),
        list("besides", &[(fleet.sources.iter().count(), "source"), (fleet.consents.len(), "consent statement")]),
    ];
    lines.join("\n")
}

fn list(what: &str, counts: &[(usize, &str)]) -> String {
    let counts: Vec<_> = counts.iter().map(|(number, word)| counted(*number, word)).collect();
    format!("  {what}: {}", counts.join(", "))
}

/// A problem under its line of the file, and the mend.
fn draw(problem: &Problem) -> Result<String, Failure> {
    let failed = |_| Failure::new(Exit::Failed, "a problem could not be drawn");
    let diagnostic = MietteDiagnostic::new(&problem.message).with_help(&problem.mend);
    // A file that cannot be read has a problem, but no text to underline.
    let Some(text) = std::fs::read_to_string(&problem.file).ok().filter(|text| problem.span.end <= text.len()) else {
        return Ok(format!("{problem}\n"));
    };
    let span = |span: &std::ops::Range<usize>| SourceSpan::from(span.clone());
    let mut labels = vec![LabeledSpan::new_primary_with_span(None, span(&problem.span))];
    if let Some(also) = problem.also.as_ref().filter(|also| also.span.end <= text.len()) {
        labels.push(LabeledSpan::new_with_span(Some(also.what.clone()), span(&also.span)));
    }
    let diagnostic =
        miette::Report::new(diagnostic.with_labels(labels)).with_source_code(NamedSource::new(&problem.file, text));
    let colour = anstream::stdout().current_choice() != anstream::ColorChoice::Never;
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut out = String::new();
    GraphicalReportHandler::new_themed(theme)
        .with_width(PROBLEM_WIDTH)
        .with_links(false)
        .without_syntax_highlighting()
        .render_report(&mut out, diagnostic.as_ref())
        .map_err(failed)?;
    Ok(out)
}

fn read_request(path: &Path) -> Result<Request, Failure> {
    let limits = EventLimits::default();
    let text = if path == Path::new("-") {
        service::stdin("event")?
    } else {
        let failure = |why: String| Failure::usage(format!("the event file {} {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| failure(format!("cannot be read: {e}")))?.len();
        if size > limits.line_bytes as u64 {
            return Err(failure(format!("is longer than {} bytes", limits.line_bytes)));
        }
        std::fs::read_to_string(path).map_err(|e| failure(format!("cannot be read: {e}")))?
    };
    Request::parse(text.trim(), &limits).map_err(|why| {
        Failure::usage(format!("this is no event: {why}"))
            .mend("give one JSON object, or a request of OTLP in JSON with one record")
    })
}

fn report(answer: &Answer) -> Report {
    let mut report = Report::new("policy.explain");
    for key in ["purpose", "outcome", "field", "came_in", "column", "stored", "rule", "operator", "matched", "why"] {
        report = report.column(key, key);
    }
    let told = &answer.explanation;
    for purpose in &told.purposes {
        let outcome = answer.outcomes.get(&purpose.purpose);
        for field in &purpose.fields {
            let stored = stored_value(outcome, field);
            report.row(vec![
                json!(purpose.purpose),
                json!(outcome_name(outcome)),
                json!(field.field),
                answer.came_in(&field.field),
                json!(field.column.as_deref().filter(|_| stored.is_some())),
                stored.cloned().unwrap_or_default(),
                json!(field.winner.as_ref().map(|winner| &winner.rule)),
                json!(field.winner.as_ref().map(|winner| &winner.operator)),
                json!(field.matched),
                json!(field.why),
            ]);
        }
    }
    report.fact("event", told.event.as_str());
    report.fact("stream", told.stream.clone());
    report.fact("jurisdiction", answer.declared.then_some(told.jurisdiction.as_str()));
    report.fact("gpc", told.gpc);
    report.fact("bad_values", told.bad_values.clone());
    report.fact("undeclared_attributes", answer.undeclared);
    let purposes = told.purposes.iter().map(|p| {
        let reason = answer.outcomes.get(&p.purpose).and_then(|outcome| outcome.reason);
        json!({
            "purpose": p.purpose, "stored": reason.is_none(), "reason": reason,
            "basis": p.basis.filter(|_| answer.declared),
            "consent": p.consent, "decision": p.decision,
        })
    });
    report.fact("purposes", purposes.collect::<Vec<_>>());
    report.text(text(answer));
    report
}

fn text(answer: &Answer) -> String {
    let told = &answer.explanation;
    let gpc = if told.gpc { ", Global Privacy Control on" } else { "" };
    let place = told.stream.as_deref().unwrap_or("no stream declares it");
    let jurisdiction = if answer.declared { format!(", jurisdiction {}", told.jurisdiction) } else { String::new() };
    let mut out = format!("{} ({place}){jurisdiction}{gpc}\n", printable(&told.event));
    for field in &told.bad_values {
        let _ = writeln!(out, "  {field} has a value of another type than the catalogue declares");
    }
    if answer.undeclared > 0 {
        let attributes = counted(answer.undeclared, "attribute");
        let _ = writeln!(out, "  {attributes} that nothing uses: counted and forgotten");
    }
    let titles = [("  field", false), ("came in", false), ("stored", false), ("by", false), ("because", false)];
    for purpose in &told.purposes {
        let outcome = answer.outcomes.get(&purpose.purpose);
        let _ = writeln!(out, "\n{}: {}", purpose.purpose, heading(purpose, outcome, answer.declared));
        let fields = purpose.fields.iter().filter(|field| field.present);
        let rows: Vec<_> = fields
            .map(|field| {
                let value = cell_text(Some(&answer.came_in(&field.field)));
                let winner = field.winner.as_ref();
                vec![
                    format!("  {}", field.field),
                    shorten(&value, SHOWN),
                    shorten(&stored_text(outcome, field), SHOWN),
                    winner.map_or_else(String::new, |winner| format!("{} (line {})", winner.rule, winner.line)),
                    field.why.clone(),
                ]
            })
            .collect();
        if !rows.is_empty() {
            out.push_str(&grid(&titles, rows, Width::Terminal));
        }
    }
    out
}

fn heading(purpose: &PurposeExplanation, outcome: Option<&Outcome>, declared: bool) -> String {
    let basis = purpose.basis.map_or("none", candor_policy::policy::LegalBasis::name);
    let basis = format!("legal basis {basis}, consent {}", consent::state_name(purpose.consent));
    match outcome.and_then(|outcome| outcome.reason) {
        None => format!("a row is stored ({basis})"),
        Some(reason) if !declared => format!("nothing is stored, {reason}: {}", sentence(reason)),
        Some(reason) => format!("nothing is stored, {reason}: {} ({basis})", sentence(reason)),
    }
}

fn outcome_name(outcome: Option<&Outcome>) -> &'static str {
    outcome.and_then(|outcome| outcome.reason).map_or("stored", candor_policy::reason::Reason::name)
}

fn stored_value<'a>(outcome: Option<&'a Outcome>, field: &FieldExplanation) -> Option<&'a Value> {
    outcome?.values.get(field.column.as_deref()?)
}

fn stored_text(outcome: Option<&Outcome>, field: &FieldExplanation) -> String {
    stored_value(outcome, field).map_or_else(|| "-".to_owned(), |value| cell_text(Some(value)))
}
