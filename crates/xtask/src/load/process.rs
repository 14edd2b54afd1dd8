//! A server under test: started, watched from outside, killed.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::http::Connection;

/// Ticks a second of `/proc/PID/stat`; fixed by the kernel's user interface on Linux.
const TICKS: f64 = 100.0;

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it answers HTTP.
    pub address: SocketAddr,
}

impl Process {
    /// Starts a command with its output appended to `log`.
    pub fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, address })
    }

    /// Waits until a GET of `path` answers 200. Fails when the process ends or `limit` is over.
    pub fn wait_ready(&mut self, path: &str, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended before it was ready: {status}");
            }
            let answer = Connection::open(self.address, None).and_then(|mut connection| connection.get(path));
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                bail!("not ready after {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; returns its exit status, or fails after `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let id = self.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("run kill")?;
        self.wait(limit)
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("still running after {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU seconds (user and system) since its start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field is the name in parentheses, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("/proc/PID/stat has another shape")?;
        Ok((user + system) / TICKS)
    }

    /// Bytes that it made the kernel write to the disk.
    pub fn written_bytes(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.id()))?;
        let value = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
        value.context("no write_bytes in /proc/PID/io")
    }

    /// Files and sockets that it has open.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    /// A line of `/proc/PID/status` in bytes: `VmRSS`, `RssAnon`, `VmHWM`.
    pub fn memory_bytes(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes = value.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.with_context(|| format!("no {line} in /proc/PID/status"))? << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that a file, or a directory with everything in it, takes on the disk, as `du` counts: whole blocks, directories
/// too. What has several names counts once, what vanishes meanwhile not at all.
pub fn disk_bytes(path: &Path) -> u64 {
    walk(path).map(|metadata| metadata.blocks() * 512).sum()
}

/// The lengths of all files in a directory, or of one file.
pub fn file_bytes(path: &Path) -> u64 {
    walk(path).filter(Metadata::is_file).map(|metadata| metadata.len()).sum()
}

/// Everything under a path, itself included, each once whatever names it has.
fn walk(path: &Path) -> impl Iterator<Item = Metadata> {
    let (mut seen, mut pending) = (HashSet::new(), vec![path.to_path_buf()]);
    std::iter::from_fn(move || {
        while let Some(path) = pending.pop() {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
            if seen.insert((metadata.dev(), metadata.ino())) {
                return Some(metadata);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_as_big_as_du_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        fs::write(inner.join("file"), vec![1; 10_000]).expect("a file");
        fs::hard_link(inner.join("file"), directory.path().join("again")).expect("a link");
        let output =
            Command::new("du").args(["-s", "-B", "1"]).arg(directory.path()).output().expect("du runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let du: u64 =
            text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
        assert_eq!(disk_bytes(directory.path()), du);
        assert_eq!(file_bytes(directory.path()), 10_000);
        assert_eq!(file_bytes(&inner.join("file")), 10_000);
    }
}
