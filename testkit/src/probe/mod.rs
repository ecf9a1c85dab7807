//! An inner service that watches how it is used, and answers as told.
//!
//! Tower's contract is easy to break without noticing: most services are always ready, so a layer that calls a fresh
//! clone instead of the instance it polled works until somebody puts a concurrency limit inside. [`StrictService`]
//! notices. It grants readiness to one instance, holds it as a reservation until that instance is called or dropped,
//! and takes a call on any other as a violation. Its [`Probe`] is the handle that stays with the test.
//!
//! ```
//! use testkit::probe::{Answer, Probe};
//! use testkit::wakes::Task;
//! use tower_service::Service;
//!
//! let probe: Probe<u32, u32, &str> = Probe::new(|request| Ok(request * 2));
//! let mut service = probe.service();
//! probe.then(Answer::Hold);
//! let mut task = Task::new(async {
//!     std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
//!     service.call(21).await
//! });
//! assert!(task.run().is_pending());
//! assert_eq!(probe.counts().in_flight, 1);
//! probe.release_oldest();
//! assert_eq!(task.run(), std::task::Poll::Ready(Ok(42)));
//! ```

mod service;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

pub use self::service::{ProbeFuture, StrictService};

/// What the service does with one call.
#[derive(Debug)]
pub enum Answer<Res, E> {
    /// Answers at the first poll.
    Give(Result<Res, E>),
    /// Answers when it is released, and wakes its caller then.
    Hold,
    /// Panics at the first poll.
    Panic,
}

/// What has happened to the service so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instances alive.
    pub instances: usize,
    /// Instances that were cloned from another.
    pub clones: usize,
    /// Polls for readiness.
    pub ready_polls: usize,
    /// Reservations granted so far: polls that made an instance ready that was not.
    pub granted: usize,
    /// Reservations outstanding: instances that are ready and not yet called.
    pub reserved: usize,
    /// Calls.
    pub calls: usize,
    /// Calls whose futures are alive.
    pub in_flight: usize,
    /// Polls of those futures.
    pub call_polls: usize,
    /// Calls that answered.
    pub answered: usize,
    /// Calls whose futures were dropped before they answered.
    pub cancelled: usize,
}

/// The test's handle on a [`StrictService`]. Clones are one handle.
pub struct Probe<Req, Res, E> {
    shared: Arc<Shared<Req, Res, E>>,
}

struct Shared<Req, Res, E> {
    answer: Box<dyn Fn(Req) -> Result<Res, E> + Send + Sync>,
    state: Mutex<State<Res, E>>,
}

struct State<Res, E> {
    ready: bool,
    unready_errors: VecDeque<E>,
    script: VecDeque<Answer<Res, E>>,
    counts: Counts,
    violations: Vec<String>,
    next_id: u64,
    /// Instances that wait for readiness.
    waiting: BTreeMap<u64, Waker>,
    /// Calls that are held, oldest first.
    held: BTreeMap<u64, Held<Res, E>>,
}

struct Held<Res, E> {
    released: bool,
    /// What to answer instead of the ordinary answer.
    with: Option<Result<Res, E>>,
    waker: Option<Waker>,
}

impl<Req, Res, E> Probe<Req, Res, E> {
    /// A service that is ready and answers like `answer` unless told otherwise.
    pub fn new(answer: impl Fn(Req) -> Result<Res, E> + Send + Sync + 'static) -> Self {
        let state = State {
            ready: true,
            unready_errors: VecDeque::new(),
            script: VecDeque::new(),
            counts: Counts::default(),
            violations: Vec::new(),
            next_id: 0,
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        Self { shared: Arc::new(Shared { answer: Box::new(answer), state: Mutex::new(state) }) }
    }

    /// An instance of the service, not ready yet.
    pub fn service(&self) -> StrictService<Req, Res, E> {
        StrictService::new(self.clone())
    }

    /// Makes the service ready, which wakes whoever waits for it, or pending.
    ///
    /// What is reserved already stays reserved.
    pub fn set_ready(&self, ready: bool) {
        let woken = {
            let mut state = self.lock();
            state.ready = ready;
            if ready { std::mem::take(&mut state.waiting) } else { BTreeMap::new() }
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Fails the next poll for readiness of an instance that is not ready.
    pub fn fail_ready(&self, error: E) {
        let woken = {
            let mut state = self.lock();
            state.unready_errors.push_back(error);
            std::mem::take(&mut state.waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Says what to do with the next call for which nothing was said yet.
    pub fn then(&self, answer: Answer<Res, E>) {
        self.lock().script.push_back(answer);
    }

    /// Answers the held call that came first; `false` if none is held.
    pub fn release_oldest(&self) -> bool {
        self.release(|held| held.iter_mut().find(|(_, held)| !held.released), None)
    }

    /// Answers the held call that came last; `false` if none is held.
    pub fn release_newest(&self) -> bool {
        self.release(|held| held.iter_mut().rfind(|(_, held)| !held.released), None)
    }

    /// Answers the held call that came first with `answer`; `false` if none is held.
    pub fn release_with(&self, answer: Result<Res, E>) -> bool {
        self.release(|held| held.iter_mut().find(|(_, held)| !held.released), Some(answer))
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Every breach of tower's contract so far.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn release(
        &self,
        choose: impl for<'a> FnOnce(&'a mut BTreeMap<u64, Held<Res, E>>) -> Option<(&'a u64, &'a mut Held<Res, E>)>,
        with: Option<Result<Res, E>>,
    ) -> bool {
        let waker = {
            let mut state = self.lock();
            let Some((_, held)) = choose(&mut state.held) else { return false };
            held.released = true;
            held.with = with;
            held.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn answer(&self, request: Req) -> Result<Res, E> {
        (self.shared.answer)(request)
    }

    /// Notes a breach and stops the one who committed it. Noted first: a panic may be lost in a task of its own.
    fn violated(&self, what: String) -> ! {
        self.lock().violations.push(what.clone());
        panic!("{what}");
    }

    fn lock(&self) -> MutexGuard<'_, State<Res, E>> {
        // Panics are part of the script; the state is whole between any two statements.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Res, E> State<Res, E> {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl<Req, Res, E> Clone for Probe<Req, Res, E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<Req, Res, E> fmt::Debug for Probe<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Probe").field("counts", &state.counts).field("violations", &state.violations).finish()
    }
}

#[cfg(test)]
mod tests;
