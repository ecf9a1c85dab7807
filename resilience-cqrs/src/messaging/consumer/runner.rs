//! The consumer: take what comes, as much at once as may be, and settle it.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesUnordered;
use resilience_core::Classify;
use resilience_core::time::Sleep;
use tokio::sync::{mpsc, oneshot, watch};

use super::event::Event;
use super::handle::{ConsumerError, Health, Request};
use super::handler::Handler;
use super::worker::{PAUSE, Settled, Worker};
use crate::log::BoxError;
use crate::messaging::bus::{Bus, Subscribe, Subscription as _};
use crate::messaging::dead::DeadLetterError;
use crate::messaging::delivery::Delivery;
use crate::messaging::error::{BusError, describe};
use crate::store::EventStore;

/// Redrives that wait for one another.
const REQUESTS: usize = 16;

/// Handles the messages of a group or queue.
#[must_use = "a consumer does nothing until it is run"]
pub struct Consumer<S, B, H, C = super::ByHandling> {
    pub(super) bus: B,
    pub(super) to: Subscribe,
    pub(super) handler: H,
    pub(super) concurrency: usize,
    pub(super) max_dead: u64,
    pub(super) worker: Arc<Worker<S, C>>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) ended: oneshot::Sender<Result<(), ConsumerError>>,
}

impl<S, B, H, C> fmt::Debug for Consumer<S, B, H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("to", &self.to).finish_non_exhaustive()
    }
}

/// What the consumer waits for comes as one of these.
enum News {
    Delivery(Result<Delivery, BusError>),
    Settled(Result<Settled, DeadLetterError>),
    /// A redrive is over.
    Redriven,
    Request(Option<Request>),
}

/// What is under way.
struct Hands {
    messages: FuturesUnordered<BoxFuture<'static, Result<Settled, DeadLetterError>>>,
    redrive: Option<BoxFuture<'static, ()>>,
    waiting: VecDeque<Request>,
    /// Dead letters, as far as is known.
    dead: u64,
    /// Nothing is taken before this: the bus has failed.
    hold: Option<Sleep>,
    is_blocked: bool,
}

impl<S, B, H, C> Consumer<S, B, H, C>
where
    S: EventStore,
    B: Bus,
    H: Handler,
    C: Classify<(), BoxError> + Send + Sync + 'static,
{
    /// Runs until the handle is dropped or [stopped](super::ConsumerHandle::stop), or until it cannot go on; the handle learns
    /// why. Dropped in between, what it has in hand is delivered again.
    pub async fn run(mut self) {
        let result = self.work().await;
        self.worker.emit(|| Event::Stopped);
        self.worker.status.send_modify(|status| status.health = Health::Stopped);
        let _ = self.ended.send(result);
    }

    async fn work(&mut self) -> Result<(), ConsumerError> {
        let counted = self.until(|worker| {
            let dead = worker.dead.clone();
            async move { Ok(dead.counts().await?.values().sum()) }.boxed()
        });
        let Some(dead) = counted.await? else { return Ok(()) };
        self.worker.untried.sweep(self.worker.timer.wall()).await;
        let (bus, to) = (self.bus.clone(), self.to.clone());
        let subscribed = self.until(move |_| {
            let (bus, to) = (bus.clone(), to.clone());
            async move { Ok(bus.subscribe(to).await?) }.boxed()
        });
        let Some(mut subscription) = subscribed.await? else { return Ok(()) };
        let mut hands = Hands {
            messages: FuturesUnordered::new(),
            redrive: None,
            waiting: VecDeque::new(),
            dead,
            hold: None,
            is_blocked: false,
        };
        self.tell(&hands, &Settled::Otherwise);
        loop {
            match self.news(&mut subscription, &mut hands).await {
                News::Delivery(Ok(delivery)) => {
                    let (worker, handler) = (self.worker.clone(), self.handler.clone());
                    hands.messages.push(Box::pin(async move { worker.work(handler, delivery).await }));
                    self.worker.status.send_modify(|status| status.in_hand = hands.messages.len());
                }
                News::Delivery(Err(error)) if error.is_retryable() => {
                    self.stumbled(describe(&error));
                    hands.hold = Some(self.worker.timer.sleep(PAUSE));
                }
                News::Delivery(Err(error)) => {
                    self.finish(hands, subscription).await?;
                    return Err(ConsumerError::Bus(error));
                }
                News::Settled(settled) => {
                    let settled = settled.map_err(ConsumerError::DeadLetters)?;
                    hands.dead += u64::from(matches!(settled, Settled::Buried));
                    self.tell(&hands, &settled);
                }
                News::Redriven => self.recount(&mut hands).await,
                News::Request(Some(Request::Look)) => self.recount(&mut hands).await,
                News::Request(Some(redrive)) if hands.waiting.len() < REQUESTS => hands.waiting.push_back(redrive),
                // Dropped: the one who asks is told that nobody will answer.
                News::Request(Some(_)) => {}
                News::Request(None) => return self.finish(hands, subscription).await,
            }
        }
    }

    /// Whatever comes first.
    async fn news(&mut self, subscription: &mut B::Subscription, hands: &mut Hands) -> News {
        let is_blocked = hands.dead >= self.max_dead;
        if is_blocked && !hands.is_blocked {
            self.worker.emit(|| Event::Blocked { dead: hands.dead });
        }
        hands.is_blocked = is_blocked;
        if hands.redrive.is_none()
            && let Some(Request::Redrive { lane, answer }) = hands.waiting.pop_front()
        {
            hands.redrive = Some(self.redrive(lane, answer));
        }
        let may_take = !is_blocked && hands.messages.len() < self.concurrency;
        let Hands { messages, redrive, hold, .. } = hands;
        let delivery = pin!(async {
            if !may_take {
                return pending().await;
            }
            if let Some(sleep) = hold {
                sleep.await;
                *hold = None;
            }
            News::Delivery(subscription.next().await)
        });
        let settled = pin!(async {
            match messages.next().await {
                Some(settled) => News::Settled(settled),
                None => pending().await,
            }
        });
        let redriven = pin!(async {
            match redrive {
                Some(running) => running.await,
                None => pending().await,
            }
            *redrive = None;
            News::Redriven
        });
        let request = pin!(self.requests.recv().map(News::Request));
        let (work, ask) = (select(settled, delivery), select(redriven, request));
        match select(work, ask).await {
            Either::Left((news, _)) => news.factor_first().0,
            Either::Right((news, _)) => news.factor_first().0,
        }
    }

    fn redrive(&self, lane: String, answer: oneshot::Sender<Result<u64, DeadLetterError>>) -> BoxFuture<'static, ()> {
        let (worker, handler) = (self.worker.clone(), self.handler.clone());
        Box::pin(async move {
            let by = worker.clone();
            let handle = move |message| {
                let (worker, handler) = (by.clone(), handler.clone());
                async move { worker.handle(handler, message).await }
            };
            let result = worker.dead.redrive(&lane, handle).await;
            let letters = match &result {
                Ok(letters) => *letters,
                Err(DeadLetterError::FailedAgain { handled, .. } | DeadLetterError::Unreadable { handled, .. }) => {
                    *handled
                }
                Err(_) => 0,
            };
            if letters > 0 {
                worker.emit(|| Event::Redriven { lane, letters });
            }
            let _ = answer.send(result);
        })
    }

    /// Lets what is in hand come to its end. What only waits is given back, as soon as it does not come here again.
    async fn finish(&mut self, mut hands: Hands, subscription: B::Subscription) -> Result<(), ConsumerError> {
        let _ = self.stop.send(true);
        let mut closing = Some(Box::pin(subscription.close()));
        let mut untried = Vec::new();
        loop {
            let settled = match &mut closing {
                Some(closed) => match select(closed, pin!(hands.messages.next())).await {
                    Either::Left((ahead, _)) => {
                        untried.extend(ahead);
                        closing = None;
                        continue;
                    }
                    Either::Right((Some(settled), _)) => settled,
                    Either::Right((None, closed)) => {
                        untried.extend(closed.await);
                        closing = None;
                        continue;
                    }
                },
                None if !untried.is_empty() => {
                    let (worker, untried) = (self.worker.clone(), std::mem::take(&mut untried));
                    let given_back = async move {
                        worker.give_back(untried).await;
                        Ok(Settled::Otherwise)
                    };
                    // Beside what is still in hand, which does not wait for it.
                    hands.messages.push(Box::pin(given_back));
                    continue;
                }
                None => match hands.messages.next().await {
                    Some(settled) => settled,
                    None => return Ok(()),
                },
            };
            match settled.map_err(ConsumerError::DeadLetters)? {
                Settled::Untried(delivery) => untried.push(delivery),
                settled => {
                    hands.dead += u64::from(matches!(settled, Settled::Buried));
                    self.tell(&hands, &settled);
                }
            }
        }
    }

    /// Tries until it is done, or the consumer is to end, or it makes no sense to go on.
    async fn until<T>(
        &mut self,
        attempt: impl Fn(&Worker<S, C>) -> BoxFuture<'static, Result<T, Failed>>,
    ) -> Result<Option<T>, ConsumerError> {
        loop {
            match attempt(&self.worker).await {
                Ok(done) => return Ok(Some(done)),
                Err(Failed::Later(error)) => self.stumbled(error),
                Err(Failed::Ends(error)) => return Err(error),
            }
            match select(pin!(self.worker.timer.sleep(PAUSE * 5)), pin!(self.requests.recv())).await {
                Either::Right((None, _)) => return Ok(None),
                // There is nothing to be answered with yet.
                Either::Right((Some(_), _)) | Either::Left(_) => {}
            }
        }
    }

    /// Counts the dead letters anew; a store that is down is asked another time.
    async fn recount(&mut self, hands: &mut Hands) {
        if let Ok(counts) = self.worker.dead.counts().await {
            hands.dead = counts.values().sum();
        }
        self.tell(hands, &Settled::Otherwise);
    }

    fn stumbled(&self, error: String) {
        self.worker.emit(|| Event::Retrying { error: error.clone() });
        self.worker.status.send_modify(|status| status.health = Health::Retrying { error });
    }

    fn tell(&self, hands: &Hands, settled: &Settled) {
        self.worker.status.send_modify(|status| {
            status.handled += u64::from(matches!(settled, Settled::Handled));
            status.in_hand = hands.messages.len();
            status.dead = hands.dead;
            status.health = match hands.dead {
                0 => Health::Good,
                dead if dead >= self.max_dead => Health::Blocked,
                _ => Health::Degraded,
            };
        });
    }
}

/// Why the consumer could not begin.
enum Failed {
    Later(String),
    Ends(ConsumerError),
}

impl From<crate::log::ReadError> for Failed {
    fn from(error: crate::log::ReadError) -> Self {
        match error.is_retryable() {
            true => Self::Later(describe(&error)),
            false => Self::Ends(ConsumerError::DeadLetters(error.into())),
        }
    }
}

impl From<BusError> for Failed {
    fn from(error: BusError) -> Self {
        if error.is_retryable() { Self::Later(describe(&error)) } else { Self::Ends(ConsumerError::Bus(error)) }
    }
}
