//! Ten thousand connections that send one byte of a head and stay, against the real binary: others are served, memory
//! is bounded, and all of them are gone when their time is up.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use env::Env;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as there should be.
const CONNECTIONS: usize = 10_000;
/// Descriptors that this process needs for itself.
const OWN: usize = 100;
/// What a connection may cost, everything in the process that comes with it included.
const BYTES_EACH_MAX: u64 = 10 << 10;

struct Weir {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Weir {
    fn start(connections_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
            .arg(directory.path())
            .env("WEIR_HTTP__MAX_CONNECTIONS", connections_max.to_string())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some((_, rest)) = line.split_once("127.0.0.1:") {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                if let Ok(port) = port.parse::<u16>()
                    && port > 0
                {
                    break SocketAddr::from(([127, 0, 0, 1], port));
                }
            }
        };
        // Nobody reads what else it has to say, and it must not wait for that.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, directory }
    }

    /// A whole exchange; how long it took.
    fn get(&self, path: &str) -> (String, Duration) {
        let token = std::fs::read_to_string(self.directory.path().join("admin-api-token")).unwrap();
        let clock = Env::real().clock;
        let began = clock.monotonic();
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: weir\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token.trim()
        );
        let mut answer = String::new();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.read_to_string(&mut answer);
        (answer, clock.monotonic() - began)
    }

    fn metric(&self, name: &str) -> f64 {
        let (answer, _) = self.get("/metrics");
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {answer}"))
    }

    /// How many connections it holds: the kernel may still have some for it, so it is asked until it has them all or
    /// the time is over.
    fn held(&self, wanted: usize, within: Duration) -> usize {
        let clock = Env::real().clock;
        let began = clock.monotonic();
        loop {
            let held = self.metric("weir_connections") as usize;
            if held >= wanted || clock.monotonic() - began >= within {
                return held;
            }
        }
    }

    fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many connections this process may open.
fn connections() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let possible = maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
    // The server keeps a quarter of its descriptors for files.
    let possible = (possible / 4 * 3).saturating_sub(OWN).min(CONNECTIONS);
    if possible < CONNECTIONS {
        println!("only {possible} connections: the hard limit of descriptors is {maximum:?}");
    }
    possible
}

fn flood(weir: &Weir, connections: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(weir.address).unwrap();
        // One that had to make way already is no failure of this test.
        let _ = stream.write_all(b"G");
        stream
    };
    (0..connections).map(open).collect()
}

fn is_served(weir: &Weir) {
    let (answer, took) = weir.get("/-/healthy");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Waits until the server has closed each of them.
fn all_are_closed(streams: Vec<TcpStream>, within: Duration) {
    let clock = Env::real().clock;
    let began = clock.monotonic();
    for mut stream in streams {
        let left = within.saturating_sub(clock.monotonic() - began).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut [0; 16]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("still open after {within:?}: {other:?}"),
        }
    }
}

#[test]
fn rig_ten_thousand_slow_heads_are_held_and_closed() {
    let weir = Weir::start(CONNECTIONS + 10);
    is_served(&weir);
    let connections = connections();
    let before = weir.resident();
    let clock = Env::real().clock;
    let began = clock.monotonic();
    let streams = flood(&weir, connections);
    let opened = clock.monotonic() - began;
    is_served(&weir);
    let held = weir.held(connections, Duration::from_secs(9).saturating_sub(clock.monotonic() - began));
    let each = (weir.resident() - before) / held.max(1) as u64;
    println!("{held} of {connections} held, opened in {opened:?}, {each} bytes of memory each");
    if opened < Duration::from_secs(9) {
        assert!(held >= connections, "{held}");
    } else {
        println!("too slow a machine to hold them all at once");
    }
    assert!(each < BYTES_EACH_MAX, "{each}");
    is_served(&weir);
    all_are_closed(streams, Duration::from_secs(11));
    let took = clock.monotonic() - began;
    println!("all closed after {took:?}");
    assert!(took > Duration::from_secs(9), "{took:?}");
    assert_eq!(weir.metric("weir_connections_refused_total"), 0.0);
    is_served(&weir);
}

#[test]
fn rig_ten_thousand_slow_heads_beyond_the_limit_make_way() {
    let weir = Weir::start(1000);
    is_served(&weir);
    let connections = connections();
    let before = weir.resident();
    let streams = flood(&weir, connections);
    is_served(&weir);
    let held = weir.metric("weir_connections");
    let grown = weir.resident().saturating_sub(before);
    println!("{held} of {connections} held, {grown} bytes of memory for all");
    assert!(held <= 1000.0, "{held}");
    assert!(grown < 1000 * BYTES_EACH_MAX + (16 << 20), "{grown}");
    assert_eq!(weir.metric("weir_connections_refused_total"), 0.0);
    all_are_closed(streams, Duration::from_secs(11));
    is_served(&weir);
}
