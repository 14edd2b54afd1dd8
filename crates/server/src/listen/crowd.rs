//! Who is connected, what they do, and who must go when somebody new comes.
//!
//! A connection without a request costs memory and a descriptor and nothing else, so there may be thousands; but there
//! is a bound. At the bound, those make way that have asked nothing yet, then those that have been idle longest, never
//! one with a request or an answer in flight. So half-sent heads, however many, keep nobody out, and a newcomer is
//! refused only when every single connection is busy.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// A connection that makes way needs no longer than this to go.
const GOING: Duration = Duration::from_millis(100);
/// One in so many makes way at once, so that a flood does not look through all of them for each newcomer.
const EVICTED_SHARE: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Crowd {
    places_max: usize,
    places: Arc<Semaphore>,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    connections: HashMap<u64, Arc<Activity>>,
}

impl Crowd {
    pub(super) fn new(places_max: usize) -> Self {
        Self { places_max, places: Arc::new(Semaphore::new(places_max)), present: Mutex::default() }
    }

    /// A place, if need be another's: `evicted` is told how many make way. None when everybody is busy.
    pub(super) async fn enter(self: &Arc<Self>, evicted: impl FnOnce(u64)) -> Option<Place> {
        let free = || Arc::clone(&self.places);
        let permit = match free().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                evicted(self.make_way()?);
                timeout(GOING, free().acquire_owned()).await.ok()?.ok()?
            }
        };
        let activity = Arc::new(Activity::new());
        let mut present = self.lock();
        let number = present.next;
        present.next += 1;
        present.connections.insert(number, Arc::clone(&activity));
        Some(Place { crowd: Arc::clone(self), number, activity, permit })
    }

    /// Asks those to go that are missed least; gives how many.
    fn make_way(&self) -> Option<u64> {
        let present = self.lock();
        let mut idle: Vec<_> = present.connections.values().filter_map(|a| Some((a.missed()?, a))).collect();
        let most = (self.places_max / EVICTED_SHARE + 1).min(idle.len());
        if most > 0 {
            idle.select_nth_unstable_by_key(most - 1, |(missed, _)| *missed);
        }
        idle[..most].iter().for_each(|(_, activity)| activity.way.notify_one());
        (most > 0).then_some(most as u64)
    }

    /// Waits until everybody has gone; gives how many have not.
    pub(super) async fn all_gone(&self, grace: Duration) -> usize {
        let all = u32::try_from(self.places_max).unwrap_or(u32::MAX);
        match timeout(grace, self.places.acquire_many(all)).await {
            Ok(_) => 0,
            Err(_) => self.places_max - self.places.available_permits(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, held as long as it is open.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    activity: Arc<Activity>,
    #[expect(dead_code, reason = "given back when the connection has gone")]
    permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().connections.remove(&self.number);
    }
}

/// When the connection last had a request, in ms since it began, and how many it has now.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    /// Requests in flight in the upper 16 bits, time of the last change in the lower 48: 0 = there was none yet.
    state: AtomicU64,
    way: Notify,
}

const MS_BITS: u32 = 48;

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), state: AtomicU64::new(0), way: Notify::new() }
    }

    fn change(&self, by: impl Fn(u64) -> u64) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX) & ((1 << MS_BITS) - 1);
        let next = |state: u64| Some(by(state >> MS_BITS) << MS_BITS | now.max(1));
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Requests in flight, and ms of the last change.
    fn now(&self) -> (u64, u64) {
        let state = self.state.load(Ordering::Relaxed);
        (state >> MS_BITS, state & ((1 << MS_BITS) - 1))
    }

    /// Whether there was no request yet.
    pub(super) fn is_stranger(&self) -> bool {
        self.now() == (0, 0)
    }

    /// How much the connection would be missed, none when it is busy.
    fn missed(&self) -> Option<(bool, Instant)> {
        let (busy, last) = self.now();
        (busy == 0).then(|| (last > 0, self.began + Duration::from_millis(last)))
    }

    /// Completes once there was no request for `limit`, or none at all for `first`.
    pub(super) async fn idle(&self, first: Duration, limit: Duration) {
        loop {
            let (busy, last) = self.now();
            let limit = if last == 0 { first } else { limit };
            let expires = self.began + Duration::from_millis(last) + limit;
            let now = Instant::now();
            if busy == 0 && expires <= now {
                return;
            }
            sleep_until(if busy > 0 { now + limit } else { expires }).await;
        }
    }

    /// Completes when the connection must go, as long as it has no request.
    pub(super) async fn makes_way(&self) {
        loop {
            self.way.notified().await;
            if self.now().0 == 0 {
                return;
            }
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.change(|busy| busy + 1);
        Self(Arc::clone(activity))
    }

    /// Stays until the answer's `body` is sent, or given up.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Sending { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|busy| busy - 1);
    }
}

/// An answer's body on its way out.
struct Sending {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    async fn enter(crowd: &Arc<Crowd>) -> Option<Place> {
        crowd.enter(|_| {}).await
    }

    /// Enters, and lets go whoever of `places` is asked to.
    async fn push_in(crowd: &Arc<Crowd>, places: &mut Vec<Place>) -> Option<Place> {
        let goes = async {
            loop {
                let asked = |place: &Place| {
                    let mut way = std::pin::pin!(place.activity.way.notified());
                    way.as_mut().enable()
                };
                places.retain(|place| !asked(place));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            place = enter(crowd) => place,
            () = goes => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_makes_way_and_who_is_busy_stays() {
        let crowd = Arc::new(Crowd::new(3));
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(enter(&crowd).await.unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first was served and is idle, the second waits for its first request, the third is busy.
        let (first, third) = (places[0].number, places[2].number);
        drop(Busy::begin(&places[0].activity));
        let busy = Busy::begin(&places[2].activity);
        let newcomer = push_in(&crowd, &mut places).await.unwrap();
        assert_eq!(places.iter().map(|p| p.number).collect::<Vec<_>>(), [first, third]);
        let newcomer_busy = Busy::begin(&newcomer.activity);
        let second_newcomer = push_in(&crowd, &mut places).await.unwrap();
        assert_eq!(places.iter().map(|p| p.number).collect::<Vec<_>>(), [third]);
        let all_busy = Busy::begin(&second_newcomer.activity);
        assert!(push_in(&crowd, &mut places).await.is_none());
        drop((busy, newcomer_busy, all_busy));
        drop((places, newcomer, second_newcomer));
        assert_eq!(crowd.all_gone(Duration::ZERO).await, 0);
        assert!(crowd.lock().connections.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_busy_until_it_is_sent() {
        let activity = Arc::new(Activity::new());
        let body = Busy::begin(&activity).until_sent(Body::from("hello"));
        assert_eq!((body.size_hint().exact(), activity.missed()), (Some(5), None));
        drop(body);
        assert!(activity.missed().is_some());
    }
}
