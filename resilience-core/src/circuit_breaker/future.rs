//! A call behind a breaker.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::permit::Permit;
use super::policy::CircuitBreaker;
use crate::{AsRejected, ByResult, Classify, Rejected, unwind};

pin_project! {
    /// The answer of a call behind a [`CircuitBreaker`].
    ///
    /// Dropping it before the answer gives a probe's place back at once.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C = ByResult> {
        #[pin]
        call: Call<F, C>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, C> {
        Refused { rejected: Rejected },
        Admitted { #[pin] inner: F, permit: Permit, classify: C },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { call: Call::Refused { rejected } }
    }

    pub(super) const fn admitted(inner: F, permit: Permit, classify: C) -> Self {
        Self { call: Call::Admitted { inner, permit, classify } }
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Refused { rejected } => Poll::Ready(Err(rejected.taken().into())),
            CallProjection::Admitted { inner, permit, classify } => {
                // Returned as it came: taken apart and put together, the answer would be copied at every layer.
                let polled = unwind::ending(permit, Permit::end, || inner.poll(cx));
                if let Poll::Ready(answer) = &polled {
                    permit.settle_here(classify.classify(answer));
                }
                polled
            }
        }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut future = f.debug_struct("circuit_breaker::ResponseFuture");
        match &self.call {
            Call::Refused { rejected } => future.field("rejected", rejected),
            Call::Admitted { permit, .. } => future.field("permit", permit),
        };
        future.finish_non_exhaustive()
    }
}

impl CircuitBreaker {
    /// Runs `call` behind the breaker, without tower.
    ///
    /// Asks for leave now, not at the first poll.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    ///
    /// # futures::executor::block_on(async {
    /// let breaker = CircuitBreaker::builder().name("payments").consecutive_failures(2).build()?;
    /// let fail = async || Err::<u32, _>(Error::Service("down"));
    /// assert_eq!(breaker.call(fail()).await, Err(Error::Service("down")));
    /// assert_eq!(breaker.call(fail()).await, Err(Error::Service("down")));
    /// assert!(breaker.call(fail()).await.unwrap_err().is_rejected());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn call<F, T, E>(&self, call: F) -> ResponseFuture<F>
    where
        F: Future<Output = Result<T, E>>,
        E: From<Rejected> + AsRejected,
    {
        match self.try_acquire() {
            Ok(permit) => ResponseFuture::admitted(call, permit, ByResult),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
