//! Which proxy a request goes through, by the rules of Go's `httpproxy`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::HttpConfig;
use crate::url::{Scheme, Url};

/// The proxies of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Exceptions,
}

/// Who is asked without a proxy.
#[derive(Clone, Debug, Default)]
struct Exceptions {
    rules: Vec<Rule>,
    /// Whether this machine itself is one: it is unless a proxy is named without exceptions.
    local: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// A domain and what lies below it, or only that.
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// What the configuration names. `variable` reads the environment.
    pub(crate) fn new(config: &HttpConfig, variable: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(url) = &config.proxy_url {
            let except = Exceptions::new(&config.no_proxy, !config.no_proxy.trim().is_empty());
            return Self { http: Some(url.clone()), https: Some(url.clone()), except };
        }
        if !config.proxy_from_environment {
            return Self::default();
        }
        let either = |name: &str| {
            variable(name).or_else(|| variable(&name.to_ascii_lowercase())).filter(|value| !value.is_empty())
        };
        // A bare host is one over http, as in Go.
        let url = |name: &str| {
            let text = either(name)?;
            Url::parse_any(&text).or_else(|_| Url::parse_any(&format!("http://{text}"))).ok()
        };
        let except = Exceptions::new(&either("NO_PROXY").unwrap_or_default(), true);
        Self { http: url("HTTP_PROXY"), https: url("HTTPS_PROXY"), except }
    }

    /// The proxy through which `url` is asked.
    pub(crate) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            Scheme::Https => self.https.as_ref(),
            _ => self.http.as_ref(),
        };
        proxy.filter(|_| !self.except.hold(url.host(), url.port()))
    }
}

impl Exceptions {
    fn new(text: &str, local: bool) -> Self {
        let entries = text.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        Self { rules: entries.filter_map(|entry| Rule::parse(&entry)).collect(), local }
    }

    fn hold(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        (self.local && is_local) || self.rules.iter().any(|rule| rule.holds(host, address, port))
    }
}

impl Rule {
    fn parse(entry: &str) -> Option<Self> {
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = entry.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let below = host.strip_prefix('*').unwrap_or(host);
        let (name, itself) = match below.strip_prefix('.') {
            Some(name) => (name, false),
            None => (below, true),
        };
        (!name.is_empty()).then(|| Self::Domain { name: name.to_owned(), itself, port })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let same_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(wanted, wanted_port) => address == Some(*wanted) && same_port(wanted_port),
            Self::Domain { name, itself, port: wanted } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (below || (*itself && host == name)) && same_port(wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(no_proxy: &str) -> HttpConfig {
        let proxy_url = Some(Url::parse_any("http://proxy:3128").unwrap());
        HttpConfig { proxy_url, no_proxy: no_proxy.to_owned(), ..HttpConfig::default() }
    }

    fn is_proxied(no_proxy: &str, url: &str) -> bool {
        Proxies::new(&config(no_proxy), |_| None).of(&Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn exceptions_are_those_of_go() {
        let cases = [
            ("", "http://localhost/", true),
            ("x", "http://localhost/", false),
            ("x", "http://127.0.0.2:80/", false),
            ("x", "http://[::1]/", false),
            ("x", "http://y/", true),
            ("*", "http://y/", false),
            ("foo.com", "http://foo.com/", false),
            ("foo.com", "http://a.foo.com/", false),
            ("foo.com", "http://afoo.com/", true),
            (".foo.com", "http://foo.com/", true),
            (".foo.com", "http://a.foo.com/", false),
            ("*.foo.com", "http://a.b.foo.com/", false),
            ("*.foo.com", "http://foo.com/", true),
            ("foo.com:81", "http://foo.com:81/", false),
            ("foo.com:81", "http://foo.com/", true),
            ("10.0.0.0/8, FOO.com", "http://10.1.2.3/", false),
            ("10.0.0.0/8, FOO.com", "http://foo.com/", false),
            ("10.0.0.0/8", "http://11.1.2.3/", true),
            ("10.0.0.1", "http://10.0.0.1:9/", false),
            ("10.0.0.1:8", "http://10.0.0.1:9/", true),
            ("fd00::1", "http://[fd00::1]/", false),
            ("[fd00::1]:9", "http://[fd00::1]:9/", false),
        ];
        for (no_proxy, url, proxied) in cases {
            assert_eq!(is_proxied(no_proxy, url), proxied, "{no_proxy} {url}");
        }
    }

    #[test]
    fn the_environment_names_proxies_by_scheme() {
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("plain:1".to_owned()),
            "https_proxy" => Some("http://secure:2".to_owned()),
            "NO_PROXY" => Some("inside".to_owned()),
            _ => None,
        };
        let config = HttpConfig { proxy_from_environment: true, ..HttpConfig::default() };
        let proxies = Proxies::new(&config, variable);
        let of = |url: &str| proxies.of(&Url::parse(url).unwrap()).map(Url::host_and_port);
        assert_eq!(of("http://a/"), Some("plain:1".to_owned()));
        assert_eq!(of("https://a/"), Some("secure:2".to_owned()));
        assert_eq!(of("https://inside/"), None);
        assert_eq!(of("http://127.0.0.1/"), None);
        assert!(
            Proxies::new(&HttpConfig::default(), variable).of(&Url::parse("http://a/").unwrap()).is_none()
        );
    }
}
