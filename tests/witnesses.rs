//! Witnesses beside a real service: real ones that are killed and come back, and some that are behind, lie or hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Algorithm, Note, Signer, VerifierKey};
use candor_wire::log::witness::AddCheckpoint;
use serde_json::{Value, json};

use crate::otlp::{Event, encode};
use crate::world::{Service, Start, World, binary, figure};

/// Longest time that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// `candor audit log witness`; killed with its test.
pub(crate) struct Witness {
    child: Child,
    address: SocketAddr,
    vkey: String,
}

impl Witness {
    /// Starts one, on an address where it was before or on a free one.
    pub(crate) fn start(world: &World, name: &str, address: Option<SocketAddr>, log: &str) -> Self {
        let key = world.path(&format!("{name}.key"));
        if !key.exists() {
            let seed = candor_policy::hex::encode(name.as_bytes());
            std::fs::write(&key, format!("{seed:0<64}\n")).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let listen = address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let started = Instant::now();
        loop {
            let mut command = Command::new(binary());
            command.args(["audit", "log", "witness", "--name", &format!("witness.example/{name}"), "--log", log]);
            command.args(["--listen", &listen, "--state", state(world, name).to_str().unwrap()]).arg("--key").arg(&key);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
            // `candor: witness on http://ADDRESS, with the key KEY`
            if let Some((address, vkey)) = line.trim().split_once(", with the key ") {
                let address = address.rsplit('/').next().unwrap().parse().unwrap();
                return Self { child, address, vkey: vkey.to_owned() };
            }
            let _ = child.wait();
            assert!(started.elapsed() < PATIENCE, "the witness did not start: {line}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn key(&self) -> VerifierKey {
        self.vkey.parse().unwrap()
    }

    /// Its key and the port that it listens on.
    pub(crate) fn whereabouts(&self) -> (&str, SocketAddr) {
        (&self.vkey, self.address)
    }

    fn at(&self) -> (String, String) {
        (self.vkey.clone(), format!("http://{}", self.address))
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is answered to a request; nothing, ever, where it is none.
type Lie = Box<dyn Fn(&[u8]) -> Option<(u16, String)> + Send>;

/// Where a witness keeps what it cosigned.
fn state(world: &World, name: &str) -> PathBuf {
    world.path(&format!("{name}.state"))
}

/// A witness that is none: what it does with each request is `answer`, on a thread of its own.
fn impostor(answer: impl Fn(&[u8]) -> Option<(u16, String)> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let body = read_request(&mut stream).unwrap_or_default();
            match answer(&body) {
                Some((status, body)) => {
                    let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n", body.len());
                    let _ = stream.write_all((head + &body).as_bytes());
                }
                // Left open, without a word.
                None => open.push(stream),
            }
        }
    });
    address
}

fn read_request(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
            if bytes.len() >= head.len() + 4 + length {
                return Some(bytes[head.len() + 4..].to_vec());
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// A world whose log has a key, and that key.
pub(crate) fn begun() -> (World, String) {
    let world = World::new();
    let service = world.serve();
    let keys: Value = serde_json::from_slice(&service.client(None).get("/v1/keys").unwrap().body).unwrap();
    let log = keys["log"][0]["vkey"].as_str().unwrap().to_owned();
    assert!(service.stop().success());
    (world, log)
}

/// Writes the user's settings: these witnesses (key, address) are asked.
pub(crate) fn configure(world: &World, witnesses: &[(String, String)]) {
    let folder = world.path(".config/candor");
    std::fs::create_dir_all(&folder).unwrap();
    let text = witnesses.iter().fold(String::new(), |text, (vkey, url)| {
        text + &format!("[[store.log.witness]]\nvkey = \"{vkey}\"\nurl = \"{url}\"\n\n")
    });
    std::fs::write(folder.join("candor.toml"), text).unwrap();
}

fn checkpoint(service: &Service) -> (Checkpoint, Note) {
    let bytes = service.client(None).get("/log/checkpoint").unwrap().expect_status(200).body;
    let note = Note::parse(&bytes).unwrap();
    (Checkpoint::parse(note.text()).unwrap(), note)
}

fn is_cosigned(note: &Note, by: &VerifierKey) -> bool {
    note.verify(std::slice::from_ref(by)).is_ok_and(|signed| signed[0].time.is_some())
}

/// Waits until the newest checkpoint has the signatures of all of them.
pub(crate) fn cosigned(service: &Service, by: &[&Witness]) -> Checkpoint {
    let mut found = None;
    until("a cosigned checkpoint", || {
        let (checkpoint, note) = checkpoint(service);
        let all = by.iter().all(|witness| is_cosigned(&note, &witness.key()));
        found = all.then_some(checkpoint);
        all
    });
    found.unwrap()
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stores a few rows and seals them: the log grows.
fn grow(service: &Service, from: u64) {
    for number in from..from + 3 {
        service.device().logs(&encode(&[Event::numbered("phone-1", number)])).unwrap().expect_status(200);
    }
    service.flush();
}

pub(crate) fn failures(service: &Service, witness: &str, kind: &str) -> u64 {
    let lines = service.metrics();
    let of = |line: &&str| {
        line.starts_with("candor_witness_failures_total{")
            && line.contains(&format!("witness=\"witness.example/{witness}\""))
            && line.contains(&format!("kind=\"{kind}\""))
    };
    let line = lines.lines().find(of).unwrap_or_else(|| panic!("{witness} {kind} is not in\n{lines}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_witnesses_cosign_is_served_survives_kill_9_and_is_proved() {
    let (world, log) = begun();
    let (one, two) = (Witness::start(&world, "one", None, &log), Witness::start(&world, "two", None, &log));
    configure(&world, &[one.at(), two.at()]);
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    cosigned(&service, &[&one, &two]);
    grow(&service, 0);
    let seen = cosigned(&service, &[&one, &two]);
    until("the size that they cosigned", || {
        let text = service.metrics();
        text.matches(&format!("}} {}\n", seen.size)).count() >= 2 && text.contains("candor_witness_size{")
    });
    assert!(service.metric("candor_witness_signed_at_seconds") > 2 * 1_700_000_000);

    // What is shown is on disk, and is there again after the service was killed, without a witness.
    let (_, note) = checkpoint(&service);
    service.kill();
    let (one_key, two_key) = (one.key(), two.key());
    let (one_at, two_at) = (one.vkey.clone(), two.vkey.clone());
    one.kill();
    two.kill();
    let on_disk = std::fs::read(world.data().join("log/checkpoint")).unwrap();
    assert_eq!(String::from_utf8(on_disk).unwrap(), note.to_string());
    let service = world.serve();
    let (again, served) = checkpoint(&service);
    assert_eq!((&again, served.to_string()), (&seen, note.to_string()));
    assert!(is_cosigned(&served, &one_key) && is_cosigned(&served, &two_key));
    let asked = ["unreachable", "refused", "invalid"].map(|kind| failures(&service, "one", kind));
    assert_eq!(asked, [0; 3], "it asked for what is signed already");

    // Pinned on the command line alone, by whoever looks from elsewhere.
    let url = format!("http://{}", service.address());
    let elsewhere = |arguments: &[&str], code: i32| -> Value {
        let output = world.candor_with(arguments, &[("XDG_CONFIG_HOME", world.path("none").to_str().unwrap())]);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let shown = elsewhere(&["audit", "log", "show", "--url", &url, "--witness", &one_at, "--json"], 0);
    let listed = shown["cosignatures"].as_array().unwrap();
    let pinned: Vec<_> = listed.iter().map(|one| (one["name"].as_str().unwrap(), one["pinned"].clone())).collect();
    assert_eq!(pinned.len(), 2, "{shown}");
    assert!(pinned.contains(&("witness.example/one", json!(true))), "{shown}");
    assert!(pinned.contains(&("witness.example/two", json!(false))), "{shown}");
    assert!(listed.iter().all(|one| one["time"].is_string() && one["key_id"].as_str().unwrap().len() == 8), "{shown}");
    let verified = elsewhere(
        &["audit", "verify", "--url", &url, "--vkey", &log, "--witness", &one_at, "--witness", &two_at, "--json"],
        0,
    );
    for (check, count) in [("witness", 2), ("fresh", 1)] {
        let rows = verified["rows"].as_array().unwrap().iter().filter(|row| row["check"] == check);
        let verdicts: Vec<_> = rows.map(|row| row["verdict"].clone()).collect();
        assert_eq!(verdicts, vec![json!("proved"); count], "{verified}");
    }
    // The operator's own settings pin both, and `doctor` looks at the same.
    let data = world.data();
    let data = data.to_str().unwrap();
    let shown = world.candor(&["audit", "log", "show", "--data", data]);
    let said = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(said.matches(": a pinned witness").count(), 2, "{said}");
    let looked = world.json(&["doctor"]);
    let lines: Vec<_> = looked["rows"].as_array().unwrap().iter().filter(|row| row["check"] == "witnesses").collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line["outcome"] == "ok"), "{looked}");
    assert!(service.stop().success());
}

#[test]
fn a_witness_that_was_away_or_lost_what_it_saw_signs_the_newest_alone() {
    let (world, log) = begun();
    let one = Witness::start(&world, "one", None, &log);
    configure(&world, &[one.at()]);
    let (address, vkey) = (one.address, one.key());
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    let first = cosigned(&service, &[&one]);
    one.kill();
    grow(&service, 0);
    grow(&service, 3);
    until("a failure", || failures(&service, "one", "unreachable") > 0);
    assert!(!is_cosigned(&checkpoint(&service).1, &vkey));
    let doctor = world.json(&["doctor"]).to_string();
    assert!(doctor.contains("witness.example/one has not cosigned the newest checkpoint"), "{doctor}");
    // A service that starts anew does not know any more what the witness saw: it is told (409).
    assert!(service.stop().success());
    let service = world.serve();
    let one = Witness::start(&world, "one", Some(address), &log);
    let newest = cosigned(&service, &[&one]);
    assert!(newest.size > first.size + 1);
    assert_eq!(failures(&service, "one", "inconsistent") + failures(&service, "one", "refused"), 0);
    one.kill();
    // Behind: the service thinks that it saw more than it did.
    std::fs::remove_dir_all(state(&world, "one")).unwrap();
    let one = Witness::start(&world, "one", Some(address), &log);
    grow(&service, 6);
    assert!(cosigned(&service, &[&one]).size > newest.size);
    assert_eq!(failures(&service, "one", "inconsistent") + failures(&service, "one", "refused"), 0);
    assert!(service.stop().success());
}

#[test]
fn nothing_is_taken_of_witnesses_that_lie_and_others_sign_nevertheless() {
    let (world, log) = begun();
    let signer = |seed: u8| Signer::new("witness.example/liar", Algorithm::Cosignature, &[seed; 32]).unwrap();
    let vkey = signer(1).verifier().to_string();
    let text = |body: &[u8]| AddCheckpoint::parse(body).unwrap().note.text().to_owned();
    let one = Witness::start(&world, "one", None, &log);
    let lies: Vec<(&str, &str, Lie)> = vec![
        ("another text", "invalid", Box::new(move |_| Some((200, signer(1).sign("other\n", 77).to_string())))),
        ("another key", "invalid", Box::new(move |body| Some((200, signer(2).sign(&text(body), 77).to_string())))),
        ("no time", "invalid", Box::new(move |body| Some((200, signer(1).sign(&text(body), 0).to_string())))),
        ("no signature", "invalid", Box::new(|_| Some((200, "thank you\n".to_owned())))),
        (
            "a signature without end",
            "invalid",
            Box::new(move |body| Some((200, signer(1).sign(&text(body), 77).to_string().trim_end().to_owned()))),
        ),
        ("another note", "invalid", Box::new(move |_| Some((200, format!("\nx\n\n{}", signer(1).sign("x\n", 77)))))),
        ("too much", "unreachable", Box::new(|_| Some((200, "x".repeat(1 << 20))))),
        ("a conflict without a size", "invalid", Box::new(|_| Some((409, "7\n".to_owned())))),
        ("no", "refused", Box::new(|_| Some((403, String::new())))),
        ("a fault", "refused", Box::new(|_| Some((503, String::new())))),
        ("not a proof", "inconsistent", Box::new(|_| Some((422, String::new())))),
    ];
    for (what, kind, lie) in lies {
        let liar = impostor(lie);
        configure(&world, &[(vkey.clone(), format!("http://{liar}/deep/")), one.at()]);
        let service = world.serve();
        cosigned(&service, &[&one]);
        until(what, || failures(&service, "liar", kind) > 0);
        let note = checkpoint(&service).1;
        assert!(!note.to_string().contains("liar"), "{what}: {note}");
        assert!(service.stop().success());
        assert!(!std::fs::read_to_string(world.data().join("log/checkpoint")).unwrap().contains("liar"), "{what}");
        crate::log::change_policy(&world);
    }
}

#[test]
fn a_witness_that_hangs_holds_nothing_up() {
    let (world, log) = begun();
    let hanging = impostor(|_| None);
    let slow = Signer::new("witness.example/slow", Algorithm::Cosignature, &[1; 32]).unwrap().verifier().to_string();
    let one = Witness::start(&world, "one", None, &log);
    configure(&world, &[(slow, format!("http://{hanging}")), one.at()]);
    let service = world.serve();
    service.consent(&["phone-1"], "given");
    let before = cosigned(&service, &[&one]);
    let started = Instant::now();
    grow(&service, 0);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "three batches and a flush took {took:?}");
    assert!(cosigned(&service, &[&one]).size > before.size);
    until("the end of patience", || failures(&service, "slow", "unreachable") > 0);
    figure(&format!("witness: three batches and a flush in {took:?} beside one that hangs"));
    // It is asked again within a second: the stop comes while an answer is waited for.
    std::thread::sleep(Duration::from_millis(1_500));
    let started = Instant::now();
    assert!(service.stop().success());
    assert!(started.elapsed() < Duration::from_secs(6), "a stop waited for a witness: {:?}", started.elapsed());
}

#[test]
fn a_log_that_was_turned_back_is_told_by_its_witness() {
    let (world, log) = begun();
    let one = Witness::start(&world, "one", None, &log);
    configure(&world, &[one.at()]);
    let folder = world.data().join("log");
    let older = world.path("older");
    let copy = |from: &PathBuf, to: &PathBuf| {
        assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    };
    copy(&folder, &older);
    crate::log::change_policy(&world);
    let service = world.serve();
    let seen = cosigned(&service, &[&one]);
    assert!(service.stop().success());
    // As many entries as before, and another last one; then fewer.
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&older, &folder);
    crate::log::change_policy(&world);
    let forked = world.serve();
    assert_eq!(checkpoint(&forked).0.size, seen.size);
    until("what the witness says of a fork", || failures(&forked, "one", "inconsistent") > 0);
    assert!(!is_cosigned(&checkpoint(&forked).1, &one.key()));
    until("a line of the log", || forked.log().contains("turned back, or forked"));
    assert!(forked.stop().success());
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&older, &folder);
    world.edit("policy.toml", |policy| policy.replace("Again: Again: ", ""));
    let back = world.serve();
    assert!(checkpoint(&back).0.size < seen.size);
    until("what the witness says of a rollback", || failures(&back, "one", "inconsistent") > 0);
    assert!(back.stop().success());
}

#[test]
fn settings_that_name_no_witness_say_where() {
    let world = World::new();
    let good = Signer::new("witness.example/one", Algorithm::Cosignature, &[1; 32]).unwrap().verifier().to_string();
    let fine = (good.clone(), "https://witness.example".to_owned());
    let of = |vkey: &str, url: &str| (vkey.to_owned(), url.to_owned());
    for (second, key, why) in [
        (of("witness.example/one", "https://w"), "vkey", "a verifier key is name+id+base64"),
        (of(&good.replace("one", "two"), "https://w"), "vkey", "the id"),
        (of(&good, "https://w"), "vkey", "each once"),
        (of(&good, "ftp://w"), "url", "https:// or http://"),
        (of(&good, "w"), "url", "not a URL"),
    ] {
        configure(&world, &[fine.clone(), second]);
        let Err(ended) = world.start(&Start::default()) else { panic!("it started") };
        let place = format!("`store.log.witness` (user file {}), witness 2, `{key}`", settings(&world).display());
        assert!(ended.contains(&place) && ended.contains(why), "{ended}");
        assert!(!world.data().exists());
    }
    configure(&world, &[fine]);
    let shown = world.candor(&["config", "show", "--json"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("https://witness.example"));
}

fn settings(world: &World) -> PathBuf {
    world.path(".config/candor/candor.toml")
}
