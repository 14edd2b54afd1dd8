//! A real collectd sends what it measures, and exposes the same on its own page: the series are the same.
#![allow(clippy::disallowed_methods, reason = "a test of processes waits")]

mod started;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use started::Weir;
use xtask::load::http::{Connection, free_address};
use xtask::load::process::Process;
use xtask::repo::Repo;
use xtask::rig::writer::now_ms;

/// Where Debian has collectd's plugins.
const PLUGINS: &str = "/usr/lib/collectd";

/// What stands around the page's block: a collectd that measures every second, for itself.
const REST: &str = r#"
Hostname "h.example.com"
Interval 1
BaseDir "{DIR}"
PIDFile "{DIR}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin load
LoadPlugin memory
LoadPlugin cpu
LoadPlugin write_prometheus
<Plugin cpu>
  ValuesPercentage false
</Plugin>
<Plugin write_prometheus>
  Port "{PORT}"
</Plugin>
"#;

/// The configuration that docs/send/collectd.md gives, with a buffer that is sent at once.
fn documented(weir: &Weir) -> String {
    let page = Repo::here().read("docs/send/collectd.md").expect("the page");
    let block = page.split("```conf\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let block = block.replace("http://localhost:9347", &weir.url()).replace("<token>", &weir.token);
    block.replace("    Format \"JSON\"\n", "    Format \"JSON\"\n    BufferSize 1024\n")
}

fn start(weir: &Weir) -> Result<Process, String> {
    let address = free_address().expect("an address");
    let directory = weir.directory().display().to_string();
    let rest = REST.replace("{DIR}", &directory).replace("{PORT}", &address.port().to_string());
    let config = weir.directory().join("collectd.conf");
    std::fs::write(&config, documented(weir) + &rest).expect("a file");
    let mut command = Command::new("collectd");
    command.arg("-f").arg("-C").arg(&config);
    let log = weir.directory().join("collectd.log");
    let mut process = Process::start(command, address, &log).expect("it starts");
    let ready = process.wait_ready("/metrics", Duration::from_secs(30));
    ready.map(|_| process).map_err(|error| {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        format!("collectd does not run ({error}): {}", printed.lines().next_back().unwrap_or_default())
    })
}

/// Series of a page, without values and times.
fn exposed(text: &str) -> BTreeSet<String> {
    let is_ours = |line: &&str| line.starts_with("collectd_");
    let series = |line: &str| {
        let (name, rest) = line.split_once('{').expect("labels");
        let labels = rest.split('}').next().unwrap_or_default().replace('"', "");
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        format!("{name}{{{}}}", labels.join(","))
    };
    text.lines().filter(is_ours).map(series).collect()
}

fn stored(weir: &Weir) -> BTreeSet<String> {
    let found = weir.query(r#"{__name__=~"collectd_.*"}"#, now_ms() / 1000 + 1);
    found.iter().filter_map(|row| row.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn e2e_collectd_sends_what_it_exposes() {
    let test = "e2e_collectd_sends_what_it_exposes";
    let has = |plugin: &str| Path::new(PLUGINS).join(plugin).exists();
    if !xtask::run::exists("collectd") || !has("write_http.so") || !has("write_prometheus.so") {
        return xtask::test::skipped(test, "collectd is not installed with its plugins");
    }
    let weir = Weir::start("");
    let collectd = match start(&weir) {
        Ok(collectd) => collectd,
        Err(why) => return xtask::test::skipped(test, &why),
    };
    let mut connection = Connection::open(collectd.address, None).expect("it answers");
    let start = Instant::now();
    loop {
        let page = connection.get("/metrics").expect("a page").text();
        let (exposed, stored) = (exposed(&page), stored(&weir));
        let names = ["collectd_cpu_total{", "collectd_load_shortterm{", "collectd_memory{"];
        let is_whole = names.iter().all(|name| exposed.iter().any(|series| series.starts_with(name)));
        if is_whole && exposed == stored {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "exposed {exposed:#?}\nstored {stored:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let metadata = weir.data("/api/v1/metadata?metric=collectd_cpu_total");
    assert_eq!(metadata["collectd_cpu_total"][0]["type"], "counter", "{metadata}");
}
