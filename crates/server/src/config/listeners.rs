//! Further addresses beside `listen`, for senders that have a port of their own in mind.

use std::net::SocketAddr;

use super::section::section;

section! {
    /// OpenTelemetry (OTLP).
    OtlpListeners {
        /// Where gRPC is expected, usually 127.0.0.1:4317. It is one more address of the same server, as `listen` is: tokens,
        /// TLS and every protocol are as there, which takes gRPC too. Default: none.
        grpc_listen: Option<SocketAddr> = "", Restart;
        /// Where HTTP is expected, usually 127.0.0.1:4318. The same in all else. Default: none.
        http_listen: Option<SocketAddr> = "", Restart;
    }
}

impl OtlpListeners {
    /// The addresses, each with its key.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [("otlp.grpc_listen", self.grpc_listen), ("otlp.http_listen", self.http_listen)]
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)))
    }
}
