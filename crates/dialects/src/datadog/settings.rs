//! What a tenant may choose of the translation. Each choice has its default in the profile.

/// Which names and labels series get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// As Opstrace had them: labels `job`, `type`, `interval`, `instance`, tags as `ddtag_<key>`.
    #[default]
    Opstrace,
    /// Tags as labels of their own name; type and unit are metadata.
    Plain,
}

/// Characters of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Names {
    /// Whatever is not `[a-zA-Z0-9_:]` becomes `_`.
    #[default]
    Underscores,
    /// As sent; to be quoted in queries.
    Utf8,
}

/// What becomes of tags without a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BareTags {
    /// They are dropped and counted.
    Drop,
    /// `<tag>="true"`.
    Label,
    /// `<tag>="no_label_value"`.
    Value,
}

/// What becomes of several tags with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DuplicateTags {
    /// The last one counts.
    Last,
    /// The first one counts.
    First,
    /// Their values, sorted, with commas between.
    Join,
}

/// What counts and rates are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counts {
    /// As sent: counts per interval, rates per second.
    Raw,
    /// What happened in the interval: a rate times its interval.
    PerInterval,
    /// A running total `<name>_total` with a start timestamp.
    Cumulative,
}

/// What becomes of tags that hosts send apart from their series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HostTagsUse {
    /// Nothing.
    Off,
    /// A series `datadog_host_info` of each host carries them.
    #[default]
    Info,
    /// And every series of the host does.
    Attach,
}

/// The translation that a tenant has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Names and labels.
    pub profile: Profile,
    /// Characters of names, in the profile `plain`.
    pub names: Names,
    /// Tags without a colon.
    pub bare_tags: BareTags,
    /// Several tags with the same key.
    pub duplicate_tags: DuplicateTags,
    /// Counts and rates.
    pub counts: Counts,
    /// Tags of hosts.
    pub host_tags: HostTagsUse,
}

impl Settings {
    /// The defaults of a profile.
    pub fn of(profile: Profile) -> Self {
        let (bare_tags, duplicate_tags, counts) = match profile {
            Profile::Opstrace => (BareTags::Drop, DuplicateTags::Last, Counts::Raw),
            Profile::Plain => (BareTags::Value, DuplicateTags::Join, Counts::PerInterval),
        };
        let (names, host_tags) = (Names::default(), HostTagsUse::default());
        Self { profile, names, bare_tags, duplicate_tags, counts, host_tags }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(Profile::default())
    }
}
