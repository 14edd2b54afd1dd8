//! Connections that wait for their next request.
//!
//! Those of HTTP/1 are taken out by whoever uses them and given back once an answer is read to its end; one of HTTP/2 is
//! shared. A connection that the server closed is found out when it is taken, and all of them end after five minutes
//! without a request.
//!
//! An idle connection of HTTP/1 holds some 25 KB (what hyper reads into and writes from, and its channel). Without TLS a
//! new one costs a round trip and nothing else, so that few are kept: a thousand targets would hold 25 MB for it. Over TLS
//! it costs a handshake, and more of them are. One that is kept has its room until it ends, also while it is in use; one
//! for which there is no room is closed after its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::url::{Scheme, Url};

/// After so long without a request a connection is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// Time between two looks for connections that are to be closed.
const SWEEP: Duration = Duration::from_secs(30);

/// Connections that wait for the same place.
const WAITING_MAX: usize = 64;

/// Connections without TLS that a client keeps.
const IDLE_PLAIN_MAX: usize = 100;

/// Connections over TLS that a client keeps.
const IDLE_SECURE_MAX: usize = 1_000;

/// A place that is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Place {
    pub(crate) fn of(url: &Url) -> Self {
        Self { scheme: url.scheme(), host: url.host().to_owned(), port: url.port() }
    }
}

/// The sending half of a connection; the other half is a task that ends with it.
#[derive(Debug)]
pub(crate) enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection, and its room in the pool once it was kept.
#[derive(Debug)]
pub(crate) struct Connection {
    pub sender: Sender,
    age: Age,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

/// How often a pool was cleared before a connection was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age(u64);

impl Connection {
    /// One that was just opened.
    pub(crate) fn new(sender: Sender, age: Age) -> Self {
        Self { sender, age, room: None }
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// The same connection for one more request, if it is of the kind that takes several at a time.
    fn shared(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => {
                Some(Self { sender: Sender::Two(sender.clone()), age: self.age, room: self.room.clone() })
            }
        }
    }
}

/// The connections of a client.
#[derive(Debug)]
pub(crate) struct Pool {
    waiting: Mutex<Waiting>,
    plain: Arc<Semaphore>,
    secure: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    places: HashMap<Place, Vec<(Connection, Duration)>>,
    swept: Duration,
    age: Age,
}

impl Default for Pool {
    fn default() -> Self {
        let room = |connections| Arc::new(Semaphore::new(connections));
        Self { waiting: Mutex::default(), plain: room(IDLE_PLAIN_MAX), secure: room(IDLE_SECURE_MAX) }
    }
}

impl Pool {
    /// A connection to `place`, the one that waited least.
    pub(crate) fn take(&self, place: &Place, now: Duration) -> Option<Connection> {
        let mut waiting = self.lock();
        let connections = waiting.places.get_mut(place)?;
        while let Some((connection, since)) = connections.pop() {
            if connection.is_closed() || now.saturating_sub(since) > IDLE_MAX {
                continue;
            }
            if let Some(shared) = connection.shared() {
                connections.push((connection, now));
                return Some(shared);
            }
            return Some(connection);
        }
        None
    }

    /// Keeps a connection for the next request, if there is room for it.
    pub(crate) fn give(&self, place: &Place, mut connection: Connection, now: Duration) {
        let mut waiting = self.lock();
        if now.saturating_sub(waiting.swept) > SWEEP {
            waiting.swept = now;
            waiting.places.retain(|_, connections| {
                connections.retain(|(connection, since)| {
                    !connection.is_closed() && now.saturating_sub(*since) <= IDLE_MAX
                });
                !connections.is_empty()
            });
        }
        if connection.age != waiting.age {
            return;
        }
        let others = waiting.places.get(place).map_or(0, Vec::len);
        // Another request may have given back the same one, or opened a second.
        let is_one_more = matches!(connection.sender, Sender::Two(_)) && others > 0;
        if is_one_more || others >= WAITING_MAX {
            return;
        }
        if connection.room.is_none() {
            let room = if place.scheme == Scheme::Https { &self.secure } else { &self.plain };
            let Ok(permit) = Arc::clone(room).try_acquire_owned() else { return };
            connection.room = Some(Arc::new(permit));
        }
        waiting.places.entry(place.clone()).or_default().push((connection, now));
    }

    /// Takes a shared connection away unless it is said to stay: one on which a request came to nothing is given to no
    /// other, and ends with those that are under way on it.
    pub(crate) fn leaving<'p>(&'p self, place: &'p Place, connection: &Connection) -> Leaving<'p> {
        let room = connection.room.clone().filter(|_| matches!(connection.sender, Sender::Two(_)));
        Leaving { pool: self, place, room }
    }

    /// The age of a connection that is opened now.
    pub(crate) fn age(&self) -> Age {
        self.lock().age
    }

    /// Closes all that wait, and those in use after their answers: they were opened with a certificate or an authority
    /// that has changed.
    pub(crate) fn clear(&self) {
        let mut waiting = self.lock();
        waiting.age.0 += 1;
        waiting.places.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Pool::leaving`].
#[derive(Debug)]
pub(crate) struct Leaving<'p> {
    pool: &'p Pool,
    place: &'p Place,
    /// By which a connection is known; none when there is nothing to take away.
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Leaving<'_> {
    /// It answered.
    pub(crate) fn stay(mut self) {
        self.room = None;
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Some(room) = &self.room else { return };
        let mut waiting = self.pool.lock();
        if let Some(connections) = waiting.places.get_mut(self.place) {
            connections
                .retain(|(other, _)| !other.room.as_ref().is_some_and(|other| Arc::ptr_eq(other, room)));
        }
    }
}
