//! One socket of datagrams: a thread that reads as many at once as have come.
//!
//! When few have come it lets some more gather: a wake for each datagram would cost more than the datagram. The pause is
//! far below what the kernel's buffer holds.

pub(crate) mod drops;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use self::drops::Drops;
use crate::metrics::Counter;

/// Datagrams that are read at once.
const BATCH: usize = 64;

/// The longest datagram: UDP has no longer ones, and no client packs to more on a Unix socket.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// How long datagrams gather after a read that got few.
const GATHER: Duration = Duration::from_micros(500);

/// Reads after which a stop does not wait for an empty socket any longer: somebody goes on sending.
const LAST_BATCHES: u32 = 4096;

/// How long to wait after an error: a socket that is broken for good must not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// How long a read waits for a datagram before it looks whether it should end.
pub(crate) const WAIT: Duration = Duration::from_millis(200);

/// How datagrams come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    UnixDatagram,
    UnixStream,
}

impl Transport {
    /// The value of the self-metrics' label `transport`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::UnixDatagram => "unix_datagram",
            Self::UnixStream => "unix_stream",
        }
    }
}

/// What is counted of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters<'a> {
    /// Datagrams that were read.
    pub(crate) read: &'a Counter,
    /// Those of them that were longer than a buffer.
    pub(crate) truncated: &'a Counter,
    /// What the kernel dropped.
    pub(crate) dropped: &'a Counter,
}

/// Reads until `stopping`, and hands what came at once to `take`.
pub(crate) fn read(
    socket: &OwnedFd,
    transport: Transport,
    counters: Counters<'_>,
    stopping: &AtomicBool,
    mut take: impl FnMut(&[&[u8]]),
) {
    let mut buffers = vec![0; BATCH * DATAGRAM_BYTES_MAX];
    let mut lengths = Vec::with_capacity(BATCH);
    let mut drops = Drops::new(transport, socket);
    let mut last_batches = LAST_BATCHES;
    loop {
        lengths.clear();
        match receive(socket, &mut buffers, &mut lengths, &mut drops) {
            Ok(truncated) => counters.truncated.add(truncated),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => drops.look(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, transport = transport.as_str(), "datagrams cannot be read");
                thread::sleep(ERROR_PAUSE);
            }
        }
        counters.dropped.add(drops.take());
        if !lengths.is_empty() {
            counters.read.add(lengths.len() as u64);
            let read = buffers.chunks_exact(DATAGRAM_BYTES_MAX).zip(&lengths);
            let read: Vec<&[u8]> = read.map(|(buffer, length)| &buffer[..*length]).collect();
            take(&read);
        }
        if stopping.load(Ordering::Relaxed) {
            last_batches -= 1;
            // What had come before is read by now, unless it does not end.
            if !lengths.is_empty() && last_batches > 0 {
                continue;
            }
            drops.look();
            counters.dropped.add(drops.take());
            return;
        }
        if !lengths.is_empty() && lengths.len() < BATCH / 4 {
            thread::sleep(GATHER);
        }
    }
}

/// Reads what has come, at least one datagram, each into its buffer; how many were longer than that.
#[cfg(target_os = "linux")]
fn receive(
    socket: &OwnedFd,
    buffers: &mut [u8],
    lengths: &mut Vec<usize>,
    drops: &mut Drops,
) -> io::Result<u64> {
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg};

    let mut slices: Vec<_> =
        buffers.chunks_exact_mut(DATAGRAM_BYTES_MAX).map(|buffer| [IoSliceMut::new(buffer)]).collect();
    // Made anew each time: the kernel leaves in it how much room for messages it used, not how much there is.
    let mut headers = MultiHeaders::<()>::preallocate(slices.len(), Some(nix::cmsg_space!(u32)));
    let flags = MsgFlags::MSG_WAITFORONE;
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)?;
    let mut cut = Vec::new();
    for message in received {
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            cut.push(lengths.len());
        }
        lengths.push(message.bytes);
        drops.came();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::RxqOvfl(count) = control {
                drops.told(count);
            }
        }
    }
    for number in &cut {
        let buffer = &buffers[number * DATAGRAM_BYTES_MAX..];
        lengths[*number] = whole_lines(&buffer[..lengths[*number]]);
    }
    Ok(cut.len() as u64)
}

/// Bytes of the lines that a cut datagram has as a whole: its last one may say something else than was sent.
#[cfg(target_os = "linux")]
fn whole_lines(datagram: &[u8]) -> usize {
    datagram.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)
}

/// One at a time, where the kernel has no call for more.
#[cfg(not(target_os = "linux"))]
fn receive(socket: &OwnedFd, buffers: &mut [u8], lengths: &mut Vec<usize>, _: &mut Drops) -> io::Result<u64> {
    use std::io::Read;
    let socket = SockRef::from(socket);
    lengths.push((&*socket).read(&mut buffers[..DATAGRAM_BYTES_MAX])?);
    Ok(0)
}

/// A UDP socket that waits [`WAIT`] at most, and tells what the kernel drops.
pub(crate) fn udp(address: SocketAddr, receive_buffer: u64) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(WAIT))?;
    widen(&socket, receive_buffer);
    drops::ask(&socket)?;
    Ok(socket)
}

/// Gives a socket a buffer of `bytes`, or as much as the kernel allows.
pub(crate) fn widen(socket: &Socket, bytes: u64) {
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(i32::MAX as usize / 2);
    #[cfg(target_os = "linux")]
    let forced =
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &wanted).is_ok();
    #[cfg(not(target_os = "linux"))]
    let forced = false;
    if forced {
        return;
    }
    let _ = SockRef::from(socket).set_recv_buffer_size(wanted);
    // The kernel says twice of what it was asked for: it counts its own bookkeeping.
    let given = socket.recv_buffer_size().unwrap_or(0) / 2;
    if given < wanted {
        tracing::warn!(
            wanted,
            given,
            "the kernel gives a smaller receive buffer than configured: raise net.core.rmem_max, or give CAP_NET_ADMIN"
        );
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn of_a_cut_datagram_whole_lines_are_read() {
        let (sender, receiver) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        sender.set_send_buffer_size(4 * DATAGRAM_BYTES_MAX).unwrap();
        let receiver = OwnedFd::from(receiver);
        let long = "x".repeat(DATAGRAM_BYTES_MAX - 10);
        for (datagram, whole, cut) in [
            ("a:1|c\nb:1|c".to_owned(), 11, 0),
            (format!("a:1|c\n{long}:123|c"), 5, 1),
            (format!("{long}:1234567890|c"), 0, 1),
        ] {
            sender.send(datagram.as_bytes()).unwrap();
            let mut buffers = vec![0; BATCH * DATAGRAM_BYTES_MAX];
            let (mut lengths, mut drops) = (Vec::new(), Drops::new(Transport::UnixDatagram, &receiver));
            assert_eq!(receive(&receiver, &mut buffers, &mut lengths, &mut drops).unwrap(), cut);
            assert_eq!(lengths, [whole]);
        }
    }
}
