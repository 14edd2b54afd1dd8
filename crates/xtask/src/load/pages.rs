//! Ten thousand targets in one process: every address of 127.0.0.0/8 at one port answers a page, and every request is
//! written down with its time.
//!
//! A thread for each connection, with a small stack: it mostly sleeps in `read`, and nothing else of this machine's two
//! cores may go into being clever here.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};

const STACK_BYTES: usize = 64 << 10;

/// Pages that differ in their values, so that no scrape is like the one before.
const PAGES: usize = 16;

/// The address of target `number`: one host of 127.0.0.0/8 for each.
pub fn target(number: usize, port: u16) -> SocketAddr {
    let [_, b, c, d] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, b + 1, c, d)), port)
}

/// The number of the target at an address.
fn number(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(address) => {
            let [_, b, c, d] = address.octets();
            u32::from_be_bytes([0, b.saturating_sub(1), c, d]) as usize
        }
        IpAddr::V6(_) => 0,
    }
}

/// This program again, as the server of pages, with as many descriptors as it may have.
pub fn command(port: u16, series: usize) -> Result<Command> {
    let program = std::env::current_exe().context("this program's path")?;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""]).arg(program).arg("pages");
    command.args([port.to_string(), series.to_string()]);
    Ok(command)
}

/// Serves pages of `series` rows at `port`, until it is killed. `/log` tells what was asked since the last `/begin`,
/// `/taken` how many requests with a body came, and their bytes.
pub fn serve(port: u16, series: usize) -> Result<()> {
    let listener = listen(port).context("listen")?;
    let pages: Arc<[String]> = (0..PAGES).map(|turn| page(series, turn)).collect();
    let log = Arc::new(Mutex::new((Instant::now(), Vec::new())));
    for stream in listener.incoming() {
        let (stream, pages, log) = (stream?, Arc::clone(&pages), Arc::clone(&log));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn(move || drop(answer(&stream, &pages, &log))).context("a thread for a connection")?;
    }
    Ok(())
}

/// A listener that has room for all targets at once: whoever finds none comes again a second later.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that wait for their thread.
const BACKLOG: i32 = 4096;

/// Requests with a body, and bytes of these.
static TAKEN: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// Reads a request's body and drops it, as a receiver does that takes everything.
fn take(head: &str, reader: &mut impl Read) -> Result<()> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let taken = std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink())?;
    TAKEN.0.fetch_add(1, Ordering::Relaxed);
    TAKEN.1.fetch_add(taken, Ordering::Relaxed);
    Ok(())
}

type Log = Mutex<(Instant, Vec<(u32, u32)>)>;

fn answer(stream: &TcpStream, pages: &[String], log: &Log) -> Result<()> {
    let target = number(stream.local_addr()?) as u32;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::with_capacity(1 << 10, stream), stream);
    let (mut head, mut turn) = (String::new(), target as usize);
    loop {
        head.clear();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let mut said = String::new();
        if head.starts_with("POST ") {
            take(&head, &mut reader)?;
            writer.write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let body = if head.starts_with("GET /metrics ") {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let at = log.0.elapsed().as_millis() as u32;
            log.1.push((target, at));
            turn += 1;
            &pages[turn % PAGES]
        } else if head.starts_with("GET /taken ") {
            let _ = write!(said, "{} {}", TAKEN.0.load(Ordering::Relaxed), TAKEN.1.load(Ordering::Relaxed));
            &said
        } else {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if head.starts_with("GET /begin ") {
                *log = (Instant::now(), Vec::new());
            }
            log.1.iter().for_each(|(target, at)| {
                let _ = writeln!(said, "{target} {at}");
            });
            &said
        };
        let media = "text/plain; version=0.0.4";
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}");
        writer.write_all(answer.as_bytes())?;
    }
}

fn page(series: usize, turn: usize) -> String {
    let mut page =
        String::from("# HELP load_requests_total Requests by path.\n# TYPE load_requests_total counter\n");
    for row in 0..series {
        let value = (turn * 37 + row * 1009) % 100_000;
        let _ =
            writeln!(page, "load_requests_total{{path=\"/api/v1/resource/{row}\",method=\"GET\"}} {value}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_an_address_of_its_own() {
        for at in [0, 1, 255, 256, 9999, 65_536] {
            assert_eq!(number(target(at, 80)), at);
        }
        assert_eq!(target(9999, 80).to_string(), "127.1.39.15:80");
        assert_eq!(page(100, 3).lines().count(), 102);
    }
}
