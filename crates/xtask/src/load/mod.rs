//! Making load: an HTTP/1.1 client with nothing hidden, remote-write bodies, and what is sent in them.
//!
//! Written by hand on `TcpStream` because the benchmark shares its two cores with what it measures, and because the
//! rigs must know exactly when a request was sent and what came back. Everything that is sent comes from seeds, so that
//! it can be made once more when it is compared with what came back.

pub mod histogram;
pub mod http;
pub mod latencies;
pub mod mix;
pub mod pages;
pub mod process;
pub mod real;
pub mod remote_write;
mod requests;
pub mod sent;
pub mod workload;
