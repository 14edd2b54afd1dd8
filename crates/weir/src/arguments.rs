//! What can be typed: commands and flags, from which help, completions and the man page are made.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const AFTER: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 findings of a check, 4 some samples refused, 5 server unreachable, \
6 unauthorised, 78 wrong configuration.";

/// Takes metrics in every dialect, stores them durably per tenant, answers PromQL. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = AFTER, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) serve: Serve,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve (the default)
    Serve(Serve),
    /// Create, list, limit and delete tenants
    #[command(subcommand)]
    Tenant(Tenant),
    /// Create, list, revoke and rotate tokens
    #[command(subcommand)]
    Token(Token),
    /// Create, list, verify, restore and delete snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Send data
    #[command(subcommand)]
    Push(Push),
    /// Ask a server
    #[command(subcommand)]
    Query(Query),
    /// Delete series in a range of time
    Delete(Delete),
    /// Check files
    #[command(subcommand)]
    Check(Check),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man,
}

/// Flags of `serve`; each comes before the environment and the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Serve {
    /// Configuration [default: weir.yaml in the working directory, if there is one]
    #[arg(long, value_name = "FILE", env = "WEIR_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Directory that holds everything that Weir stores [default: weir-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Address of the one port [default: 127.0.0.1:9347]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// `off`: no tokens, X-Scope-OrgID picks the tenant; on loopback only [default: token]
    #[arg(long, value_name = "token|off")]
    pub(crate) auth: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// A size, or a share of the machine's or container's memory [default: 60%]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Print the configuration with every key and its default, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Which server, and as whom.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Server {
    /// Where Weir is [default: http://127.0.0.1:9347]
    #[arg(long, value_name = "URL", env = "WEIR_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// File with the authorities by which an https server is known, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "WEIR_CA_CERT", hide_env_values = true)]
    pub(crate) ca_cert: Option<PathBuf>,
    /// The token; other users of the machine may see it, so rather --token-file or WEIR_TOKEN
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// File that holds the token [env: WEIR_TOKEN_FILE] [default: for a server on this machine the one in --data-dir]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of a server on this machine
    #[arg(
        long,
        value_name = "DIR",
        env = "WEIR_DATA_DIR",
        hide_env_values = true,
        default_value = "weir-data"
    )]
    pub(crate) data_dir: PathBuf,
}

/// A server and the tenant whose data is meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Client {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Tenant, sent as X-Scope-OrgID; the token has to be its own
    #[arg(long, value_name = "NAME", env = "WEIR_TENANT", hide_env_values = true)]
    pub(crate) tenant: Option<String>,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    #[default]
    Table,
    /// All that is known, as JSON
    Json,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// As the server answers it
    Json,
    /// A line of JSON for each series
    Jsonl,
    /// A line for each sample, a column for each label
    Csv,
}

/// Commands about tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Create a tenant
    Create {
        /// Its name: a-z, 0-9 and '-', at most 63
        name: String,
        /// A limit that differs from the configuration's, like retention=30d
        #[arg(long = "limit", value_name = "KEY=VALUE")]
        limits: Vec<String>,
        #[command(flatten)]
        server: Server,
    },
    /// List tenants
    List {
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        #[command(flatten)]
        server: Server,
    },
    /// Set all limits of a tenant that differ from the configuration's
    Limits {
        /// Its name
        name: String,
        /// Limits like retention=30d; none = all as configured
        #[arg(value_name = "KEY=VALUE")]
        limits: Vec<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a tenant, its tokens and its data
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it: it cannot be shown again
    Create {
        /// Its tenant; a token that only administers has none
        #[arg(long)]
        tenant: Option<String>,
        /// write, read or admin; several with commas
        #[arg(long = "scope", value_name = "SCOPES", value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        /// How long it is valid, like 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
        /// Write the token to this file, for its owner only, instead of stdout
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// List tokens, without their secrets
    List {
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        #[command(flatten)]
        server: Server,
    },
    /// Refuse a token from now on
    Revoke {
        /// Its number in the list
        id: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Make a new token in place of an old one and print it
    Rotate {
        /// The old one's number in the list
        id: u32,
        /// How long the old one is still taken, like 24h [default: not at all]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        /// Write the token to this file, for its owner only, instead of stdout
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
}

/// Commands about snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Make a snapshot of everything that was acknowledged, under snapshots/ in the data directory
    Create {
        /// Its name [default: the time, in UTC]
        name: Option<String>,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        /// Configuration by which the store is opened when no server runs [default: weir.yaml in the working directory,
        /// if there is one]
        #[arg(long, value_name = "FILE", env = "WEIR_CONFIG", hide_env_values = true)]
        config: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// List snapshots
    List {
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        #[command(flatten)]
        server: Server,
    },
    /// Read everything in a snapshot and say what is damaged
    Verify {
        /// A snapshot's name, or any directory that holds one
        #[arg(value_name = "NAME|DIR")]
        snapshot: String,
        /// Data directory in which a name is looked up
        #[arg(
            long,
            value_name = "DIR",
            env = "WEIR_DATA_DIR",
            hide_env_values = true,
            default_value = "weir-data"
        )]
        from: PathBuf,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        /// No progress
        #[arg(long)]
        no_progress: bool,
    },
    /// Make a data directory of a snapshot
    Restore {
        /// A snapshot's name, or any directory that holds one
        #[arg(value_name = "NAME|DIR")]
        snapshot: String,
        /// Data directory in which a name is looked up
        #[arg(
            long,
            value_name = "DIR",
            env = "WEIR_DATA_DIR",
            hide_env_values = true,
            default_value = "weir-data"
        )]
        from: PathBuf,
        /// The new data directory, which is made or must be empty
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Give blocks a second name instead of copying them, where the file system can
        #[arg(long)]
        link: bool,
        /// No progress
        #[arg(long)]
        no_progress: bool,
    },
    /// Delete a snapshot
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Commands that send.
#[derive(Debug, Subcommand)]
pub(crate) enum Push {
    /// Send samples in Prometheus' text format or OpenMetrics
    Metrics {
        /// The file; - or nothing = stdin
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
        /// Which of the two it is
        #[arg(long, value_enum, default_value_t)]
        format: TextFormat,
        /// No compression on the way
        #[arg(long)]
        plain: bool,
        /// No progress
        #[arg(long)]
        no_progress: bool,
        #[command(flatten)]
        client: Client,
    },
}

/// A text format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// OpenMetrics if its last line says so
    #[default]
    Auto,
    /// Prometheus text 0.0.4: timestamps in milliseconds
    Prometheus,
    /// OpenMetrics 1.0: timestamps in seconds
    Openmetrics,
}

/// Commands that ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Query {
    /// Evaluate an expression at one time
    Instant {
        /// PromQL
        expression: String,
        /// RFC 3339, seconds, now, or relative like -1h
        #[arg(long, default_value = "now", allow_hyphen_values = true)]
        time: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Evaluate an expression over a range of time
    Range {
        /// PromQL
        expression: String,
        /// From: RFC 3339, seconds, now, or relative like -1h
        #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
        start: String,
        /// To
        #[arg(long, default_value = "now", allow_hyphen_values = true)]
        end: String,
        /// Time between two points
        #[arg(long, default_value = "1m")]
        step: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// List series
    Series {
        /// Selectors; a series that satisfies one of them is listed
        #[arg(required = true, value_name = "SELECTOR")]
        selectors: Vec<String>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        asking: Asking,
    },
    /// List label names
    Labels {
        /// Selectors; of all series without any
        #[arg(value_name = "SELECTOR")]
        selectors: Vec<String>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the values of a label
    LabelValues {
        /// The label
        label: String,
        /// Selectors; of all series without any
        #[arg(value_name = "SELECTOR")]
        selectors: Vec<String>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        asking: Asking,
    },
}

/// What is deleted, and of whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct Delete {
    /// Selectors; series that satisfy one of them are deleted
    #[arg(required = true, value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    /// From: RFC 3339, seconds, now, or relative like -1h [default: the beginning]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// To [default: the end]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Whose series
    #[arg(long, value_name = "NAME", env = "WEIR_TENANT", hide_env_values = true, default_value = "default")]
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// A range of time that may be left open.
#[derive(Args, Clone, Debug)]
pub(crate) struct Range {
    /// From: RFC 3339, seconds, now, or relative like -1h
    #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
    pub(crate) start: String,
    /// To
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    pub(crate) end: String,
}

/// How the answer is wanted, and from whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct Asking {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) client: Client,
}

/// Commands that check.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Read the configuration as `weir serve` would
    Config {
        #[command(flatten)]
        serve: Serve,
    },
    /// Read a page of metrics to the letter, and say which lines break a rule
    ///
    /// Exits with 3 when one does. What scraping tolerates is told here as well.
    Metrics {
        /// A file, a URL, which is asked as a scraper asks it, or - for stdin
        #[arg(value_name = "PAGE", default_value = "-")]
        page: String,
        /// The format; of a URL the server says it
        #[arg(long, value_enum, default_value_t)]
        format: TextFormat,
        /// Certificates of authorities that are trusted instead of the system's, for a URL
        #[arg(long, value_name = "FILE")]
        ca_cert: Option<PathBuf>,
    },
    /// Read everything in a data directory that no server holds, and say what is damaged; nothing is changed
    Data {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// The data directory
        #[arg(
            long,
            value_name = "DIR",
            env = "WEIR_DATA_DIR",
            hide_env_values = true,
            default_value = "weir-data"
        )]
        data_dir: PathBuf,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: ListFormat,
        /// No progress
        #[arg(long)]
        no_progress: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
