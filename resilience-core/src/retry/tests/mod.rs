//! What is promised at the edge: attempts, waits, budgets and cancellation, on virtual time.

mod attempts;
mod budgets;
mod rules;
mod waits;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::event::{self, Sink};
use crate::time::{SharedTimer, Timestamp};
use crate::{Error, context};

type Failure = Error<&'static str>;

/// A service that answers from a script and insists on the readiness contract: each instance must be polled ready
/// before each call, and a clone is never ready.
struct Script {
    shared: Arc<Mutex<Scripted>>,
    ready: bool,
}

#[derive(Default)]
struct Scripted {
    answers: VecDeque<Result<&'static str, Failure>>,
    unready: VecDeque<Option<Failure>>,
    takes: Duration,
    calls: Vec<Call>,
    clones: usize,
    polled_ready: usize,
}

/// One call as the service saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    attempt: u32,
    at: Timestamp,
}

impl Script {
    /// Answers each call with the next of `answers`, then with the last of them for ever.
    fn answering(answers: impl IntoIterator<Item = Result<&'static str, Failure>>) -> Self {
        let scripted = Scripted { answers: answers.into_iter().collect(), ..Scripted::default() };
        Self { shared: Arc::new(Mutex::new(scripted)), ready: false }
    }

    fn failing() -> Self {
        Self::answering([Err(Error::Service("down"))])
    }

    /// Fails this many times, then answers.
    fn failing_first(times: usize) -> Self {
        Self::answering(std::iter::repeat_n(Err(Error::Service("down")), times).chain([Ok("up")]))
    }

    fn taking(self, takes: Duration) -> Self {
        self.lock().takes = takes;
        self
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Scripted> {
        self.shared.lock().unwrap()
    }

    fn handle(&self) -> Self {
        Self { shared: self.shared.clone(), ready: false }
    }

    fn calls(&self) -> usize {
        self.lock().calls.len()
    }
}

impl Clone for Script {
    fn clone(&self) -> Self {
        self.lock().clones += 1;
        self.handle()
    }
}

impl<Req> Service<Req> for Script {
    type Response = &'static str;
    type Error = Failure;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<&'static str, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut scripted = self.shared.lock().unwrap();
        scripted.polled_ready += 1;
        if let Some(Some(error)) = scripted.unready.pop_front() {
            return Poll::Ready(Err(error));
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        let timer = SharedTimer::default();
        let mut scripted = self.shared.lock().unwrap();
        scripted.calls.push(Call { attempt: context::attempt(), at: timer.now() });
        let answer = match scripted.answers.len() {
            0 | 1 => scripted.answers.front().cloned().unwrap_or(Ok("up")),
            _ => scripted.answers.pop_front().unwrap(),
        };
        let takes = scripted.takes;
        Box::pin(async move {
            timer.sleep(takes).await;
            answer
        })
    }
}

/// Remembers the facts it is told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Sink for Heard {
    fn on_event(&self, event: &event::Event<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>());
    }
}

impl Heard {
    fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

/// A policy that waits exactly 100 ms, 200 ms, 400 ms, ... and is bounded by its attempts alone.
fn steady() -> RetryBuilder {
    let backoff = Backoff::exponential(ms(100), Duration::from_secs(20)).jitter(Jitter::None);
    Retry::builder().name("test").backoff(backoff).unlimited()
}

async fn ask<S: Service<(), Response = &'static str, Error = Failure>>(service: S) -> Result<&'static str, Failure> {
    service.oneshot(()).await
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn now() -> Timestamp {
    SharedTimer::default().now()
}
