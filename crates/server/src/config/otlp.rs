//! Where OTLP is expected beside `listen`, and how its metrics are translated: Prometheus' own keys, and what they mean for
//! a tenant.

use std::net::SocketAddr;

use dialects::otlp::{self, Promoted, Strategy};

use super::section::section;
use super::value::words;

words! {
    Strategy,
    "UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes or NoTranslation" {
        UnderscoreEscapingWithSuffixes = "UnderscoreEscapingWithSuffixes",
        UnderscoreEscapingWithoutSuffixes = "UnderscoreEscapingWithoutSuffixes",
        NoUTF8EscapingWithSuffixes = "NoUTF8EscapingWithSuffixes",
        NoTranslation = "NoTranslation"
    }
}

section! {
    /// OpenTelemetry: what becomes of its metrics; the keys are those of Prometheus' own `otlp` section. `tenants.<name>.otlp` overrides it
    /// for one.
    Otlp {
        /// Where gRPC is expected, usually 127.0.0.1:4317. It is one more address of the same server, as `listen` is: tokens,
        /// TLS and every protocol are as there, which takes gRPC too. Not for a tenant. Default: none.
        grpc_listen: Option<SocketAddr> = "", Restart;
        /// Where HTTP is expected, usually 127.0.0.1:4318. The same in all else. Default: none.
        http_listen: Option<SocketAddr> = "", Restart;
        /// Names: UnderscoreEscapingWithSuffixes (`http_requests_total`), UnderscoreEscapingWithoutSuffixes (`http_requests`),
        /// NoUTF8EscapingWithSuffixes (`http.requests_total`) or NoTranslation (`http.requests`). Default:
        /// UnderscoreEscapingWithSuffixes.
        translation_strategy: Option<Strategy> = "", Reload;
        /// Attributes of the resource that are labels of each of its series.
        promote_resource_attributes: Vec<String> = "", Reload;
        /// All attributes of the resource as labels, but those of `ignore_resource_attributes`. Default: false.
        promote_all_resource_attributes: Option<bool> = "", Reload;
        /// Attributes of the resource that are no labels where all others are.
        ignore_resource_attributes: Vec<String> = "", Reload;
        /// `service.name`, `service.namespace` and `service.instance.id` as labels of `target_info`, beside `job` and
        /// `instance`. Default: false.
        keep_identifying_resource_attributes: Option<bool> = "", Reload;
        /// Histograms with bounds of their own as native ones. Default: false.
        convert_histograms_to_nhcb: Option<bool> = "", Reload;
        /// The scope's name, version, schema and attributes as labels `otel_scope_…`. Default: false.
        promote_scope_metadata: Option<bool> = "", Reload;
        /// `key` before labels that begin with one underscore. Default: true.
        label_name_underscore_sanitization: Option<bool> = "", Reload;
        /// Several underscores in a row stay as they are in labels. Default: true.
        label_name_preserve_multiple_underscores: Option<bool> = "", Reload;
        /// A series `target_info` of each resource with its attributes. Default: true.
        target_info: Option<bool> = "", Reload;
    }
}

impl Otlp {
    /// The addresses, each with its key.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [("otlp.grpc_listen", self.grpc_listen), ("otlp.http_listen", self.http_listen)]
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)))
    }

    /// What these words mean, over those of `all` tenants.
    pub(super) fn over(&self, all: &Self) -> otlp::Settings {
        let standard = otlp::Settings::default();
        let either = |own: Option<bool>, all: Option<bool>, standard| own.or(all).unwrap_or(standard);
        otlp::Settings {
            translation_strategy: self.translation_strategy.or(all.translation_strategy).unwrap_or_default(),
            // Whoever says anything of promotion says all of it.
            promoted: self.promoted().or_else(|| all.promoted()).unwrap_or_default(),
            keep_identifying_resource_attributes: either(
                self.keep_identifying_resource_attributes,
                all.keep_identifying_resource_attributes,
                standard.keep_identifying_resource_attributes,
            ),
            convert_histograms_to_nhcb: either(
                self.convert_histograms_to_nhcb,
                all.convert_histograms_to_nhcb,
                standard.convert_histograms_to_nhcb,
            ),
            promote_scope_metadata: either(
                self.promote_scope_metadata,
                all.promote_scope_metadata,
                standard.promote_scope_metadata,
            ),
            label_name_underscore_sanitization: either(
                self.label_name_underscore_sanitization,
                all.label_name_underscore_sanitization,
                standard.label_name_underscore_sanitization,
            ),
            label_name_preserve_multiple_underscores: either(
                self.label_name_preserve_multiple_underscores,
                all.label_name_preserve_multiple_underscores,
                standard.label_name_preserve_multiple_underscores,
            ),
            target_info: either(self.target_info, all.target_info, standard.target_info),
        }
    }

    fn promoted(&self) -> Option<Promoted> {
        match self.promote_all_resource_attributes {
            Some(true) => Some(Promoted::AllBut(self.ignore_resource_attributes.clone())),
            _ if !self.promote_resource_attributes.is_empty() => {
                Some(Promoted::Only(self.promote_resource_attributes.clone()))
            }
            Some(false) => Some(Promoted::None),
            None => None,
        }
    }

    /// What contradicts itself, as Prometheus sees it: key and complaint.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let is_all = self.promote_all_resource_attributes == Some(true);
        if is_all && !self.promote_resource_attributes.is_empty() {
            return Some(("promote_resource_attributes", "not with promote_all_resource_attributes: true"));
        }
        if !is_all && !self.ignore_resource_attributes.is_empty() {
            return Some(("ignore_resource_attributes", "only with promote_all_resource_attributes: true"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_choice_stands_before_that_of_all() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = Otlp {
            translation_strategy: Some(Strategy::NoTranslation),
            promote_resource_attributes: names(&["a"]),
            target_info: Some(false),
            ..Otlp::default()
        };
        let standard = Otlp::default();
        assert_eq!(standard.over(&standard), otlp::Settings::default());
        let got = standard.over(&all);
        assert_eq!((got.translation_strategy, got.target_info), (Strategy::NoTranslation, false));
        assert_eq!(got.promoted, Promoted::Only(names(&["a"])));
        let own = Otlp {
            promote_all_resource_attributes: Some(true),
            ignore_resource_attributes: names(&["b"]),
            target_info: Some(true),
            ..Otlp::default()
        };
        let got = own.over(&all);
        assert_eq!((got.promoted, got.target_info), (Promoted::AllBut(names(&["b"])), true));
        let none = Otlp { promote_all_resource_attributes: Some(false), ..Otlp::default() };
        assert_eq!(none.over(&all).promoted, Promoted::None);
    }

    #[test]
    fn promotion_of_all_and_of_some_contradict_each_other() {
        let list = || vec!["a".to_owned()];
        let all = Some(true);
        let both = Otlp {
            promote_all_resource_attributes: all,
            promote_resource_attributes: list(),
            ..Otlp::default()
        };
        assert_eq!(both.contradiction().map(|(key, _)| key), Some("promote_resource_attributes"));
        let ignored = Otlp { ignore_resource_attributes: list(), ..Otlp::default() };
        assert_eq!(ignored.contradiction().map(|(key, _)| key), Some("ignore_resource_attributes"));
        let good = Otlp { promote_all_resource_attributes: all, ..ignored };
        assert_eq!(good.contradiction(), None);
    }
}
