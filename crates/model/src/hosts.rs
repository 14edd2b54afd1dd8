//! Tags of hosts that arrive apart from the series of those hosts (Datadog's `/intake/`).

use std::collections::HashMap;
use std::sync::Arc;

/// A host's tags as one request tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// The host's name.
    pub host: String,
    /// Its tags, `key:value` or bare, in the order of the request.
    pub tags: Vec<String>,
}

/// What is known of one tenant's hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTags {
    hosts: HashMap<Arc<str>, Arc<[String]>>,
    generation: u64,
    bytes: usize,
}

/// Hosts of a tenant whose tags are kept; those of further ones are refused.
pub const HOSTS_MAX: usize = 100_000;

/// Tags of one host that are kept.
pub const HOST_TAGS_MAX: usize = 1000;

/// Bytes of the text of one host's name and tags together.
pub const HOST_BYTES_MAX: usize = 100 << 10;

/// Bytes of memory of all hosts' names and tags together.
pub const HOSTS_BYTES_MAX: usize = 16 << 20;

impl HostTags {
    /// The tags of `host`, none when it has not told any.
    pub fn of(&self, host: &str) -> &[String] {
        self.hosts.get(host).map_or(&[], |tags| tags)
    }

    /// All hosts with their tags, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.hosts.iter().map(|(host, tags)| (&**host, &**tags))
    }

    /// Grows with every change: label lists that were made with another one may be others now.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes of memory that all names and tags take, roughly: a tag may be shorter than what holds it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what a request tells; whether anything changed. A host over one of the bounds changes nothing.
    pub fn set(&mut self, row: HostRow) -> bool {
        let known = self.hosts.get(row.host.as_str());
        let before = known.map_or(0, |tags| size(&row.host, tags));
        let total = self.bytes - before + size(&row.host, &row.tags);
        let text = text(&row.host, &row.tags);
        let fits = row.tags.len() <= HOST_TAGS_MAX && text <= HOST_BYTES_MAX && total <= HOSTS_BYTES_MAX;
        let full = known.is_none() && self.hosts.len() >= HOSTS_MAX;
        if !fits || full || known.is_some_and(|tags| **tags == *row.tags) {
            return false;
        }
        self.hosts.insert(row.host.into(), row.tags.into());
        self.generation += 1;
        self.bytes = total;
        true
    }
}

fn text(host: &str, tags: &[String]) -> usize {
    host.len() + tags.iter().map(String::len).sum::<usize>()
}

fn size(host: &str, tags: &[String]) -> usize {
    text(host, tags) + (1 + tags.len()) * size_of::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host: &str, tags: &[&str]) -> HostRow {
        HostRow { host: host.to_owned(), tags: tags.iter().map(|&tag| tag.to_owned()).collect() }
    }

    #[test]
    fn only_a_change_is_one() {
        let mut tags = HostTags::default();
        assert!(tags.set(row("web-1", &["env:prod", "bare"])));
        assert!(!tags.set(row("web-1", &["env:prod", "bare"])));
        assert_eq!(
            (tags.of("web-1"), tags.generation()),
            (&["env:prod".to_owned(), "bare".to_owned()][..], 1)
        );
        assert!(tags.of("web-2").is_empty());
        assert!(!tags.set(row("web-1", &["x"; HOST_TAGS_MAX + 1])));
        assert!(!tags.set(row(&"h".repeat(HOST_BYTES_MAX + 1), &[])));
        assert!(tags.set(row("web-1", &[])));
        assert_eq!((tags.iter().count(), tags.generation(), tags.bytes()), (1, 2, 5 + size_of::<String>()));
    }

    #[test]
    fn tags_of_no_length_take_memory() {
        let mut tags = HostTags::default();
        let told =
            (0..1000).filter(|number| tags.set(row(&number.to_string(), &[""; HOST_TAGS_MAX]))).count();
        assert_eq!(told, HOSTS_BYTES_MAX / (size_of::<String>() * (HOST_TAGS_MAX + 1) + 3));
        assert!(tags.bytes() <= HOSTS_BYTES_MAX);
    }
}
