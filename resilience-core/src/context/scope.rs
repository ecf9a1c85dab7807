//! A future that carries its context from poll to poll.

use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::{Context, ambient, carried};

pin_project! {
    /// Runs a future in a [`Context`]; made by [`Context::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        context: Context,
        #[pin]
        future: F,
    }
}

impl<F> Scoped<F> {
    pub(super) fn new(context: Context, future: F) -> Self {
        Self { context, future }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let entered = ambient::enter(this.context.ambient);
        let carried = carried::enter(this.context.carried.take());
        let poll = this.future.poll(cx);
        this.context.carried = carried.leave();
        // A timeout resolved inside keeps its deadline at the next poll.
        this.context.ambient = entered.leave();
        poll
    }
}
