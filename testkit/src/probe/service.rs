//! The service that is watched, and its answer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Answer, Held, Probe};

/// An inner service that insists on tower's contract; made by [`Probe::service`].
///
/// # Panics
///
/// In `call`, when this very instance was not polled ready since its last call. The probe keeps a note of it too.
pub struct StrictService<Req, Res, E> {
    probe: Probe<Req, Res, E>,
    id: u64,
    reserved: bool,
}

impl<Req, Res, E> StrictService<Req, Res, E> {
    pub(super) fn new(probe: Probe<Req, Res, E>) -> Self {
        let id = {
            let mut state = probe.lock();
            state.counts.instances += 1;
            state.id()
        };
        Self { probe, id, reserved: false }
    }
}

impl<Req, Res, E> Service<Req> for StrictService<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = ProbeFuture<Req, Res, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut state = self.probe.lock();
        state.counts.ready_polls += 1;
        if self.reserved {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = state.unready_errors.pop_front() {
            return Poll::Ready(Err(error));
        }
        if !state.ready {
            let old = state.waiting.insert(self.id, cx.waker().clone());
            // A waker's end may be the end of a task, and so of another of our services: never under the lock.
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        state.counts.granted += 1;
        state.counts.reserved += 1;
        self.reserved = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if !self.reserved {
            self.probe.violated(format!("instance {} was called but not ready", self.id));
        }
        self.reserved = false;
        let mut state = self.probe.lock();
        state.counts.reserved -= 1;
        state.counts.calls += 1;
        state.counts.in_flight += 1;
        let id = state.id();
        let work = match state.script.pop_front() {
            Some(Answer::Give(answer)) => Work::Give(answer),
            Some(Answer::Panic) => Work::Panic,
            Some(Answer::Hold) => {
                state.held.insert(id, Held { released: false, with: None, waker: None });
                Work::Hold(request)
            }
            None => {
                drop(state);
                Work::Give(self.probe.answer(request))
            }
        };
        ProbeFuture { probe: self.probe.clone(), id, work: Some(work) }
    }
}

impl<Req, Res, E> Clone for StrictService<Req, Res, E> {
    /// Another instance, not ready, as any tower service's clone may be.
    fn clone(&self) -> Self {
        self.probe.lock().counts.clones += 1;
        Self::new(self.probe.clone())
    }
}

impl<Req, Res, E> Drop for StrictService<Req, Res, E> {
    fn drop(&mut self) {
        let mut state = self.probe.lock();
        state.counts.instances -= 1;
        state.counts.reserved -= usize::from(self.reserved);
        let old = state.waiting.remove(&self.id);
        drop(state);
        drop(old);
    }
}

impl<Req, Res, E> fmt::Debug for StrictService<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrictService").field("id", &self.id).field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

/// The answer of a [`StrictService`].
///
/// # Panics
///
/// When polled after it was done; the probe keeps a note of it too.
pub struct ProbeFuture<Req, Res, E> {
    probe: Probe<Req, Res, E>,
    id: u64,
    work: Option<Work<Req, Res, E>>,
}

enum Work<Req, Res, E> {
    Give(Result<Res, E>),
    Hold(Req),
    Panic,
}

// Nothing in here is pinned: no field is ever handed out as a pinned reference.
impl<Req, Res, E> Unpin for ProbeFuture<Req, Res, E> {}

impl<Req, Res, E> Future for ProbeFuture<Req, Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.probe.lock().counts.call_polls += 1;
        let answer = match this.work.take() {
            Some(Work::Give(answer)) => answer,
            // Unwinds like any panic, but without a report of its own: nobody need look into it.
            Some(Work::Panic) => std::panic::resume_unwind(Box::new("as the script says")),
            Some(Work::Hold(request)) => {
                let mut state = this.probe.lock();
                match state.held.get_mut(&this.id) {
                    Some(held) if !held.released => {
                        let old = held.waker.replace(cx.waker().clone());
                        drop(state);
                        drop(old);
                        this.work = Some(Work::Hold(request));
                        return Poll::Pending;
                    }
                    held => {
                        let with = held.and_then(|held| held.with.take());
                        drop(state);
                        with.unwrap_or_else(|| this.probe.answer(request))
                    }
                }
            }
            None => this.probe.violated(format!("call {} was polled after it was done", this.id)),
        };
        this.probe.lock().counts.answered += 1;
        Poll::Ready(answer)
    }
}

impl<Req, Res, E> Drop for ProbeFuture<Req, Res, E> {
    fn drop(&mut self) {
        let mut state = self.probe.lock();
        let old = state.held.remove(&self.id);
        state.counts.in_flight -= 1;
        state.counts.cancelled += usize::from(self.work.is_some());
        drop(state);
        drop(old);
    }
}

impl<Req, Res, E> fmt::Debug for ProbeFuture<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture").field("id", &self.id).finish_non_exhaustive()
    }
}
