//! `candor doctor`: what a service needs, looked over without changing anything.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use candor_agent::client::Client;
use candor_ingest::doctor;
use candor_ingest::fleet::Fleet;
use candor_store::clock::SystemClock;
use candor_store::doctor::{Finding, Outcome, data_folder, fleet_in_folder};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, Text, Tone, Width, counted, grid, printable};
use crate::settings::Settings;

pub(crate) async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let progress = Progress::start("looking");
    let mut findings = match &settings.fleet {
        Some(folder) => doctor::fleet(folder),
        None => vec![Finding::warn("fleet folder", "none is named", "give --fleet DIR, or set `fleet` in candor.toml")],
    };
    findings.push(doctor::settings(&settings.service));
    findings.extend(data_folder(&settings.store, &SystemClock).await);
    // One that cannot be loaded was told above.
    if let Some(fleet) = settings.fleet.as_deref().and_then(|folder| Fleet::load(folder).ok()) {
        findings.extend(fleet_in_folder(&settings.store, &fleet.plan).await);
    }
    findings.push(doctor::open_files(&settings.service));
    findings.push(service(settings).await);
    drop(progress);
    let report = report("doctor", &findings);
    report.print(&settings.answer)?;
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Fail);
    Ok(if failed { Exit::CheckFailed } else { Exit::Done })
}

/// Asks the service whether it is ready. Where none is named and nobody listens, the port must be free.
async fn service(settings: &Settings) -> Finding {
    const CHECK: &str = "service";
    let ca = settings.ca.as_deref();
    if let Some(url) = &settings.url {
        return ask(url, ca).await;
    }
    let address = settings.service.http;
    match doctor::port(address) {
        Some(finding) => finding,
        // Its certificate has a name that only who made it knows.
        None if settings.service.tls.is_some() => Finding::warn(
            CHECK,
            format!("something listens on {address}, and it was not asked: it speaks TLS"),
            "give --url https://NAME:PORT with a name that its certificate has",
        ),
        None => match ask(&format!("http://{}", reachable(address)), ca).await {
            finding if finding.outcome == Outcome::Fail => Finding::fail(
                CHECK,
                format!("something listens on {address}, and it is no service that is ready: {}", finding.found),
                "see the service's log; if it is another program, choose another address with --http",
            ),
            finding => finding,
        },
    }
}

async fn ask(url: &str, ca: Option<&Path>) -> Finding {
    const CHECK: &str = "service";
    let answer = async {
        let mut client = Client::new(url, None, ca)?;
        client.get("/readyz").await?.success()
    };
    match answer.await {
        Ok(_) => Finding::ok(CHECK, format!("{} is ready", printable(url))),
        Err(error) => {
            let failure = Failure::from(error);
            let mend = failure.mend.unwrap_or_else(|| "see the service's log".to_owned());
            Finding::fail(CHECK, failure.message, mend)
        }
    }
}

/// An address that is every address is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(loopback, address.port())
}

/// A line for each thing that was looked at.
pub(super) fn report(kind: &'static str, findings: &[Finding]) -> Report {
    let mut report = Report::new(kind);
    for key in ["check", "outcome", "found", "mend"] {
        report = report.column(key, key);
    }
    let mut rows: Vec<Vec<Text>> = Vec::new();
    for finding in findings {
        let (check, outcome) = (finding.check, finding.outcome.name());
        report.row(vec![json!(check), json!(outcome), json!(finding.found), json!(finding.mend)]);
        let tone = match finding.outcome {
            Outcome::Ok => Tone::Kept,
            Outcome::Warn | Outcome::Fail => Tone::Changed,
        };
        rows.push(vec![
            Text::toned(outcome.to_owned(), tone),
            Text::from(check.to_owned()),
            Text::from(printable(&finding.found)),
        ]);
        if let Some(mend) = &finding.mend {
            rows.push(vec![String::new().into(), String::new().into(), format!("mend: {}", printable(mend)).into()]);
        }
    }
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let (warnings, failures) = (count(Outcome::Warn), count(Outcome::Fail));
    report.fact("ok", failures == 0);
    report.fact("warnings", warnings);
    report.fact("failures", failures);
    report.text(grid(&[("", false), ("check", false), ("found", false)], rows, Width::Terminal));
    let warned = counted(warnings, "warning");
    report.note(match failures {
        0 => format!("{} looked at: nothing fails, {warned}", counted(findings.len(), "thing")),
        _ => format!("{} failed, {warned}", counted(failures, "check")),
    });
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Format;

    #[test]
    fn each_line_says_how_it_is_and_what_to_do() {
        let findings = [
            Finding::ok("lock", "free"),
            Finding::warn("disk", "little", "more"),
            Finding::fail("keys", "gone\u{1b}", "find"),
        ];
        let report = report("doctor", &findings);
        let text = |format| String::from_utf8(report.render(format).unwrap()).unwrap();
        let shown = text(Format::Table);
        for part in ["fail", "keys", "gone\\u{1b}", "mend: find", "1 check failed, 1 warning"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        let json: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(
            (&json["ok"], &json["failures"], &json["rows"][1]["outcome"]),
            (&json!(false), &json!(1), &json!("warn"))
        );
    }

    #[test]
    fn every_address_is_asked_on_loopback() {
        let asked = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:4318"), "127.0.0.1:4318");
        assert_eq!(asked("[::]:4318"), "[::1]:4318");
        assert_eq!(asked("192.0.2.1:4318"), "192.0.2.1:4318");
    }
}
