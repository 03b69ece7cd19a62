//! Precision and recall on labelled texts that lie beside the workspace on some machines, and on add-on ids of real pings.
//!
//! `cargo test -p candor-policy --test redact evaluation -- --nocapture` prints the tables.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{Place, Score, places, print_head, redact, redactor};

/// Names of the data sets for our detectors.
const ENTITIES: [(&str, &str, &str); 7] = [
    ("email", "EMAIL_ADDRESS", "email"),
    ("card", "CREDIT_CARD", "credit_card"),
    ("iban", "IBAN_CODE", "iban"),
    ("ip", "IP_ADDRESS", "ip"),
    ("phone", "PHONE_NUMBER", "phone"),
    ("ssn", "US_SSN", "us_ssn"),
    ("url", "DOMAIN_NAME", "url"),
];
const MUST_HOLD: [&str; 3] = ["email", "card", "iban"];
const LEAST: f64 = 0.95;

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        println!("SKIPPED: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

/// The values of files of JSON lines: every part of the data set that is there, by the start of its name.
fn lines(folder: &str, prefix: &str) -> Vec<Value> {
    let Some(folder) = shared(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix));
    files.sort();
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>())
        .collect()
}

/// Labelled places of a sentence, which counts in characters, in bytes.
fn labels(sentence: &Value) -> Vec<Place> {
    let text = sentence["full_text"].as_str().unwrap();
    let byte = |span: &Value, key: &str| {
        let character = span[key].as_u64().unwrap() as usize;
        text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
    };
    let known =
        |span: &Value| ENTITIES.iter().find(|(_, entity, _)| span["entity_type"] == *entity).map(|known| known.0);
    let spans = sentence["spans"].as_array().unwrap().iter();
    spans.filter_map(|s| Some((known(s)?, byte(s, "start_position"), byte(s, "end_position")))).collect()
}

fn judge(detector: &str, score: &Score) {
    score.print(detector);
    if MUST_HOLD.contains(&detector) {
        assert!(score.precision() >= LEAST && score.recall() >= LEAST, "{detector}: {score:?}");
    }
}

#[test]
fn labelled_sentences() {
    let sentences = lines("pii_text", "synth_");
    if sentences.is_empty() {
        return;
    }
    let texts: Vec<&str> = sentences.iter().map(|sentence| sentence["full_text"].as_str().unwrap()).collect();
    let written = redact(&redactor(&[]), texts.iter().copied());
    print_head(&format!("{} sentences, all detectors on, exact places", sentences.len()));
    for (detector, ..) in ENTITIES {
        let mut score = Score::default();
        for ((sentence, text), out) in sentences.iter().zip(&texts).zip(&written) {
            let expected = labels(sentence);
            score.add(detector, &places(text, out, &expected), &expected);
        }
        judge(detector, &score);
    }
}

#[test]
fn recogniser_cases() {
    let cases = lines("pii_text", "recognizer_cases_");
    if cases.is_empty() {
        return;
    }
    let text = |case: &Value| case["text"].as_str().unwrap_or_default().to_owned();
    let texts: Vec<String> = cases.iter().map(text).collect();
    let written = redact(&redactor(&[]), texts.iter().map(String::as_str));
    print_head(&format!(
        "{} cases of recognisers, all detectors on, counts; e-mail, card and IBAN in all cases",
        cases.len()
    ));
    for (detector, _, recogniser) in ENTITIES.into_iter().chain([("mac", "", "mac")]) {
        let mut score = Score::default();
        for (case, out) in cases.iter().zip(&written) {
            let name = case["recognizer"].as_str().unwrap();
            let expected = match case["expected"]["expected_len"].as_u64() {
                Some(count) if name == recogniser => count as usize,
                // Other recognisers' cases have none of what must hold.
                _ if MUST_HOLD.contains(&detector) && name != recogniser => 0,
                _ => continue,
            };
            let found = out.matches(&format!("<{}>", detector.to_uppercase())).count();
            let right = found.min(expected);
            score.right += right;
            score.wrong += found - right;
            score.missed += expected - right;
            if found != expected {
                println!("{detector}: {found} for {expected} in {:?}", case["text"]);
            }
        }
        judge(detector, &score);
    }
}

/// Every text of a JSON value, keys of objects among them.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Value::Object(members) => {
            for (key, member) in members {
                out.push(key.clone());
                texts(member, out);
            }
        }
        _ => {}
    }
}

fn files_under(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_under(&path, out) } else { out.push(path) }
    }
}

#[test]
fn ids_of_add_ons_in_real_pings() {
    let Some(folder) = shared("mozilla_pings") else { return };
    let (mut files, mut all) = (Vec::new(), Vec::new());
    files_under(&folder, &mut files);
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        if let Ok(ping) = serde_json::from_str(&std::fs::read_to_string(file).unwrap()) {
            texts(&ping, &mut all);
        }
    }
    let mut ids: Vec<&String> = all.iter().filter(|text| text.contains('@') && !text.contains(' ')).collect();
    ids.sort();
    ids.dedup();
    let written = redact(&redactor(&["email"]), ids.iter().map(|id| id.as_str()));
    let (taken, kept): (Vec<_>, Vec<_>) = ids.into_iter().zip(&written).partition(|(_, out)| out.contains("<EMAIL>"));
    println!("\n{} ids with @: {} kept, {} taken for addresses", kept.len() + taken.len(), kept.len(), taken.len());
    for (id, _) in &taken {
        let host = id.rsplit('@').next().unwrap();
        assert!(host.rsplit_once('.').is_some_and(|(_, top)| tld::exist_case_insensitive(top)), "{id} is no address");
    }
    for known in ["@testpilot-addon", "foxyproxy@eric.h.jung", "masspasswordreset@johnathan.nightingale"] {
        assert!(!taken.iter().any(|(id, _)| *id == known), "{known}");
    }
}
