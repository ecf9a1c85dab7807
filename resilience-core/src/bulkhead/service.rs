//! A service of which only so many calls run at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::machine::Word;
use super::shared::{self, Door};
use super::{Acquire, Bulkhead, Permit, ResponseFuture};
use crate::held::Held;
use crate::{Reason, Rejected};

/// Limits the calls that run at once; made by [`BulkheadLayer`](super::BulkheadLayer).
///
/// It waits for its permit in `poll_ready`, before it asks whether the inner service is ready: a call in the queue
/// holds nothing of the inner service. A refusal makes it ready at once, and is the answer of the `call` that follows;
/// asked again before that, it tries again. A clone starts with neither permit nor place.
#[derive(Debug)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
    /// The permit for the next call. Apart from `entry`, so that a call that need not wait moves two words and not a
    /// queue place's worth.
    permit: Option<Permit>,
    entry: Entry,
}

/// How far a call without a permit has come.
#[derive(Debug)]
enum Entry {
    /// It has not asked, or has been let in or out again.
    Outside,
    /// It waits.
    Waiting(Acquire),
    /// It found neither slot nor place, and that was counted. One word, which is stored and read as one: under overload
    /// this is what happens most, and a processor stalls when it reads wider than it wrote just before.
    Full(Word),
    /// It was refused after a wait, and that was counted.
    Refused(Reason),
}

impl<S> BulkheadService<S> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead) -> Self {
        Self { inner, bulkhead, permit: None, entry: Entry::Outside }
    }

    /// There was no free slot: waits, or is refused. Ready when there is a permit or a refusal.
    #[cold]
    fn queue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.entry, Entry::Waiting(_)) {
            return self.wait(cx);
        }
        match self.bulkhead.shared.look() {
            Door::Open => self.permit = Some(self.bulkhead.permit(None)),
            Door::Full(word) => self.note_full(word),
            Door::Queue => return self.enqueue(cx),
        }
        Poll::Ready(())
    }

    fn note_full(&mut self, word: Word) {
        self.bulkhead.shared.count_full(word);
        self.entry = Entry::Full(word);
    }

    /// Apart from `queue`, so that a refusal does not pay for what a place in the queue weighs.
    #[cold]
    #[inline(never)]
    fn enqueue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.bulkhead.shared.enqueue(cx.waker().clone()) {
            shared::Entry::Admitted => self.permit = Some(self.bulkhead.permit(None)),
            shared::Entry::Full(word) => self.note_full(word),
            shared::Entry::Queued(taken, displaced) => {
                self.entry = Entry::Waiting(Acquire::queued(self.bulkhead.clone(), taken, displaced));
                return self.wait(cx);
            }
        }
        Poll::Ready(())
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Entry::Waiting(acquire) = &mut self.entry {
            self.entry = match ready!(Pin::new(acquire).poll(cx)) {
                Ok(permit) => {
                    self.permit = Some(permit);
                    Entry::Outside
                }
                Err(rejected) => Entry::Refused(rejected.reason()),
            };
        }
        Poll::Ready(())
    }

    #[cold]
    fn call_refused<Req>(&mut self, request: Req) -> ResponseFuture<S::Future>
    where
        S: Service<Req>,
    {
        if let Entry::Full(word) = self.entry {
            self.entry = Entry::Outside;
            return ResponseFuture::full(Held::of(&self.bulkhead.shared), word);
        }
        match self.refusal() {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }

    /// What a call gets that was not admitted while the service got ready.
    fn refusal(&mut self) -> Result<Permit, Rejected> {
        match std::mem::replace(&mut self.entry, Entry::Outside) {
            Entry::Refused(reason) => Err(self.bulkhead.shared.rejection(reason)),
            Entry::Full(word) => Err(self.bulkhead.shared.rejection_full(word)),
            // Called without having been ready, against the contract: it takes its chance like any newcomer.
            Entry::Outside | Entry::Waiting(_) => self.bulkhead.try_acquire(),
        }
    }
}

impl<S: Clone> Clone for BulkheadService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.bulkhead.clone())
    }
}

impl<S, Req> Service<Req> for BulkheadService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.permit.is_none() {
            if matches!(self.entry, Entry::Outside) && self.bulkhead.shared.try_take().is_ok() {
                self.permit = Some(self.bulkhead.permit(None));
            } else {
                ready!(self.queue(cx));
                if self.permit.is_none() {
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if ready.is_err() {
            // No call will come that could give the permit back.
            self.permit = None;
        }
        Poll::Ready(ready)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.permit.take() {
            Some(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            None => self.call_refused(request),
        }
    }
}
