//! `weir snapshot`: through a running server, or on the data directory when no server holds it. Verifying and restoring
//! need no server: a snapshot does not change.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use env::Env;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use server::control::Control;
use server::snapshots::{self, CreateSnapshot, PATH, SnapshotInfo, SnapshotList};
use tsdb::{Options, Progress, SnapshotName, Store};

use crate::admin::{self, Place};
use crate::arguments::{Serve, Snapshot};
use crate::check;
use crate::failure::{Code, Failure};
use crate::serve;
use crate::terminal::{say, tame};

/// `weir snapshot`.
pub(crate) fn snapshot(command: Snapshot) -> Result<(), Failure> {
    match command {
        Snapshot::Create { name, output, config, server } => {
            let request = CreateSnapshot { name };
            let made = match Place::find(&server)? {
                Place::Server(client) => {
                    admin::read(client.send_json("POST", PATH, &json!(request))?.json()?)?
                }
                Place::Directory { control, .. } => {
                    create(&control, &server.data_dir, options(config)?, &request)?
                }
            };
            admin::print(output, &json!(made), |made| Ok(rows(vec![admin::read(made)?])))
        }
        Snapshot::List { output, server } => {
            let list = match Place::find(&server)? {
                Place::Server(client) => client.get(PATH, &[])?.json()?,
                Place::Directory { .. } => {
                    let list = snapshots::list(&Env::real(), &server.data_dir).map_err(failed)?;
                    json!(list)
                }
            };
            admin::print(output, &list, |list| Ok(rows(admin::read::<SnapshotList>(list)?.snapshots)))
        }
        Snapshot::Delete { name, yes, server } => {
            let parsed = snapshots::parse_name(&name).map_err(|error| Failure::new(Code::Usage, error))?;
            if !yes {
                admin::confirm(&format!("Delete snapshot {name}?"))?;
            }
            match Place::find(&server)? {
                Place::Server(client) => {
                    let _: Value = client.delete(&format!("{PATH}/{parsed}"))?.json()?;
                }
                Place::Directory { .. } => {
                    tsdb::delete_snapshot(&*Env::real().files, &server.data_dir, &parsed).map_err(failed)?;
                }
            }
            say(format_args!("snapshot {name} deleted"));
            Ok(())
        }
        Snapshot::Verify { snapshot, from, output, no_progress } => {
            check::data(&find(&snapshot, &from)?, output, no_progress)
        }
        Snapshot::Restore { snapshot, from, data_dir, link, no_progress } => {
            restore(&find(&snapshot, &from)?, &data_dir, link, no_progress)
        }
    }
}

/// Sizes and times as a server would have them here.
fn options(config: Option<PathBuf>) -> Result<Options, Failure> {
    let flags = Serve { config, ..Serve::default() };
    Ok(serve::config(&serve::sources(&flags))?.storage)
}

/// Opens the store for a moment; the caller holds the directory's lock.
fn create(
    control: &Control,
    data_dir: &Path,
    options: Options,
    request: &CreateSnapshot,
) -> Result<SnapshotInfo, Failure> {
    let env = Env::real();
    let store = Store::open(env.clone(), data_dir, options, &Progress::default()).map_err(failed)?;
    let made = snapshots::create(&env, control, &store, request);
    store.close()?;
    made.map_err(failed)
}

/// Where a snapshot lies: one of that name in the data directory, else a directory.
fn find(snapshot: &str, data_dir: &Path) -> Result<PathBuf, Failure> {
    let named = SnapshotName::parse(snapshot).map(|name| name.path(data_dir));
    match named.filter(|path| path.is_dir()) {
        Some(path) => Ok(path),
        None if Path::new(snapshot).is_dir() => Ok(PathBuf::from(snapshot)),
        None => {
            let message = format!("{snapshot}: neither a snapshot in {} nor a directory", data_dir.display());
            Err(Failure::new(Code::Failed, message))
        }
    }
}

fn restore(from: &Path, to: &Path, link: bool, no_progress: bool) -> Result<(), Failure> {
    // A snapshot on which a server runs, or a whole data directory.
    let _lock = check::hold(from)?;
    let files = &*Env::real().files;
    let bar = bar(check::bytes(from), "restoring", no_progress);
    let restored = tsdb::restore(files, from, to, link, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    restored.map_err(failed)?;
    // What was damaged before is damaged still; the rest is served.
    let damage = check::damage(to, no_progress)?;
    let directory = to.display();
    say(format_args!("restored into {directory}; to start: weir serve --data-dir {directory}"));
    if !to.join(server::control::ADMIN_TOKEN).exists() {
        say(format_args!(
            "tokens are taken as before; for a new one that administers: \
             weir token create --scope admin --data-dir {directory}"
        ));
    }
    if damage.is_empty() { Ok(()) } else { Err(Failure::several(Code::Findings, damage)) }
}

/// A bar over so many bytes, on a terminal.
pub(crate) fn bar(bytes: u64, what: &'static str, hidden: bool) -> ProgressBar {
    if hidden || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(what)
}

fn rows(list: Vec<SnapshotInfo>) -> Vec<Vec<String>> {
    let mut rows = vec![["NAME", "CREATED", "BYTES", "BLOCKS", "SAMPLES"].map(str::to_owned).to_vec()];
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    rows.extend(list.into_iter().map(|one| {
        let created = one.created.unwrap_or_else(|| "?".to_owned());
        let numbers = [one.bytes, one.blocks, one.samples].map(number);
        [tame(&one.name), tame(&created)].into_iter().chain(numbers).collect()
    }));
    rows
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Failed, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::table;

    /// The store was opened with 4 GiB of memory, whatever the machine has and the configuration says.
    #[test]
    fn a_store_is_opened_as_a_server_would() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weir.yaml");
        std::fs::write(&file, "memory_limit: 100MiB\nstorage: {segment_bytes: 1MiB}\n").unwrap();
        let options = options(Some(file)).unwrap();
        assert!(options.memory_bytes < 100 << 20, "{options:?}");
        assert_eq!(options.segment_bytes, 1 << 20);
    }

    #[test]
    fn a_damaged_description_is_shown_as_unknown() {
        let info = SnapshotInfo { name: "a".into(), created: None, bytes: None, blocks: None, samples: None };
        let shown = table(&rows(vec![info]));
        assert_eq!(shown, "NAME  CREATED  BYTES  BLOCKS  SAMPLES\na     ?        ?      ?       ?\n");
    }
}
