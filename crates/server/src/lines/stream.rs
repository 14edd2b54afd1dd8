//! TCP: a task that accepts, and one for each connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::intake::Intake;
use super::split::Split;

/// How long an answer may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a connection that could not be accepted.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Reads after which a stop does not wait for an empty connection any longer.
const LAST_READS: u32 = 64;

/// How long such a read waits: what has come is there at once.
const LAST_WAIT: Duration = Duration::from_millis(50);

/// How long connections may take to end at a stop.
const GRACE: Duration = Duration::from_secs(5);

/// Bounds of a listener's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many at once.
    pub(super) connections_max: usize,
    /// One that brings nothing for so long is closed.
    pub(super) idle_timeout: Duration,
}

/// Accepts until `stopped`, then waits for the connections.
pub(super) async fn accept(
    listener: TcpListener,
    intake: Arc<Intake>,
    bounds: Bounds,
    mut stopped: watch::Receiver<bool>,
) {
    let metrics = Arc::clone(&intake.app.metrics);
    let open = metrics.lines_connections.with(&[intake.dialect]);
    let closed = |reason| metrics.lines_connections_closed.with(&[intake.dialect, reason]).add(1);
    let mut connections = JoinSet::new();
    let ended = |result: Result<Result<(), &'static str>, _>| {
        open.add(-1.0);
        match result {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => closed(reason),
            Err(_) => metrics.panics.add(1),
        }
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < bounds.connections_max => {
                    open.add(1.0);
                    let idle = bounds.idle_timeout;
                    connections.spawn(serve(stream, Arc::clone(&intake), idle, stopped.clone()));
                }
                Ok(_) => closed("too_many"),
                Err(error) => {
                    tracing::warn!(%error, dialect = intake.dialect, "a connection for lines is not accepted");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            },
            Some(result) = connections.join_next() => ended(result),
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    let all = async {
        while let Some(result) = connections.join_next().await {
            ended(result);
        }
    };
    let _ = timeout(GRACE, all).await;
}

/// Takes lines until the other side has closed; the error says why this one did.
async fn serve(
    mut stream: TcpStream,
    intake: Arc<Intake>,
    idle: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), &'static str> {
    let mut split = Split::default();
    loop {
        let read = tokio::select! {
            read = timeout(idle, read(&stream, &mut split)) => read.map_err(|_| "idle")?,
            _ = stopped.changed() => break,
        };
        match read {
            Ok(0) if split.is_cut() => {
                // Half a line may be another number.
                intake.cut();
                return Err("cut");
            }
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err("error"),
        }
        if take(&mut stream, &intake, &mut split).await? {
            return Ok(());
        }
    }
    // What has come is taken, unless it does not end.
    for _ in 0..LAST_READS {
        match timeout(LAST_WAIT, read(&stream, &mut split)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => break,
        }
        if take(&mut stream, &intake, &mut split).await? {
            break;
        }
    }
    Ok(())
}

/// Reads what has come, once something has: a connection that brings nothing holds no memory.
async fn read(stream: &TcpStream, split: &mut Split) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut split.room()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Takes whole lines that have come; whether the connection ends with it.
async fn take(stream: &mut TcpStream, intake: &Intake, split: &mut Split) -> Result<bool, &'static str> {
    let (lines, too_long) = split.lines();
    if lines.is_empty() && too_long == 0 {
        return Ok(false);
    }
    let said = intake.take(lines, too_long).await;
    split.taken();
    if !said.text.is_empty() {
        let written = timeout(WRITE_TIMEOUT, stream.write_all(said.text.as_bytes())).await;
        written.map_err(|_| "idle")?.map_err(|_| "error")?;
    }
    Ok(said.closes)
}
