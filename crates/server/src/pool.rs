//! A fixed number of threads behind a bounded queue: decoding of large bodies, evaluation of queries, upkeep.
//!
//! Threads, not tasks: this work computes for milliseconds to minutes and would keep the runtime from moving bytes.
//! Stacks are 4 MiB, because parsers and the evaluator recurse to a counted depth. A panic costs the job, not the
//! thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;

const STACK_BYTES: usize = 4 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// Why a job gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Occurs when as many jobs wait as may wait.
    #[error("too much waits already")]
    Full,
    /// Occurs when the job panicked.
    #[error("the job panicked")]
    Panicked,
}

/// The threads. They end when the pool is dropped.
#[derive(Debug)]
pub struct Pool {
    queue: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Pool {
    /// Starts `threads` threads called `name`; up to `waiting_max` jobs wait for one.
    pub fn start(name: &'static str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(waiting_max);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(name.to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || work(&jobs))?;
        }
        Ok(Self { queue, waiting: Arc::default() })
    }

    /// Jobs that no thread has begun yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Runs `job` on a thread of the pool. The job runs to its end even when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (done, result) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let job = move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            let _ = done.send(job());
        };
        match self.queue.try_send(Box::new(job)) {
            Ok(()) => result.await.map_err(|_| PoolError::Panicked),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                Err(PoolError::Full)
            }
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Whoever waits sees the sender dropped and answers 500.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_the_job_and_not_the_thread() {
        let pool = Pool::start("test", 1, 4).unwrap();
        assert_eq!(pool.run(|| panic!("as intended")).await, Err::<(), _>(PoolError::Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = Arc::new(Pool::start("test", 1, 1).unwrap());
        let (begun, is_begun) = oneshot::channel();
        let (go, may_go) = sync_channel::<()>(1);
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move || {
                    let _ = begun.send(());
                    may_go.recv()
                })
                .await
            }
        });
        is_begun.await.unwrap();
        let mut second = Box::pin(pool.run(|| 2));
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        assert_eq!((pool.run(|| 3).await, pool.waiting()), (Err(PoolError::Full), 1));
        go.send(()).unwrap();
        assert_eq!((second.await, first.await.unwrap().is_ok()), (Ok(2), true));
    }
}
