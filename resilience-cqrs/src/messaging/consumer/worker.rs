//! One message, from delivery to settlement.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Either, select};
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::event::Listeners;
use resilience_core::retry::{Backoff, Series};
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use resilience_core::timeout::Timeout;
use resilience_core::{Class, Classification, Classify, Name};
use tokio::sync::watch;

use super::config::AfterDeath;
use super::event::Event;
use super::handle::{Health, Status};
use super::handler::Handler;
use super::untried::Untried;
use crate::log::{AppendError, BoxError};
use crate::messaging::dead::{DeadLetterError, DeadLetters};
use crate::messaging::delivery::Delivery;
use crate::messaging::error::{BusError, describe};
use crate::messaging::message::Message;
use crate::messaging::shelf::storable;
use crate::store::EventStore;

pub(super) const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(10);
/// How long a stop waits for a store to take a note of what was not tried.
const NOTE: Duration = Duration::from_secs(1);

/// What a consumer handles messages with.
pub(super) struct Worker<S, C> {
    pub(super) name: Name,
    pub(super) classify: C,
    pub(super) max_attempts: u32,
    pub(super) after_death: AfterDeath,
    pub(super) ack_wait: Duration,
    pub(super) backoff: Backoff,
    pub(super) breaker: CircuitBreaker,
    pub(super) timeout: Timeout,
    pub(super) timer: SharedTimer,
    pub(super) rng: SharedRng,
    pub(super) listeners: Listeners,
    pub(super) dead: DeadLetters<S>,
    pub(super) untried: Untried<S>,
    pub(super) status: watch::Sender<Status>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// What is to become of a delivery.
enum Verdict {
    Done,
    Again {
        delay: Duration,
        error: String,
    },
    Buried {
        attempts: u32,
        error: String,
    },
    /// The consumer is to end, and this one waits for something.
    GivenBack {
        /// Whether it waits for being tried.
        is_untried: bool,
    },
}

/// What became of a delivery, as far as the consumer has to know.
#[derive(Debug)]
pub(super) enum Settled {
    Handled,
    Buried,
    Otherwise,
    /// Nobody has tried it, and the consumer is to end: for [`give_back`](Worker::give_back), when it does not come here again.
    Untried(Delivery),
}

/// The dead letters cannot be kept.
pub(super) type Failed = DeadLetterError;

impl<S: EventStore, C: Classify<(), BoxError> + Send + Sync + 'static> Worker<S, C> {
    /// Handles a delivery, and settles it when what is to be remembered of it is.
    pub(super) async fn work<H: Handler>(&self, mut handler: H, mut delivery: Delivery) -> Result<Settled, Failed> {
        let message = delivery.message.clone();
        let attempt = delivery.attempt;
        let (verdict, untried) = {
            let judged = pin!(async {
                let Some(untried) = self.untried(&message, attempt).await? else {
                    return Ok((Verdict::GivenBack { is_untried: true }, 0));
                };
                let tried = attempt.saturating_sub(untried).max(1);
                self.judge(&mut handler, &message, tried).await.map(|verdict| (verdict, untried))
            });
            let extended = pin!(self.extend(&mut delivery));
            match select(judged, extended).await {
                Either::Left((verdict, _)) => verdict?,
                Either::Right((late, _)) => {
                    // Somebody else has it by now.
                    self.emit(|| Event::Lost { id: message.id.clone(), error: describe(&late) });
                    return Ok(Settled::Otherwise);
                }
            }
        };
        let id = || message.id.clone();
        let (settled, outcome) = match verdict {
            Verdict::GivenBack { is_untried } => {
                return Ok(if is_untried { Settled::Untried(delivery) } else { Settled::Otherwise });
            }
            Verdict::Done => (delivery.ack().await, Settled::Handled),
            Verdict::Buried { attempts, error } => {
                let lane = lane(&message);
                if attempts > 0 {
                    tracing::error!(
                        consumer = %self.name, id = %message.id, lane, attempts, error,
                        "a message cannot be handled, it is among the dead letters"
                    );
                }
                self.emit(|| Event::Buried { id: id(), lane, attempts, error });
                (delivery.term().await, Settled::Buried)
            }
            Verdict::Again { delay, error } => {
                self.emit(|| Event::Retried { id: id(), attempt, delay, error });
                (delivery.retry_in(delay).await, Settled::Otherwise)
            }
        };
        if untried > 0 && settled.is_ok() && !matches!(outcome, Settled::Otherwise) {
            self.untried.forget(&message.id).await;
        }
        match settled {
            Ok(()) if matches!(outcome, Settled::Handled) => self.emit(|| Event::Handled { id: id(), attempt }),
            Ok(()) => {}
            Err(error) => self.emit(|| Event::Lost { id: id(), error: describe(&error) }),
        }
        Ok(outcome)
    }

    /// Gives back what nobody has tried, so that it does not count.
    pub(super) async fn give_back(&self, deliveries: Vec<Delivery>) {
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.message.id.clone()).collect();
        let note = pin!(self.untried.note(&ids, self.timer.wall()));
        match select(note, pin!(self.timer.sleep(NOTE))).await {
            Either::Left((Ok(()), _)) => {}
            Either::Left((Err(error), _)) => self.emit(|| Event::Retrying { error: describe(&error) }),
            Either::Right(_) => self.emit(|| Event::Retrying { error: "the store does not answer".into() }),
        }
        drop(deliveries);
    }

    /// How many deliveries of a message did not count; `None` if the consumer is to end.
    async fn untried(&self, message: &Message, attempt: u32) -> Result<Option<u32>, Failed> {
        if attempt == 1 {
            return Ok(Some(0));
        }
        let mut waits = 0;
        loop {
            match self.untried.of(&message.id).await {
                Ok(untried) => return Ok(Some(untried)),
                Err(error) => match self.stumble(error.into(), &mut waits).await? {
                    true => {}
                    false => return Ok(None),
                },
            }
        }
    }

    /// Decides what becomes of a message; when it returns, what is to be remembered is durable.
    async fn judge<H: Handler>(&self, handler: &mut H, message: &Message, attempt: u32) -> Result<Verdict, Failed> {
        let lane = lane(message);
        let mut waits = 0;
        loop {
            if self.after_death == AfterDeath::KeyWaits && message.key().is_some() {
                match self.dead.last(&lane).await {
                    Ok(None) => {}
                    Ok(_) => match self.bury(message, &lane, 0, BEHIND, true).await? {
                        Some(verdict) => return Ok(verdict),
                        // The lane is empty by now.
                        None => continue,
                    },
                    Err(error) => match self.stumble(error.into(), &mut waits).await? {
                        true => continue,
                        false => return Ok(Verdict::GivenBack { is_untried: true }),
                    },
                }
            }
            if attempt > self.max_attempts {
                // It was tried so often and never settled: whoever had it has not lived to tell.
                return self.give_up(message, &lane, attempt - 1, "it was delivered too often").await;
            }
            let (answer, class) = match self.breaker.try_acquire() {
                Ok(permit) => {
                    let answer = self.handle(handler.clone(), message.clone()).await;
                    let class = self.classify.classify(&answer);
                    permit.settle_as(class);
                    (answer, class)
                }
                Err(rejected) => {
                    let class = Classification::REFUSED;
                    let class = rejected.retry_after().map_or(class, |wait| class.after(wait));
                    (Err(rejected.into()), class)
                }
            };
            let Err(error) = answer else { return Ok(Verdict::Done) };
            let error = describe(&*error);
            if class.is_refused() {
                // Nothing was tried, so it does not count.
                if !self.pause(class.retry_after().unwrap_or_default(), &mut waits, error).await {
                    return Ok(Verdict::GivenBack { is_untried: true });
                }
                continue;
            }
            if class.class() == Class::Success {
                return Ok(Verdict::Done);
            }
            if class.is_retryable() && attempt < self.max_attempts {
                let mut series = Series::after(attempt - 1, Duration::ZERO);
                let delay = self.backoff.delay(&mut series, self.rng.unit());
                let delay = class.retry_after().unwrap_or_default().max(delay);
                return Ok(Verdict::Again { delay, error });
            }
            return self.give_up(message, &lane, attempt, &error).await;
        }
    }

    /// Runs the handler, in the message's own context and within its time; a panic is an error like any other.
    pub(super) async fn handle<H: Handler>(&self, handler: H, message: Message) -> Result<(), BoxError> {
        let context = message.context();
        let handled = AssertUnwindSafe(handler.handle(message)).catch_unwind();
        let handled = async { handled.await.unwrap_or_else(|_| Err("the handler panicked".into())) };
        context.scope(self.timeout.call(handled)).await
    }

    async fn give_up(&self, message: &Message, lane: &str, attempts: u32, error: &str) -> Result<Verdict, Failed> {
        let verdict = self.bury(message, lane, attempts, error, false).await?;
        Ok(verdict.unwrap_or(Verdict::GivenBack { is_untried: false }))
    }

    /// Puts a message among the dead letters, for as long as that takes. `None` if it was to get behind others, and there
    /// are none any more.
    async fn bury(
        &self,
        message: &Message,
        lane: &str,
        attempts: u32,
        error: &str,
        only_behind: bool,
    ) -> Result<Option<Verdict>, Failed> {
        let mut waits = 0;
        loop {
            let failed = match self.try_bury(message, lane, (attempts, error), only_behind).await {
                Ok(buried) => return Ok(buried.then(|| Verdict::Buried { attempts, error: error.to_owned() })),
                // Somebody has changed the lane.
                Err(DeadLetterError::Append(AppendError::Conflict(_))) => continue,
                Err(failed) => failed,
            };
            if !self.stumble(failed, &mut waits).await? {
                // Whoever waits behind others was not tried.
                return Ok(Some(Verdict::GivenBack { is_untried: only_behind }));
            }
        }
    }

    async fn try_bury(
        &self,
        message: &Message,
        lane: &str,
        (attempts, error): (u32, &str),
        only_behind: bool,
    ) -> Result<bool, Failed> {
        // Buried before, and then the answer of the store or of the bus was lost.
        if self.dead.has(&message.id).await? {
            return Ok(true);
        }
        let last = self.dead.last(lane).await?;
        if last.is_none() && only_behind {
            return Ok(false);
        }
        self.dead.put(lane, last, message, (attempts, error, self.timer.wall())).await?;
        Ok(true)
    }

    /// Waits for a store that is down; whether to go on.
    async fn stumble(&self, failed: Failed, waits: &mut u32) -> Result<bool, Failed> {
        let passes = match &failed {
            DeadLetterError::Append(error) => error.is_retryable(),
            DeadLetterError::Read(error) => error.is_retryable(),
            DeadLetterError::FailedAgain { .. } | DeadLetterError::Unreadable { .. } | DeadLetterError::Stopped => {
                false
            }
        };
        if !passes {
            return Err(failed);
        }
        let error = describe(&failed);
        self.emit(|| Event::Retrying { error: error.clone() });
        self.tell(Health::Retrying { error });
        Ok(self.wait(waits, Duration::ZERO).await)
    }

    /// Waits for a breaker that is open; whether to go on.
    async fn pause(&self, at_least: Duration, waits: &mut u32, error: String) -> bool {
        self.emit(|| Event::Paused { wait: at_least, error: error.clone() });
        self.tell(Health::Paused { error });
        self.wait(waits, at_least).await
    }

    /// Waits grow from a tenth of a second to ten, drawn; false as soon as the consumer is to end.
    async fn wait(&self, waits: &mut u32, at_least: Duration) -> bool {
        let doubled = PAUSE.saturating_mul(1_u32.checked_shl(*waits).unwrap_or(u32::MAX));
        *waits = waits.saturating_add(1);
        let wait = at_least.max(doubled.min(PAUSE_CAP).mul_f64(self.rng.unit()));
        let mut stopping = self.stopping.clone();
        let stop = pin!(stopping.wait_for(|stopping| *stopping));
        matches!(select(stop, pin!(self.timer.sleep(wait))).await, Either::Right(_))
    }

    fn tell(&self, health: Health) {
        self.status.send_modify(|status| status.health = health);
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }

    /// Keeps the delivery, until it is taken back.
    async fn extend(&self, delivery: &mut Delivery) -> BusError {
        loop {
            self.timer.sleep(self.ack_wait / 3).await;
            if let Err(late @ BusError::Late) = delivery.extend().await {
                return late;
            }
        }
    }
}

/// What a message that waits says.
const BEHIND: &str = "an earlier message of its key is among the dead letters";

/// What a message is in order with.
fn lane(message: &Message) -> String {
    storable(message.key().unwrap_or(message.id.as_str()))
}
