//! The command line as scripts meet it: the real binary, its exit codes, what goes to stdout and what to stderr.

mod run;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use run::Run;
use xtask::load::http::free_address;
use xtask::load::process::Process;

/// A directory to run in, with nothing of the caller's environment.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.0.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, b"", &[])
    }

    fn run_with(&self, arguments: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Run::of(command, input)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("room");
    }

    /// Starts a server on the data directory `data`, and gives the flags that clients need.
    fn serve(&self, more: &[&str]) -> (Process, Vec<String>) {
        let address = free_address().expect("an address");
        let listen = address.to_string();
        let mut arguments = vec!["serve", "--data-dir", "data", "--listen", &listen];
        arguments.extend(more);
        let command = self.command(&arguments);
        let mut process = Process::start(command, address, &self.path("log")).expect("it starts");
        process.wait_ready("/-/ready", Duration::from_secs(60)).expect("ready");
        let flags =
            ["--url".to_owned(), format!("http://{address}"), "--data-dir".to_owned(), "data".to_owned()];
        (process, flags.to_vec())
    }
}

fn with<'a>(arguments: &[&'a str], flags: &'a [String]) -> Vec<&'a str> {
    arguments.iter().copied().chain(flags.iter().map(String::as_str)).collect()
}

fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("it is there").permissions().mode() & 0o077 == 0
}

#[test]
fn usage_errors_are_2_and_wrong_configurations_78() {
    let place = Place::new();
    place.run(&["serv"]).expect(2).says("similar subcommand exists: 'serve'");
    place.run(&["push", "metrics", "--fromat", "x"]).expect(2).says("--format");
    place.run(&["query", "instant"]).expect(2);
    place.run(&["query", "instant", "up", "--url", "ftp://x"]).expect(2).says("expected a URL like http");
    let missing = ["query", "instant", "up", "--url", "https://x", "--ca-cert", "none.pem"];
    place.run(&missing).expect(2).says("--ca-cert: none.pem: ");
    place.run(&["tenant", "limits", "../x", "retention=1d"]).expect(2).says("invalid tenant name");
    place.run(&["query", "instant", "up", "--tenant", "../x"]).expect(2).says("invalid tenant name");
    place.run(&["tenant", "delete", "x"]).expect(2).says("--yes");
    place.run(&["check", "config", "--config", "none.yaml"]).expect(78).says("none.yaml: cannot be read");
    place
        .run(&["serve", "--listen", "nowhere"])
        .expect(78)
        .says("--listen: listen: expected an address with port");
    place
        .run(&["serve", "--auth", "off", "--listen", "0.0.0.0:0"])
        .expect(78)
        .says("auth: off is for loopback only");
    place.write("weir.yaml", "storage:\n  retenton: 5d\nlog: {level: loud}\n");
    let run = place.run(&["check", "config"]).expect(78);
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.stderr,
        "weir: weir.yaml:2: storage.retenton: unknown key, did you mean storage.retention?\n\
         weir: weir.yaml:3: log.level: expected error, warn, info, debug or trace, found \"loud\"\n"
    );
    place.run(&["serve"]).expect(78).says("storage.retenton");
    let run = place.run_with(&["check", "config"], b"", &[("WEIR_HTTP__IDEL_TIMEOUT", "5s")]).expect(78);
    run.says("environment WEIR_HTTP__IDEL_TIMEOUT: http.idel_timeout: unknown key, did you mean http.idle_timeout?");
}

#[test]
fn a_good_configuration_is_told_on_stdout() {
    let place = Place::new();
    assert_eq!(place.run(&["check", "config"]).expect(0).stdout, "no weir.yaml: the defaults hold\n");
    let printed = place.run(&["serve", "--print-config"]).expect(0).stdout;
    place.write("weir.yaml", &printed);
    assert_eq!(place.run(&["check", "config"]).expect(0).stdout, "weir.yaml: in order\n");
    place.write("other.yaml", "listen: localhost:1\n");
    let variables = [("WEIR_CONFIG", "other.yaml")];
    assert_eq!(
        place.run_with(&["check", "config"], b"", &variables).expect(0).stdout,
        "other.yaml: in order\n"
    );
    assert!(!place.path("weir-data").exists(), "checking creates nothing");
}

#[test]
fn a_server_that_is_not_there_is_5() {
    let place = Place::new();
    let url = format!("http://{}", free_address().expect("an address"));
    place.run(&["query", "instant", "up", "--url", &url]).expect(5).says(&format!("no answer from {url}"));
    place.run_with(&["push", "metrics", "--url", &url], b"a 1\n", &[]).expect(5);
    place.run(&["tenant", "list", "--url", &url]).expect(5);
}

#[test]
fn a_sample_goes_in_and_comes_out_in_every_format() {
    let place = Place::new();
    place.write("weir.yaml", "storage: {retention: 100y}\n");
    let (mut process, flags) = place.serve(&[]);
    let push = |input: &str, more: &[&str]| {
        place.run_with(&with(&[&["push", "metrics"], more].concat(), &flags), input.as_bytes(), &[])
    };
    push("# TYPE a gauge\na{x=\"1\"} 1 1700000000000\na{x=\"2\"} 2 1700000000000\n", &[])
        .expect(0)
        .says("3 lines stored");
    push("a{x=\"3\"} 3 1700000000\n# EOF\n", &["--plain"]).expect(0);
    let run = push("b 1\nno line at all\nb{x=\"2\"} 2\n", &[]).expect(4);
    run.says("weir: stored 2 of 3 samples").says("line 2:");
    place.write("metrics.txt", "c 1.5 1700000000000\n");
    place.run(&with(&["push", "metrics", "metrics.txt", "--format", "prometheus"], &flags)).expect(0);
    place.run(&with(&["push", "metrics", "none.txt"], &flags)).expect(1).says("none.txt");

    let ask = |arguments: &[&str]| place.run(&with(&[&["query"], arguments].concat(), &flags));
    let instant = |format| ask(&["instant", "a", "--time", "1700000000", "-o", format]).expect(0).stdout;
    assert_eq!(
        instant("table"),
        "SERIES    TIME                  VALUE\n\
         a{x=\"1\"}  2023-11-14T22:13:20Z  1\na{x=\"2\"}  2023-11-14T22:13:20Z  2\na{x=\"3\"}  2023-11-14T22:13:20Z  3\n"
    );
    assert_eq!(
        instant("csv"),
        "timestamp,value,__name__,x\n2023-11-14T22:13:20Z,1,a,1\n2023-11-14T22:13:20Z,2,a,2\n2023-11-14T22:13:20Z,3,a,3\n"
    );
    assert_eq!(instant("jsonl").lines().count(), 3);
    assert!(instant("json").contains("\"resultType\": \"vector\""));
    let range =
        ["range", "sum(a)", "--start", "1700000000", "--end", "1700000120", "--step", "1m", "-o", "csv"];
    assert_eq!(ask(&range).expect(0).stdout.lines().count(), 4);
    let times = ["--start", "1699999999", "--end", "1700000001"];
    assert_eq!(ask(&[&["label-values", "x"], &times[..]].concat()).expect(0).stdout, "1\n2\n3\n");
    assert_eq!(ask(&[&["labels", "a"], &times[..]].concat()).expect(0).stdout, "__name__\nx\n");
    assert_eq!(ask(&[&["series", "a{x=\"1\"}"], &times[..]].concat()).expect(0).stdout, "a{x=\"1\"}\n");
    ask(&["instant", "sum("]).expect(1).says("parse error");
    let status = process.stop(Duration::from_secs(40)).expect("it stops");
    assert!(status.success(), "{status}");
}

#[test]
fn tokens_come_from_flag_file_environment_or_data_directory() {
    let place = Place::new();
    let (_process, flags) = place.serve(&[]);
    let url = [flags[0].as_str(), flags[1].as_str()];
    let list = |more: &[&str], variables: &[(&str, &str)]| {
        place.run_with(&[&["tenant", "list"], &url[..], more].concat(), b"", variables)
    };
    let admin = std::fs::read_to_string(place.path("data/admin-api-token")).expect("a token");
    let admin = admin.trim();
    let (wrong, elsewhere) = ("0".repeat(32), ["--data-dir", "elsewhere"]);
    place.write("wrong", &wrong);
    list(&elsewhere, &[]).expect(6).says("--token-file");
    list(&["--data-dir", "data"], &[]).expect(0);
    list(&["--token", admin], &[("WEIR_TOKEN", &wrong)]).expect(0);
    list(&["--token-file", "data/admin-api-token"], &[("WEIR_TOKEN", &wrong)]).expect(0);
    list(&elsewhere, &[("WEIR_TOKEN", admin), ("WEIR_TOKEN_FILE", "wrong")]).expect(0);
    list(&elsewhere, &[("WEIR_TOKEN_FILE", "data/admin-api-token")]).expect(0);
    list(&["--token-file", "none"], &[]).expect(6).says("none");
    list(&["--token-file", "data/tenant-api-token-default"], &[]).expect(6).says("scope");
    let both = [("WEIR_URL", url[1]), ("WEIR_TOKEN", admin)];
    place.run_with(&["token", "list"], b"", &both).expect(0);
    let run = place.run_with(&with(&["query", "instant", "1", "--tenant", "system"], &flags), b"", &[]);
    run.expect(0);
    let data = flags[2..].to_vec();
    let other =
        ["query", "instant", "1", "--tenant", "default", "--token-file", "data/tenant-api-token-system"];
    let run = place.run(&with(&[&other[..], &url[..]].concat(), &data)).expect(6);
    run.says("X-Scope-OrgID");
}

#[test]
fn tenants_and_tokens_with_and_without_a_server() {
    let place = Place::new();
    let (mut process, flags) = place.serve(&[]);
    place.run(&with(&["tenant", "create", "acme", "--limit", "retention=30d"], &flags)).expect(0);
    place.run(&with(&["tenant", "create", "acme"], &flags)).expect(1).says("tenant acme exists already");
    place
        .run(&with(&["tenant", "create", "x", "--limit", "retenton=30d"], &flags))
        .expect(1)
        .says("retenton");
    let create = ["token", "create", "--tenant", "acme", "--scope", "write,read", "--name", "agent"];
    let made = place.run(&with(&create, &flags)).expect(0);
    let token = made.stdout.trim();
    assert!(token.len() == 32 && !made.stderr.contains(token), "{made:?}");
    let push = ["push", "metrics", "--token", token];
    place.run_with(&with(&push, &flags), b"m 1\n", &[]).expect(0);
    let status = process.stop(Duration::from_secs(40)).expect("it stops");
    assert!(status.success(), "{status}");

    // The same commands, on the directory itself.
    let data = ["--data-dir", "data"];
    let local = |arguments: &[&str]| place.run(&[arguments, &data].concat());
    let listed = local(&["tenant", "list"]).expect(0).stdout;
    assert!(listed.contains("acme") && listed.contains("retention=30d"), "{listed}");
    let tokens = local(&["token", "list"]).expect(0).stdout;
    assert!(tokens.contains("agent") && !tokens.contains(token), "{tokens}");
    local(&["token", "rotate", "4", "--overlap", "24h", "--to", "next"]).expect(0);
    assert!(is_private(&place.path("next")));
    local(&["token", "revoke", "3"]).expect(1).says("the last one with scope admin");
    local(&["token", "revoke", "99"]).expect(1).says("no token 99");
    local(&["tenant", "limits", "acme", "active_series=7", "query_bytes=64MiB"])
        .expect(0)
        .says("active_series=7");
    let json = local(&["tenant", "list", "-o", "json"]).expect(0).stdout;
    assert!(json.contains("\"query_bytes\": 67108864"), "{json}");
    local(&["tenant", "create", "gone"]).expect(0);
    local(&["tenant", "delete", "gone", "--yes"]).expect(0);

    let (_process, flags) = place.serve(&[]);
    let query = ["query", "instant", "m", "--token-file", "next", "--time=+0s"];
    assert!(place.run(&with(&query, &flags)).expect(0).stdout.contains('m'));
    // While a server holds the directory, it is asked and the directory is left alone.
    let listed = place.run(&with(&["tenant", "list"], &flags)).expect(0).stdout;
    assert!(!listed.contains("gone"), "{listed}");
}

#[test]
fn a_reload_applies_what_it_may_and_names_what_it_may_not() {
    let place = Place::new();
    place.write("weir.yaml", "tenants: [first]\n");
    let (process, flags) = place.serve(&[]);
    let reload = || {
        let token = std::fs::read_to_string(place.path("data/admin-api-token")).expect("a token");
        let mut connection =
            xtask::load::http::Connection::open(process.address, Some(token.trim())).expect("a connection");
        let answer = connection.post("/-/reload", "", b"").expect("an answer");
        (answer.status, answer.text())
    };
    let names = || place.run(&with(&["tenant", "list"], &flags)).expect(0).stdout;
    // When the configuration was last applied, and whether the last attempt succeeded.
    let info = || {
        let token = std::fs::read_to_string(place.path("data/tenant-api-token-default")).expect("a token");
        let mut connection =
            xtask::load::http::Connection::open(process.address, Some(token.trim())).expect("a connection");
        let text = connection.get("/api/v1/status/runtimeinfo").expect("an answer").text();
        let info: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        (info["data"]["lastConfigTime"].clone(), info["data"]["reloadConfigSuccess"].clone())
    };
    assert!(names().contains("first"));
    let (started, is_well) = info();
    assert_eq!(is_well, true);
    place.write("weir.yaml", "tenants: [first, second]\n");
    assert_eq!(reload().0, 200);
    assert!(names().contains("second"));
    let (reloaded, is_well) = info();
    assert!(reloaded != started && is_well == true, "{started} {reloaded} {is_well}");
    place.write("weir.yaml", "tenants: [third]\nstorage: {idle: 2h}\nhttp: {idle_timeout: 1m}\n");
    let (status, text) = reload();
    assert!(
        status == 400 && text.contains("a restart is needed for http.idle_timeout, storage.idle"),
        "{text}"
    );
    place.write("weir.yaml", "tenants: [third]\nlgo: {}\n");
    assert!(reload().1.contains("weir.yaml:2: lgo: unknown key, did you mean log?"));
    assert!(!names().contains("third"), "nothing was applied");
    assert_eq!(info(), (reloaded, false.into()));
}

#[test]
fn a_data_directory_is_checked_when_nobody_holds_it() {
    let place = Place::new();
    place.run(&["check", "data", "--data-dir", "data"]).expect(1).says("no data directory of Weir");
    let (mut process, flags) = place.serve(&[]);
    place.run_with(&with(&["push", "metrics"], &flags), b"a 1\n", &[]).expect(0);
    let id = process.id().to_string();
    place.run(&["check", "data", "--data-dir", "data"]).expect(1).says(&format!("in use by process {id}"));
    place.run(&["serve", "--data-dir", "data", "--listen", "127.0.0.1:0"]).expect(1).says(&id);
    process.stop(Duration::from_secs(40)).expect("it stops");
    let run = place.run_with(&["check", "data", "data"], b"", &[("WEIR_DATA_DIR", "none")]).expect(0);
    assert!(run.stdout.starts_with("blocks 1, "), "{run:?}");
    place.write("data/control-0", "rubbish");
    let run = place.run(&["check", "data", "--data-dir", "data"]).expect(3).says("1 thing is damaged");
    assert!(run.stdout.contains("control-0 is damaged"), "{run:?}");
    let block = place.path("data/blocks/000000000001.block");
    let mut bytes = std::fs::read(&block).expect("a block");
    bytes[100] ^= 1;
    std::fs::write(&block, &bytes).expect("room");
    let run = place.run(&["check", "data", "data", "-o", "json"]).expect(3).says("2 things are damaged");
    let map: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let found = &map["damage"][1];
    assert_eq!(found["file"], "blocks/000000000001.block");
    assert_eq!((&found["unit"], &found["offset"]), (&"chunks page".into(), &48.into()), "{map:#}");
    assert!(found["lost"]["samples"].as_u64() > Some(0), "{map:#}");

    // Where a start puts it when nothing of it can be read.
    std::fs::copy(place.path("data/control-1"), place.path("data/control-0")).expect("room");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&block, bytes).expect("room");
    let (mut process, _) = place.serve(&[]);
    process.stop(Duration::from_secs(40)).expect("it stops");
    let run = place.run(&["check", "data", "data"]).expect(0);
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.contains("quarantine/0")).collect();
    let [file, unit] = lines[..] else { panic!("{run:#?}") };
    assert!(file.contains("block") && file.contains("samples") && file.contains("of its pages are good"));
    assert!(unit.contains("footer is damaged"), "{unit}");
    let run = place.run(&["check", "data", "data", "-o", "json"]).expect(0);
    let map: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let file = &map["quarantine"][0];
    assert_eq!((&file["kind"], &file["samples"]), (&"block".into(), &0.into()), "{map:#}");
    assert!(file["pages"].as_u64() > Some(0) && file["lost_samples"].as_u64() > Some(0), "{map:#}");
    assert_eq!(file["damage"][0]["unit"], "file");
}

#[test]
fn snapshots_with_and_without_a_server() {
    let place = Place::new();
    place.write("weir.yaml", "storage: {retention: 100y}\n");
    let (mut process, flags) = place.serve(&[]);
    place.run_with(&with(&["push", "metrics"], &flags), b"a 1 1700000000000\n", &[]).expect(0);
    let run = place.run(&with(&["snapshot", "create", "first"], &flags)).expect(0);
    assert!(run.stdout.starts_with("NAME ") && run.stdout.contains("first"), "{run:?}");
    place.run(&with(&["snapshot", "create", "first"], &flags)).expect(1).says("exists already");
    place.run(&with(&["snapshot", "create", "../x"], &flags)).expect(1).says("a snapshot's name is");
    place.run(&["snapshot", "verify", "first", "--from", "data"]).expect(0);
    place.run(&["snapshot", "verify", "data"]).expect(1).says("in use by process");
    place.run(&["snapshot", "restore", "data", "--data-dir", "new"]).expect(1).says("in use by process");
    place
        .run(&["snapshot", "restore", "first", "--from", "data", "--data-dir", "data"])
        .expect(1)
        .says("not empty");
    process.stop(Duration::from_secs(40)).expect("it stops");

    let data = ["--data-dir", "data"];
    let local = |arguments: &[&str]| place.run(&[arguments, &data].concat());
    place.write("small.yaml", "memory_limit: 1MiB\n");
    let small = ["snapshot", "create", "--config", "small.yaml"];
    local(&small).expect(78).says("memory_limit: at least 64MiB is needed");
    let made = local(&["snapshot", "create", "-o", "json"]).expect(0).stdout;
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let name = made["name"].as_str().expect("a name");
    let listed = local(&["snapshot", "list"]).expect(0).stdout;
    assert!(listed.contains("first") && listed.contains(name), "{listed}");
    local(&["snapshot", "delete", name]).expect(2).says("--yes");
    local(&["snapshot", "delete", name, "--yes"]).expect(0);
    local(&["snapshot", "delete", name, "--yes"]).expect(1).says("no snapshot");
    assert_eq!(local(&["snapshot", "list"]).expect(0).stdout.lines().count(), 2);

    let from = "data/snapshots/first";
    place.run(&["snapshot", "restore", from, "--data-dir", "data"]).expect(1).says("not empty");
    place.run(&["snapshot", "restore", "none", "--data-dir", "new"]).expect(1).says("neither");
    let restored = place.run(&["snapshot", "restore", from, "--data-dir", "new"]).expect(0);
    restored.says("weir serve --data-dir new").says("weir token create --scope admin");
    assert!(!place.path("new/LOCK").exists(), "what restores only reads");
    place.run(&["token", "create", "--scope", "admin", "--to", "admin", "--data-dir", "new"]).expect(0);
    std::fs::rename(place.path("data"), place.path("gone")).expect("a rename");
    std::fs::rename(place.path("new"), place.path("data")).expect("a rename");
    std::fs::copy(place.path("gone/tenant-api-token-default"), place.path("token")).expect("a copy");
    let (_process, flags) = place.serve(&[]);
    let query = ["query", "instant", "a", "--time", "1700000000", "-o", "csv", "--token-file", "token"];
    let found = place.run(&with(&query, &flags)).expect(0).stdout;
    assert!(found.contains(",1,a"), "{found}");

    let block = place.path("gone/snapshots/first/blocks/000000000001.block");
    let mut bytes = std::fs::read(&block).expect("a block");
    bytes[100] ^= 1;
    std::fs::write(&block, bytes).expect("room");
    let run = place.run(&["snapshot", "verify", "gone/snapshots/first"]).expect(3);
    assert!(run.stdout.contains("chunks page"), "{run:?}");
    place
        .run(&["snapshot", "restore", "first", "--from", "gone", "--data-dir", "half"])
        .expect(3)
        .says("restored into half");
}

#[test]
fn the_backup_page_works_when_pasted() {
    let place = Place::new();
    let address = free_address().expect("an address");
    let serve = |data_dir: &str| {
        let command = place.command(&["serve", "--data-dir", data_dir, "--listen", &address.to_string()]);
        let mut process = Process::start(command, address, &place.path("log")).expect("it starts");
        process.wait_ready("/-/ready", Duration::from_secs(60)).expect("ready");
        process
    };
    let url = format!("http://{address}");
    let mut process = serve("weir-data");
    place.run_with(&["push", "metrics", "--url", &url], b"kept 1\n", &[]).expect(0);
    process.stop(Duration::from_secs(40)).expect("it stops");
    let page = xtask::repo::Repo::here().read("docs/backup.md").expect("the page");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(lines.len() > 6, "{lines:?}");
    let binary = Path::new(env!("CARGO_BIN_EXE_weir")).parent().expect("a directory").display();
    for line in lines.iter().filter(|line| !line.starts_with("weir serve")) {
        let script = format!("PATH={binary}:$PATH\n{line}");
        let mut command = Command::new("sh");
        let output = command.args(["-c", &script]).current_dir(place.0.path()).output().expect("sh runs");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(lines.contains(&"weir serve --data-dir new-data"), "{lines:?}");
    let _process = serve("new-data");
    let token = "weir-data/tenant-api-token-default";
    let query = ["query", "instant", "kept", "-o", "csv", "--url", &url, "--token-file", token];
    let found = place.run(&query).expect(0).stdout;
    assert!(found.contains(",1,kept"), "{found}");
}

#[test]
fn completions_and_the_man_page_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&["completions", shell]).expect(0).stdout.contains("check"), "{shell}");
    }
    let page = place.run(&["man"]).expect(0).stdout;
    assert!(page.contains(".TH weir") && page.contains("WEIR PUSH METRICS"), "{page:.500}");
}

/// An authority's certificate and one that it signed for this machine, with its key: PEM.
fn authority() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let signed = params.signed_by(&key, &authority).expect("signed");
    (authority.pem(), signed.pem(), key.serialize_pem())
}

#[test]
fn the_command_line_speaks_tls_and_sighup_reads_certificates() {
    let place = Place::new();
    let (first, second) = (authority(), authority());
    let write = |(authority, certificate, key): &(String, String, String), name: &str| {
        place.write(name, authority);
        place.write("tls.crt", certificate);
        place.write("tls.key", key);
    };
    write(&first, "first.pem");
    let address = free_address().expect("an address");
    place.write(
        "weir.yaml",
        &format!("listen: {address}\ndata_dir: data\ntls: {{cert: tls.crt, key: tls.key}}\n"),
    );
    let server = Process::start(place.command(&["serve"]), address, &place.path("log")).expect("it starts");
    let url = format!("https://{address}");
    let asks = |roots: &str| {
        let query = ["query", "instant", "1", "--url", &url, "--data-dir", "data", "--ca-cert", roots];
        place.run(&query).code == Some(0)
    };
    let until = |roots: &str| {
        for _ in 0..600 {
            if asks(roots) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{roots}: {}", std::fs::read_to_string(place.path("log")).unwrap_or_default());
    };
    until("first.pem");
    let greeting = std::fs::read_to_string(place.path("log")).expect("a log");
    assert!(greeting.contains(&format!(" {url}/api/v1/import/prometheus")), "{greeting}");
    write(&second, "second.pem");
    assert!(!asks("second.pem"), "nobody has looked");
    Command::new("kill").args(["-HUP", &server.id().to_string()]).status().expect("kill runs");
    until("second.pem");
    assert!(!asks("first.pem"));
    // The system does not know the authority.
    let plain = ["query", "instant", "1", "--url", &url, "--data-dir", "data"];
    place.run(&plain).expect(5).says("no answer from https://127.0.0.1:");
    place.run_with(&plain, b"", &[("WEIR_CA_CERT", "second.pem")]).expect(0);
    // A reload with a pair that does not belong together names it and applies nothing.
    place.write("tls.key", &first.2);
    Command::new("kill").args(["-HUP", &server.id().to_string()]).status().expect("kill runs");
    let told = || std::fs::read_to_string(place.path("log")).unwrap_or_default();
    for _ in 0..600 {
        if told().contains("nothing was applied: tls.key is not the key of tls.crt") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(told().contains("nothing was applied: tls.key is not the key of tls.crt"), "{}", told());
    assert!(asks("second.pem"));
}
