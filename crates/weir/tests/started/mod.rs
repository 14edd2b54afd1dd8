//! The real binary for senders that are real too: where it listens, and what of theirs comes back by PromQL.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xtask::clients;
use xtask::load::http::{Connection, encoded};
use xtask::load::process::Process;
use xtask::repo::Repo;
use xtask::rig::weir::Home;

pub(crate) struct Weir {
    pub(crate) process: Process,
    pub(crate) token: String,
    directory: tempfile::TempDir,
}

impl Weir {
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, config);
        let process = home.start().expect("Weir starts");
        let token = home.token();
        Self { process, token, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.process.address)
    }

    /// Where a test may put what it needs.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn asked(&self, question: &str, token: &str) -> Vec<u8> {
        let mut connection = Connection::open(self.process.address, Some(token)).expect("Weir answers");
        let answer = connection.get(question).expect("an answer");
        assert_eq!(answer.status, 200, "{question}: {}", answer.text());
        answer.body
    }

    /// The result of a question to the query API.
    pub(crate) fn data(&self, question: &str) -> Value {
        let json: Value = serde_json::from_slice(&self.asked(question, &self.token)).expect("JSON");
        assert_eq!(json["status"], "success", "{question}: {json}");
        json["data"].clone()
    }

    /// The series that an expression selects, as `name{label=value,...} value`, in their order.
    pub(crate) fn query(&self, expression: &str, now_s: i64) -> Vec<String> {
        let data = self.data(&format!("/api/v1/query?time={now_s}&query={}", encoded(expression)));
        let mut shown: Vec<String> = data["result"].as_array().expect("a list").iter().map(row).collect();
        shown.sort();
        shown
    }

    /// The value of one of Weir's own metrics, by how its line begins.
    pub(crate) fn own(&self, line: &str) -> Option<f64> {
        let admin = std::fs::read_to_string(self.directory().join("data").join("admin-api-token"));
        let text = self.asked("/metrics", admin.expect("a token").trim());
        let text = String::from_utf8_lossy(&text).into_owned();
        let found = text.lines().find(|found| found.starts_with(line))?;
        found.rsplit(' ').next()?.parse().ok()
    }
}

/// `name{label=value,...} value`, or of a histogram its count and sum.
fn row(row: &Value) -> String {
    let labels = row["metric"].as_object().expect("labels");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = labels.iter().filter(|(name, _)| *name != "__name__").collect();
    pairs.sort_by_key(|(name, _)| *name);
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    let value = match &row["histogram"] {
        Value::Null => text(&row["value"][1]),
        histogram => format!("{}/{}", text(&histogram[1]["count"]), text(&histogram[1]["sum"])),
    };
    let name = labels.get("__name__").map(text).unwrap_or_default();
    format!("{name}{{{}}} {value}", pairs.join(","))
}

/// Packages from PyPI, as `PYTHONPATH` wants them; else why they are not there.
pub(crate) fn python_path(packages: &[&str]) -> Result<String, String> {
    let paths: Result<Vec<_>, _> = packages.iter().copied().map(clients::python).collect();
    Ok(paths?.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":"))
}

/// Runs a client and returns what it printed.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    printed.into_owned()
}

/// Runs a client and returns its lines.
pub(crate) fn run(command: &mut Command) -> Vec<String> {
    printed(command).lines().map(str::to_owned).collect()
}

/// A client's script.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A page's first block in this language, for this Weir.
pub(crate) fn documented(page: &str, language: &str, weir: &Weir) -> String {
    let text = Repo::here().read(page).expect("the page");
    let block = text.split(&format!("```{language}\n")).nth(1).expect("a block");
    let block = block.split("```").next().unwrap_or_default();
    block.replace("http://localhost:9347", &weir.url()).replace("<token>", &weir.token)
}
