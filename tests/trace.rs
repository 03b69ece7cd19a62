//! Reads what `strace -f -y -ttt` wrote, and checks the order of write, fdatasync and answer.

use std::collections::{BTreeMap, BTreeSet};

/// One system call as it ended, in the order of the trace.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Seconds since 1970.
    pub(crate) at: f64,
    pub(crate) name: String,
    /// Arguments as strace prints them, with paths of descriptors.
    pub(crate) arguments: String,
    /// What it gave, with the name of the error.
    pub(crate) result: String,
}

/// The calls of a trace, each at the place where it ended; reads and writes of an unfinished call count from its start
/// for `arguments` and to its end for `result`.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        let Some((at, text)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at) = at.parse::<f64>() else { continue };
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, start);
            continue;
        }
        let whole = match text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => format!("{}{end}", unfinished.remove(pid).unwrap_or_default()),
            None => text.to_owned(),
        };
        let Some((name, rest)) = whole.split_once('(') else { continue };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { continue };
        calls.push(Call {
            at,
            name: name.to_owned(),
            arguments: arguments.trim_end().to_owned(),
            result: result.trim().to_owned(),
        });
    }
    calls
}

impl Call {
    pub(crate) fn failed(&self) -> bool {
        self.result.starts_with('-')
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2")
    }

    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// Whether it hands an acknowledgement to a client.
    pub(crate) fn is_acknowledgement(&self) -> bool {
        let sends = self.is_write() || matches!(self.name.as_str(), "sendto" | "sendmsg");
        sends && !self.failed() && self.arguments.contains("HTTP/1.1 200")
    }

    /// The path of the first descriptor: `fdatasync(12</data/wal/1.seg>)`.
    pub(crate) fn path(&self) -> Option<&str> {
        let start = self.arguments.find('<')? + 1;
        let end = start + self.arguments[start..].find('>')?;
        Some(&self.arguments[start..end])
    }
}

/// What is wrong with the order of a trace in which one client waits for each answer before it sends on: an
/// acknowledgement with nothing written before it, or with something under `wal` written and not synced, or with a
/// new file whose folder is not synced.
pub(crate) fn violations(calls: &[Call], wal: &str) -> Vec<String> {
    let mut unsynced: BTreeSet<&str> = BTreeSet::new();
    let mut unlisted: BTreeSet<String> = BTreeSet::new();
    let mut writes = 0;
    let mut wrong = Vec::new();
    for call in calls {
        let path = call.path().filter(|path| path.starts_with(wal));
        match path {
            Some(path) if call.is_write() && !call.failed() => {
                unsynced.insert(path);
                writes += 1;
            }
            Some(path) if call.is_sync() && !call.failed() => {
                unsynced.remove(path);
                unlisted.retain(|file| std::path::Path::new(file).parent() != Some(std::path::Path::new(path)));
            }
            _ => {}
        }
        if call.name == "openat" && call.arguments.contains("O_CREAT") && !call.failed() {
            let created = call.result.find('<').map(|at| call.result[at + 1..].trim_end_matches('>'));
            unlisted.extend(created.filter(|path| path.starts_with(wal)).map(str::to_owned));
        }
        if call.is_acknowledgement() {
            if writes == 0 {
                wrong.push(format!("{:.6}: acknowledged, and nothing was written", call.at));
            }
            wrong.extend(unsynced.iter().map(|path| format!("{:.6}: acknowledged before the sync of {path}", call.at)));
            wrong.extend(unlisted.iter().map(|path| format!("{:.6}: acknowledged, {path} has no entry yet", call.at)));
            writes = 0;
        }
    }
    wrong
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let right = "\
7 100.0 openat(AT_FDCWD</x>, \"/d/wal/1.seg\", O_WRONLY|O_CREAT, 0600) = 9</d/wal/1.seg>
7 100.1 fsync(10</d/wal>) = 0
7 100.2 pwrite64(9</d/wal/1.seg>, \"frame\"..., 99, 0) = 99
7 100.3 fdatasync(9</d/wal/1.seg> <unfinished ...>
8 100.4 epoll_wait(3<anon_inode:[eventpoll]>, [], 1024, 0) = 0
7 100.5 <... fdatasync resumed>) = 0
8 100.6 sendto(11<socket:[1]>, \"HTTP/1.1 200 OK\"..., 99, MSG_NOSIGNAL, NULL, 0) = 99
";
    let wrong_of = |trace: &str| violations(&parse(trace), "/d/wal").len();
    assert_eq!(wrong_of(right), 0);
    let without = |what: &str| right.lines().filter(|line| !line.contains(what)).collect::<Vec<_>>().join("\n");
    assert_eq!(wrong_of(&without("fdatasync")), 1, "no fdatasync");
    assert_eq!(wrong_of(&without("fsync(10")), 1, "no sync of the folder");
    assert_eq!(wrong_of(&without("pwrite64")), 1, "nothing written");
    assert_eq!(
        wrong_of(&right.replace("fdatasync resumed>) = 0", "fdatasync resumed>) = -1 EIO (Input/output error)")),
        1
    );
    let late = right.replace("8 100.6 sendto", "8 100.35 sendto");
    let mut lines: Vec<&str> = late.lines().collect();
    let answer = lines.pop().unwrap();
    lines.insert(4, answer);
    assert_eq!(wrong_of(&lines.join("\n")), 1, "answered while the sync was running");
}
