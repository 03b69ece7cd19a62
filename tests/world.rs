//! A fleet and a data folder of their own, the real binary on them, and ways to start, ask, stop and kill it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::http::Client;

/// The token of the seeds' devices.
pub(crate) const DEVICE: &str = "example-token";
/// The token of the seeds' backend: officer and operator.
pub(crate) const OFFICER: &str = "example-officer-token";
/// The purposes of the seeds.
pub(crate) const PURPOSES: [&str; 3] = ["diagnostics", "analytics", "marketing"];
/// The streams of the seeds.
pub(crate) const STREAMS: [&str; 3] = ["phone.app", "appliance.cycle", "car.drive"];

/// Longest time that a start or a graceful stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Folders of one test; removed with it.
pub(crate) struct World {
    folder: TempDir,
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// How to start a service, where a test wants more than the default.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// A program and its arguments that run the service (`strace -D ...`).
    pub(crate) under: &'a [String],
    /// Environment variables.
    pub(crate) environment: &'a [(&'a str, &'a str)],
}

/// One line of `audit totals`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) stream: Option<String>,
    pub(crate) purpose: String,
    pub(crate) offered: u64,
    pub(crate) stored: u64,
    pub(crate) dropped: Vec<(String, u64)>,
    pub(crate) found: Option<u64>,
    /// By erasure or retention.
    pub(crate) removed: u64,
}

impl World {
    /// A copy of the seeds' fleet without its consent statements, and no data yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("candor-test-").tempdir().expect("a temporary folder");
        let world = Self { folder };
        copy_folder(&workspace().join("seeds/fleet"), &world.fleet());
        std::fs::remove_file(world.fleet().join("consent.jsonl")).expect("the seeds have consent statements");
        std::fs::create_dir(world.temporary()).expect("a folder can be made");
        world
    }

    pub(crate) fn fleet(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `TMPDIR` of the service.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// A file beside fleet and data.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes a document of the fleet before the service starts.
    pub(crate) fn edit(&self, document: &str, change: impl FnOnce(String) -> String) {
        let path = self.fleet().join(document);
        let before = std::fs::read_to_string(&path).expect("the fleet has the document");
        let after = change(before.clone());
        assert_ne!(before, after, "the change of {document} changed nothing: the seeds are not what the test thinks");
        std::fs::write(path, after).expect("the fleet can be written");
    }

    /// Puts the key ring of `tests/expected` in place of the one that the first start would make.
    pub(crate) fn inject_keys(&self) {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let keys = self.data().join("keys");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys).expect("a folder can be made");
        let ring = keys.join("ring.toml");
        std::fs::copy(expected("ring.toml"), &ring).expect("the ring can be copied");
        std::fs::set_permissions(&ring, std::fs::Permissions::from_mode(0o600)).expect("the mode can be set");
    }

    /// Starts the service on a free port and waits until it is ready.
    pub(crate) fn serve(&self) -> Service {
        self.start(&Start::default()).unwrap_or_else(|ended| panic!("the service did not start:\n{ended}"))
    }

    /// Starts the service where one was before.
    pub(crate) fn serve_at(&self, address: SocketAddr) -> Service {
        let address = address.to_string();
        let how = Start { environment: &[("CANDOR_HTTP", &address)], ..Start::default() };
        self.start(&how).unwrap_or_else(|ended| panic!("the service did not start:\n{ended}"))
    }

    /// Starts the service; its standard error if it ended before it was ready.
    pub(crate) fn start(&self, how: &Start<'_>) -> Result<Service, String> {
        let mut command = match how.under {
            [] => Command::new(binary()),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
        };
        command.arg("serve").arg("--fleet").arg(self.fleet()).arg("--data").arg(self.data());
        if !how.environment.iter().any(|(name, _)| *name == "CANDOR_HTTP") {
            command.args(["--http", "127.0.0.1:0"]);
        }
        self.environment(&mut command).envs(how.environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = collect(child.stderr.take().expect("standard error is piped"));
        // From here on `Drop` ends and reaps it, whatever happens.
        let mut service = Service { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(address) = ready_address(&service.log()) {
                service.address = address;
                return Ok(service);
            }
            if !service.is_alive() {
                // Its last words may still be in the pipe.
                std::thread::sleep(Duration::from_millis(50));
                return Err(service.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the service was not ready after {PATIENCE:?}:\n{}", service.log())
    }

    /// Runs `candor` with arguments.
    pub(crate) fn candor(&self, arguments: &[&str]) -> Output {
        self.candor_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn candor_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(binary());
        let command = self.environment(command.args(arguments)).envs(environment.iter().copied());
        command.stdin(Stdio::null()).output().expect("candor can be run")
    }

    /// Runs `candor` with another working folder.
    pub(crate) fn candor_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        let command = self.environment(command.args(arguments)).current_dir(folder);
        command.stdin(Stdio::null()).output().expect("candor can be run")
    }

    /// Runs `candor` with something to read.
    pub(crate) fn candor_fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(binary());
        let command = self.environment(command.args(arguments)).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("candor can be run");
        // Who has heard enough closes the pipe.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("candor ends")
    }

    /// Runs `candor ... --data DATA --json` and gives its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let data = self.data();
        let mut all = arguments.to_vec();
        all.extend(["--data", data.to_str().expect("UTF-8"), "--json"]);
        let output = self.candor(&all);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "candor {arguments:?}: {}\n{errors}", output.status);
        serde_json::from_slice(&output.stdout).expect("an answer is JSON")
    }

    /// Holds the whole folder against its log (`audit verify --all`): nothing fails, nothing is left unchecked.
    pub(crate) fn verify(&self, when: &str) {
        let data = self.data();
        let output =
            self.candor(&["audit", "verify", "--all", "--json", "--data", data.to_str().expect("a name in UTF-8")]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{when}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `audit query`: rows as objects.
    pub(crate) fn query(&self, sql: &str) -> Vec<Map<String, Value>> {
        rows(&self.json(&["audit", "query", sql]))
    }

    /// The first column of the first row, as a number.
    pub(crate) fn count(&self, sql: &str) -> u64 {
        let rows = self.query(sql);
        rows.first().and_then(|row| row.values().next()).and_then(Value::as_u64).expect("a count")
    }

    /// `audit totals`, each line checked for offered = stored + dropped, and for found = stored.
    pub(crate) fn totals(&self) -> Vec<Total> {
        let totals: Vec<Total> = rows(&self.json(&["audit", "totals"])).iter().map(Total::parse).collect();
        for total in &totals {
            let dropped: u64 = total.dropped.iter().map(|(_, records)| records).sum();
            assert_eq!(total.offered, total.stored + dropped, "{total:?}");
            assert!(total.found.is_none_or(|found| found + total.removed == total.stored), "{total:?}");
        }
        totals
    }

    /// Offered and stored of each purpose, over all streams.
    pub(crate) fn account(&self) -> Vec<(u64, u64)> {
        let totals = self.totals();
        let of = |purpose: &str| {
            let lines = totals.iter().filter(|total| total.purpose == purpose);
            lines.fold((0, 0), |(offered, stored), line| (offered + line.offered, stored + line.stored))
        };
        PURPOSES.iter().map(|purpose| of(purpose)).collect()
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CANDOR_") || name == "FAILPOINTS") {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.temporary()).env("HOME", self.folder.path()).env("NO_COLOR", "1")
    }
}

impl Service {
    /// A client with a device's token.
    pub(crate) fn device(&self) -> Client {
        Client::new(self.address, Some(DEVICE))
    }

    /// A client with the backend's token.
    pub(crate) fn officer(&self) -> Client {
        Client::new(self.address, Some(OFFICER))
    }

    /// A client with any token, or none.
    pub(crate) fn client(&self, token: Option<&str>) -> Client {
        Client::new(self.address, token)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no writer panicked").clone()
    }

    /// Says for devices what they agree to, all purposes alike.
    pub(crate) fn consent(&self, devices: &[&str], state: &str) {
        let states: Map<String, Value> = PURPOSES.iter().map(|name| ((*name).to_owned(), json!(state))).collect();
        let notice = json!({"version": "2026-01", "language": "en"});
        let of = |device: &&str| json!({"subject": device, "purposes": states, "notice": notice, "age_from": 30});
        self.state(&devices.iter().map(of).collect::<Vec<_>>());
    }

    /// Hands consent requests to the service.
    pub(crate) fn state(&self, requests: &[Value]) {
        let answer = self.officer().json("/v1/consent", &Value::Array(requests.to_vec())).expect("an answer");
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    }

    /// Seals what is there.
    pub(crate) fn flush(&self) {
        let answer = self.officer().send("POST", "/v1/flush", &[], &[]).expect("an answer");
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    }

    /// What `GET /metrics` answers.
    pub(crate) fn metrics(&self) -> String {
        self.client(None).get("/metrics").unwrap().expect_status(200).text()
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metric_of(name, "")
    }

    /// The same over the series whose labels hold `label`.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> u64 {
        let text = self.metrics();
        let lines = text.lines().filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']));
        let lines = lines.filter(|line| line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Highest resident memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the service can be waited for").is_none()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the service can be killed");
        self.child.wait().expect("the service can be waited for");
    }

    /// SIGTERM, and what it ended with.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the service can be signalled");
        let ended = self.wait(PATIENCE);
        ended.unwrap_or_else(|| panic!("the service did not stop within {PATIENCE:?}:\n{}", self.log()))
    }

    /// How it ended, if it ends in time.
    pub(crate) fn wait(&mut self, most: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the service can be waited for") {
                return Some(status);
            }
            if started.elapsed() > most {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Total {
    fn parse(row: &Map<String, Value>) -> Self {
        let number = |name: &str| row.get(name).and_then(Value::as_u64);
        let dropped = row["reasons"].as_object().expect("reasons").iter();
        Self {
            stream: row["stream"].as_str().filter(|name| *name != "(undeclared)").map(str::to_owned),
            purpose: row["purpose"].as_str().expect("a purpose").to_owned(),
            offered: number("offered").expect("offered"),
            stored: number("stored").expect("stored"),
            dropped: dropped.map(|(why, records)| (why.clone(), records.as_u64().expect("a count"))).collect(),
            found: number("found"),
            removed: number("removed").unwrap_or(0),
        }
    }
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A file of `tests/expected`.
pub(crate) fn expected(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expected").join(name)
}

/// Captures and fleet that lie beside the workspace on some machines.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = workspace().join("../shared/data").join(name);
    path.exists().then_some(path)
}

/// The binary that cargo built for this profile, two folders above this test; `CANDOR_TEST_BINARY` names another.
pub(crate) fn binary() -> PathBuf {
    if let Some(other) = std::env::var_os("CANDOR_TEST_BINARY") {
        return other.into();
    }
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    let binary = profile.join("candor");
    assert!(binary.exists(), "{} is missing: run `cargo test --workspace`, which builds it", binary.display());
    binary
}

/// The rows of a JSON answer.
fn rows(answer: &Value) -> Vec<Map<String, Value>> {
    let list = answer["rows"].as_array().unwrap_or_else(|| panic!("no rows in {answer}"));
    list.iter().map(|row| row.as_object().expect("a row is an object").clone()).collect()
}

/// The address in the line that says the service is ready.
fn ready_address(log: &str) -> Option<SocketAddr> {
    log.lines().filter(|line| line.contains("ready")).find_map(|line| {
        let at = line.find("127.0.0.1:")?;
        let rest = &line[at..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
        let address: SocketAddr = rest[..end].trim_end_matches(['.', ':']).parse().ok()?;
        (address.port() != 0).then_some(address)
    })
}

/// Reads a pipe to its end on a thread of its own.
fn collect(pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            let mut log = into.lock().expect("no reader panicked");
            log.push_str(&line);
            log.push('\n');
        }
    });
    log
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("the folder can be read").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}

/// Prints a figure past the capture of the test runner: these tests measure too.
pub(crate) fn figure(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("stderr can be written");
}
