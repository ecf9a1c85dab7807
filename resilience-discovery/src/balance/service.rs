//! Readiness and the call.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use resilience_core::time::{Sleep, Timestamp};
use resilience_core::{AsRejected, Reason, Rejected, context};
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::Event;
use super::future::ResponseFuture;
use super::policy::{Balance, Fleet};
use super::slot::{Candidate, Picker, Trouble};

/// What one clone of a balancer has in hand between `poll_ready` and `call`.
pub(super) enum Held<S> {
    Nothing,
    /// An instance that was polled ready.
    Ready(Candidate<S>),
    Waiting(Box<Wait<S>>),
    /// The next call is refused.
    Refused(Reason),
}

/// A call that waits for an endpoint.
pub(super) struct Wait<S> {
    /// Instances that were polled and are to wake us.
    candidates: Vec<Candidate<S>>,
    changed: Pin<Box<OwnedNotified>>,
    since: Timestamp,
    patience: Pin<Box<Sleep>>,
    /// What it is refused for when the patience ends.
    reason: Reason,
}

/// How many endpoints a waiting call stands in line at. Two is what the choice of two has in any case, and a call that
/// waits everywhere takes everybody's place.
const LINES: usize = 2;

impl<S, Req> Service<Req> for Balance<S, Req>
where
    S: Service<Req> + Clone,
    S::Error: From<Rejected> + AsRejected,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    /// Picks an endpoint that is ready. Never fails: what is wrong with endpoints is told to the listeners, and what is
    /// wrong with all of them is the next call's answer.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match &self.held {
            Held::Ready(candidate) if !candidate.slot.status.is_retired() => return Poll::Ready(Ok(())),
            Held::Refused(_) => return Poll::Ready(Ok(())),
            Held::Waiting(_) => return self.poll_wait(None, cx).map(Ok),
            Held::Ready(_) | Held::Nothing => {}
        }
        self.refresh();
        let picked = match self.picker.pick(&mut self.rng) {
            Some(mut candidate) => match candidate.service.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.held = Held::Ready(candidate);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(_)) => {
                    candidate.slot.status.report(Trouble::Broken);
                    None
                }
                Poll::Pending => {
                    candidate.slot.status.report(Trouble::Unready);
                    Some(candidate)
                }
            },
            None => None,
        };
        self.poll_wait(picked, cx).map(Ok)
    }

    #[inline]
    fn call(&mut self, request: Req) -> ResponseFuture<S, Req> {
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Ready(mut candidate) if !candidate.slot.status.is_retired() => {
                ResponseFuture::called(candidate.service.call(request), candidate.slot)
            }
            Held::Refused(reason) => ResponseFuture::refused(Rejected::new(self.name().clone(), reason)),
            // It was removed since it was picked: another is picked, and the call waits for it as it would have before.
            // The same answers a caller that did not wait for readiness: its call waits instead.
            Held::Ready(_) | Held::Nothing | Held::Waiting(_) => ResponseFuture::again(self.clone(), request),
        }
    }
}

impl<S, Req> Balance<S, Req> {
    /// Takes the newest picker, if there is a newer one.
    #[inline]
    fn refresh(&mut self) {
        let generation = self.shared.fleet.generation();
        if generation != self.generation {
            self.picker = self.shared.fleet.picker();
            self.generation = generation;
        }
    }

    /// Looks for any endpoint that is ready, and waits for one if there is none.
    #[cold]
    fn poll_wait(&mut self, picked: Option<Candidate<S>>, cx: &mut Context<'_>) -> Poll<()>
    where
        S: Service<Req> + Clone,
    {
        let fleet = self.shared.fleet.clone();
        let mut wait = match mem::replace(&mut self.held, Held::Nothing) {
            Held::Waiting(wait) => wait,
            _ => Box::new(Wait::new(&fleet)),
        };
        wait.candidates.extend(picked);
        loop {
            let turn = usize::try_from(self.rng.next_u64() >> 32).unwrap_or(0);
            self.refresh();
            let ready = wait.poll_candidates(cx).or_else(|| wait.poll_others(&self.picker, turn, cx));
            if let Some(candidate) = ready {
                fleet.set_failing(false);
                self.held = Held::Ready(candidate);
                return Poll::Ready(());
            }
            if fleet.is_failing() || wait.patience.as_mut().poll(cx).is_ready() {
                self.held = Held::Refused(wait.give_up(&fleet));
                return Poll::Ready(());
            }
            if wait.changed.as_mut().poll(cx).is_pending() {
                self.held = Held::Waiting(wait);
                return Poll::Pending;
            }
            // Before the next look, so that a change between the look and the wait is not missed.
            wait.changed = Box::pin(fleet.changed.clone().notified_owned());
        }
    }
}

impl<S> Wait<S> {
    fn new(fleet: &Fleet<S>) -> Self {
        let timer = &fleet.desk.timer;
        let since = timer.now();
        let mut until = since + fleet.wait;
        let mut reason = Reason::NoEndpoint;
        if let Some(deadline) = context::deadline(timer).map(context::Deadline::timestamp)
            && deadline < until
        {
            (until, reason) = (deadline, Reason::Deadline);
        }
        Self {
            candidates: Vec::with_capacity(LINES),
            changed: Box::pin(fleet.changed.clone().notified_owned()),
            since,
            patience: Box::pin(timer.sleep_until(until)),
            reason,
        }
    }

    /// Asks those it stands in line at.
    fn poll_candidates<Req>(&mut self, cx: &mut Context<'_>) -> Option<Candidate<S>>
    where
        S: Service<Req>,
    {
        let mut index = 0;
        while let Some(candidate) = self.candidates.get_mut(index) {
            if candidate.slot.status.is_retired() {
                self.candidates.swap_remove(index);
                continue;
            }
            match candidate.service.poll_ready(cx) {
                Poll::Ready(Ok(())) => return Some(self.candidates.swap_remove(index)),
                Poll::Ready(Err(_)) => self.candidates.swap_remove(index).slot.status.report(Trouble::Broken),
                Poll::Pending => index += 1,
            }
        }
        None
    }

    /// Asks the others, beginning with a random one: first those nothing is known against, then, for a place in line, those
    /// that are avoided. Who is not ready is avoided from then on, so each is asked in vain once and not by every call.
    fn poll_others<Req>(&mut self, picker: &Picker<S>, turn: usize, cx: &mut Context<'_>) -> Option<Candidate<S>>
    where
        S: Service<Req> + Clone,
    {
        let entries = &picker.entries;
        let start = turn.checked_rem(entries.len()).unwrap_or(0);
        for avoided in [false, true] {
            for entry in entries[start..].iter().chain(&entries[..start]) {
                if avoided && self.candidates.len() >= LINES {
                    return None;
                }
                let Some(slot) = entry.slot.upgrade() else { continue };
                let status = &slot.status;
                if status.is_avoided() != avoided || status.is_broken() || self.stands_at(status.key) {
                    continue;
                }
                let mut candidate = Candidate::of(slot);
                match candidate.service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => return Some(candidate),
                    Poll::Ready(Err(_)) => candidate.slot.status.report(Trouble::Broken),
                    Poll::Pending => {
                        candidate.slot.status.report(Trouble::Unready);
                        if self.candidates.len() < LINES {
                            self.candidates.push(candidate);
                        }
                    }
                }
            }
        }
        None
    }

    fn stands_at(&self, key: u64) -> bool {
        self.candidates.iter().any(|candidate| candidate.slot.status.key == key)
    }

    fn give_up(&self, fleet: &Fleet<S>) -> Reason {
        if self.reason == Reason::NoEndpoint {
            fleet.set_failing(true);
        }
        let endpoints = fleet.picker().endpoints.len();
        fleet.desk.emit(|| Event::NoEndpoint { endpoints, waited: fleet.desk.timer.now().since(self.since) });
        self.reason
    }
}

impl<S> fmt::Debug for Held<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Ready(_) => "Ready",
            Self::Waiting(_) => "Waiting",
            Self::Refused(_) => "Refused",
        })
    }
}

/// The error's own refusal, if the endpoint's stack refused for a reason that is the endpoint's.
pub(super) fn refusal<E: AsRejected>(error: &E) -> Option<Trouble> {
    let rejected = error.as_rejected()?;
    match rejected.reason() {
        // The call's own fault, which any endpoint would have found.
        Reason::Deadline => None,
        _ => Some(Trouble::Refused(rejected.retry_after())),
    }
}
