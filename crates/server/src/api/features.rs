//! `features`: what this Weir can do, by category and name, as Prometheus names it.
//!
//! What a table knows comes from the table: functions, operators, keywords, dialects, routes. The rest is what Prometheus
//! asks of its parts, answered for Weir's; parts that Weir has not are there with nothing.

use std::collections::BTreeMap;

use promql::ast::{AggregateOp, BinaryOp};
use promql::{Options, Syntax};

use super::search::score::ALGORITHMS;
use super::{Ask, ROUTES, openapi};

type Category = BTreeMap<String, bool>;

/// All features.
pub(super) fn features(ask: &Ask) -> BTreeMap<&'static str, Category> {
    let on = &ask.config.query_features;
    let (syntax, options) = (promql::feature::syntax(on), promql::feature::options(on));
    BTreeMap::from([
        ("api", api(ask)),
        ("otlp_receiver", fixed(&[("delta_conversion", false), ("native_delta_ingestion", false)])),
        ("prometheus", fixed(&[("agent_mode", false), ("auto_reload_config", false), ("server_mode", true)])),
        ("promql", promql(&syntax, &options)),
        ("promql_functions", functions(&syntax)),
        ("promql_operators", operators(&syntax)),
        (
            "rules",
            fixed(&[("concurrent_rule_eval", false), ("keep_firing_for", false), ("query_offset", false)]),
        ),
        (
            "scrape",
            fixed(&[
                ("extra_scrape_metrics", false),
                ("start_timestamp_zero_ingestion", false),
                ("type_and_unit_labels", false),
            ]),
        ),
        ("service_discovery_providers", Category::new()),
        ("templating_functions", Category::new()),
        (
            "tsdb",
            fixed(&[
                ("delayed_compaction", false),
                ("exemplar_storage", true),
                ("isolation", true),
                ("native_histograms", true),
                ("st_storage", true),
                ("use_uncached_io", false),
            ]),
        ),
        ("ui", fixed(&[("ui_v2", false), ("ui_v3", false)])),
    ])
}

fn fixed(features: &[(&str, bool)]) -> Category {
    features.iter().map(|(name, has)| ((*name).to_owned(), *has)).collect()
}

fn api(ask: &Ask) -> Category {
    let serves = |path: &str| ROUTES.iter().any(|(_, route, _)| route.strip_prefix("/api/v1/") == Some(path));
    let mut api = fixed(&[
        ("admin", true),
        ("exclude_alerts", serves("rules")),
        ("label_values_match", serves("label/{name}/values")),
        // A reload takes a token with the scope `admin`, and a stop a signal.
        ("lifecycle", false),
        ("otlp_write_receiver", ask.takes("otlp")),
        ("query_stats", serves("query")),
        ("query_warnings", serves("query")),
        ("remote_write_receiver", ask.takes("remote_write")),
        ("search", serves("search/metric_names")),
        ("time_range_labels", serves("labels")),
        ("time_range_series", serves("series")),
    ]);
    api.extend(ALGORITHMS.map(|(name, _)| (format!("search_fuzz_alg_{name}"), true)));
    api.extend(openapi::VERSIONS.map(|(name, _)| (format!("openapi_{name}"), true)));
    api
}

fn promql(syntax: &Syntax, options: &Options) -> Category {
    let mut promql = fixed(&[
        ("at_modifier", true),
        ("delayed_name_removal", options.delayed_name_removal),
        ("duration_expr", true),
        ("negative_offset", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", false),
        ("subqueries", true),
        ("type_and_unit_labels", options.type_and_unit_labels),
    ]);
    promql.extend(syntax.keywords().map(|(word, is_read)| (word.to_owned(), is_read)));
    promql
}

fn functions(syntax: &Syntax) -> Category {
    let all = promql::functions::all().iter();
    all.map(|f| (f.name.to_owned(), !f.experimental || syntax.experimental_functions)).collect()
}

fn operators(syntax: &Syntax) -> Category {
    let binary = BinaryOp::ALL.map(|op| (op.as_str().to_owned(), true));
    let aggregate = AggregateOp::all()
        .map(|op| (op.as_str().to_owned(), !op.is_experimental() || syntax.experimental_functions));
    let others = ["=~", "!~", "@"].map(|op| (op.to_owned(), true));
    binary.into_iter().chain(aggregate).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_experimental_is_there_and_off() {
        let functions = functions(&Syntax::default());
        assert_eq!((functions.len(), functions["rate"], functions["info"]), (90, true, false));
        assert!(super::functions(&Syntax::all())["info"]);
        let operators = operators(&Syntax::default());
        assert_eq!((operators["topk"], operators["limitk"], operators["</"]), (true, false, true));
        // As many as Prometheus 3.14 has.
        assert_eq!(operators.len(), 35);
        let promql = promql(&Syntax::default(), &Options::default());
        assert_eq!((promql["group_left"], promql["anchored"], promql["fill"]), (true, false, false));
    }
}
