//! Waiting for a permit, without tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;

use super::machine::{Left, Place, Taken};
use super::shared::Entry;
use super::{Bulkhead, Permit};
use crate::time::{Sleep, Timestamp};
use crate::{Reason, Rejected};

/// A permit to come; made by [`Bulkhead::acquire`]. It may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    bulkhead: Bulkhead,
    waiting: Option<Waiting>,
}

struct Waiting {
    place: Place,
    /// When the wait is over, and why.
    until: Option<(Sleep, Reason)>,
    /// When it began, if somebody listens.
    since: Option<Timestamp>,
}

impl Acquire {
    pub(super) fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, waiting: None }
    }

    /// Waits at a place that was just taken.
    #[cfg(feature = "tower")]
    pub(super) fn queued(bulkhead: Bulkhead, taken: Taken, displaced: Option<Waker>) -> Self {
        let mut acquire = Self::new(bulkhead);
        acquire.wait_at(taken, displaced);
        acquire
    }

    fn wait_at(&mut self, Taken { place, patience }: Taken, displaced: Option<Waker>) {
        // From here on the place is given up when this is dropped, even if a waker, a timer or a listener panics below.
        let waiting = self.waiting.insert(Waiting { place, until: None, since: None });
        if let Some(displaced) = displaced {
            displaced.wake();
        }
        let shared = &self.bulkhead.shared;
        waiting.since = shared.note_queued();
        waiting.until =
            shared.longest_wait(patience).map(|(at, reason)| (shared.config().timer.sleep_until(at), reason));
    }
}

impl Future for Acquire {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.waiting.is_none() {
            match this.bulkhead.shared.enter(cx.waker()) {
                Entry::Admitted => return Poll::Ready(Ok(this.bulkhead.permit(None))),
                Entry::Full(word) => return Poll::Ready(Err(this.bulkhead.shared.refuse_full(word))),
                Entry::Queued(taken, displaced) => this.wait_at(taken, displaced),
            }
        }
        let Some(waiting) = &mut this.waiting else { return Poll::Pending };
        let mut end = None;
        if !this.bulkhead.shared.called(&waiting.place, cx.waker()) {
            match &mut waiting.until {
                Some((sleep, reason)) => {
                    ready!(Pin::new(sleep).poll(cx));
                    end = Some(*reason);
                }
                None => return Poll::Pending,
            }
        }
        let Some(Waiting { place, since, .. }) = this.waiting.take() else { return Poll::Pending };
        Poll::Ready(match (this.bulkhead.shared.leave(place), end) {
            // Served between the look and the end => the slot is there, and it would be a waste not to use it.
            (Left::Served, _) => Ok(this.bulkhead.permit(since)),
            (Left::GivenUp(reason), _) | (Left::Waiting(_), Some(reason)) => Err(this.bulkhead.shared.refuse(reason)),
            (Left::Waiting(_), None) => unreachable!("who has been called does not wait"),
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(Waiting { place, .. }) = self.waiting.take() {
            // Served, but gone before it could collect => the next one is served.
            if matches!(self.bulkhead.shared.leave(place), Left::Served) {
                self.bulkhead.shared.release();
            }
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("bulkhead", self.bulkhead.name())
            .field("waiting", &self.waiting.is_some())
            .finish()
    }
}

pin_project! {
    /// A call that waits for its permit, and then runs; made by [`Bulkhead::call`].
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F> {
        #[pin]
        stage: CallStage<F>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum CallStage<F> {
        // As above: the call before the permit.
        Entered { #[pin] inner: F, acquire: Acquire, permit: Option<Permit> },
        Done,
    }
}

impl<F> Call<F> {
    pub(super) fn new(inner: F, acquire: Acquire) -> Self {
        Self { stage: CallStage::Entered { inner, acquire, permit: None } }
    }
}

impl<F, T, E> Future for Call<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        let answer = match stage.as_mut().project() {
            CallProjection::Entered { inner, acquire, permit } => {
                let entered = match permit {
                    Some(_) => Ok(()),
                    None => ready!(Pin::new(acquire).poll(cx)).map(|own| *permit = Some(own)),
                };
                match entered {
                    Ok(()) => ready!(inner.poll(cx)),
                    Err(rejected) => Err(rejected.into()),
                }
            }
            CallProjection::Done => panic!("a future is not polled after it is done"),
        };
        stage.set(CallStage::Done);
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = matches!(&self.stage, CallStage::Entered { permit: Some(_), .. });
        f.debug_struct("Call").field("admitted", &admitted).finish_non_exhaustive()
    }
}
