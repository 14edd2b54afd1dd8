//! Who is behind a proxy: `X-Forwarded-For`, `-Proto` and `-Host`, believed only from `trusted_proxies`.
//!
//! Anybody can write these headers. They count only when the connection itself comes from a trusted address, and of
//! the addresses listed the last one that is not itself a trusted proxy is the client.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The networks whose proxies are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

/// The client as it appears behind all trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The host it asked for, when a trusted proxy says so.
    pub host: Option<String>,
    /// `http` or `https`, when a trusted proxy says so.
    pub scheme: Option<&'static str>,
}

impl Proxies {
    /// Believes proxies in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this address is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind a connection from `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        if !self.trusts(peer) {
            return Client { address: peer, host: None, scheme: None };
        }
        let forwarded: Vec<&str> = values(headers, "x-forwarded-for").collect();
        let mut address = peer;
        for text in forwarded.iter().rev() {
            let Some(hop) = parse_address(text) else { break };
            address = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        // The nearest proxy's word is the last one.
        let host = values(headers, "x-forwarded-host").last().map(str::to_owned);
        let scheme = values(headers, "x-forwarded-proto").last().and_then(|scheme| match scheme {
            "http" => Some("http"),
            "https" => Some("https"),
            _ => None,
        });
        Client { address, host, scheme }
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    bare.parse().ok().or_else(|| text.parse::<core::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> (String, Option<String>) {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let client = proxies.client(peer.parse().unwrap(), &map);
        (client.address.to_string(), client.host)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let spoofed = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-host", "acme.example")];
        assert_eq!(client("192.0.2.1", &spoofed), ("192.0.2.1".into(), None));
        assert_eq!(client("10.0.0.1", &spoofed), ("1.2.3.4".into(), Some("acme.example".into())));
        assert_eq!(client("::ffff:10.0.0.1", &spoofed).0, "1.2.3.4");
    }

    #[test]
    fn the_client_is_the_last_address_that_no_proxy_has() {
        let chain = [("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(client("10.0.0.1", &chain).0, "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, nonsense")]).0, "10.0.0.1");
        assert_eq!(client("fd00::1", &[("x-forwarded-for", "[2001:db8::1]:443")]).0, "2001:db8::1");
    }
}
