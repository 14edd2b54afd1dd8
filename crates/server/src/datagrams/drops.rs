//! Datagrams that the kernel dropped because nobody read them in time: it counts them for each socket.
//!
//! The count comes with the next datagram (`SO_RXQ_OVFL`). When none comes it is read from the kernel's table of sockets,
//! so that what was dropped at the end of a flood is told as well.

use std::io;
use std::os::fd::OwnedFd;

use socket2::Socket;

use super::Transport;

/// The kernel's count of one socket, which wraps.
pub(crate) struct Drops {
    known: u32,
    untold: u64,
    /// Number of the socket in the kernel's table, for UDP.
    inode: Option<u64>,
    /// Whether datagrams came since the table was read.
    is_stale: bool,
}

impl Drops {
    pub(crate) fn new(transport: Transport, socket: &OwnedFd) -> Self {
        let inode = (transport == Transport::Udp).then(|| rustix::fs::fstat(socket).ok()).flatten();
        Self { known: 0, untold: 0, inode: inode.map(|stat| stat.st_ino), is_stale: false }
    }

    /// The count that came with a datagram.
    pub(crate) fn told(&mut self, count: u32) {
        // Counts only grow; a table that was read in between may be ahead of a datagram that waited.
        let more = count.wrapping_sub(self.known);
        if more <= u32::MAX / 2 {
            self.known = count;
            self.untold += u64::from(more);
        }
    }

    /// Looks into the kernel's table, unless nothing has come since.
    pub(crate) fn look(&mut self) {
        if let Some(inode) = self.inode.filter(|_| self.is_stale) {
            for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
                let text = env::real::read_text(table.as_ref()).unwrap_or_default();
                if let Some(count) = in_table(&text, inode) {
                    self.told(count);
                }
            }
            self.is_stale = false;
        }
    }

    /// Datagrams came.
    pub(crate) fn came(&mut self) {
        self.is_stale = true;
    }

    /// What was dropped since this was last asked.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }
}

/// The last column of the socket's line; the tenth is its number.
fn in_table(text: &str, inode: u64) -> Option<u32> {
    let line = text.lines().find(|line| {
        line.split_ascii_whitespace().nth(9).is_some_and(|column| column.parse() == Ok(inode))
    })?;
    line.split_ascii_whitespace().last()?.parse::<u64>().ok().map(|count| count as u32)
}

/// Asks the kernel to tell.
#[cfg(target_os = "linux")]
pub(crate) fn ask(socket: &Socket) -> io::Result<()> {
    Ok(nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RxqOvfl, &1)?)
}

/// Nothing is told here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ask(_: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_wrap_and_never_shrink() {
        let mut drops = Drops { known: 0, untold: 0, inode: None, is_stale: false };
        for (count, more) in [(5, 5), (5, 0), (3, 0), (9, 4), (u32::MAX / 2, u32::MAX / 2 - 9)] {
            drops.told(count);
            assert_eq!(drops.take(), u64::from(more), "{count}");
        }
        drops.told(u32::MAX - 1);
        drops.take();
        drops.told(3);
        assert_eq!(drops.take(), 5);
    }

    #[test]
    fn the_kernels_table_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                    8312: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48121 2 0000000000000000 1207\n";
        assert_eq!((in_table(text, 48121), in_table(text, 4812)), (Some(1207), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_nobody_read_is_counted_exactly() {
        let receiver = Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        receiver.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        receiver.set_recv_buffer_size(4096).unwrap();
        let address = receiver.local_addr().unwrap().as_socket().unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            sender.send_to(b"a:1|c", address).unwrap();
        }
        receiver.set_nonblocking(true).unwrap();
        let receiver = OwnedFd::from(receiver);
        let mut drops = Drops::new(Transport::Udp, &receiver);
        drops.came();
        drops.look();
        let mut read = 0;
        let mut buffer = [0; 64];
        while rustix::io::read(&receiver, &mut buffer).is_ok() {
            read += 1;
        }
        let dropped = drops.take();
        assert!(dropped > 0);
        assert_eq!(read + dropped, 1000);
    }
}
