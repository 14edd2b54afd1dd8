//! What any line may say after its own part: tags, and where it came from.

/// Who sent a line, as the sender knows it. Weir asks no container runtime, so this is kept and not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origin<'a> {
    /// `c:`, a container (`ci-…`) or an inode (`in-…`), or a comma list of both; empty = not said.
    pub local: &'a [u8],
    /// `e:it-…,cn-…,pu-…`; empty = not said.
    pub external: &'a [u8],
    /// `card:none|low|orchestrator|high`; empty = not said.
    pub cardinality: &'a [u8],
}

impl<'a> Origin<'a> {
    /// Takes `field` if it is one of these.
    pub(super) fn take(&mut self, field: &'a [u8]) -> bool {
        if let Some(local) = field.strip_prefix(b"c:") {
            self.local = local;
        } else if let Some(external) = field.strip_prefix(b"e:") {
            self.external = external;
        } else if let Some(cardinality) = field.strip_prefix(b"card:") {
            self.cardinality = cardinality;
        } else {
            return false;
        }
        true
    }
}

/// The tags of a line, none of them empty: `key:value` or bare, Telegraf's as `key=value`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags<'a> {
    inline: &'a [u8],
    listed: &'a [u8],
    in_name: bool,
}

impl<'a> Tags<'a> {
    /// Comma lists: that in the name, then that after `#`.
    pub(super) fn new(inline: &'a [u8], listed: &'a [u8]) -> Self {
        Self { inline, listed, in_name: false }
    }

    /// Whether the tag that came last is Telegraf's: its key ends at the first `=`, not at the first `:`.
    pub fn is_in_name(&self) -> bool {
        self.in_name
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.in_name = !self.inline.is_empty();
            let list = if self.in_name { &mut self.inline } else { &mut self.listed };
            if list.is_empty() {
                return None;
            }
            let (tag, rest) = split(list, b',');
            *list = rest.unwrap_or(&[]);
            if !tag.is_empty() {
                return Some(tag);
            }
        }
    }
}

/// What is before the first `separator`, and what is after it if there is one.
#[inline]
pub(super) fn split(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(separator, bytes) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}
