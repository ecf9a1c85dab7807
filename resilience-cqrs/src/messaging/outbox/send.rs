//! Getting messages to the bus, through breaker, retry and timeout.

use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::event::Listeners;
use resilience_core::retry::Retry;
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use resilience_core::timeout::Timeout;
use resilience_core::{AsRejected as _, Classify as _, Name};

use super::event::Event;
use super::handle::{Health, Publish};
use super::work::{Note, Task};
use crate::messaging::bus::Bus;
use crate::messaging::error::{BusError, BySending, describe};
use crate::messaging::message::Message;

const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(10);

/// What a relay sends with.
pub(super) struct Sender<B> {
    pub(super) bus: B,
    pub(super) name: Name,
    pub(super) timeout: Timeout,
    pub(super) retry: Retry,
    pub(super) breaker: CircuitBreaker,
    pub(super) timer: SharedTimer,
    pub(super) rng: SharedRng,
    pub(super) listeners: Listeners,
    pub(super) status: Publish,
}

/// What became of the messages of one lane: those sent, and what was parked from there on.
pub(super) struct Outcome {
    pub(super) sent: Vec<Task>,
    pub(super) parked: Vec<(Task, Note)>,
}

impl<B: Bus> Sender<B> {
    /// Sends the messages of one lane, each when the one before has arrived.
    pub(super) async fn lane(&self, tasks: Vec<Task>, is_held: bool) -> Result<Outcome, BusError> {
        let mut outcome = Outcome { sent: Vec::new(), parked: Vec::new() };
        for task in tasks {
            if is_held || !outcome.parked.is_empty() {
                outcome.parked.push((task, Note::behind()));
                continue;
            }
            let error = match &task.message {
                Ok(message) => match self.deliver(message).await {
                    Ok(()) => {
                        outcome.sent.push(task);
                        continue;
                    }
                    Err(error) if error.is_about_the_message() => describe(&error),
                    Err(error) => return Err(error),
                },
                Err(error) => error.clone(),
            };
            outcome.parked.push((task, Note::failed(1, &error)));
        }
        Ok(outcome)
    }

    /// Sends a message, for as long as that takes.
    async fn deliver(&self, message: &Message) -> Result<(), BusError> {
        let mut failures = 0;
        loop {
            let error = match self.try_once(message).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            failures += 1;
            self.stumbled(describe(&error));
            let wait = error.as_rejected().and_then(|refused| refused.retry_after());
            self.timer.sleep(wait.unwrap_or_default().max(self.backoff(failures))).await;
        }
    }

    /// Sends a message, for as long as the retry policy says.
    pub(super) async fn try_once(&self, message: &Message) -> Result<(), BusError> {
        let attempt = async |_| {
            let permit = self.breaker.try_acquire()?;
            let answer = self.timeout.call(self.bus.dispatch(message.clone())).await;
            permit.settle_as(BySending.classify(&answer));
            answer
        };
        self.retry.run_with(BySending, attempt).await.map(drop)
    }

    /// Waits grow from a tenth of a second to ten, drawn: "full jitter" (Brooker, "Exponential Backoff And Jitter", 2015).
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(PAUSE_CAP).mul_f64(self.rng.unit())
    }

    pub(super) fn stumbled(&self, error: String) {
        self.emit(|| Event::Retrying { error: error.clone() });
        self.status.send_modify(|status| status.health = Health::Retrying { error });
    }

    /// What keeps it from sending at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.status.borrow().health {
            Health::Retrying { error } => Some(error.clone()),
            _ => None,
        }
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}
