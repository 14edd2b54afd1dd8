//! Questions to the system's name servers about records that its own resolver does not give.
//!
//! One question over UDP, again over TCP when the answer did not fit. Names are completed as `resolv.conf` says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use env::Env;
use env::real;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer over UDP.
const DATAGRAM: usize = 4096;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Occurs when it cannot be asked.
    #[error("no name of a host")]
    Name,
    /// Occurs when the system names no server.
    #[error("/etc/resolv.conf: {0}")]
    Servers(io::Error),
    /// Occurs when no server gives an answer that can be believed; what the last one said.
    #[error("{server}: {message}")]
    Server {
        /// The server.
        server: SocketAddr,
        /// What went wrong.
        message: String,
    },
}

/// Servers, and how names are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) addresses: Vec<SocketAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Servers {
    /// Those of the system.
    pub(super) fn of_system() -> Result<Self, NoAnswer> {
        real::read_text(Path::new("/etc/resolv.conf"))
            .map(|text| Self::parse(&text))
            .map_err(NoAnswer::Servers)
    }

    /// Reads the form of `resolv.conf`.
    pub(super) fn parse(text: &str) -> Self {
        let mut servers = Self { addresses: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.addresses.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => servers.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    servers.dots = dots.unwrap_or(servers.dots);
                }
                _ => {}
            }
        }
        servers
    }

    /// What a name may be short for, in the order in which it is tried.
    fn completions(&self, name: &str) -> Vec<String> {
        let plain = name.trim_end_matches('.');
        if name.ends_with('.') {
            return vec![plain.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{plain}.{}", domain.trim_matches('.')));
        let mut names: Vec<String> = searched.collect();
        let is_long = plain.matches('.').count() >= self.dots;
        names.insert(if is_long { 0 } else { names.len() }, plain.to_owned());
        names
    }

    /// Asks for the records of `name` and hands the answer over. A name that does not exist has an empty answer; an error
    /// means that nobody knows.
    pub(super) async fn ask<T: Default>(
        &self,
        name: &str,
        kind: TYPE,
        env: &Env,
        read: impl Fn(&Packet<'_>) -> T,
    ) -> Result<T, NoAnswer> {
        let mut failure = None;
        for full in self.completions(name) {
            match self.ask_any(&full, kind, env).await {
                Ok(Some(bytes)) => match Packet::parse(&bytes) {
                    Ok(packet) => return Ok(read(&packet)),
                    Err(_) => failure = Some(NoAnswer::Name),
                },
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(T::default()), Err)
    }

    /// The first answer of any server; `None` when the name does not exist.
    async fn ask_any(&self, name: &str, kind: TYPE, env: &Env) -> Result<Option<Vec<u8>>, NoAnswer> {
        let none = || NoAnswer::Servers(io::Error::new(io::ErrorKind::NotFound, "it names no server"));
        let mut failure = none();
        for &server in &self.addresses {
            let id = (env.random_u64() & 0xffff) as u16;
            let question = question(id, name, kind)?;
            let failed = |message: String| NoAnswer::Server { server, message };
            let answer = match timeout(PATIENCE, exchange(server, id, &question)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    failure = failed(error.to_string());
                    continue;
                }
                Err(_) => {
                    failure = failed(format!("no answer within {PATIENCE:?}"));
                    continue;
                }
            };
            match Packet::parse(&answer).map(|packet| packet.rcode()) {
                Ok(RCODE::NoError) => return Ok(Some(answer)),
                Ok(RCODE::NameError) => return Ok(None),
                Ok(code) => failure = failed(format!("{code:?}")),
                Err(error) => failure = failed(error.to_string()),
            }
        }
        Err(failure)
    }
}

fn question(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, NoAnswer> {
    let name = Name::new(name).map_err(|_| NoAnswer::Name)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|_| NoAnswer::Name)
}

/// Asks over UDP, and over TCP what does not fit.
async fn exchange(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    // Connected: the kernel drops what comes from anybody else.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut bytes = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let answer = &bytes[..length];
        let Ok(packet) = Packet::parse(answer) else {
            // A cut answer may end within a record.
            if is_answer(answer, id) && answer[2] & 0x02 != 0 {
                return over_tcp(server, id, question).await;
            }
            continue;
        };
        if packet.id() != id || !is_same_question(&packet, question) {
            continue;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return over_tcp(server, id, question).await;
        }
        bytes.truncate(length);
        return Ok(bytes);
    }
}

async fn over_tcp(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    if is_answer(&bytes, id) { Ok(bytes) } else { Err(io::Error::other("it answers something else")) }
}

/// Whether a message is an answer to the question `id`.
fn is_answer(bytes: &[u8], id: u16) -> bool {
    bytes.len() >= 12 && bytes[..2] == id.to_be_bytes() && bytes[2] & 0x80 != 0
}

fn is_same_question(answer: &Packet<'_>, question: &[u8]) -> bool {
    let Ok(asked) = Packet::parse(question) else { return false };
    match (answer.questions.first(), asked.questions.first()) {
        (Some(repeated), Some(asked)) => {
            let same_name = repeated.qname.to_string().eq_ignore_ascii_case(&asked.qname.to_string());
            same_name && repeated.qtype == asked.qtype
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_resolv_conf_says() {
        let servers = Servers::parse(
            "# c\nnameserver 10.0.0.2\nnameserver fd00::1\nsearch a.example b.example.\noptions timeout:1 ndots:2\n",
        );
        assert_eq!(servers.addresses, ["10.0.0.2:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
        assert_eq!(servers.completions("x.y.z"), ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]);
        assert_eq!(servers.completions("x.y"), ["x.y.a.example", "x.y.b.example", "x.y"]);
        assert_eq!(servers.completions("x."), ["x"]);
        assert_eq!(Servers::parse("").completions("x.y"), ["x.y"]);
    }
}
