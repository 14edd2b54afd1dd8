//! The client against servers, proxies and authorities of the tests' own.

mod peers;
mod plain;
mod tls;
