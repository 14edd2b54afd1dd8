//! How Datadog's names and tags are translated: the words of the configuration, and what they mean for a tenant.

use dialects::datadog::{self, BareTags, Counts, DuplicateTags, HostTagsUse, Names, Profile};

use super::section::section;
use super::value::words;

words! {
    Profile, "opstrace or plain" { Opstrace = "opstrace", Plain = "plain" }
    Names, "underscores or utf8" { Underscores = "underscores", Utf8 = "utf8" }
    BareTags, "drop, label or value" { Drop = "drop", Label = "label", Value = "value" }
    DuplicateTags, "last, first or join" { Last = "last", First = "first", Join = "join" }
    Counts, "raw, per_interval or cumulative" { Raw = "raw", PerInterval = "per_interval", Cumulative = "cumulative" }
    HostTagsUse, "off, info or attach" { Off = "off", Info = "info", Attach = "attach" }
}

section! {
    /// What becomes of what Datadog Agents, DogStatsD clients and Datadog's API clients send.
    /// `tenants.<name>.datadog` overrides it for one.
    Datadog {
        /// opstrace: labels `job="ddagent"`, `instance`, `type`, `interval`, tags as `ddtag_<key>`. plain: `host`, tags as
        /// labels of their own name. Default: opstrace.
        profile: Option<Profile> = "", Reload;
        /// In the profile plain: dots and other characters of names as underscores, or as sent (utf8). Default: underscores.
        names: Option<Names> = "", Reload;
        /// Tags without a colon: drop, label (`<tag>="true"`) or value (`<tag>="no_label_value"`). Default: drop in opstrace,
        /// value in plain.
        bare_tags: Option<BareTags> = "", Reload;
        /// Several tags with one key: the last, the first, or all of them sorted with commas between (join). Default: last
        /// in opstrace, join in plain.
        duplicate_tags: Option<DuplicateTags> = "", Reload;
        /// Counts and rates: raw as sent, what happened per_interval, or a cumulative total `<name>_total`. Default: raw in
        /// opstrace, per_interval in plain.
        counts: Option<Counts> = "", Reload;
        /// Tags that hosts send apart from their series: off, a series `datadog_host_info` of each host (info), or that and
        /// a label on every series of the host (attach). Default: info.
        host_tags: Option<HostTagsUse> = "", Reload;
    }
}

impl Datadog {
    /// What these words mean, over those of `all` tenants. Defaults are those of the profile.
    pub(super) fn over(&self, all: &Self) -> datadog::Settings {
        let standard = datadog::Settings::of(self.profile.or(all.profile).unwrap_or_default());
        datadog::Settings {
            profile: standard.profile,
            names: self.names.or(all.names).unwrap_or(standard.names),
            bare_tags: self.bare_tags.or(all.bare_tags).unwrap_or(standard.bare_tags),
            duplicate_tags: self.duplicate_tags.or(all.duplicate_tags).unwrap_or(standard.duplicate_tags),
            counts: self.counts.or(all.counts).unwrap_or(standard.counts),
            host_tags: self.host_tags.or(all.host_tags).unwrap_or(standard.host_tags),
        }
    }
}
