//! recloser and failsafe: not tower layers, so the thinnest services that make them so.

use std::pin::Pin;
use std::task::{Context, Poll};

use failsafe::futures::CircuitBreaker as _;
use recloser::{AsyncRecloser, Recloser as Machine};
use tower::Service;

use super::{Parts, Stack};
use crate::scenario::{Failsafe, Recloser};
use crate::sim::{Answer, Call, Failure};

impl Parts {
    pub(super) fn failsafe(config: &Failsafe, inner: Stack) -> Stack {
        use failsafe::{backoff, failure_policy};
        match config {
            Failsafe::Consecutive(it) => {
                let policy = failure_policy::consecutive_failures(it.failures, backoff::constant(it.open_for.0));
                Stack::new(Safe { inner, breaker: failsafe::Config::new().failure_policy(policy).build() })
            }
            Failsafe::SuccessRate(it) => {
                let wait = backoff::constant(it.open_for.0);
                let policy =
                    failure_policy::success_rate_over_time_window(it.success_rate, it.minimum_calls, it.window.0, wait);
                Stack::new(Safe { inner, breaker: failsafe::Config::new().failure_policy(policy).build() })
            }
        }
    }

    pub(super) fn recloser(config: &Recloser, inner: Stack) -> Stack {
        let machine = Machine::custom()
            .error_rate(config.error_rate)
            .closed_len(config.closed_len)
            .half_open_len(config.half_open_len)
            .open_wait(config.open_for.0)
            .build();
        Stack::new(Reclosed { inner, breaker: AsyncRecloser::from(machine) })
    }
}

type Boxed = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

struct Safe<P> {
    inner: Stack,
    breaker: failsafe::StateMachine<P, ()>,
}

impl<P> Clone for Safe<P>
where
    failsafe::StateMachine<P, ()>: Clone,
{
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), breaker: self.breaker.clone() }
    }
}

impl<P> Service<Call> for Safe<P>
where
    P: failsafe::FailurePolicy + Send + Sync + 'static,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Boxed;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Boxed {
        let guarded = self.breaker.call(self.inner.call(call));
        Box::pin(async move {
            guarded.await.map_err(|error| match error {
                failsafe::Error::Inner(failure) => failure,
                failsafe::Error::Rejected => Failure::Refused("failsafe"),
            })
        })
    }
}

#[derive(Clone)]
struct Reclosed {
    inner: Stack,
    breaker: AsyncRecloser,
}

impl Service<Call> for Reclosed {
    type Response = Answer;
    type Error = Failure;
    type Future = Boxed;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Boxed {
        let guarded = self.breaker.call(self.inner.call(call));
        Box::pin(async move {
            guarded.await.map_err(|error| match error {
                recloser::Error::Inner(failure) => failure,
                recloser::Error::Rejected => Failure::Refused("recloser"),
            })
        })
    }
}
