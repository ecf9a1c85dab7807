//! One batch, and a place in it.

use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};

use super::call::Batched;
use super::dispatch::{Dispatch, GroupBy};
use super::error::Unanswered;
use super::event::Event;
use super::machine::{Landed, Limits, Mismatch, Roster, Stage};
use super::policy::{Admitted, Batch};
use crate::context::{self, Scoped};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{Sleep, Timestamp};

/// One batch. Its state is locked after the map of open batches, and nothing of the user's runs under the lock.
pub(super) struct Group<Req, D: Dispatch<Req>> {
    state: Mutex<State<Req, D>>,
    due: Timestamp,
    opened: Timestamp,
    relay: StdArc<Relay>,
}

struct State<Req, D: Dispatch<Req>> {
    roster: Roster<Req, Answer<Req, D>, Waker>,
    /// There once it is sent, and while nobody polls it.
    call: Option<Underway<Req, D>>,
    failure: Option<Failure<D::Error>>,
}

type Answer<Req, D> = Result<<D as Dispatch<Req>>::Answer, <D as Dispatch<Req>>::Error>;
type Underway<Req, D> = Pin<Box<Scoped<<D as Dispatch<Req>>::Future>>>;

/// Why nobody has an answer.
enum Failure<E> {
    /// Shared, so that it is cloned outside of the lock.
    All(StdArc<E>),
    Unanswered(Unanswered),
}

/// A call that wants a place.
pub(super) struct Arrival<Req> {
    pub(super) request: Req,
    pub(super) weight: u64,
    pub(super) waker: Waker,
    pub(super) limits: Limits,
}

/// Wakes whoever drives the batch: the call keeps one waker while its drivers come and go.
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(self: StdArc<Self>) {
        let driver = lock(&self.0).take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl<Req, D: Dispatch<Req>> Group<Req, D> {
    pub(super) fn new(due: Timestamp, opened: Timestamp) -> Self {
        let state = State { roster: Roster::new(), call: None, failure: None };
        Self { state: Mutex::new(state), due, opened, relay: StdArc::new(Relay(Mutex::new(None))) }
    }

    /// Nothing if there is room for that weight; else it is closed, and this is who is to send it.
    pub(super) fn make_room(&self, weight: u64, limits: Limits) -> Option<Option<Waker>> {
        let roster = &mut lock(&self.state).roster;
        if roster.has_room(weight, limits) { None } else { Some(roster.close()) }
    }

    /// Closes it before its time; who is to send it.
    pub(super) fn close(&self) -> Option<Waker> {
        lock(&self.state).roster.close()
    }

    /// A seat, and whether the batch is full with it.
    pub(super) fn sit(&self, arrival: Arrival<Req>) -> (u64, bool) {
        let Arrival { request, weight, waker, limits } = arrival;
        let roster = &mut lock(&self.state).roster;
        (roster.sit(request, weight, waker, limits), roster.stage() == Stage::Due)
    }
}

/// A place in a batch. Dropped, it is given up.
pub(super) struct Seated<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> {
    destination: Batched<Req, D, G, W>,
    group: Arc<Group<Req, D>>,
    key: G::Key,
    seat: u64,
    sleep: Option<Sleep>,
    _admitted: Admitted,
}

/// What a seat does next.
enum Next<Req, D: Dispatch<Req>> {
    Rest,
    AwaitTime,
    Send(Vec<Req>),
    Poll(Underway<Req, D>),
    Take(Option<Answer<Req, D>>, Option<Failure<D::Error>>),
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> Seated<Req, D, G, W> {
    pub(super) fn new(
        destination: Batched<Req, D, G, W>,
        group: Arc<Group<Req, D>>,
        key: G::Key,
        seat: u64,
        admitted: Admitted,
    ) -> Self {
        Self { destination, group, key, seat, sleep: None, _admitted: admitted }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer<Req, D>>
    where
        D::Error: From<Unanswered>,
    {
        loop {
            match self.next(cx) {
                Next::Rest => return Poll::Pending,
                Next::AwaitTime => {
                    let timer = &self.destination.shared.batch.shared.config.timer;
                    let sleep = self.sleep.get_or_insert_with(|| timer.sleep_until(self.group.due));
                    if Pin::new(sleep).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.close();
                }
                Next::Send(requests) => {
                    self.sleep = None;
                    let sent = Sent::new(self, requests.len());
                    let dispatch = || self.destination.shared.dispatch.dispatch(requests);
                    // Of many calls, and so in the context of none: no deadline but those inside.
                    let call = context::Context::new().scope(context::Context::new().run(dispatch));
                    if !sent.poll(Box::pin(call), cx) {
                        return Poll::Pending;
                    }
                }
                Next::Poll(call) => {
                    if !Sent::new(self, 0).poll(call, cx) {
                        return Poll::Pending;
                    }
                }
                Next::Take(Some(answer), _) => return Poll::Ready(answer),
                Next::Take(None, Some(Failure::All(error))) => return Poll::Ready(Err((*error).clone())),
                Next::Take(None, Some(Failure::Unanswered(unanswered))) => return Poll::Ready(Err(unanswered.into())),
                Next::Take(None, None) => unreachable!("a batch is done with answers or with a failure"),
            }
        }
    }

    fn next(&self, cx: &Context<'_>) -> Next<Req, D> {
        // Cloned and dropped outside of the lock.
        let waker = cx.waker().clone();
        let mut state = lock(&self.group.state);
        let State { roster, call, failure } = &mut *state;
        let next = match roster.stage() {
            Stage::Done => {
                let failure = failure.as_ref().map(Failure::share);
                return Next::Take(roster.answer(self.seat), failure);
            }
            _ if !roster.drives(self.seat) => Next::Rest,
            Stage::Open => Next::AwaitTime,
            Stage::Due => Next::Send(roster.send()),
            Stage::Sent => call.take().map_or(Next::Rest, Next::Poll),
        };
        let old = roster.rest(self.seat, waker);
        drop(state);
        drop(old);
        next
    }

    /// Nobody joins any more: the time is over.
    fn close(&self) {
        let (gone, own);
        {
            let mut open = lock(&self.destination.shared.open);
            let mut state = lock(&self.group.state);
            // It is the driver who closes it, and it is awake.
            own = if state.roster.stage() == Stage::Open { state.roster.close() } else { None };
            gone = open.remove_exactly(&self.key, &self.group);
        }
        drop((gone, own));
    }
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> Drop for Seated<Req, D, G, W> {
    fn drop(&mut self) {
        let (left, call, gone);
        {
            let mut open = lock(&self.destination.shared.open);
            let mut state = lock(&self.group.state);
            left = state.roster.leave(self.seat);
            gone = if left.is_empty { open.remove_exactly(&self.key, &self.group) } else { None };
            // Nobody waits for it any more.
            call = if left.is_empty { state.call.take() } else { None };
        }
        drop((call, gone, left.gone));
        if let Some(next) = left.next {
            next.wake();
        }
    }
}

impl<E> Failure<E> {
    fn share(&self) -> Self {
        match self {
            Self::All(error) => Self::All(error.clone()),
            Self::Unanswered(unanswered) => Self::Unanswered(*unanswered),
        }
    }
}

/// A batch whose call is being polled. If that panics, nobody gets an answer.
struct Sent<'a, Req, D: Dispatch<Req>> {
    group: &'a Group<Req, D>,
    batch: &'a Batch,
    /// Who polls it.
    own: u64,
    is_over: bool,
}

impl<'a, Req, D: Dispatch<Req>> Sent<'a, Req, D> {
    fn new<G: GroupBy<Req>, W>(seated: &'a Seated<Req, D, G, W>, calls: usize) -> Self {
        let (batch, group) = (&seated.destination.shared.batch, &*seated.group);
        if calls > 0 {
            batch.note_sent(calls);
            let waited = || batch.shared.config.timer.now().since(group.opened);
            batch.emit(|| Event::Sent { calls, waited: waited() });
        }
        Self { group, batch, own: seated.seat, is_over: false }
    }

    /// Polls the call; whether the batch is done.
    fn poll(mut self, mut call: Underway<Req, D>, cx: &Context<'_>) -> bool {
        let own = cx.waker().clone();
        let old = lock(&self.group.relay.0).replace(own);
        drop(old);
        let waker = Waker::from(self.group.relay.clone());
        let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Pending => {
                self.is_over = true;
                lock(&self.group.state).call = Some(call);
                false
            }
            Poll::Ready(answers) => {
                // What the call holds goes before anybody hears of its answers. That may panic as its work may.
                drop(call);
                self.is_over = true;
                match answers {
                    Ok(answers) => self.land(answers),
                    Err(error) => {
                        self.batch.note_failed();
                        self.end(Failure::All(StdArc::new(error)));
                        self.batch.emit(|| Event::Failed);
                    }
                }
                true
            }
        }
    }

    fn land(&self, answers: Vec<Answer<Req, D>>) {
        let Landed { wakers, nobodys, mismatch } = {
            let mut state = lock(&self.group.state);
            let landed = state.roster.land(self.own, answers);
            if let Some(Mismatch { requests, answers }) = landed.mismatch {
                state.failure = Some(Failure::Unanswered(Unanswered::Miscounted { requests, answers }));
            }
            landed
        };
        wakers.into_iter().for_each(Waker::wake);
        drop(nobodys);
        match mismatch {
            None => self.batch.emit(|| Event::Answered),
            Some(Mismatch { requests, answers }) => {
                self.batch.note_failed();
                self.batch.emit(|| Event::Miscounted { requests, answers });
            }
        }
    }

    fn end(&self, failure: Failure<D::Error>) {
        let wakers = {
            let mut state = lock(&self.group.state);
            state.failure = Some(failure);
            state.roster.end(self.own)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<Req, D: Dispatch<Req>> Drop for Sent<'_, Req, D> {
    fn drop(&mut self) {
        if !self.is_over {
            self.batch.note_failed();
            self.end(Failure::Unanswered(Unanswered::Panicked));
            self.batch.emit(|| Event::Panicked);
        }
    }
}
