//! A device at the command line: its identity on disk, consent, sending, receipts, and what it sees of itself at the service.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::world::{Service, World, workspace};

const FLEET: &str = "acme-fleet";

/// A device of a world: its state folder.
struct Device<'a> {
    world: &'a World,
    state: PathBuf,
}

impl<'a> Device<'a> {
    fn of(world: &'a World, name: &str) -> Self {
        Self { world, state: world.path(name) }
    }

    /// One with an identity; its 24 words.
    fn new(world: &'a World, name: &str) -> (Self, String) {
        let device = Self::of(world, name);
        let made = device.done(&["identity", "new", FLEET, "--show-phrase"]);
        (device, made["phrase"].as_str().unwrap().to_owned())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.fed(arguments, &[])
    }

    fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let state = self.state.to_str().unwrap();
        self.world.candor_fed(&[&["agent"], arguments, &["--json", "--state", state]].concat(), input)
    }

    /// The answer of a command that must succeed.
    fn done(&self, arguments: &[&str]) -> Value {
        json_of(&self.run(arguments), 0)
    }

    /// The answer of one that talks to a service.
    fn at(&self, service: &Service, arguments: &[&str], code: i32) -> Value {
        let (url, token) = (url(service), self.token());
        let mut all = arguments.to_vec();
        all.extend(["--url", &url]);
        if !matches!(arguments[..2], ["receipts", "check"] | ["identity", "recover"]) {
            all.extend(["--token-file", &token]);
        }
        json_of(&self.run(&all), code)
    }

    fn token(&self) -> String {
        self.world.fleet().join("tokens/agents.token").to_str().unwrap().to_owned()
    }

    /// Gives consent to everything, and tells the service.
    fn consents(&self, service: &Service) -> Value {
        let states = ["diagnostics=given", "analytics=given", "marketing=given"];
        let more = ["--notice", "2026-01", "--language", "de", "--age-from", "30"];
        self.at(service, &[&["consent", "set"], &states[..], &more[..]].concat(), 0)
    }

    /// Sends events of a phone in Germany.
    fn sends(&self, service: &Service, events: u32, code: i32) -> Value {
        let path = self.world.path("events.jsonl");
        std::fs::write(&path, lines(events)).unwrap();
        self.at(service, &["send", path.to_str().unwrap()], code)
    }

    fn identity(&self) -> PathBuf {
        self.state.join("identity.toml")
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.state.join(name)).unwrap().permissions().mode() & 0o777
    }
}

/// The seeds' fleet with a source whose devices sign.
fn world() -> World {
    let world = World::new();
    let source = "\n[source.agents]\ntoken_file = \"tokens/agents.token\"\nroles = [\"device\"]\nsigned = true\n";
    let has_one = std::fs::read_to_string(world.fleet().join("sources.toml")).unwrap().contains("[source.agents]");
    if !has_one {
        world.edit("sources.toml", |text| text + source);
        std::fs::write(world.fleet().join("tokens/agents.token"), "an-example-token-of-agents\n").unwrap();
    }
    world
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

fn lines(events: u32) -> String {
    let event = |number: u32| {
        json!({
            "time": "2026-11-16T00:19:20Z", "event": "phone.app.opened",
            "resource": { "region": "DE", "device.model.name": "P14", "gpc": false },
            "attributes": { "app.package": format!("org.example.app{number}"), "screen": "home" },
        })
    };
    (0..events).map(|number| format!("{}\n", event(number))).collect()
}

#[track_caller]
fn json_of(output: &Output, code: i32) -> Value {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every byte of every file below a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { bytes_below(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

fn seed_of(device: &Device<'_>) -> String {
    let text = std::fs::read_to_string(device.identity()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("seed = ")).expect("a seed");
    line.trim_matches('"').to_owned()
}

#[test]
fn an_identity_is_its_owners_alone_and_is_shown_without_its_secret() {
    let world = World::new();
    let device = Device::of(&world, "device");
    let missing = device.run(&["identity", "show"]);
    assert_eq!(missing.status.code(), Some(78), "{}", text(&missing.stderr));

    let made = device.run(&["identity", "new", FLEET]);
    let shown = json_of(&made, 0);
    assert_eq!((device.mode("identity.toml"), device.mode("."), device.mode("state.toml")), (0o600, 0o700, 0o600));
    let seed = seed_of(&device);
    assert!(seed.len() == 64 && shown["phrase"].is_null() && !text(&made.stdout).contains(&seed), "{shown}");
    assert_eq!((&shown["fleet"], &shown["epoch"], text(&made.stderr)), (&json!(FLEET), &json!(0), String::new()));
    assert_eq!(device.done(&["identity", "show"])["subject"], shown["subject"]);

    let again = device.run(&["identity", "new", FLEET]);
    assert_eq!(again.status.code(), Some(78), "{}", text(&again.stderr));
    assert_eq!(seed_of(&device), seed, "it is the same as before");

    std::fs::set_permissions(device.identity(), PermissionsExt::from_mode(0o644)).unwrap();
    let refused = device.run(&["identity", "show"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused.stderr).contains("chmod 600"), "{}", text(&refused.stderr));
    // Elsewhere its group may have it, as service managers hand credentials over; others may not.
    let elsewhere = world.path("identity.toml");
    std::fs::rename(device.identity(), &elsewhere).unwrap();
    let show = ["identity", "show", "--identity", elsewhere.to_str().unwrap()];
    assert!(text(&device.run(&show).stderr).contains("chmod 600"));
    std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o440)).unwrap();
    assert_eq!(device.done(&show)["subject"], shown["subject"]);
}

#[test]
fn words_are_shown_once_and_never_repeated() {
    let world = World::new();
    let device = Device::of(&world, "device");
    let made = device.run(&["identity", "new", FLEET, "--show-phrase"]);
    let phrase = json_of(&made, 0)["phrase"].as_str().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 24);
    assert!(text(&made.stderr).contains("warning"), "{}", text(&made.stderr));
    assert!(!has(&bytes_below(&device.state), &phrase), "the words are on disk");
    let shown = text(&device.run(&["identity", "show"]).stdout);
    assert!(!shown.contains(&phrase) && !shown.contains(&seed_of(&device)));

    let other = Device::of(&world, "other");
    let swapped: Vec<&str> = phrase.split(' ').rev().collect();
    for wrong in [swapped.join(" "), "secretly ".repeat(24), "abandon".to_owned(), String::new()] {
        let arguments = ["identity", "recover", FLEET, "--url", "http://127.0.0.1:1"];
        let refused = other.fed(&arguments, wrong.as_bytes());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(!said.contains("secretly") && !said.contains("abandon") && !said.contains(&swapped[..2].join(" ")));
        assert!(!other.identity().exists());
    }
}

#[test]
fn a_new_owner_inherits_nothing() {
    let world = world();
    let (device, _) = Device::new(&world, "device");
    let seed = seed_of(&device);
    let before = device.done(&["identity", "show"]);
    device.done(&["consent", "set", "analytics=given", "--notice", "2026-01"]);
    let path = world.path("events.jsonl");
    std::fs::write(&path, lines(40)).unwrap();
    let arguments = ["send", path.to_str().unwrap(), "--patience", "0", "--token-file", &device.token()];
    let sent = json_of(&device.run(&[&arguments[..], &["--url", "http://127.0.0.1:1"]].concat()), 1);
    assert_eq!((&sent["rows"][1]["spooled"], &sent["balances"]), (&json!(40), &json!(true)), "{sent}");
    let waits = || std::fs::read_dir(device.state.join("spool")).unwrap().count();
    assert!(waits() > 0);
    assert!(!has(&bytes_below(&device.state), "org.example.app7"), "the spool is readable");

    let after = device.done(&["identity", "transfer"]);
    assert_eq!(after["before"], json!({ "taken": 40, "acknowledged": 0, "dropped": { "transferred": 40 } }));
    assert_ne!((&after["subject"], seed_of(&device)), (&before["subject"], seed.clone()));
    assert_eq!((&after["taken"], &after["consent"], &after["receipts"]), (&json!(0), &json!(null), &json!(0)));
    assert_eq!(waits(), 0);
    // What was stated and the last statement are still to be delivered: the old seed signs that, and nothing else.
    let leaving = std::fs::read_to_string(device.state.join("leaving.toml")).unwrap();
    assert!(leaving.contains(&seed) && leaving.contains("closes") && after["leaving"] == json!(2), "{after}");
    std::fs::remove_file(device.state.join("leaving.toml")).unwrap();
    assert!(!has(&bytes_below(&device.state), &seed), "the old seed is still there");
}
