//! The order of sync and answer, watched from outside with strace.
//!
//! For each 2xx on a socket there must be a write to the log that began after the request's last bytes were read, and
//! an fdatasync of that file that began after that write had ended and ended well before the answer began. When the
//! file was made during the trace, its directory must have been synced in between too. With one connection this is
//! exact; with several it is what can be told from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::weir::{self, Home, SMALL};
use super::writer::{Writer, now_ms};

/// System calls that are looked at.
const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fdatasync,fsync,\
    openat,rename,renameat,renameat2";

/// Fewer answers than this prove nothing.
const ANSWERS_MIN: usize = 50;

/// What a trace showed.
#[derive(Debug, Default)]
pub struct Report {
    /// 2xx answers to writes.
    pub answers: usize,
    /// Segments that were made and then used.
    pub segments: usize,
    /// What was wrong, in words.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, segments, violations } = self;
        write!(f, "order: {answers} answers, {segments} new segments, {} too early", violations.len())?;
        violations.iter().take(5).try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// Traces a binary under the load of one connection, then of four. `durability` is the configured one.
pub fn order(binary: &Path, durability: &str, seed: u64) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let storage = format!("storage:\n  durability: {durability}\n");
    let config = SMALL.replacen("storage:\n", &storage, 1) + "tenants:\n  one: {}\n";
    let home = Home::new(binary, directory.path(), &directory.path().join("data"), &config);
    let mut report = Report::default();
    for writers in [1, 4] {
        let trace = directory.path().join("strace");
        let mut process = home.spawn(&strace(&trace))?;
        home.wait_ready(&mut process)?;
        load(process.address, writers, seed)?;
        if let Some(child) = weir::child_of(process.id()) {
            std::process::Command::new("kill").args(["-TERM", &child.to_string()]).status()?;
        }
        process.wait(Duration::from_secs(60))?;
        let part = check(&events(&fs::read_to_string(&trace)?));
        ensure!(part.answers >= ANSWERS_MIN, "only {} answers with {writers} connections", part.answers);
        report.answers += part.answers;
        report.segments += part.segments;
        report.violations.extend(part.violations);
    }
    ensure!(report.segments > 1, "no new segment was used: {report}");
    Ok(report)
}

fn strace(trace: &Path) -> Vec<String> {
    let trace = trace.display().to_string();
    ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "24", "-o", &trace, "-e", &format!("trace={CALLS}")]
        .map(str::to_owned)
        .to_vec()
}

fn load(address: std::net::SocketAddr, writers: u64, seed: u64) -> Result<()> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..writers)
            .map(|nth| {
                let stop = &stop;
                let mut writer = Writer::new("one", &format!("w{nth}"), seed + nth, now_ms());
                scope.spawn(move || writer.run(address, stop))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::SeqCst);
        running
            .into_iter()
            .try_for_each(|writer| writer.join().unwrap_or_else(|_| bail!("a writer panicked")))
    })
}

/// A system call: when it began and ended, as line numbers of the trace, which is in causal order.
#[derive(Debug)]
struct Event {
    call: String,
    /// What the first descriptor is: a path, or `socket:[…]`.
    on: String,
    arguments: String,
    begin: usize,
    end: usize,
    /// 0 or more.
    good: bool,
    /// More than 0.
    some: bool,
}

/// Joins unfinished and resumed calls.
fn events(trace: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(process, (number, start));
        } else if rest.starts_with("<... ") {
            let Some((begin, start)) = unfinished.remove(process) else { continue };
            let tail = rest.split_once("resumed>").map_or("", |(_, tail)| tail);
            events.extend(event(&format!("{start}{tail}"), begin, number));
        } else {
            events.extend(event(rest, number, number));
        }
    }
    events.sort_by_key(|event| event.end);
    events
}

fn event(text: &str, begin: usize, end: usize) -> Option<Event> {
    let (call, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result: i64 = result.split([' ', '<']).next()?.parse().ok()?;
    let on = match call {
        // The opened file is named by the result: 7</path>.
        "openat" => text.rsplit_once(" = ")?.1.split_once('<')?.1.trim_end().strip_suffix('>')?,
        _ => arguments.split_once('<')?.1.split('>').next()?,
    };
    let (call, on, arguments) = (call.to_owned(), on.to_owned(), arguments.to_owned());
    Some(Event { call, on, arguments, begin, end, good: result >= 0, some: result > 0 })
}

impl Event {
    fn is_of_socket(&self) -> bool {
        self.on.starts_with("socket:") || self.on.starts_with("TCP")
    }

    fn is_read(&self) -> bool {
        self.is_of_socket() && self.some && (self.call.starts_with("read") || self.call.starts_with("recv"))
    }

    fn is_write(&self) -> bool {
        self.call.contains("write") || self.call.starts_with("send")
    }

    fn is_sync(&self) -> bool {
        self.good && (self.call == "fdatasync" || self.call == "fsync")
    }

    fn is_of_log(&self) -> bool {
        self.on.ends_with(".wal")
    }
}

fn check(events: &[Event]) -> Report {
    let mut report = Report::default();
    let log_writes: Vec<&Event> =
        events.iter().filter(|event| event.is_of_log() && event.is_write()).collect();
    let syncs: Vec<&Event> = events.iter().filter(|event| event.is_sync()).collect();
    let made: BTreeMap<&str, &Event> = events
        .iter()
        .filter(|event| event.call == "openat" && event.is_of_log() && event.arguments.contains("O_CREAT"))
        .map(|event| (event.on.as_str(), event))
        .collect();
    let mut requests: BTreeMap<&str, usize> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for event in events.iter().filter(|event| event.is_of_socket()) {
        if event.is_read() {
            if event.arguments.contains("\"GET ") {
                requests.remove(event.on.as_str());
            } else if event.arguments.contains("\"POST /api/v1/write")
                || requests.contains_key(event.on.as_str())
            {
                requests.insert(&event.on, event.end);
            }
        } else if event.is_write() && event.arguments.contains("\"HTTP/1.1 2") {
            let Some(read) = requests.get(event.on.as_str()) else { continue };
            report.answers += 1;
            match covering(*read, event.begin, &log_writes, &syncs) {
                None => {
                    report.violations.push(format!("line {}: no sync covers this answer", event.begin + 1))
                }
                Some(file) => {
                    if let Some(made) = made.get(file) {
                        used.insert(file);
                        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                        let between = |sync: &&&Event| sync.begin > made.end && sync.end < event.begin;
                        if !syncs.iter().filter(between).any(|sync| sync.on == folder) {
                            report
                                .violations
                                .push(format!("line {}: {folder} was not synced", event.begin + 1));
                        }
                    }
                }
            }
        }
    }
    report.segments = used.len();
    report
}

/// The file of a log write after `read` whose sync was over before `answer`.
fn covering<'a>(read: usize, answer: usize, writes: &[&'a Event], syncs: &[&Event]) -> Option<&'a str> {
    let written = writes.iter().filter(|write| write.begin > read && write.end < answer);
    let mut synced = written.filter(|write| {
        let covers = |sync: &&&Event| sync.on == write.on && sync.begin > write.end && sync.end < answer;
        syncs.iter().any(|sync| covers(&sync))
    });
    synced.next().map(|write| write.on.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"1 recvfrom(9<socket:[5]>, "POST /api/v1/write HTTP/"..., 8192, 0, NULL, NULL) = 300
2 openat(AT_FDCWD</d>, "/d/wal/1.wal", O_RDWR|O_CREAT, 0666) = 7</d/wal/1.wal>
2 pwrite64(7</d/wal/1.wal>, "abc"..., 300, 40) = 300
2 fdatasync(7</d/wal/1.wal> <unfinished ...>
1 write(3<anon_inode:[eventfd]>, "\1"..., 8) = 8
2 <... fdatasync resumed>) = 0
2 fsync(8</d/wal>) = 0
1 sendto(9<socket:[5]>, "HTTP/1.1 204 No Content\r"..., 99, MSG_NOSIGNAL, NULL, 0) = 99
"#;

    fn violations(trace: &str) -> usize {
        let report = check(&events(trace));
        assert_eq!(report.answers, 1);
        report.violations.len()
    }

    #[test]
    fn a_good_trace_and_ways_to_be_bad() {
        assert_eq!(violations(GOOD), 0);
        let without = |line: &str| {
            let lines: Vec<&str> = GOOD.lines().filter(|text| !text.contains(line)).collect();
            lines.join("\n")
        };
        assert_eq!(violations(&without("fdatasync")), 1, "no sync");
        assert_eq!(violations(&without("fsync(8")), 1, "no directory sync");
        let failed = GOOD.replace("resumed>) = 0", "resumed>) = -1 EIO (Input/output error)");
        assert_eq!(violations(&failed), 1, "a failed sync");
        let mut lines: Vec<&str> = GOOD.lines().collect();
        lines.swap(5, 7);
        assert_eq!(violations(&lines.join("\n")), 1, "the sync ends after the answer");
        lines = GOOD.lines().collect();
        lines.rotate_left(1);
        lines.insert(6, lines[7]);
        lines.pop();
        assert_eq!(violations(&lines.join("\n")), 1, "the write is of an earlier request");
    }
}
