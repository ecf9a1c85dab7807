//! The rules of one group or queue: who is next, and what becomes of what was handed out.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use resilience_core::time::Timestamp;

/// Messages that wait or are in somebody's hands.
///
/// Each key has a lane, and only the first message of a lane is ever ready or in flight: that is the order of a key. A
/// message without a key has a lane to itself. Every message is in exactly one of `ready`, `timers` (in flight or held
/// back) or behind the first of its lane.
#[derive(Debug)]
pub(super) struct Machine<M> {
    ack_wait: Duration,
    in_flight_limit: usize,
    next_number: u64,
    slots: HashMap<u64, Slot<M>>,
    lanes: HashMap<String, VecDeque<u64>>,
    ready: BTreeSet<u64>,
    timers: BTreeSet<(Timestamp, u64)>,
    in_flight: usize,
}

#[derive(Debug)]
struct Slot<M> {
    message: M,
    key: Option<String>,
    /// How often it was handed out. Also the token of the last one who got it.
    attempts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind another of its key, or ready.
    Waiting,
    /// Comes back at this time.
    HeldBack(Timestamp),
    /// In somebody's hands, until this time.
    InFlight(Timestamp),
}

/// A message that was handed out, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Taken<M> {
    pub(super) message: M,
    pub(super) ticket: Ticket,
}

/// Names one handing out of one message: void once the message was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    pub(super) attempt: u32,
}

/// The ticket is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late;

impl<M: Clone> Machine<M> {
    pub(super) fn new(ack_wait: Duration, in_flight_limit: usize) -> Self {
        Self {
            ack_wait,
            in_flight_limit,
            next_number: 0,
            slots: HashMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
        }
    }

    /// How long a delivery may stay unsettled from now on, and how many.
    pub(super) fn set_limits(&mut self, ack_wait: Duration, in_flight: usize) {
        (self.ack_wait, self.in_flight_limit) = (ack_wait, in_flight);
    }

    /// Takes a message in, behind all of its key.
    pub(super) fn push(&mut self, message: M, key: Option<&str>) {
        let number = self.next_number;
        self.next_number += 1;
        let is_first = match key {
            Some(key) => {
                let lane = self.lanes.entry(key.to_owned()).or_default();
                lane.push_back(number);
                lane.len() == 1
            }
            None => true,
        };
        let key = key.map(str::to_owned);
        self.slots.insert(number, Slot { message, key, attempts: 0, state: State::Waiting });
        if is_first {
            self.ready.insert(number);
        }
    }

    /// Hands out the oldest message that is ready, if one more may be in flight.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Taken<M>> {
        self.wake(now);
        if self.in_flight >= self.in_flight_limit {
            return None;
        }
        let number = self.ready.pop_first()?;
        let slot = self.slots.get_mut(&number)?;
        let until = now + self.ack_wait;
        slot.attempts = slot.attempts.saturating_add(1);
        slot.state = State::InFlight(until);
        self.timers.insert((until, number));
        self.in_flight += 1;
        Some(Taken { message: slot.message.clone(), ticket: Ticket { number, attempt: slot.attempts } })
    }

    /// It is done with: the next one of its key is ready.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Result<(), Late> {
        self.give_back(ticket)?;
        let Some(slot) = self.slots.remove(&ticket.number) else { return Err(Late) };
        if let Some(key) = &slot.key
            && let Some(lane) = self.lanes.get_mut(key)
        {
            lane.pop_front();
            match lane.front() {
                Some(next) => self.ready.insert(*next),
                None => self.lanes.remove(key).is_some(),
            };
        }
        Ok(())
    }

    /// It comes again at `at`.
    pub(super) fn hold_back(&mut self, ticket: Ticket, at: Timestamp, now: Timestamp) -> Result<(), Late> {
        self.give_back(ticket)?;
        let Some(slot) = self.slots.get_mut(&ticket.number) else { return Err(Late) };
        if at <= now {
            slot.state = State::Waiting;
            self.ready.insert(ticket.number);
        } else {
            slot.state = State::HeldBack(at);
            self.timers.insert((at, ticket.number));
        }
        Ok(())
    }

    /// Its time starts anew.
    pub(super) fn extend(&mut self, ticket: Ticket, now: Timestamp) -> Result<(), Late> {
        let wait = self.ack_wait;
        let (slot, until) = self.of(ticket)?;
        slot.state = State::InFlight(now + wait);
        self.timers.remove(&(until, ticket.number));
        self.timers.insert((now + wait, ticket.number));
        Ok(())
    }

    /// When something may become ready by itself.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether somebody could take something now, as far as was known at the last call.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.in_flight < self.in_flight_limit
    }

    /// How many are in somebody's hands, as far as was known at the last call.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What was not settled in time, or was held back until now, is ready.
    fn wake(&mut self, now: Timestamp) {
        while let Some(&(at, number)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            if let Some(slot) = self.slots.get_mut(&number) {
                // InFlight => Waiting: whoever has it is late from now on.
                if matches!(slot.state, State::InFlight(_)) {
                    self.in_flight -= 1;
                }
                slot.state = State::Waiting;
                self.ready.insert(number);
            }
        }
    }

    /// Out of the hands of the one with this ticket.
    fn give_back(&mut self, ticket: Ticket) -> Result<(), Late> {
        let (_, until) = self.of(ticket)?;
        self.timers.remove(&(until, ticket.number));
        self.in_flight -= 1;
        Ok(())
    }

    fn of(&mut self, ticket: Ticket) -> Result<(&mut Slot<M>, Timestamp), Late> {
        match self.slots.get_mut(&ticket.number) {
            Some(slot) if slot.attempts == ticket.attempt => match slot.state {
                State::InFlight(until) => Ok((slot, until)),
                State::Waiting | State::HeldBack(_) => Err(Late),
            },
            _ => Err(Late),
        }
    }
}
