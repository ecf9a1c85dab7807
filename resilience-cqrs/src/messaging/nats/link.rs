//! The connection, and what is known of its state.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, Request};
use bytes::Bytes;
use futures::future::{Either, select};
use resilience_core::time::{SharedTimer, Timestamp};
use resilience_core::{Elapsed, Name, Reason, Rejected, context};
use tokio::sync::{Notify, Semaphore, watch};

use crate::messaging::error::BusError;

/// One connection, which is made again by the client when it is lost.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) timer: SharedTimer,
    pub(super) name: Name,
    /// How long a question to the broker may take that has no deadline of its own.
    answer_within: Duration,
    state: watch::Receiver<State>,
    tell: Arc<watch::Sender<State>>,
    /// Questions that may be under way at once.
    room: Semaphore,
    most: u32,
    /// Told when something was published or settled, for the one who clears up; and when this is dropped.
    pub(super) stirred: Arc<Notify>,
}

/// Whether it is up, and how often it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_up: bool,
    pub(super) nth: u64,
    /// Nothing new begins.
    is_closed: bool,
    /// There will be no connection again.
    is_gone: bool,
}

/// What a caller waits for at most, and whether that is its deadline or the setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) until: Timestamp,
    pub(super) within: Duration,
}

impl Link {
    pub(super) async fn connect(
        address: &str,
        options: ConnectOptions,
        name: Name,
        timer: SharedTimer,
        answer_within: Duration,
        room: usize,
    ) -> Result<Self, BusError> {
        let (tell, state) = watch::channel(State::default());
        let tell = Arc::new(tell);
        let told = tell.clone();
        let options = options.event_callback(move |event| {
            told.send_modify(|state| match event {
                Event::Connected => (state.is_up, state.nth) = (true, state.nth + 1),
                Event::Disconnected => state.is_up = false,
                Event::Closed => (state.is_up, state.is_closed, state.is_gone) = (false, true, true),
                _ => {}
            });
            std::future::ready(())
        });
        let connected = options.connect(address).await;
        let client = connected.map_err(|error| unavailable("it cannot be connected to", error))?;
        // The event of the first connection may still be on its way.
        tell.send_if_modified(|state| {
            let is_first = state.nth == 0;
            if is_first {
                (state.is_up, state.nth) = (true, 1);
            }
            is_first
        });
        let most = u32::try_from(room).unwrap_or(u32::MAX);
        let (room, stirred) = (Semaphore::new(room), Arc::default());
        Ok(Self { client, timer, name, answer_within, state, tell, room, most, stirred })
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().is_closed
    }

    /// Lets nothing new begin; says whether that is new.
    pub(super) fn close(&self) -> bool {
        self.tell.send_if_modified(|state| !std::mem::replace(&mut state.is_closed, true))
    }

    /// Waits for what is under way, has the client send what it still has, and ends the connection.
    pub(super) async fn end(&self) -> Result<(), BusError> {
        let mut state = self.state.clone();
        // None is given back before its question is answered, or given up.
        let _ = self.room.acquire_many(self.most).await;
        self.client.drain().await.map_err(|_| BusError::Closed)?;
        state.wait_for(|state| state.is_gone).await.map(drop).map_err(|_| BusError::Closed)
    }

    /// What it does, if it does it within [`answer_within`](super::NatsBusBuilder::answer_within).
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, BusError> {
        match select(pin!(work), pin!(self.timer.sleep(self.answer_within))).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(Elapsed::new(self.answer_within).into()),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().is_up
    }

    /// Until the deadline of the call in progress, and no longer than is set.
    pub(super) fn limit(&self) -> Result<Limit, BusError> {
        self.limit_of(self.answer_within)
    }

    /// Until the deadline of the call in progress, and no longer than `most`.
    pub(super) fn limit_of(&self, most: Duration) -> Result<Limit, BusError> {
        let now = self.timer.now();
        let deadline = context::deadline(&self.timer).map_or(Timestamp::NEVER, |deadline| deadline.timestamp());
        let within = most.min(deadline.since(now));
        if within.is_zero() {
            return Err(self.rejected(Reason::Deadline));
        }
        Ok(Limit { until: now + within, within })
    }

    /// As [`ask`](Self::ask), when one more may be under way.
    pub(super) async fn ask_in_turn(
        &self,
        subject: String,
        question: Request,
        limit: Limit,
    ) -> Result<Message, BusError> {
        let full = || Reason::Full { limit: u32::MAX, queued: 0 };
        let turn = pin!(self.room.acquire());
        let _turn = match select(turn, pin!(self.timer.sleep_until(limit.until))).await {
            Either::Left((turn, _)) => turn.map_err(|_| BusError::Closed)?,
            Either::Right(_) => return Err(self.rejected(full())),
        };
        self.ask(subject, question, limit).await
    }

    /// Asks the broker, or somebody behind it, when there is a connection.
    ///
    /// A connection that is lost while the answer is awaited is an answer too: what was asked may have arrived.
    pub(super) async fn ask(&self, subject: String, question: Request, limit: Limit) -> Result<Message, BusError> {
        let mut state = self.state.clone();
        let asked = async {
            let nth = self.up(&mut state).await?;
            let answer = pin!(self.client.send_request(subject, question.timeout(None)));
            let lost = pin!(state.wait_for(|state| !state.is_up || state.nth != nth));
            match select(answer, lost).await {
                Either::Left((answer, _)) => Ok(answer.map_err(|error| self.explain(error))),
                Either::Right(_) => {
                    Ok(Err(BusError::Unavailable { reason: "the connection was lost".into(), source: None }))
                }
            }
        };
        let outcome = match select(pin!(asked), pin!(self.timer.sleep_until(limit.until))).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        };
        match outcome {
            Some(Ok(answer)) => answer,
            Some(Err(closed)) => Err(closed),
            // Without a connection it was not sent.
            None if !self.is_up() => Err(self.rejected(Reason::NoEndpoint)),
            None => Err(Elapsed::new(limit.within).into()),
        }
    }

    /// Sends something nobody answers, if there is a connection.
    pub(super) async fn tell(&self, subject: &str, payload: &'static str) {
        if self.is_up() {
            // Whoever tells something by this does so again, or it is told by the time that passes.
            let _ = self.client.publish(subject.to_owned(), Bytes::from_static(payload.as_bytes())).await;
        }
    }

    /// Waits until the broker has seen all that was sent before: nobody answers this, and it says so.
    pub(super) async fn settle(&self) -> Result<(), BusError> {
        let limit = self.limit()?;
        match self.ask(self.client.new_inbox(), Request::new().payload(Bytes::new()), limit).await {
            Ok(_) => Ok(()),
            Err(BusError::Rejected(rejected)) if rejected.reason() == Reason::NoEndpoint && self.is_up() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn rejected(&self, reason: Reason) -> BusError {
        Rejected::new(self.name.clone(), reason).into()
    }

    async fn up(&self, state: &mut watch::Receiver<State>) -> Result<u64, BusError> {
        let state = state.wait_for(|state| state.is_up || state.is_closed).await.map_err(|_| BusError::Closed)?;
        if state.is_closed { Err(BusError::Closed) } else { Ok(state.nth) }
    }

    fn explain(&self, error: RequestError) -> BusError {
        match error.kind() {
            RequestErrorKind::NoResponders => self.rejected(Reason::NoEndpoint),
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                BusError::Refused { why: error.to_string() }
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => unavailable("the client failed", error),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stirred.notify_one();
    }
}

pub(super) fn unavailable(reason: &str, error: impl std::error::Error + Send + Sync + 'static) -> BusError {
    BusError::Unavailable { reason: format!("{reason}: {error}"), source: Some(Arc::new(error)) }
}

/// A question with these headers.
pub(super) fn question(headers: Option<HeaderMap>, payload: Bytes) -> Request {
    let question = Request::new().payload(payload);
    match headers {
        Some(headers) => question.headers(headers),
        None => question,
    }
}
