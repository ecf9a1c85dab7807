//! One run of a check for all who ask meanwhile.
//!
//! Nothing is spawned, so that a health report needs no runtime: whoever asks polls. The run is a future that lies with
//! the check; each asker takes it out, polls it and puts it back. It is given one waker that wakes all of them, so a run
//! does not depend on the one who began it: he may go, and the next one goes on. When the last one goes, so does the run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};
use std::time::Duration;

use super::check::Check;
use super::machine::{Memory, Run};
use crate::context::Context;
use crate::sync::{Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::timeout::Timeout;
use crate::{Elapsed, Rejected};

/// A check with what it has told.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) check: Check,
    timeout: Timeout,
    timer: SharedTimer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    flight: Option<Flight>,
    /// Runs begun so far: an asker knows by it whether the run it waited for is over.
    runs: u64,
    askers: u64,
}

struct Flight {
    began: Timestamp,
    /// None while somebody polls it.
    future: Option<Answer>,
    wakers: Arc<Wakers>,
}

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Wakes everybody who asks.
#[derive(Default)]
struct Wakers(Mutex<Vec<(u64, Waker)>>);

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        // A waker may run anything: not under the lock.
        let wakers: Vec<Waker> = lock(&self.0).iter().map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wakers {
    /// Takes down whom to wake, and gives back what the same asker said before: for the caller to drop.
    fn register(&self, asker: u64, waker: Waker) -> Option<Waker> {
        let mut wakers = lock(&self.0);
        match wakers.iter_mut().find(|(known, _)| *known == asker) {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                wakers.push((asker, waker));
                None
            }
        }
    }

    /// Forgets an asker; whom it was, for the caller to drop, and whether nobody is left.
    fn forget(&self, asker: u64) -> (Option<Waker>, bool) {
        let mut wakers = lock(&self.0);
        let gone = wakers.iter().position(|(known, _)| *known == asker).map(|at| wakers.swap_remove(at).1);
        (gone, wakers.is_empty())
    }
}

/// A failed run, in words.
struct Failed(String);

impl From<Elapsed> for Failed {
    fn from(late: Elapsed) -> Self {
        Self(late.to_string())
    }
}

impl From<Rejected> for Failed {
    fn from(refused: Rejected) -> Self {
        Self(refused.to_string())
    }
}

impl Dependency {
    pub(super) fn new(check: Check, timeout: Timeout, timer: SharedTimer) -> Self {
        Self { check, timeout, timer, state: Mutex::default() }
    }

    pub(super) fn memory(&self) -> Memory {
        lock(&self.state).memory.clone()
    }

    /// One run, as a future that neither hangs nor panics.
    fn run(&self) -> Answer {
        let panicked = || "panicked".to_owned();
        // For all who wait, and so in the context of none: it is nobody's deadline that ends it.
        match catch_unwind(AssertUnwindSafe(|| Context::new().run(|| (self.check.ask)()))) {
            Err(_) => Box::pin(std::future::ready(Err(panicked()))),
            Ok(answer) => {
                let limited = Context::new().run(|| self.timeout.call(async move { answer.await.map_err(Failed) }));
                let mut limited = Box::pin(Context::new().scope(limited));
                Box::pin(std::future::poll_fn(move |cx| {
                    match catch_unwind(AssertUnwindSafe(|| limited.as_mut().poll(cx))) {
                        Ok(poll) => poll.map_err(|Failed(why)| why),
                        Err(_) => Poll::Ready(Err(panicked())),
                    }
                }))
            }
        }
    }
}

/// Waits until a check's answer is fresh.
#[derive(Debug)]
pub(super) struct Asking {
    dependency: Arc<Dependency>,
    /// Who it is, and which run it waits for.
    joined: Option<(u64, u64)>,
}

impl Asking {
    pub(super) fn new(dependency: Arc<Dependency>) -> Self {
        Self { dependency, joined: None }
    }

    /// A place among those who wait, and the run if nobody else polls it; `None` if the answer is there.
    fn join(&mut self, waker: &Waker) -> Option<(Option<Answer>, Arc<Wakers>)> {
        let dependency = &*self.dependency;
        // Cloning and dropping a waker may run anything: both happen outside of the locks.
        let waker = waker.clone();
        let now = dependency.timer.now();
        let mut state = lock(&dependency.state);
        let is_over = match (self.joined, &state.flight) {
            (Some((_, run)), _) if run < state.runs => true,
            (Some(_), None) => true,
            (None, None) => state.memory.is_fresh(now, dependency.check.min_interval),
            (_, Some(_)) => false,
        };
        if is_over {
            self.joined = None;
            return None;
        }
        let mut begins = false;
        if state.flight.is_none() {
            state.runs += 1;
            begins = true;
            state.flight = Some(Flight { began: now, future: None, wakers: Arc::default() });
        }
        let run = state.runs;
        let asker = match self.joined {
            Some((asker, _)) => asker,
            None => {
                state.askers += 1;
                state.askers
            }
        };
        self.joined = Some((asker, run));
        let flight = state.flight.as_mut()?;
        let (mut answer, wakers) = (flight.future.take(), flight.wakers.clone());
        // Under the lock of the state, so that who leaves as the last one is the last one.
        let old = wakers.register(asker, waker);
        drop(state);
        drop(old);
        if begins {
            // The user's code, and so without the lock.
            answer = Some(dependency.run());
        }
        Some((answer, wakers))
    }

    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let Some((answer, wakers)) = self.join(cx.waker()) else { return Poll::Ready(()) };
        // Somebody else polls it right now, and everybody is woken when there is more to do.
        let Some(mut answer) = answer else { return Poll::Pending };
        let waker = Waker::from(wakers.clone());
        match answer.as_mut().poll(&mut task::Context::from_waker(&waker)) {
            Poll::Pending => {
                if let Some(flight) = &mut lock(&self.dependency.state).flight {
                    flight.future = Some(answer);
                }
                Poll::Pending
            }
            Poll::Ready(result) => {
                drop(answer);
                self.land(result.err());
                // This one is woken, too, in vain once.
                wakers.wake();
                Poll::Ready(())
            }
        }
    }

    /// The run is over.
    fn land(&mut self, error: Option<String>) {
        let ended = self.dependency.timer.now();
        let mut state = lock(&self.dependency.state);
        let flight = state.flight.take();
        let took = flight.as_ref().map_or(Duration::ZERO, |flight| ended.since(flight.began));
        state.memory.ended(Run { error, ended, took });
        self.joined = None;
        drop(state);
        drop(flight);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some((asker, run)) = self.joined else { return };
        // In this order, so that the guard goes first.
        let (_waker, is_last);
        let mut state = lock(&self.dependency.state);
        if run < state.runs {
            return;
        }
        let Some(flight) = &state.flight else { return };
        let wakers = flight.wakers.clone();
        (_waker, is_last) = wakers.forget(asker);
        if is_last {
            // Nobody waits for the run any more: it goes.
            let flight = state.flight.take();
            drop(state);
            drop(flight);
        } else {
            drop(state);
            // What woke this one may have been meant for the run: another has to go on with it.
            wakers.wake();
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("memory", &self.memory).field("running", &self.flight.is_some()).finish()
    }
}
