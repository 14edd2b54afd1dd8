//! Listeners of StatsD and DogStatsD.

use std::net::SocketAddr;
use std::path::PathBuf;

use dialects::statsd::Flavor;
use model::TenantName;

use super::section::section;
use super::value::{Scalar, Size};

impl Scalar for Flavor {
    const EXPECTED: &'static str = "dogstatsd or statsd";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "dogstatsd" => Some(Self::DogStatsD),
            "statsd" => Some(Self::StatsD),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::DogStatsD => "dogstatsd".to_owned(),
            Self::StatsD => "statsd".to_owned(),
        }
    }
}

impl Scalar for TenantName {
    const EXPECTED: &'static str = "a tenant's name";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

section! {
    /// Where StatsD and DogStatsD clients send: one such section, or a list of them. Nobody shows a credential here.
    Statsd {
        /// UDP address, usually 127.0.0.1:8125. Default: none.
        listen: Option<SocketAddr> = "", Restart;
        /// Path of a Unix datagram socket. Default: none.
        unix_datagram: Option<PathBuf> = "", Restart;
        /// Path of a Unix stream socket: datagrams, each behind its length in four bytes. Default: none.
        unix_stream: Option<PathBuf> = "", Restart;
        /// Whose metrics these are.
        tenant: TenantName = "default", Restart;
        /// What `x:-3|g` means. dogstatsd: the gauge is -3. statsd: it is 3 less than before.
        flavor: Flavor = "dogstatsd", Restart;
        /// Lets `listen` be another address than a loopback one: whoever reaches it writes to the tenant.
        allow_unauthenticated: bool = "false", Restart;
        /// Bytes that the kernel keeps of datagrams that wait. Without the capability CAP_NET_ADMIN the kernel gives
        /// net.core.rmem_max at most, and the log says so.
        receive_buffer: Size = "16MiB", Restart;
        /// The host of metrics that do not name one. Default: that of the system.
        hostname: Option<String> = "", Restart;
        /// Metrics of all listeners of the tenant at once (each name with its tags); those of further ones are refused.
        max_keys: u32 = "100000", Restart;
    }
}

impl Statsd {
    /// Whether it listens anywhere.
    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.unix_datagram.is_some() || self.unix_stream.is_some()
    }
}
