//! Official clients of other vendors, for tests that run the real thing: installed from their registries into the
//! build's own directory, once for each version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run;

/// The directory with Python packages (`datadog==0.56.0`), to be put on `PYTHONPATH`; the error says why there is none.
pub fn python(package: &str) -> Result<PathBuf, String> {
    install("python3", package, |directory| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
        command.arg("--target").arg(directory).arg(package);
        command
    })
}

/// The directory in which Node finds a package (`hot-shots@17.1.1`); the error says why there is none.
pub fn node(package: &str) -> Result<PathBuf, String> {
    install("npm", package, |directory| {
        let mut command = Command::new("npm");
        command.args([
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--omit=optional",
            "--ignore-scripts",
        ]);
        command.arg("--prefix").arg(directory).arg(package);
        command
    })
}

fn install(program: &str, package: &str, command: impl FnOnce(&Path) -> Command) -> Result<PathBuf, String> {
    if !run::exists(program) {
        return Err(format!("{program} is not installed"));
    }
    let name: String = package.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let clients = target_directory().join("clients");
    let directory = clients.join(&name);
    if directory.exists() {
        return Ok(directory);
    }
    fs::create_dir_all(&clients).map_err(|error| error.to_string())?;
    // Under another name until it is whole: tests run beside each other.
    let making = tempfile::tempdir_in(&clients).map_err(|error| error.to_string())?;
    let output = command(making.path()).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{package} cannot be installed: {}", words.lines().last().unwrap_or("")));
    }
    match fs::rename(making.keep(), &directory) {
        Err(error) if !directory.exists() => Err(error.to_string()),
        _ => Ok(directory),
    }
}

fn target_directory() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or(root, PathBuf::from)
}
