//! Making load: an HTTP/1.1 client with nothing hidden, remote-write bodies, and the synthetic node_exporter mix.
//!
//! Written by hand on `TcpStream` because the benchmark shares its two cores with what it measures, and because the
//! rigs must know exactly when a request was sent and what came back.

pub mod http;
pub mod mix;
pub mod process;
pub mod real;
pub mod remote_write;
