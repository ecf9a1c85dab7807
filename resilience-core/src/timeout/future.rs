//! The answer of a call with a limit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::Event;
use super::machine::Allowance;
use super::policy::Rule;
use crate::context::ambient;
use crate::time::{self, Sleep, Timestamp};
use crate::{Elapsed, Rejected};

pin_project! {
    /// The answer of a [`TimeoutService`](super::TimeoutService) or of [`Timeout::call`](super::Timeout::call).
    ///
    /// Dropping it drops the call and its timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        stage: Stage<F>,
        rule: Rule,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        Running { #[pin] inner: F, sleep: Option<Sleep>, allowance: Allowance },
        Refused { rejected: Rejected },
        Done,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn running(inner: F, rule: Rule, allowance: Allowance) -> Self {
        Self { stage: Stage::Running { inner, sleep: None, allowance }, rule }
    }

    pub(super) fn refused(rejected: Rejected, rule: Rule) -> Self {
        Self { stage: Stage::Refused { rejected }, rule }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Elapsed> + From<Rejected>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProjection::Running { inner, sleep, allowance } => {
                // Before the first wait there is no timer, and nothing to ask about.
                let had_budget = sleep.is_some() && time::has_budget();
                let entered = ambient::enter_time(this.rule.narrow(allowance, ambient::time()));
                // Returned as it came: taken apart and put together, the answer would be copied at every layer.
                let polled = inner.poll(cx);
                if polled.is_ready() {
                    drop(entered);
                    this.stage.set(Stage::Done);
                    return polled;
                }
                let left = entered.leave();
                if this.rule.is_dry_run() {
                    note_late(sleep, allowance, this.rule, cx);
                    return polled;
                }
                allowance.learn(left);
                ready!(poll_sleep(sleep, allowance, this.rule, had_budget, cx));
            }
            StageProjection::Refused { rejected } => return Poll::Ready(Err(rejected.taken().into())),
            StageProjection::Done => panic!("a future is not polled after it is done"),
        }
        // The call and its timer go before anybody can see how it ended.
        this.stage.set(Stage::Done);
        let limit = this.rule.limit.into();
        this.rule.emit(|| Event::Elapsed { limit });
        Poll::Ready(Err(Elapsed::new(limit).into()))
    }
}

/// Notes, once, that time would be up.
#[cold]
#[inline(never)]
fn note_late(sleep: &mut Option<Sleep>, allowance: &mut Allowance, rule: &Rule, cx: &mut Context<'_>) {
    // There is nothing to note any more.
    let Some(until) = allowance.resolve(|| rule.now()) else { return };
    let sleep = sleep.get_or_insert_with(|| rule.sleep_until(until));
    if Pin::new(sleep).poll(cx).is_ready() {
        *allowance = Allowance::noted(Timestamp::NEVER);
        rule.would_elapse();
    }
}

/// Whether time is up. Sets the timer at the first wait.
fn poll_sleep(
    sleep: &mut Option<Sleep>,
    allowance: &mut Allowance,
    rule: &Rule,
    had_budget: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let sleep = match sleep {
        Some(sleep) => sleep,
        None => match allowance.resolve(|| rule.now()) {
            Some(deadline) => sleep.insert(rule.sleep_until(deadline)),
            None => return Poll::Pending,
        },
    };
    // What spends the whole budget of its task at every poll would otherwise never be found late, for a timer
    // without budget does not tell. `tokio::time::timeout` makes the same exception.
    if had_budget && !time::has_budget() { sleep.poll_exempt(cx) } else { Pin::new(sleep).poll(cx) }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Running { .. } => "running",
            Stage::Refused { .. } => "refused",
            Stage::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("stage", &stage)
            .field("limit", &Duration::from(self.rule.limit))
            .finish_non_exhaustive()
    }
}
