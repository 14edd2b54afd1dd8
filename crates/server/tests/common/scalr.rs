//! The gauges that another product tells of an account, without labels, help or end.

/// Each with its value, in its order.
pub(crate) const GAUGES: [(&str, u32); 13] = [
    ("environments_count", 10),
    ("workspaces_count", 137),
    ("quota_max_concurrency", 5),
    ("runs_count", 1225),
    ("runs_awaiting_confirmation", 14),
    ("runs_failed", 299),
    ("runs_successful", 733),
    ("runs_concurrency", 3),
    ("runs_queue_size", 0),
    ("billings_runs_count", 1000),
    ("billings_run_minutes_count", 2000),
    ("billings_flex_runs_count", 0),
    ("billings_flex_runs_minutes_count", 0),
];

/// As the product's page has them.
pub(crate) fn page() -> String {
    let gauge = |(name, value): &(&str, u32)| format!("# TYPE scalr_{name} gauge\nscalr_{name} {value}\n");
    GAUGES.iter().map(gauge).collect()
}

/// Pairs of lines, sorted.
pub(crate) fn pairs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut pairs: Vec<String> = lines.chunks(2).map(|pair| pair.join("\n")).collect();
    pairs.sort();
    pairs
}
