//! A service of which only so many calls run at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::machine::Word;
use super::shared::{self, Door};
use super::{Acquire, Bulkhead, Permit, ResponseFuture};
use crate::time::Timestamp;
use crate::{Reason, Rejected};

/// Limits the calls that run at once; made by [`BulkheadLayer`](super::BulkheadLayer).
///
/// It waits for its permit in `poll_ready`, before it asks whether the inner service is ready: a call in the queue
/// holds nothing of the inner service. A refusal makes it ready at once, and is the answer of the `call` that follows;
/// asked again before that, it tries again. A clone starts with neither permit nor place.
#[derive(Debug)]
pub struct BulkheadService<S> {
    inner: S,
    slot: Slot,
    entry: Entry,
}

/// The bulkhead, and the slot for the next call if there is one.
///
/// Not a permit yet: that is made where it stays, in the call's future. Kept here meanwhile, it would be read in one piece
/// a moment after it was written in several, for which a processor waits longer than all the rest takes.
#[derive(Debug)]
struct Slot {
    bulkhead: Bulkhead,
    is_taken: bool,
    /// Instead, there was neither slot nor place when last asked, and that was counted: what there was. Under overload
    /// this is what happens most.
    full: Option<Word>,
    /// When the slot was given; the origin if nobody listens.
    since: Timestamp,
}

/// What can be told of a bulkhead without further ado.
enum Found {
    Slot,
    Full,
    Unknown,
}

impl Slot {
    /// Takes a slot; or notes that there is neither slot nor place, and nothing that could make one.
    #[inline(always)]
    fn ask(&mut self) -> Found {
        self.full = None;
        match self.bulkhead.shared.try_take() {
            Ok(()) => {
                self.taken();
                Found::Slot
            }
            Err(word) if self.bulkhead.shared.is_plainly_full(word) => {
                self.note_full(word);
                Found::Full
            }
            Err(_) => Found::Unknown,
        }
    }

    /// The refusal for what was found.
    #[inline(always)]
    fn refusal(&mut self) -> Option<Rejected> {
        let word = self.full.take()?;
        Some(self.bulkhead.shared.rejection_full(word))
    }

    /// The word counts one more.
    #[inline(always)]
    fn taken(&mut self) {
        // Noted before anybody is told: a listener that panics must not cost the slot.
        self.is_taken = true;
        if self.bulkhead.shared.is_watched() {
            self.since = self.bulkhead.shared.tell_admitted(None);
        }
    }

    #[inline(always)]
    fn note_full(&mut self, word: Word) {
        self.full = Some(word);
        self.bulkhead.shared.count_full(word);
    }

    /// The permit for the slot, if there is one.
    #[inline(always)]
    fn permit(&mut self) -> Option<Permit> {
        if !self.is_taken {
            return None;
        }
        self.is_taken = false;
        Some(Permit::of(&self.bulkhead.shared, self.since))
    }

    fn give_back(&mut self) {
        drop(self.permit());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How far a call without a permit has come.
#[derive(Debug)]
enum Entry {
    /// It has not asked, or has been let in or out again.
    Outside,
    /// It waits.
    Waiting(Acquire),
    /// It was let in after a wait.
    Served(Permit),
    /// It was refused after a wait, and that was counted.
    Refused(Reason),
}

impl<S> BulkheadService<S> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead) -> Self {
        Self {
            inner,
            slot: Slot { bulkhead, is_taken: false, full: None, since: Timestamp::ORIGIN },
            entry: Entry::Outside,
        }
    }

    /// There was no free slot: waits, or is refused. Ready when there is a slot or a refusal.
    #[cold]
    #[inline(never)]
    fn queue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.entry, Entry::Outside | Entry::Refused(_)) {
            return self.wait(cx);
        }
        // Asked again before the call that is refused: it tries again.
        self.slot.full = None;
        match self.slot.bulkhead.shared.look() {
            Door::Open => self.let_in(),
            Door::Full(word) => self.note_full(word),
            Door::Queue => return self.enqueue(cx),
        }
        Poll::Ready(())
    }

    fn let_in(&mut self) {
        self.entry = Entry::Outside;
        self.slot.taken();
    }

    fn note_full(&mut self, word: Word) {
        self.entry = Entry::Outside;
        self.slot.note_full(word);
    }

    /// Apart from `queue`, so that a refusal does not pay for what a place in the queue weighs.
    #[cold]
    #[inline(never)]
    fn enqueue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.slot.bulkhead.shared.enqueue(cx.waker().clone()) {
            shared::Entry::Admitted => self.let_in(),
            shared::Entry::Full(word) => self.note_full(word),
            shared::Entry::Queued(taken, displaced) => {
                self.entry = Entry::Waiting(Acquire::queued(self.slot.bulkhead.clone(), taken, displaced));
                return self.wait(cx);
            }
        }
        Poll::Ready(())
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Entry::Waiting(acquire) = &mut self.entry {
            self.entry = match ready!(Pin::new(acquire).poll(cx)) {
                Ok(permit) => Entry::Served(permit),
                Err(rejected) => Entry::Refused(rejected.reason()),
            };
        }
        Poll::Ready(())
    }

    /// Whether there is leave for the next call.
    #[inline]
    fn is_admitted(&self) -> bool {
        self.slot.is_taken || matches!(self.entry, Entry::Served(_))
    }

    /// The permit of a call that waited for it; or the refusal of one that was not admitted while the service got ready.
    #[cold]
    #[inline(never)]
    fn waited(&mut self) -> Result<Permit, Rejected> {
        match std::mem::replace(&mut self.entry, Entry::Outside) {
            Entry::Served(permit) => Ok(permit),
            Entry::Refused(reason) => Err(self.slot.bulkhead.shared.rejection(reason)),
            // Called without having been ready, against the contract: it takes its chance like any newcomer.
            Entry::Outside | Entry::Waiting(_) => self.slot.bulkhead.try_acquire(),
        }
    }
}

impl<S: Clone> Clone for BulkheadService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.slot.bulkhead.clone())
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

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if !self.slot.is_taken {
            let found = if matches!(self.entry, Entry::Outside) { self.slot.ask() } else { Found::Unknown };
            if matches!(found, Found::Full) {
                return Poll::Ready(Ok(()));
            }
            if matches!(found, Found::Unknown) {
                ready!(self.queue(cx));
                if !self.is_admitted() {
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if ready.is_err() {
            // No call will come that could give the permit back.
            self.slot.give_back();
            self.entry = Entry::Outside;
        }
        Poll::Ready(ready)
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let permit = match self.slot.permit() {
            Some(permit) => permit,
            None => match self.slot.refusal() {
                Some(rejected) => return ResponseFuture::refused(rejected),
                None => match self.waited() {
                    Ok(permit) => permit,
                    Err(rejected) => return ResponseFuture::refused(rejected),
                },
            },
        };
        ResponseFuture::admitted(self.inner.call(request), permit)
    }
}
