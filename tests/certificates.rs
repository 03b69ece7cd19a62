//! Certificates of erasure through the whole system: a device asks, the service erases, and what the device then holds is proved by
//! `candor audit verify` and by `docs/verify.py`; with one byte changed it is not.
//!
//! Every byte, changed in two ways, goes through the function that the command calls; the command itself takes a sample.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use candor_agent::identity::Identity;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::SignedCertificate;
use candor_wire::identity::SubjectKey;
use candor_wire::log::entry::{Entry, Erased};
use candor_wire::verify::{Check, Evidence, Outcome, Trust, Verdict, check, outcome};
use serde_json::Value;

use crate::agent::Device;
use crate::clients::python;
use crate::receipts::sent;
use crate::verify::{EPOCHS, audit, audit_in, copy, entries, failures, forge, log_key, log_seed, tiles, verdicts};
use crate::world::{Service, Start, World, figure, workspace};

/// Whoever was erased: its service, the state of its device, and a certificate for each of two epochs.
fn erased() -> (World, Service, PathBuf, Vec<PathBuf>) {
    let world = World::new();
    world.sign();
    let service = world.start(&Start { environment: &EPOCHS, ..Start::default() }).unwrap();
    // Somebody stays, in the same files.
    let (stays, _) = Device::new(&world, "stays");
    stays.consents(&service);
    stays.sends(&service, 3, 0);
    let state = sent(&world, &service);
    let (url, identity) = (format!("http://{}", service.address()), state.join("identity.toml"));
    let folder = world.path("certificates");
    let erasure = |arguments: &[&str]| {
        let all = [&["erasure"], arguments, &["--identity", identity.to_str().unwrap(), "--url", &url]].concat();
        let output = world.candor(&all);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    erasure(&["request", "--all"]);
    assert_eq!(service.officer().send("POST", "/v1/erasures", &[], &[]).unwrap().status, 200);
    erasure(&["status", "--certificates", folder.to_str().unwrap()]);
    let certificates = tiles(&folder);
    assert_eq!(certificates.len(), 2);
    (world, service, state, certificates)
}

/// The id in the ledger of an epoch of a device.
fn ledger_id(state: &Path, epoch: u64) -> LedgerId {
    let identity = Identity::read(&state.join("identity.toml")).unwrap();
    LedgerId::of_certified(&identity.public(epoch).unwrap().subject_id())
}

#[test]
fn a_certificate_is_proved_to_whom_it_was_given_and_to_nobody_else() {
    let (world, service, state, certificates) = erased();
    let url = format!("http://{}", service.address());
    let file = |name: &str| state.join(name).to_str().unwrap().to_owned();
    let (identity, journal, said) = (file("identity.toml"), file("receipts.jsonl"), file("state.toml"));
    let (bundle, data) = (world.path("bundle"), world.data());
    let (bundle, data) = (bundle.to_str().unwrap(), data.to_str().unwrap());
    audit(&world, &["export", bundle, "--identity", &identity, "--url", &url], 0);
    let own = ["--identity", &identity, "--receipts", &journal, "--statements", &said];
    let [one, other] = [&certificates[0], &certificates[1]].map(|path| path.to_str().unwrap());
    let both = ["--certificate", one, "--certificate", other];
    for place in [&[bundle][..], &["--url", &url], &["--data", data]] {
        let answer = audit(&world, &[&["verify"], place, &own, &both].concat(), 0);
        assert_eq!(verdicts(&answer, "certificate"), ["proved"; 2], "{answer}");
        // What the device kept is missed where no certificate says why the service shows nothing.
        assert_eq!(verdicts(&answer, "answer"), ["proved"; 2], "{answer}");
        let answer = audit(&world, &[&["verify"], place, &own, &both[..2]].concat(), 4);
        assert!(failures(&answer).contains("the service shows nothing"), "{answer}");
        // Nobody says whom it is about.
        let answer = audit(&world, &[&["verify"], place, &both].concat(), 5);
        assert_eq!(verdicts(&answer, "certificate"), ["unchecked"; 2], "{answer}");
    }
    // Somebody else's.
    let stranger = world.path("stranger");
    let new = ["agent", "identity", "new", "acme-fleet", "--state", stranger.to_str().unwrap()];
    assert!(world.candor(&new).status.success());
    let stranger = stranger.join("identity.toml");
    let theirs = ["verify", bundle, "--identity", stranger.to_str().unwrap(), "--certificate", one];
    let answer = audit(&world, &theirs, 4);
    assert_eq!(verdicts(&answer, "certificate"), ["failed"], "{answer}");
    assert!(service.stop().success());
}

#[test]
fn every_byte_of_a_certificate_counts_for_us_and_for_python() {
    let (world, service, state, certificates) = erased();
    assert!(service.stop().success());
    let data = world.data();
    let path = &certificates[0];
    let whole = std::fs::read(path).unwrap();
    let evidence = |certificate: &[u8]| Evidence {
        trust: Trust { log: vec![log_key(&data).verifier().clone()], is_pinned: true, ..Trust::default() },
        checkpoint: Some(std::fs::read(data.join("log/checkpoint")).unwrap()),
        entries: Some(entries(&data)),
        certificates: vec![certificate.to_vec()],
        holders: (0..2).map(|epoch| ledger_id(&state, epoch)).collect(),
        ..Evidence::default()
    };
    let lines = check(&evidence(&whole));
    assert!(lines.iter().any(|line| line.check == Check::Certificate && line.verdict == Verdict::Proved), "{lines:?}");
    assert_eq!(outcome(&lines), Outcome::Holds);
    let mut evidence = evidence(&whole);
    for (at, byte) in whole.iter().enumerate() {
        for changed in [byte ^ 1, if *byte == b'0' { b'1' } else { b'0' }] {
            evidence.certificates[0][at] = changed;
            let lines = check(&evidence);
            assert_eq!(outcome(&lines), Outcome::Failed, "byte {at} as {changed}: {lines:?}");
        }
        evidence.certificates[0][at] = *byte;
    }
    figure(&format!("certificates: {} changes of one byte, each found", 2 * whole.len()));

    // The command itself: an eleventh of them, and what an editor adds at the end.
    let (identity, changed) = (state.join("identity.toml"), world.path("changed.json"));
    let folder = data.to_str().unwrap();
    let arguments = ["verify", "--identity", identity.to_str().unwrap(), "--data", folder, "--certificate"];
    let verify = |bytes: &[u8], code| {
        std::fs::write(&changed, bytes).unwrap();
        let answer = audit(&world, &[&arguments[..], &[changed.to_str().unwrap()]].concat(), code);
        verdicts(&answer, "certificate")
    };
    for at in (0..whole.len()).step_by(whole.len() / 11) {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        assert_eq!(verify(&bent, 4), ["failed"], "byte {at}");
    }
    assert_eq!(verify(&[&whole[..], b"\n"].concat(), 0), ["proved"]);
    for end in [" ", "\r", "\n\n", "\t"] {
        assert_eq!(verify(&[&whole[..], end.as_bytes()].concat(), 4), ["failed"], "{end:?}");
    }

    let Some(python) = python() else { return };
    let (script, verifier) = (workspace().join("tests/python/certificate.py"), workspace().join("docs/verify.py"));
    let ids = [ledger_id(&state, 0), ledger_id(&state, 1)].map(|id| hex::encode(id.as_bytes()));
    let run = |arguments: &[&str], code| {
        let output = Command::new(&python).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        text
    };
    let (script, verifier) = (script.to_str().unwrap(), verifier.to_str().unwrap());
    let certificate = path.to_str().unwrap();
    figure(run(&[script, verifier, data.join("log").to_str().unwrap(), certificate, &ids[0], &ids[1]], 0).trim());
    // The same verdicts.
    let named = [verifier, folder, "--certificate", certificate];
    run(&[&named[..], &["--subject", &ids[0], "--subject", &ids[1]]].concat(), 0);
    run(&[&named[..], &["--subject", &"05".repeat(32)]].concat(), 4);
    run(&named, 5);
}

/// The subject's id and the command that checks a certificate are printed: as they are, but for the folder, they run.
#[test]
fn status_prints_what_python_needs() {
    let (world, service, state, certificates) = erased();
    let (url, folder) = (format!("http://{}", service.address()), world.path("certificates"));
    let identity = state.join("identity.toml");
    let asked = ["erasure", "status", "--identity", identity.to_str().unwrap(), "--url", &url];
    let told = |more: &[&str]| {
        let output = world.candor(&[&asked[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let ids = [0, 1].map(|epoch| hex::encode(ledger_id(&state, epoch).as_bytes()));
    let without = told(&[]);
    assert!(ids.iter().all(|id| without.contains(id)) && without.contains("--certificates"), "{without}");
    let folder = folder.to_str().unwrap();
    let json: Value = serde_json::from_str(&told(&["--certificates", folder, "--json"])).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["subject"].as_str().unwrap()).collect::<Vec<_>>(), ids, "{json}");
    let mut files: Vec<PathBuf> = rows.iter().map(|row| row["file"].as_str().unwrap().into()).collect();
    files.sort();
    assert_eq!(files, certificates, "{json}");
    let text = told(&["--certificates", folder]);
    let commands: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("python ")).collect();
    assert_eq!(commands.len(), 2, "{text}");
    assert!(service.stop().success());
    let Some(python) = python() else { return };
    for command in commands {
        let command = command.replace("FOLDER", world.data().to_str().unwrap());
        let output = Command::new(&python).args(command.split(' ')).current_dir(workspace()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {text}");
    }
}

/// Whoever runs the service has the log's key: a certificate can be signed and logged that names files which took nothing's place, or
/// keeps quiet about one that did. The entries of the files say otherwise.
#[test]
fn a_certificate_that_names_another_successor_is_found_by_us_and_by_python() {
    let (world, service, state, certificates) = erased();
    assert!(service.stop().success());
    let whole = SignedCertificate::decode(&std::fs::read(&certificates[0]).unwrap()).unwrap();
    let key = SubjectKey::of_seed(&log_seed(&world.data()));
    assert_eq!(key.public(), whole.key);
    let identity = state.join("identity.toml");
    let ids = [ledger_id(&state, 0), ledger_id(&state, 1)];
    let ids = ids.map(|id| hex::encode(id.as_bytes()));
    let said: Vec<Entry> = entries(&world.data()).iter().map(|bytes| Entry::decode(bytes).unwrap()).collect();
    let python = python();
    let (mut lies, number_of_files) = (0, whole.certificate.files.len());
    for at in 0..=number_of_files {
        let (lying, path) = (world.path(&format!("lying-{at}")), world.path(&format!("lying-{at}.json")));
        copy(&world.data(), &lying);
        let mut certificate = whole.certificate.clone();
        if let Some(file) = certificate.files.get_mut(at) {
            let another = said.iter().find_map(|entry| match entry {
                Entry::Sealed(sealed) if sealed.table == file.table && sealed.file != file.old => Some(sealed.file),
                _ => None,
            });
            file.new = if file.new.is_some() { None } else { Some(another.expect("another file of the table")) };
        }
        // The last one is the truth, logged once more.
        let code = if at == number_of_files { 0 } else { 4 };
        lies += usize::from(code == 4);
        let digest = certificate.digest().unwrap();
        let signed = certificate.sign(whole.nonce.0, &key).unwrap();
        std::fs::write(&path, signed.encode().unwrap()).unwrap();
        forge(&lying, |entries| {
            let certificates = vec![digest];
            entries.push(Entry::Erased(Erased { certificates, files: vec![], replaced: vec![], removed: 0 }));
        });
        let (folder, file) = (lying.to_str().unwrap(), path.to_str().unwrap());
        let arguments = ["verify", "--identity", identity.to_str().unwrap(), "--data", folder, "--certificate", file];
        let found = audit_in(&world, &format!("state-{at}"), &arguments, code);
        if code == 4 {
            assert!(failures(&found).contains("another file took the place"), "{found}");
        }
        let Some(python) = &python else { continue };
        let verifier = workspace().join("docs/verify.py");
        let mut command = Command::new(python);
        command.arg(&verifier).args([folder, "--certificate", file, "--subject", &ids[0], "--subject", &ids[1]]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{at}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.contains("another file took the place"), code == 4, "{text}");
    }
    assert!(lies > 0);
    figure(&format!("certificates: {lies} that name another successor, each found"));
}
