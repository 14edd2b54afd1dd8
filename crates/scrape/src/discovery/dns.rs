//! `dns_sd_configs`: targets that stand in DNS.
//!
//! Addresses (A, AAAA) are asked of the system, with its hosts file; services, mail and name servers of the name servers
//! themselves ([`super::ask`]).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use env::Env;
use simple_dns::TYPE;
use simple_dns::rdata::RData;
use tokio::sync::watch;

use super::ask::{NoAnswer, Servers};
use super::{Counts, TargetGroup, pause, tell};
use crate::config::{DnsDiscovery, DnsType};
use crate::target::ADDRESS;

/// Names that are asked for.
#[derive(Debug)]
pub(super) struct Dns {
    config: DnsDiscovery,
    env: Env,
    /// Only in tests; otherwise the system says whom to ask.
    servers: Option<Servers>,
}

/// A record: where it leads, and at which port if it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    host: String,
    port: Option<u16>,
}

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Asked(#[from] NoAnswer),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Dns {
    pub(super) fn new(config: &DnsDiscovery, env: &Env) -> Self {
        Self { config: config.clone(), env: env.clone(), servers: None }
    }

    #[cfg(test)]
    pub(super) fn with_servers(self, servers: Servers) -> Self {
        Self { servers: Some(servers), ..self }
    }

    pub(super) fn place(&self) -> String {
        let DnsDiscovery { names, kind, port, .. } = &self.config;
        format!("dns {kind:?} {port} {names:?}")
    }

    pub(super) async fn run(self, sink: &watch::Sender<Vec<TargetGroup>>, counts: &Counts) {
        let mut last = None;
        let before = sink.borrow().clone();
        let named = |group: TargetGroup| {
            let name = self.config.names.iter().find(|name| **name == group.source)?;
            Some((name.as_str(), group))
        };
        let mut groups: BTreeMap<&str, TargetGroup> = before.into_iter().filter_map(named).collect();
        loop {
            counts.refresh();
            for name in &self.config.names {
                match self.records(name).await {
                    Ok(records) => {
                        groups.insert(name, self.group(name, &records));
                    }
                    Err(error) => counts.failure("dns", name, &error),
                }
            }
            tell(sink, &mut last, counts, "dns", groups.values().cloned().collect());
            if pause(sink, self.config.refresh_interval).await.is_none() {
                return;
            }
        }
    }

    async fn records(&self, name: &str) -> Result<Vec<Record>, Unknown> {
        let kind = match self.config.kind {
            DnsType::A | DnsType::Aaaa => return Ok(self.addresses(name).await?),
            DnsType::Srv => TYPE::SRV,
            DnsType::Mx => TYPE::MX,
            DnsType::Ns => TYPE::NS,
        };
        let servers = match &self.servers {
            Some(servers) => servers.clone(),
            None => Servers::of_system()?,
        };
        let read = |packet: &simple_dns::Packet<'_>| -> Vec<Record> {
            let record = |data: &RData<'_>| match data {
                RData::SRV(srv) if kind == TYPE::SRV => {
                    Some(Record { host: srv.target.to_string(), port: Some(srv.port) })
                }
                RData::MX(mx) if kind == TYPE::MX => {
                    Some(Record { host: mx.exchange.to_string(), port: None })
                }
                RData::NS(ns) if kind == TYPE::NS => Some(Record { host: ns.0.to_string(), port: None }),
                _ => None,
            };
            packet.answers.iter().filter_map(|answer| record(&answer.rdata)).collect()
        };
        Ok(servers.ask(name, kind, &self.env, read).await?)
    }

    async fn addresses(&self, name: &str) -> io::Result<Vec<Record>> {
        let wants_v4 = self.config.kind == DnsType::A;
        let found = tokio::net::lookup_host((name, 0)).await?;
        let mut hosts: Vec<IpAddr> =
            found.map(|address| address.ip()).filter(|address| address.is_ipv4() == wants_v4).collect();
        // Servers turn the order of addresses about.
        hosts.sort();
        hosts.dedup();
        Ok(hosts.into_iter().map(|host| Record { host: host.to_string(), port: None }).collect())
    }

    fn group(&self, name: &str, records: &[Record]) -> TargetGroup {
        let target = |record: &Record| {
            let port = record.port.unwrap_or(self.config.port);
            let host = &record.host;
            let address =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            let mut labels = BTreeMap::from([
                (ADDRESS.to_owned(), address),
                ("__meta_dns_name".to_owned(), name.to_owned()),
            ]);
            // Names in records end in a dot.
            let full = format!("{host}.");
            match self.config.kind {
                DnsType::Srv => {
                    labels.insert("__meta_dns_srv_record_target".to_owned(), full);
                    labels.insert("__meta_dns_srv_record_port".to_owned(), port.to_string());
                }
                DnsType::Mx => drop(labels.insert("__meta_dns_mx_record_target".to_owned(), full)),
                DnsType::Ns => drop(labels.insert("__meta_dns_ns_record_target".to_owned(), full)),
                DnsType::A | DnsType::Aaaa => {}
            }
            labels
        };
        let mut targets: Vec<_> = records.iter().map(target).collect();
        targets.sort();
        TargetGroup { source: name.to_owned(), targets, labels: BTreeMap::new() }
    }
}
