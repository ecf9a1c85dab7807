//! Rivals that limit rates or make batches: governor, tower-resilience's rate limit, tower-batch-control.

use std::mem;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::watch;
use tower::{Layer, Service, ServiceExt};
use tower_batch_control::{BatchControl, RequestWeight};
use tower_resilience_ratelimiter::{RateLimiterLayer, RateLimiterServiceError, WindowType};

use super::writes::Many;
use super::{Parts, Stack};
use crate::scenario::{self, RateWindow, TowerResilienceRate};
use crate::sim::{Answer, Call, Clock, Failure};

impl Parts {
    pub(super) fn resilience_rate_limit(config: TowerResilienceRate, inner: Stack) -> Result<Stack, String> {
        let window = match config.window {
            RateWindow::Fixed => WindowType::Fixed,
            RateWindow::SlidingLog => WindowType::SlidingLog,
            RateWindow::SlidingCounter => WindowType::SlidingCounter,
        };
        let builder = RateLimiterLayer::builder().limit_for_period(config.calls).refresh_period(config.per.0);
        let builder = builder.timeout_duration(config.max_wait.0).window_type(window);
        let layer = builder.build().map_err(|error| error.to_string())?;
        Ok(Stack::new(layer.layer(inner).map_err(|error| match error {
            RateLimiterServiceError::RateLimited => Failure::Refused("tower-resilience"),
            RateLimiterServiceError::Inner(failure) => failure,
        })))
    }

    pub(super) fn governor(&self, config: scenario::Governor, inner: Stack) -> Result<Stack, String> {
        let number = |field: &str, value| NonZeroU32::new(value).ok_or(format!("{field} must be above zero"));
        let per_second = number("per_second", config.per_second)?;
        let quota = Quota::per_second(per_second).allow_burst(number("burst", config.burst)?);
        let clock = Shown(self.clock);
        let limiter = Arc::new(RateLimiter::direct_with_clock(quota, clock));
        Ok(Stack::new(Governed { inner, limiter, clock, waits: config.waits }))
    }

    pub(super) fn tower_batch_control(config: scenario::TowerBatchControl, inner: Stack) -> Stack {
        let collect = Collect { inner: Many(inner), calls: Vec::new(), answer: watch::channel(None).0 };
        // Its worker among the tasks of the experiment, where stations may spawn theirs.
        let (batch, worker) = tower_batch_control::Batch::pair(collect, config.size, config.batches, config.delay.0);
        drop(tokio::task::spawn_local(worker.run()));
        let unboxed = |error: tower::BoxError| match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(other) => Failure::Other(other.to_string().into()),
        };
        Stack::new(batch.map_err(unboxed))
    }
}

/// The experiment's clock as governor's.
#[derive(Clone, Copy, Debug)]
struct Shown(Clock);

impl governor::clock::Clock for Shown {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now()
    }
}

type Boxed = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

#[derive(Clone)]
struct Governed {
    inner: Stack,
    limiter: Arc<RateLimiter<NotKeyed, InMemoryState, Shown, NoOpMiddleware<Duration>>>,
    clock: Shown,
    waits: bool,
}

impl Service<Call> for Governed {
    type Response = Answer;
    type Error = Failure;
    type Future = Boxed;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Boxed {
        let inner = self.inner.clone();
        let ready = mem::replace(&mut self.inner, inner);
        let (limiter, clock, waits) = (self.limiter.clone(), self.clock, self.waits);
        Box::pin(async move {
            // As its `until_ready`, by this clock: who is woken and finds that another was quicker, waits again.
            while let Err(not_yet) = limiter.check() {
                if !waits {
                    return Err(Failure::Refused("governor"));
                }
                clock.0.sleep_until(clock.now() + not_yet.wait_time_from(clock.now())).await;
            }
            ready.oneshot(call).await
        })
    }
}

impl RequestWeight for Call {}

/// What tower-batch-control asks of its user: collects calls, and sends them when it is told to.
struct Collect {
    inner: Many,
    calls: Vec<Call>,
    answer: watch::Sender<Option<Result<(), Failure>>>,
}

impl Service<BatchControl<Call>> for Collect {
    type Response = Answer;
    type Error = Failure;
    type Future = Boxed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, control: BatchControl<Call>) -> Boxed {
        match control {
            BatchControl::Item(call) => {
                self.calls.push(call);
                let mut answer = self.answer.subscribe();
                Box::pin(async move {
                    let answer = answer.wait_for(Option::is_some).await.map(|answer| answer.clone());
                    match answer {
                        Ok(Some(answer)) => answer.map(|()| Answer),
                        _ => Err(Failure::Other("the batch is gone".into())),
                    }
                })
            }
            BatchControl::Flush => {
                let calls = mem::take(&mut self.calls);
                let answer = mem::replace(&mut self.answer, watch::channel(None).0);
                let inner = self.inner.clone();
                Box::pin(async move {
                    let result = inner.oneshot(calls).await.map(|_| ());
                    answer.send_replace(Some(result.clone()));
                    result.map(|()| Answer)
                })
            }
        }
    }
}
