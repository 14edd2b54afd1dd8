//! Who is connected, what they do, and who must go when somebody new comes.
//!
//! A connection without a request costs memory and a descriptor and nothing else, so there may be thousands; but there
//! is a bound. At the bound, those make way that do not take the answer they asked for, then those that have asked
//! nothing yet, then those that have been idle longest, never one with a request or an answer in flight. So half-sent
//! heads, however many, keep nobody out, and a newcomer is refused only when every single connection is busy.
//!
//! An answer is in flight until its last byte is the kernel's. hyper and h2 are done with a body long before that, so
//! the bytes themselves say when they are gone: they are handed out in pieces, each of which knows its answer. What h1
//! and h2 copy into buffers of their own (heads, the smallest pieces) is written at once, unless the guard is blocked.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::pieces::Pieces;

/// A connection that makes way needs no longer than this to go.
const GOING: Duration = Duration::from_millis(100);
/// One in so many makes way at once, so that a flood does not look through all of them for each newcomer.
const EVICTED_SHARE: usize = 64;
/// An answer of which the peer takes no piece for this long does not keep its connection any longer. HTTP/2 has windows
/// that a client may leave at zero, which would keep an answer for ever.
const STALLED: Duration = Duration::from_secs(10);

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

    /// A place, if need be another's. None when everybody is busy.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Place> {
        let free = || Arc::clone(&self.places);
        let permit = match free().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.make_way() => timeout(GOING, free().acquire_owned()).await.ok()?.ok()?,
            Err(_) => return None,
        };
        let activity = Arc::new(Activity::new());
        let mut present = self.lock();
        let number = present.next;
        present.next += 1;
        present.connections.insert(number, Arc::clone(&activity));
        Some(Place { crowd: Arc::clone(self), number, activity, permit })
    }

    /// Asks those to go that are missed least; gives whether somebody goes.
    fn make_way(&self) -> bool {
        let present = self.lock();
        let (mut idle, mut going) = (Vec::new(), 0);
        for activity in present.connections.values() {
            match activity.missed() {
                // Once is enough: it goes as soon as its task runs.
                Some(_) if activity.lock().asked => going += 1,
                Some(missed) => idle.push((missed, activity)),
                None => {}
            }
        }
        let most = (self.places_max / EVICTED_SHARE + 1).saturating_sub(going).min(idle.len());
        if most > 0 {
            idle.select_nth_unstable_by_key(most - 1, |(missed, _)| *missed);
        }
        for (_, activity) in &idle[..most] {
            activity.lock().asked = true;
            activity.way.notify_one();
        }
        most + going > 0
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

/// What a connection does.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    state: Mutex<State>,
    /// Whether the guard is blocked: then the end of an answer may be unsent although its bytes are gone.
    blocked: Arc<AtomicBool>,
    way: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that are not answered yet.
    requests: u64,
    /// When each answer that is on its way last moved.
    answers: HashMap<u64, Instant>,
    next: u64,
    /// When something of this last changed; none = there was no request yet.
    last: Option<Instant>,
    /// Since when the connection is to finish.
    finishing: Option<Instant>,
    /// Whether it was asked to make way and has not gone yet.
    asked: bool,
}

/// How much a connection without anything in flight would be missed: the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missed {
    /// It has not taken anything of an answer since then.
    Stalled(Instant),
    /// It has asked nothing since it began.
    Stranger(Instant),
    /// It has been idle since then.
    Idle(Instant),
}

impl State {
    /// When the connection's answers count as stalled: one that is to finish may first finish everything else.
    fn stalls(&self) -> Option<Instant> {
        let moved = match self.finishing {
            None => self.answers.values().min(),
            Some(_) if self.requests > 0 => None,
            Some(_) => self.answers.values().max(),
        };
        moved.map(|moved| *moved + STALLED)
    }

    fn in_flight(&self) -> bool {
        self.requests > 0 || !self.answers.is_empty()
    }
}

impl Activity {
    fn new() -> Self {
        let blocked = Arc::default();
        Self { began: Instant::now(), state: Mutex::default(), blocked, way: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the guard says whether it is blocked in a write.
    pub(super) fn blocked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.blocked)
    }

    /// Whether there was no request yet.
    pub(super) fn is_stranger(&self) -> bool {
        self.lock().last.is_none()
    }

    /// From now on the connection is to end. Requests may still cross the word of that, for a while.
    pub(super) fn finish(&self) {
        self.lock().finishing = Some(Instant::now());
    }

    /// Until when the end of the last answer may be on its way, although its body is gone.
    fn tail(&self, last: Instant) -> Instant {
        if self.blocked.load(Ordering::Relaxed) { last + STALLED } else { last }
    }

    /// How much the connection would be missed, none when it is busy.
    fn missed(&self) -> Option<Missed> {
        let (state, now) = (self.lock(), Instant::now());
        match (state.stalls(), state.last) {
            (Some(stalls), _) if stalls <= now => Some(Missed::Stalled(stalls)),
            _ if state.in_flight() => None,
            (_, None) => Some(Missed::Stranger(self.began)),
            (_, Some(last)) => (self.tail(last) <= now).then_some(Missed::Idle(last)),
        }
    }

    /// When it is time to look whether the connection is idle, none when it is.
    fn expires(&self, first: Duration, limit: Duration) -> Option<Instant> {
        let (state, now) = (self.lock(), Instant::now());
        let expires = match state.stalls() {
            Some(stalls) if stalls <= now => return None,
            // What changes until then does not wake anybody.
            _ if state.in_flight() => return Some(now + limit.clamp(GOING, STALLED)),
            _ => {
                let rests = |since: Instant| state.finishing.map_or(since, |finishing| since.max(finishing));
                match state.last {
                    None => rests(self.began) + first,
                    Some(last) => (rests(last) + limit).max(self.tail(last)),
                }
            }
        };
        (expires > now).then_some(expires)
    }

    /// Completes once there was no request for `limit`, or none at all for `first`, or an answer is not taken.
    pub(super) async fn idle(&self, first: Duration, limit: Duration) {
        while let Some(expires) = self.expires(first, limit) {
            sleep_until(expires).await;
        }
    }

    /// Completes when the connection must go, as long as it is not busy.
    pub(super) async fn makes_way(&self) {
        loop {
            self.way.notified().await;
            if self.missed().is_some() {
                return;
            }
            self.lock().asked = false;
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    /// Not, when it came long after the connection was told to finish: that must have an end.
    counts: bool,
}

impl Busy {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        let (mut state, now) = (activity.lock(), Instant::now());
        let counts = state.finishing.is_none_or(|finishing| now < finishing + STALLED);
        state.requests += u64::from(counts);
        state.last = Some(now);
        Self { activity: Arc::clone(activity), counts }
    }

    /// Stays until the answer's `body` is sent, or given up.
    pub(super) fn until_sent(self, body: Body) -> Body {
        if !self.counts {
            return body;
        }
        Body::new(Sending { pieces: Pieces::of(body), answer: Arc::new(Answer::begin(&self.activity)) })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests -= u64::from(self.counts);
        state.last = Some(Instant::now());
    }
}

/// An answer on its way out, as long as anybody holds a byte of it.
#[derive(Debug)]
struct Answer {
    activity: Arc<Activity>,
    number: u64,
}

impl Answer {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut state = activity.lock();
        let number = state.next;
        state.next += 1;
        state.answers.insert(number, Instant::now());
        Self { activity: Arc::clone(activity), number }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.answers.remove(&self.number);
        state.last = Some(Instant::now());
    }
}

/// A piece of an answer; it is dropped when it is written, or copied to be written at once.
struct Piece {
    bytes: Bytes,
    answer: Arc<Answer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.answer.activity.lock();
        state.answers.insert(self.answer.number, now);
    }
}

/// An answer's body on its way out, in pieces.
struct Sending {
    pieces: Pieces,
    answer: Arc<Answer>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.pieces).poll_frame(cx)).transpose()?;
        let watched = |bytes| Bytes::from_owner(Piece { bytes, answer: Arc::clone(&self.answer) });
        Poll::Ready(frame.map(|frame| Ok(frame.map_data(watched))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.pieces.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;
    use crate::pieces::PIECE_BYTES;

    async fn enter(crowd: &Arc<Crowd>) -> Option<Place> {
        crowd.enter().await
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
        // Its bytes may stay where they are written from when the body itself is long gone.
        let mut body = Busy::begin(&activity).until_sent(Body::from(vec![0; PIECE_BYTES + 5]));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        drop(body);
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, 5]);
        drop(pieces.remove(0));
        assert_eq!(activity.missed(), None);
        drop(pieces);
        // The last of it was copied, and is not out yet.
        activity.blocked.store(true, Ordering::Relaxed);
        assert_eq!(activity.missed(), None);
        activity.blocked.store(false, Ordering::Relaxed);
        assert!(activity.missed().is_some());
    }
}
