//! Waiting for a slot, and calls without tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::policy::Entry;
use super::{AdaptiveLimit, ByOverload, Permit};
use crate::{AsRejected, Classify, Rejected, bulkhead, unwind};

/// How far a caller without a slot has come.
#[derive(Debug, Default)]
pub(super) enum Entering {
    /// It has not asked, or has been let in or out again.
    #[default]
    Outside,
    /// It waits.
    Waiting(bulkhead::Acquire),
}

impl Entering {
    /// A slot, or a refusal that has been counted.
    pub(super) fn poll(
        &mut self,
        limit: &AdaptiveLimit,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bulkhead::Permit, Rejected>> {
        let shared = &limit.shared;
        if matches!(self, Self::Outside) {
            match shared.enter(shared.gate().queue()) {
                Entry::Admitted(slot) => return Poll::Ready(Ok(slot)),
                Entry::Refused(rejected) => return Poll::Ready(Err(rejected)),
                Entry::Queue => *self = Self::Waiting(shared.gate().acquire()),
            }
        }
        let Self::Waiting(acquire) = self else { return Poll::Pending };
        let entered = ready!(Pin::new(acquire).poll(cx));
        *self = Self::Outside;
        if let Err(rejected) = &entered {
            shared.note_refused(rejected.reason());
        }
        Poll::Ready(entered)
    }
}

/// A permit to come; made by [`AdaptiveLimit::acquire`]. It may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Acquire {
    limit: AdaptiveLimit,
    entering: Entering,
}

impl Acquire {
    pub(super) fn new(limit: AdaptiveLimit) -> Self {
        Self { limit, entering: Entering::default() }
    }
}

impl Future for Acquire {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let slot = ready!(this.entering.poll(&this.limit, cx));
        Poll::Ready(slot.map(|slot| this.limit.begin(slot)))
    }
}

pin_project! {
    /// A call that waits for its permit, and then runs; made by [`AdaptiveLimit::call`].
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F> {
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        // The call is declared, and so dropped, before the permit.
        Entered { #[pin] inner: F, acquire: Acquire, permit: Option<Permit> },
        Done,
    }
}

impl<F> Call<F> {
    pub(super) fn new(inner: F, acquire: Acquire) -> Self {
        Self { stage: Stage::Entered { inner, acquire, permit: None } }
    }
}

impl<F, T, E> Future for Call<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected> + AsRejected,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        let answer = match stage.as_mut().project() {
            StageProjection::Entered { inner, acquire, permit } => {
                let entered = match permit {
                    Some(_) => Ok(()),
                    None => ready!(Pin::new(acquire).poll(cx)).map(|own| *permit = Some(own)),
                };
                match entered {
                    Ok(()) => {
                        let polled = match permit {
                            Some(permit) => unwind::ending(permit, Permit::panicked, || inner.poll(cx)),
                            None => inner.poll(cx),
                        };
                        let answer = ready!(polled);
                        if let Some(permit) = permit {
                            permit.note(ByOverload.classify(&answer).class());
                        }
                        answer
                    }
                    Err(rejected) => Err(rejected.into()),
                }
            }
            StageProjection::Done => panic!("a future is not polled after it is done"),
        };
        stage.set(Stage::Done);
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = matches!(&self.stage, Stage::Entered { permit: Some(_), .. });
        f.debug_struct("Call").field("admitted", &admitted).finish_non_exhaustive()
    }
}
