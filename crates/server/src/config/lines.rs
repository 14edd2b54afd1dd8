//! Listeners of dialects that are streams of lines.

use std::net::SocketAddr;
use std::time::Duration;

use model::TenantName;

use super::section::section;
use super::value::Size;

section! {
    /// Where lines of this protocol are taken: one such section, or a list of them. Nobody shows a credential there.
    LineListener {
        /// TCP and UDP address. Default: none.
        listen: Option<SocketAddr> = "", Restart;
        /// Whose lines these are.
        tenant: TenantName = "default", Restart;
        /// Lets `listen` be another address than a loopback one: whoever reaches it writes to the tenant.
        allow_unauthenticated: bool = "false", Restart;
        /// TCP connections at once; further ones are closed.
        max_connections: u32 = "512", Restart;
        /// A TCP connection that brings nothing for this long is closed.
        idle_timeout: Duration = "5m", Restart;
        /// Bytes that the kernel keeps of datagrams that wait. Without the capability CAP_NET_ADMIN the kernel gives
        /// net.core.rmem_max at most, and the log says so.
        receive_buffer: Size = "4MiB", Restart;
    }
}
