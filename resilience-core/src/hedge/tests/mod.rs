//! What is promised at the edge: who wins, when attempts start, what they cost, and what is left behind; on virtual
//! time.

mod budgets;
mod delays;
mod laws;
mod machine;
mod winners;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::event::{self, Sink};
use crate::retry::RetryBudget;
use crate::time::{SharedTimer, Timestamp};
use crate::{Classification, Elapsed, Error, Rejected, context};

type Failure = Error<&'static str>;
type Answer = Result<u32, Failure>;

/// A service whose attempts take so long and then answer so, and which insists on the readiness contract: each instance
/// must be polled ready before each call, and a clone is never ready.
struct Script {
    shared: Arc<Mutex<Scripted>>,
    ready: bool,
}

struct Scripted {
    /// By attempt, the last for all that follow.
    attempts: Vec<(Duration, Answer)>,
    /// What a clone's readiness fails with.
    unready: Option<Failure>,
    start: Timestamp,
    calls: Vec<Call>,
    clones: usize,
    /// Attempts whose futures are alive.
    running: usize,
}

/// One call as the service saw it: which attempt it was, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    attempt: u32,
    at: Duration,
}

impl Script {
    fn new(attempts: impl IntoIterator<Item = (u64, Answer)>) -> Self {
        let attempts = attempts.into_iter().map(|(takes, answer)| (ms(takes), answer)).collect();
        let scripted = Scripted { attempts, unready: None, start: now(), calls: Vec::new(), clones: 0, running: 0 };
        Self { shared: Arc::new(Mutex::new(scripted)), ready: false }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Scripted> {
        self.shared.lock().unwrap()
    }

    fn handle(&self) -> Self {
        Self { shared: self.shared.clone(), ready: false }
    }

    /// When the attempts were sent, in milliseconds.
    fn starts(&self) -> Vec<u128> {
        self.lock().calls.iter().map(|call| call.at.as_millis()).collect()
    }

    fn running(&self) -> usize {
        self.lock().running
    }
}

impl Clone for Script {
    fn clone(&self) -> Self {
        self.lock().clones += 1;
        self.handle()
    }
}

impl<Req> Service<Req> for Script {
    type Response = u32;
    type Error = Failure;
    type Future = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let scripted = self.shared.lock().unwrap();
        if let (Some(error), false) = (&scripted.unready, scripted.calls.is_empty()) {
            return Poll::Ready(Err(error.clone()));
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        let mut scripted = self.shared.lock().unwrap();
        let at = now().since(scripted.start);
        let attempt = context::attempt();
        scripted.calls.push(Call { attempt, at });
        let nth = scripted.calls.len().min(scripted.attempts.len()) - 1;
        let (takes, answer) = scripted.attempts[nth].clone();
        scripted.running += 1;
        let alive = Alive(self.shared.clone());
        Box::pin(async move {
            let _alive = alive;
            if !takes.is_zero() {
                SharedTimer::default().sleep(takes).await;
            }
            answer
        })
    }
}

/// Counts a future that is alive.
struct Alive(Arc<Mutex<Scripted>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().unwrap().running -= 1;
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

/// A policy that waits 50 ms and is bounded by its attempts alone.
fn steady() -> HedgeBuilder {
    Hedge::builder().name("test").delay(ms(50)).unlimited()
}

/// One call, and how many milliseconds it took.
async fn ask(hedge: &Hedge, script: &Script) -> (Answer, u128) {
    let start = now();
    let answer = hedge.layer().layer(script.handle()).oneshot(()).await;
    (answer, now().since(start).as_millis())
}

fn down<T>() -> Result<T, Failure> {
    Err(Error::Service("down"))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn now() -> Timestamp {
    SharedTimer::default().now()
}

/// The classifier of those who know which failures last: "fatal" does.
fn lasting(answer: &Answer) -> Classification {
    match answer {
        Err(Error::Service("fatal")) => Classification::PERMANENT,
        Err(Error::Service("later")) => Classification::FAILURE.after(ms(30)),
        Err(Error::Elapsed(_)) => Classification::TIMED_OUT,
        Err(Error::Rejected(_)) => Classification::REFUSED,
        Err(_) => Classification::FAILURE,
        Ok(_) => Classification::SUCCESS,
    }
}
