//! What each endpoint does and takes, in words: the table from which `openapi.yaml` and the table in docs/query.md are
//! made. A test sees to it that every route has its row.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{ROUTES, openmetrics, read};
use crate::{account, snapshots, upkeep};

/// An endpoint.
pub(super) struct Description {
    /// Its path behind `/api/v1/`.
    pub(super) path: &'static str,
    /// What it does.
    pub(super) does: &'static str,
    /// What it takes.
    pub(super) params: &'static [Param],
    /// What is different from Prometheus; empty when nothing is.
    pub(super) differs: &'static str,
}

/// A parameter.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) does: &'static str,
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// It may be there more than once.
    Texts,
    Time,
    Duration,
    Whole,
    Truth,
}

const fn param(name: &'static str, kind: Kind, does: &'static str) -> Param {
    Param { name, kind, is_required: false, does }
}

const fn required(name: &'static str, kind: Kind, does: &'static str) -> Param {
    Param { name, kind, is_required: true, does }
}

const QUERY: Param = required("query", Kind::Text, "A PromQL expression.");
const MATCH: Param = param("match[]", Kind::Texts, "Selectors of series, of which one has to fit.");
const MATCH_ONE: Param = required("match[]", Kind::Texts, "Selectors of series, of which one has to fit.");
const START: Param = param("start", Kind::Time, "The first time that counts.");
const END: Param = param("end", Kind::Time, "The last time that counts.");
const LIMIT: Param = param("limit", Kind::Whole, "Results at most; 0 is all.");
const TIMEOUT: Param = param("timeout", Kind::Duration, "How long it may take, up to the configured time.");
const LOOKBACK: Param =
    param("lookback_delta", Kind::Duration, "How far back a selector looks for the last sample.");
const STATS: Param = param("stats", Kind::Text, "`true` or `all`: say what the query cost.");
const TENANT: Param = param("tenant", Kind::Text, "Whose, for a token with the scope `admin`.");
const POOL: Param = required("scrapePool", Kind::Text, "The name of a scrape pool.");

macro_rules! search {
    ($($more:expr),*) => {
        &[
            $($more,)*
            MATCH,
            param("search[]", Kind::Texts, "Terms, of which one has to be found: 32 at most, of 1 KiB at most."),
            param("fuzz_threshold", Kind::Whole, "From 0 to 100: the least score that is taken."),
            param("fuzz_alg", Kind::Text, "`subsequence` or `jarowinkler`."),
            param("case_sensitive", Kind::Truth, "Whether `a` and `A` are different; they are."),
            param("sort_by", Kind::Text, "`alpha` or `score`."),
            param("sort_dir", Kind::Text, "`asc` or `dsc`, with `sort_by=alpha`."),
            param("include_score", Kind::Truth, "Tell each result's score."),
            START,
            END,
            param("limit", Kind::Whole, "Results at most; 100 when it is not there."),
            param("batch_size", Kind::Whole, "Results in a line; 100 when it is not there."),
        ]
    };
}

const NONE: &[Param] = &[];

/// Every endpoint; those that Prometheus has in its order.
pub(super) const DESCRIPTIONS: &[Description] = &[
    Description {
        path: "query",
        does: "Evaluates an expression at one time.",
        params: &[
            QUERY,
            param("time", Kind::Time, "When; now when it is not there."),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
        ],
        differs: "`stats` are fewer, see below",
    },
    Description {
        path: "query_range",
        does: "Evaluates an expression at times of even distance.",
        params: &[
            QUERY,
            required("start", Kind::Time, "The first time."),
            required("end", Kind::Time, "No time comes after it."),
            required("step", Kind::Duration, "From one time to the next."),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
        ],
        differs: "`stats` are fewer, see below; more points than `query.max_points` are refused",
    },
    Description {
        path: "query_exemplars",
        does: "Tells the exemplars of all series that an expression selects.",
        params: &[QUERY, START, END],
        differs: "",
    },
    Description {
        path: "format_query",
        does: "Writes an expression in its usual form.",
        params: &[QUERY],
        differs: "",
    },
    Description {
        path: "parse_query",
        does: "Tells an expression as a tree.",
        params: &[QUERY],
        differs: "",
    },
    Description {
        path: "series",
        does: "Lists label sets.",
        params: &[MATCH_ONE, START, END, LIMIT],
        differs: "",
    },
    Description {
        path: "labels",
        does: "Lists label names.",
        params: &[MATCH, START, END, LIMIT],
        differs: "",
    },
    Description {
        path: "label/{name}/values",
        does: "Lists the values of a label.",
        params: &[MATCH, START, END, LIMIT],
        differs: "",
    },
    Description {
        path: "search/metric_names",
        does: "Searches names of metrics.",
        params: search!(param("include_metadata", Kind::Truth, "Tell type, help and unit.")),
        differs: "on without a flag; `limit` has no bound but the tenant's `query_bytes`",
    },
    Description {
        path: "search/label_names",
        does: "Searches names of labels.",
        params: search!(),
        differs: "as above",
    },
    Description {
        path: "search/label_values",
        does: "Searches values of a label.",
        params: search!(required("label", Kind::Text, "The label's name.")),
        differs: "as above",
    },
    Description {
        path: "metadata",
        does: "Tells type, unit and help of metrics.",
        params: &[
            param("limit", Kind::Whole, "Metrics at most; 0 is none, less than that is all."),
            param("limit_per_metric", Kind::Whole, "Different ones of a metric at most."),
            param("metric", Kind::Text, "Only this one."),
        ],
        differs: "what was sent, the newest of each metric",
    },
    Description { path: "targets", does: "Lists targets.", params: NONE, differs: "there are none" },
    Description {
        path: "targets/metadata",
        does: "Tells what targets say of their metrics.",
        params: &[
            param("match_target", Kind::Text, "A selector of targets."),
            param("metric", Kind::Text, "Only this one."),
            param("limit", Kind::Whole, "Targets at most."),
        ],
        differs: "there are none",
    },
    Description {
        path: "targets/relabel_steps",
        does: "Tells what relabelling makes of labels.",
        params: &[POOL, required("labels", Kind::Text, "Labels as a JSON object.")],
        differs: "400: there is no such pool",
    },
    Description {
        path: "scrape_pools",
        does: "Lists scrape pools.",
        params: NONE,
        differs: "there are none",
    },
    Description {
        path: "scrape_pools/config",
        does: "Tells how a pool is configured.",
        params: &[POOL],
        differs: "400: there is no such pool",
    },
    Description {
        path: "rules",
        does: "Lists groups of rules.",
        params: &[
            param("type", Kind::Text, "`alert` or `record`."),
            param("rule_name[]", Kind::Texts, "Names of rules."),
            param("rule_group[]", Kind::Texts, "Names of groups."),
            param("file[]", Kind::Texts, "Files of rules."),
            MATCH,
            param("exclude_alerts", Kind::Truth, "Leave active alerts out."),
            param("group_limit", Kind::Whole, "Groups at most."),
            param("group_next_token", Kind::Text, "Where the last answer ended."),
        ],
        differs: "there are none; parameters are checked",
    },
    Description { path: "alerts", does: "Lists active alerts.", params: NONE, differs: "there are none" },
    Description {
        path: "alertmanagers",
        does: "Lists Alertmanagers.",
        params: NONE,
        differs: "there are none",
    },
    Description {
        path: "status/config",
        does: "Tells the configuration in force.",
        params: NONE,
        differs: "Weir's; of tenants only one's own, and no password",
    },
    Description {
        path: "status/runtimeinfo",
        does: "Tells start, time and retention.",
        params: NONE,
        differs: "what is Go's is empty or 0, so are directory and host; `GOMAXPROCS` is `query.threads`, \
                  `GOMEMLIMIT` is `storage.memory_bytes`",
    },
    Description {
        path: "status/buildinfo",
        does: "Tells versions.",
        params: NONE,
        differs: "the version of Prometheus that Weir answers like; `revision` is Weir's own",
    },
    Description {
        path: "status/flags",
        does: "Tells settings under the names of Prometheus' flags.",
        params: NONE,
        differs: "those that Weir has too",
    },
    Description {
        path: "status/tsdb",
        does: "Counts series by metric and label.",
        params: &[param(
            "limit",
            Kind::Whole,
            "Entries of a list at most: 10 when it is not there, up to 10000.",
        )],
        differs: "one's own series, in the head and in the blocks of the last day: a label counts as often as where it is most \
                  frequent; the head has no chunks, so `chunkCount` is `numSeries`",
    },
    Description {
        path: "status/tsdb/blocks",
        does: "Lists blocks.",
        params: NONE,
        differs: "one's own part of each; `numChunks` is not known",
    },
    Description {
        path: "status/walreplay",
        does: "Tells how far the replay of the log has come.",
        params: NONE,
        differs: "",
    },
    Description {
        path: "status/self_metrics",
        does: "Tells Weir's own metrics.",
        params: &[param("metric_name_pattern", Kind::Text, "A regular expression that fits the whole name.")],
        differs: "takes a token with the scope `admin` or one of the tenant `system`, as `GET /metrics`",
    },
    Description {
        path: "features",
        does: "Tells what this server can do.",
        params: NONE,
        differs: "parts that Weir has not are there with nothing",
    },
    Description {
        path: "notifications",
        does: "Tells what whoever looks after the server should know.",
        params: NONE,
        differs: "what keeps Weir from being ready",
    },
    Description {
        path: "notifications/live",
        does: "Tells the same as it happens.",
        params: NONE,
        differs: "always 204, as in Prometheus for one subscriber too many",
    },
    Description {
        path: "openapi.yaml",
        does: "Describes this API.",
        params: &[param("openapi_version", Kind::Text, "`3.1` or `3.2`.")],
        differs: "as Weir has it",
    },
    Description {
        path: "admin/tsdb/delete_series",
        does: "Deletes series.",
        params: &[
            MATCH_ONE,
            START,
            END,
            param("tenant", Kind::Text, "Whose; else `X-Scope-OrgID` says it, else it is `default`."),
        ],
        differs: "takes a token with the scope `admin`; gone at once",
    },
    Description {
        path: "admin/tsdb/clean_tombstones",
        does: "Begins to take what is deleted off the disk.",
        params: NONE,
        differs: "takes a token with the scope `admin`; answers at once, and `weir_tombstones` tells when it is done",
    },
    Description {
        path: "admin/tsdb/snapshot",
        does: "Makes a snapshot.",
        params: &[param("skip_head", Kind::Truth, "Changes nothing.")],
        differs: "takes a token with the scope `admin`; the head is always in it ([backup.md](backup.md))",
    },
    Description {
        path: "admin/tsdb/compact",
        does: "Merges everything.",
        params: NONE,
        differs: "Weir's own; takes a token with the scope `admin`; answers when it is done",
    },
    Description {
        path: "openmetrics",
        does: "Tells the newest sample of each series as a page of metrics.",
        params: &[
            param(
                "match[]",
                Kind::Texts,
                "Selectors of series, of which one has to fit; all series when there is none.",
            ),
            param("type", Kind::Text, "`auto`: the type that is known, else what the name says."),
            param(
                "untyped_as",
                Kind::Text,
                "`gauge` or `unknown`: what is told of a type that nobody knows.",
            ),
            param("max_age", Kind::Duration, "How old a sample may be; an hour when it is not there."),
            param("created", Kind::Truth, "Tell when counters, histograms and summaries began."),
            param("timestamps", Kind::Truth, "Tell of when the samples are."),
        ],
        differs: "Weir's own, see [expose.md](expose.md)",
    },
    Description {
        path: "account/metrics",
        does: "Tells what the tenant uses and may use as a page of metrics.",
        params: &[TENANT],
        differs: "Weir's own, see [expose.md](expose.md)",
    },
    Description {
        path: "account/metrics.json",
        does: "Tells the same as JSON.",
        params: &[TENANT],
        differs: "Weir's own",
    },
    Description {
        path: "read",
        does: "Sends samples to a Prometheus (remote read).",
        params: NONE,
        differs: "see below",
    },
];

/// The methods of each path behind `/api/v1/`, that are described.
pub(super) fn methods() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let query = ROUTES.iter().map(|(method, path, _)| (*method, *path)).chain(read::ROUTES.iter().copied());
    let upkeep = upkeep::ROUTES.iter().map(|(method, path, _)| (*method, *path));
    let pages = openmetrics::ROUTES.iter().copied();
    let account = account::ROUTES.iter().map(|(method, path, _)| (*method, *path));
    let snapshots = snapshots::ROUTES.iter().map(|(method, path, _)| (*method, *path));
    let snapshots = snapshots.filter(|(_, path)| path.contains("/admin/tsdb/"));
    for (method, path) in query.chain(upkeep).chain(snapshots).chain(pages).chain(account) {
        if let Some(path) = path.strip_prefix("/api/v1/") {
            methods.entry(path).or_default().push(method);
        }
    }
    methods
}

/// The table in docs/query.md.
pub fn markdown() -> String {
    let methods = methods();
    let mut text = String::from(
        "| path | method | does | parameters | what is different |\n| --- | --- | --- | --- | --- |\n",
    );
    for description in DESCRIPTIONS {
        let Some(methods) = methods.get(description.path) else { continue };
        let params: Vec<String> =
            description.params.iter().map(|param| format!("`{}`", param.name)).collect();
        let Description { path, does, differs, .. } = description;
        let _ = writeln!(
            text,
            "| `{path}` | {} | {does} | {} | {differs} |",
            methods.join(", "),
            params.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        for Description { path, .. } in DESCRIPTIONS {
            assert!(methods().contains_key(path), "{path} is described, and there is no such route");
        }
        for path in methods().keys() {
            let rows = DESCRIPTIONS.iter().filter(|description| description.path == *path).count();
            assert_eq!(rows, 1, "{path} wants one row in DESCRIPTIONS");
        }
    }

    #[test]
    fn the_docs_have_this_table() {
        const BEGIN: &str = "<!-- endpoints: made from crates/server/src/api/describe.rs -->\n";
        const END: &str = "<!-- end -->\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/query.md");
        let written = std::fs::read_to_string(path).unwrap();
        let (before, rest) = written.split_once(BEGIN).expect("the mark where the table begins");
        let (_, after) = rest.split_once(END).expect("the mark where it ends");
        let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", markdown());
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(path, wanted).unwrap();
        } else {
            assert!(written == wanted, "docs/query.md is out of step: run this test with WEIR_BLESS=1");
        }
    }
}
