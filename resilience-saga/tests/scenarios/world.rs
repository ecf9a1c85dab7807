//! A world that does what a script says.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Timestamp};
use resilience_cqrs::MemoryStore;
use resilience_saga::testing::Ledger;
use resilience_saga::{Backoff, Cx, Engine, Jitter, Op, Saga, SagaId, StepError, Unknown, saga};

/// What one call does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Play {
    /// It takes effect.
    Work,
    /// It is refused.
    Reject,
    /// It fails without an effect.
    Fail,
    /// It takes effect, and then never answers.
    WorkAndHang,
    /// It never does anything.
    Hang,
    /// It takes its time, then takes effect.
    Slow(Duration),
    /// It takes its time, but ends without an effect when it is told to stop.
    Polite(Duration),
    /// It never answers, and takes effect in the background after this time.
    Late(Duration),
    /// It panics before its effect.
    Panic,
}

/// Receivers behind one ledger, with a script for each operation; after its script an operation works.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    script: Mutex<HashMap<(String, Op), VecDeque<Play>>>,
    for_ever: Mutex<HashMap<(String, Op), Play>>,
    /// Every call, in order, with its time.
    calls: Mutex<Vec<(String, Op, Timestamp)>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next calls of an operation go like this.
    pub(crate) fn script(&self, step: &str, op: Op, plays: impl IntoIterator<Item = Play>) {
        self.script.lock().unwrap().entry((step.to_owned(), op)).or_default().extend(plays);
    }

    /// All calls of an operation from here on go like this, once its script is over.
    pub(crate) fn always(&self, step: &str, op: Op, play: Play) {
        self.for_ever.lock().unwrap().insert((step.to_owned(), op), play);
    }

    pub(crate) fn order(&self) -> Vec<String> {
        let name = |(step, op, _): &(String, Op, Timestamp)| format!("{op} {step}");
        self.calls.lock().unwrap().iter().map(name).collect()
    }

    pub(crate) fn times(&self, step: &str, op: Op) -> Vec<Timestamp> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(s, o, _)| s == step && *o == op).map(|(_, _, at)| *at).collect()
    }

    async fn call(self: Arc<Self>, cx: Cx) -> Result<(), StepError> {
        let timer = SharedTimer::default();
        let key = (cx.step().to_string(), cx.key().op());
        self.calls.lock().unwrap().push((key.0.clone(), key.1, timer.now()));
        let scripted = self.script.lock().unwrap().get_mut(&key).and_then(VecDeque::pop_front);
        let play = scripted.or_else(|| self.for_ever.lock().unwrap().get(&key).copied()).unwrap_or(Play::Work);
        match play {
            Play::Work => self.ledger.call(&cx),
            Play::Reject => Err(StepError::rejected("the script says no")),
            Play::Fail => Err(StepError::retry("the script says not now")),
            Play::WorkAndHang => {
                self.ledger.call(&cx)?;
                std::future::pending().await
            }
            Play::Hang => std::future::pending().await,
            Play::Slow(time) => {
                timer.sleep(time).await;
                self.ledger.call(&cx)
            }
            Play::Polite(time) => tokio::select! {
                () = timer.sleep(time) => self.ledger.call(&cx),
                () = cx.cancel().cancelled() => Err(StepError::retry("stopped as asked")),
            },
            Play::Late(time) => {
                let world = self.clone();
                tokio::spawn(async move {
                    SharedTimer::default().sleep(time).await;
                    world.ledger.call(&cx)
                });
                std::future::pending().await
            }
            Play::Panic => panic!("the script says so"),
        }
    }
}

pub(crate) async fn act(cx: Cx) -> Result<(), StepError> {
    cx.service::<World>()?.call(cx).await
}

pub(crate) fn tries(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One second, two, four, and so on up to a minute, exactly.
pub(crate) fn doubling() -> Backoff {
    Backoff::exponential(secs(1), secs(60)).jitter(Jitter::None)
}

/// reserve -> charge -> fraud -> PIVOT -> ship || email; a charge may take two seconds.
pub(crate) fn checkout(unknown: Unknown) -> Saga<u32, ()> {
    saga("checkout", 1, |g, order| {
        let hold = g.step("reserve", order, |cx, _: u32| act(cx)).undo(|cx, _| act(cx));
        let paid = g
            .step("charge", hold, |cx, ()| act(cx))
            .undo(|cx, _| act(cx))
            .timeout(secs(2))
            .unknown(unknown)
            .retry(tries(3), doubling())
            .undo_retry(tries(4), doubling());
        let _ = g.step("fraud", paid, |cx, ()| act(cx)).no_undo("a check");
        g.pivot();
        let _ = g.step("email", (), |cx, ()| act(cx)).retriable();
        g.step("ship", (), |cx, ()| act(cx)).retriable().backoff(doubling())
    })
    .unwrap()
}

/// p -> {a, b, c} -> j
pub(crate) fn fork() -> Saga<(), ()> {
    saga("fork", 1, |g, start| {
        let undo_tries = tries(2);
        let p = g.step("p", start, |cx, ()| act(cx)).undo(|cx, _| act(cx));
        let [a, b, c] = ["a", "b", "c"]
            .map(|key| g.step(key, p, |cx, ()| act(cx)).undo(|cx, _| act(cx)).undo_retry(undo_tries, doubling()));
        g.step("j", (a, b, c), |cx, _| act(cx)).undo(|cx, _| act(cx))
    })
    .unwrap()
}

pub(crate) async fn engine<I, O>(store: &MemoryStore, world: &Arc<World>, saga: &Saga<I, O>) -> Engine<MemoryStore> {
    Engine::builder(store.clone()).register(saga).shared_service(world.clone()).seed(1).start().await.unwrap()
}

pub(crate) fn id(definition: &str) -> SagaId {
    SagaId::new(definition, "1").unwrap()
}

/// Lets everything that can happen without time passing happen.
pub(crate) async fn settle() {
    SharedTimer::default().sleep(Duration::from_millis(1)).await;
}
