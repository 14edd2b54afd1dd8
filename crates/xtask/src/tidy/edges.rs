//! Who may know whom. What a crate cannot reach is its most important property, so every edge is listed here and any
//! other is a complaint.

use super::metadata::{Metadata, Package};

/// A crate and the workspace crates that it may be linked with.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("env", &["model"]),
    ("codec", &["model"]),
    ("dialects", &["model", "codec"]),
    ("admission", &["model", "env"]),
    ("aggregation", &["model"]),
    ("wal", &["model", "codec", "env"]),
    ("tsdb", &["model", "codec", "env", "wal"]),
    ("logstore", &["model", "codec", "env", "wal"]),
    ("promql", &["model"]),
    ("logql", &["model", "promql"]),
    ("rules", &["model", "promql"]),
    ("outbound", &["model", "codec", "env"]),
    ("scrape", &["model", "codec", "env", "dialects", "outbound"]),
    ("forward", &["model", "codec", "env", "dialects", "aggregation", "wal", "tsdb", "outbound"]),
    ("page", &[]),
    (
        "server",
        &[
            "model",
            "env",
            "codec",
            "dialects",
            "admission",
            "aggregation",
            "wal",
            "tsdb",
            "logstore",
            "promql",
            "logql",
            "rules",
            "outbound",
            "scrape",
            "forward",
            "page",
        ],
    ),
    (
        "weir",
        &[
            "model",
            "env",
            "codec",
            "dialects",
            "admission",
            "aggregation",
            "wal",
            "tsdb",
            "logstore",
            "promql",
            "logql",
            "rules",
            "outbound",
            "scrape",
            "forward",
            "page",
            "server",
        ],
    ),
];

/// Crates that no product crate is linked with; they may know everything.
const DEVELOPMENT: &[&str] = &["sim", "xtask"];

/// Pairs that not even tests tie: the server does.
const STRANGERS: &[(&str, &str)] = &[("promql", "tsdb"), ("tsdb", "promql")];

/// Crates that may open sockets or be async.
const NETWORKED: &[&str] = &["server", "outbound", "scrape", "forward", "weir"];

/// Packages that mean sockets or async; a crate outside [`NETWORKED`] must not reach one, however far away.
const NETWORK: &[&str] = &[
    "async-std",
    "axum",
    "futures-executor",
    "futures-util",
    "h2",
    "hyper",
    "hyper-util",
    "mio",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tonic",
    "tower",
    "ureq",
];

/// Crates that do no I/O and know no clock: nothing that talks to the operating system may be reached.
const PURE: &[&str] = &["model", "codec", "dialects", "promql", "logql", "aggregation"];

/// Packages that mean files, clocks or randomness.
const SYSTEM: &[&str] =
    &["chrono", "fs4", "getrandom", "memmap2", "nix", "rand", "rustix", "tempfile", "time"];

/// Raw compression codecs: linked by `codec` alone, which caps them.
const COMPRESSION: &[&str] =
    &["brotli", "bzip2", "flate2", "lz4", "lz4_flex", "miniz_oxide", "snap", "xz2", "zstd", "zstd-safe"];

/// Who may pack what goes out besides; unpacking stays in `codec`, and the text checks see to it.
const PACKING: &[(&str, &str)] = &[("server", "flate2"), ("weir", "flate2")];

/// Packages that have no place anywhere in the binary.
const BANNED: &[&str] = &[
    "diesel",
    "heed",
    "libsqlite3-sys",
    "native-tls",
    "openssl",
    "openssl-sys",
    "opentelemetry",
    "opentelemetry-sdk",
    "opentelemetry_sdk",
    "redb",
    "rocksdb",
    "rusqlite",
    "serde_yaml",
    "sled",
    "sqlx",
];

/// Complaints about the graph.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in metadata.own() {
        if !DEVELOPMENT.contains(&package.name.as_str()) {
            complaints.extend(check_product_crate(metadata, package));
        }
        for (from, to) in STRANGERS {
            let edges = package.normal.iter().chain(&package.dev).chain(&package.build);
            if package.name == *from && edges.into_iter().any(|id| metadata.packages[id].name == *to) {
                complaints.push(format!("{from} must not know {to}, not even in tests"));
            }
        }
    }
    complaints
}

fn check_product_crate(metadata: &Metadata, package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, may)) = EDGES.iter().find(|(known, _)| *known == name) else {
        return vec![format!("crate {name} is not in the table of edges")];
    };
    let mut complaints = Vec::new();
    for id in package.normal.iter().chain(&package.build) {
        let to = metadata.packages[id].name.as_str();
        if metadata.is_own(id) && !may.contains(&to) {
            complaints.push(format!("{name} must not use {to}"));
        }
        if COMPRESSION.contains(&to) && name != "codec" && !PACKING.contains(&(name, to)) {
            complaints.push(format!("{name} must not use {to}: compression goes through codec"));
        }
    }
    for id in metadata.linked(package) {
        let to = metadata.packages[id].name.as_str();
        let networked = NETWORK.contains(&to) && !NETWORKED.contains(&name);
        let impure = SYSTEM.contains(&to) && PURE.contains(&name);
        let serialised = name == "model" && to == "serde";
        if networked || impure || serialised || BANNED.contains(&to) {
            complaints.push(format!("{name} must not reach {to}"));
        }
    }
    complaints
}
