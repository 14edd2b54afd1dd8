//! Connections that wait for their next request.
//!
//! Those of HTTP/1 are taken out by whoever uses them and given back once an answer is read to its end; one of HTTP/2 is
//! shared. A connection that the server closed is found out when it is taken, and all of them end after five minutes
//! without a request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};

use crate::url::{Scheme, Url};

/// After so long without a request a connection is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// Time between two looks for connections that are to be closed.
const SWEEP: Duration = Duration::from_secs(30);

/// Connections that wait for the same place.
const WAITING_MAX: usize = 64;

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

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

/// The connections of a client.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    places: HashMap<Place, Vec<(Sender, Duration)>>,
    swept: Duration,
}

impl Pool {
    /// A connection to `place`, the one that waited least.
    pub(crate) fn take(&self, place: &Place, now: Duration) -> Option<Sender> {
        let mut waiting = self.lock();
        let senders = waiting.places.get_mut(place)?;
        while let Some((sender, since)) = senders.pop() {
            if sender.is_closed() || now.saturating_sub(since) > IDLE_MAX {
                continue;
            }
            if let Sender::Two(shared) = &sender {
                let clone = Sender::Two(shared.clone());
                senders.push((sender, now));
                return Some(clone);
            }
            return Some(sender);
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn give(&self, place: &Place, sender: Sender, now: Duration) {
        let mut waiting = self.lock();
        if now.saturating_sub(waiting.swept) > SWEEP {
            waiting.swept = now;
            waiting.places.retain(|_, senders| {
                senders
                    .retain(|(sender, since)| !sender.is_closed() && now.saturating_sub(*since) <= IDLE_MAX);
                !senders.is_empty()
            });
        }
        match waiting.places.get_mut(place) {
            // Another request may have given back the same one, or opened a second.
            Some(senders) if matches!(sender, Sender::Two(_)) && !senders.is_empty() => {}
            Some(senders) if senders.len() >= WAITING_MAX => {}
            Some(senders) => senders.push((sender, now)),
            None => {
                waiting.places.insert(place.clone(), vec![(sender, now)]);
            }
        }
    }

    /// Closes all that wait: they were opened with a certificate or an authority that has changed.
    pub(crate) fn clear(&self) {
        self.lock().places.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
