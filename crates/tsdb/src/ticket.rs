//! The promise that an append becomes durable, kept or broken once.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use model::Rejections;

/// Why a queued append did not become durable. Its samples may or may not be there later; resending is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Occurs when the log could not be written or synced.
    #[error("write-ahead log: {0}")]
    Log(String),
    /// Occurs when the store was closed first.
    #[error("store is closing")]
    Closing,
}

/// What is known of an append only once it is durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// Deltas that [`crate::Appended`] counts as accepted and that were refused when their turn came.
    pub rejected: Rejections,
    /// Numbers of the batch's items that they belong to, where its sender counts items.
    pub refused_items: Vec<u32>,
}

type Outcome = Result<Committed, WriteError>;

/// A queued append. Completes after its bytes are synced and the head has them. Dropping it cancels nothing.
pub struct Ticket {
    shared: Arc<Shared>,
}

/// The writer's half of a [`Ticket`]; dropped without an outcome it says that the store closed.
pub(crate) struct Completion {
    shared: Arc<Shared>,
    completed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Listening(Box<dyn FnOnce(Outcome) + Send>),
    Done(Outcome),
}

pub(crate) fn pair() -> (Ticket, Completion) {
    let shared = Arc::new(Shared::default());
    (Ticket { shared: shared.clone() }, Completion { shared, completed: false })
}

impl Ticket {
    /// A ticket for an append with nothing to write.
    pub(crate) fn done() -> Ticket {
        let (ticket, completion) = pair();
        completion.complete(Ok(Committed::default()));
        ticket
    }

    /// Blocks until the append is durable and queryable.
    pub fn wait(self) -> Result<Committed, WriteError> {
        let mut state = self.shared.state.lock().expect("lock");
        loop {
            if let State::Done(outcome) = &*state {
                return outcome.clone();
            }
            state = self.shared.done.wait(state).expect("lock");
        }
    }

    /// The outcome, when there is one already.
    pub fn outcome(&self) -> Option<Result<Committed, WriteError>> {
        match &*self.shared.state.lock().expect("lock") {
            State::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }

    /// Calls `done` once, from the writer's thread (or at once when it has completed already).
    pub fn on_done(self, done: impl FnOnce(Result<Committed, WriteError>) + Send + 'static) {
        let mut state = self.shared.state.lock().expect("lock");
        match &*state {
            State::Done(outcome) => {
                let outcome = outcome.clone();
                drop(state);
                done(outcome);
            }
            _ => *state = State::Listening(Box::new(done)),
        }
    }
}

impl Completion {
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.completed = true;
        let mut state = self.shared.state.lock().expect("lock");
        let before = std::mem::replace(&mut *state, State::Done(outcome.clone()));
        drop(state);
        self.shared.done.notify_all();
        if let State::Listening(done) = before {
            done(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !self.completed {
            self.finish(Err(WriteError::Closing));
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.outcome()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_ticket_completes_once_for_waiters_and_listeners() {
        let (ticket, completion) = pair();
        let (sender, receiver) = sync_channel(1);
        ticket.on_done(move |outcome| sender.send(outcome).expect("receiver"));
        completion.complete(Ok(Committed::default()));
        assert_eq!(receiver.recv(), Ok(Ok(Committed::default())));
        assert_eq!(Ticket::done().wait(), Ok(Committed::default()));
    }

    #[test]
    fn a_writer_that_goes_away_says_so() {
        let (ticket, completion) = pair();
        drop(completion);
        assert_eq!(ticket.wait(), Err(WriteError::Closing));
    }
}
