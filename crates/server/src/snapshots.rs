//! Snapshots for whoever administers: `/api/v1/admin/snapshots`, Prometheus' own path, and what the command line does
//! when no server runs. How one is made stands in [`tsdb::Store::snapshot`]; here the control state is added, so that a
//! snapshot knows its tenants and tokens. No token's secret is in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use env::Env;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tsdb::{Snapshot, SnapshotError, SnapshotName, Store};

use crate::api::error::ApiError;
use crate::api::params::{InvalidParam, Params, parse_bool};
use crate::app::App;
use crate::control::Control;
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use crate::{body, gate, upkeep};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Lists snapshots: [`SnapshotList`].
    List,
    /// Makes one: [`CreateSnapshot`], answered by [`SnapshotInfo`].
    Create,
    /// Deletes one.
    Delete,
    /// Makes one, as Prometheus' `/api/v1/admin/tsdb/snapshot` does. `skip_head` changes nothing: the head is
    /// flushed before, so it costs nothing.
    CreatePrometheus,
}

/// Method, path and operation.
pub const ROUTES: &[(&str, &str, Operation)] = &[
    ("GET", PATH, Operation::List),
    ("POST", PATH, Operation::Create),
    ("DELETE", "/api/v1/admin/snapshots/{target}", Operation::Delete),
    ("POST", "/api/v1/admin/tsdb/snapshot", Operation::CreatePrometheus),
    ("PUT", "/api/v1/admin/tsdb/snapshot", Operation::CreatePrometheus),
    ("POST", "/prometheus/api/v1/admin/tsdb/snapshot", Operation::CreatePrometheus),
    ("PUT", "/prometheus/api/v1/admin/tsdb/snapshot", Operation::CreatePrometheus),
];

/// The path of [`Operation::List`] and [`Operation::Create`]; a snapshot's name behind it names that one.
pub const PATH: &str = "/api/v1/admin/snapshots";

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Names that are tried when the second's own is taken.
const NAMES_MAX: u32 = 9;

/// A request for a snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// Its name; without it the time, in UTC.
    #[serde(default)]
    pub name: Option<String>,
}

/// A snapshot. Numbers are missing when its description is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name, which is its directory's under `snapshots/` in the data directory.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Bytes of its blocks; as long as the store has them too, they are on the disk once.
    pub bytes: Option<u64>,
    /// Blocks.
    pub blocks: Option<u64>,
    /// Samples; one that was written to several blocks counts in each.
    pub samples: Option<u64>,
}

/// A list of snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotList {
    /// By name.
    pub snapshots: Vec<SnapshotInfo>,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotsError {
    /// Occurs when the request's body is not what the operation takes.
    #[error("request body: {0}")]
    Body(#[from] serde_json::Error),
    /// Occurs when a name is none.
    #[error(
        "{0:?}: a snapshot's name is letters, digits, '-', '_' and '.', a letter or digit first, at most 128, \
         and does not end in .tmp"
    )]
    Name(String),
    /// Occurs while the store is not open yet.
    #[error("starting")]
    Starting,
    /// Occurs when a snapshot is not made or deleted.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Occurs when snapshots cannot be listed, or the store does not open.
    #[error(transparent)]
    Open(#[from] tsdb::OpenError),
}

impl SnapshotsError {
    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body(_) | Self::Name(_) => StatusCode::BAD_REQUEST,
            Self::Snapshot(SnapshotError::Exists(_)) => StatusCode::CONFLICT,
            Self::Snapshot(SnapshotError::Missing(_)) => StatusCode::NOT_FOUND,
            Self::Starting | Self::Snapshot(SnapshotError::Io(_)) | Self::Open(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl SnapshotInfo {
    fn of(name: &SnapshotName, snapshot: Option<Snapshot>) -> Self {
        let time = |ms| jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string();
        Self {
            name: name.to_string(),
            created: snapshot.map(|snapshot| time(snapshot.created_ms)),
            bytes: snapshot.map(|snapshot| snapshot.bytes),
            blocks: snapshot.map(|snapshot| snapshot.blocks),
            samples: snapshot.map(|snapshot| snapshot.samples),
        }
    }
}

/// A snapshot's name, or why it is none.
pub fn parse_name(name: &str) -> Result<SnapshotName, SnapshotsError> {
    SnapshotName::parse(name).ok_or_else(|| SnapshotsError::Name(name.to_owned()))
}

/// Makes a snapshot of an open store.
pub fn create(
    env: &Env,
    control: &Control,
    store: &Store,
    request: &CreateSnapshot,
) -> Result<SnapshotInfo, SnapshotsError> {
    let also = |directory: &Path| -> io::Result<()> { control.copy_to(directory) };
    if let Some(name) = &request.name {
        let name = parse_name(name)?;
        return Ok(SnapshotInfo::of(&name, Some(store.snapshot(&name, &also)?)));
    }
    let time = jiff::Timestamp::from_millisecond(env.clock.now_ms()).unwrap_or(jiff::Timestamp::MIN);
    let time = time.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    for number in 1.. {
        let name = if number == 1 { time.clone() } else { format!("{time}-{number}") };
        let name = parse_name(&name)?;
        match store.snapshot(&name, &also) {
            Err(SnapshotError::Exists(_)) if number < NAMES_MAX => {}
            result => return Ok(SnapshotInfo::of(&name, Some(result?))),
        }
    }
    Err(SnapshotsError::Name(time))
}

/// Lists the snapshots in a data directory, whoever has it open.
pub fn list(env: &Env, data_dir: &Path) -> Result<SnapshotList, SnapshotsError> {
    let found = tsdb::snapshots(&*env.files, data_dir)?;
    let snapshots = found.iter().map(|(name, snapshot)| SnapshotInfo::of(name, *snapshot)).collect();
    Ok(SnapshotList { snapshots })
}

/// Does one of [`ROUTES`].
pub async fn answer(app: Arc<App>, operation: Operation, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    if let Err(refused) = gate::admit_admin(&app, &parts) {
        return refused_answer(refused);
    }
    let body = match body::read_small(body, BODY_BYTES_MAX, app.config().http.body_timeout).await {
        Ok(body) => body,
        Err(error) => return respond::error(error.status(), "bad_data", &error.to_string()),
    };
    if operation == Operation::CreatePrometheus
        && let Err(error) =
            check_skip_head(&Params::parse(&String::from_utf8_lossy(&body), parts.uri.query().unwrap_or("")))
    {
        return ApiError::from(error).answer();
    }
    let target = crate::admin::target(parts.uri.path());
    let its = Arc::clone(&app);
    match upkeep::run(&app, move || call(&its, operation, &target, &body)).await {
        Ok(Ok((status, body))) => respond::json(status, body.to_string()),
        Ok(Err(error)) => {
            let status = error.status();
            if status.is_server_error() {
                tracing::error!(%error, ?operation, "snapshot");
            }
            respond::error(status, "bad_data", &error.to_string())
        }
        Err(error) => error.answer(),
    }
}

/// It is not done, but what it says has to be something.
fn check_skip_head(params: &Params) -> Result<(), InvalidParam> {
    let text = params.get("skip_head");
    if text.is_empty() || parse_bool(text).is_some() {
        return Ok(());
    }
    let quoted = promql::text::quoted(text);
    let what = format!("unable to parse boolean: strconv.ParseBool: parsing {quoted}: invalid syntax");
    Err(InvalidParam::new("skip_head", what))
}

fn call(
    app: &App,
    operation: Operation,
    target: &str,
    body: &[u8],
) -> Result<(StatusCode, Value), SnapshotsError> {
    let store = app.store().ok_or(SnapshotsError::Starting)?;
    let create = |request: &CreateSnapshot| {
        let made = create(&app.env, &app.control, store, request)?;
        tracing::info!(name = made.name, bytes = made.bytes, "snapshot made");
        Ok::<_, SnapshotsError>(made)
    };
    match operation {
        Operation::List => Ok((StatusCode::OK, serde_json::to_value(list(&app.env, &app.data_dir)?)?)),
        Operation::Create => {
            let request = serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?;
            Ok((StatusCode::CREATED, serde_json::to_value(create(&request)?)?))
        }
        Operation::Delete => {
            store.delete_snapshot(&parse_name(target)?)?;
            tracing::info!(name = target, "snapshot deleted");
            Ok((StatusCode::OK, json!({ "deleted": target })))
        }
        Operation::CreatePrometheus => {
            let made = create(&CreateSnapshot::default())?;
            Ok((StatusCode::OK, json!({ "status": "success", "data": { "name": made.name } })))
        }
    }
}
