//! What a lane knows and what follows from it: values in, values out, no lock and no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::Timestamp;

use crate::messaging::error::BusError;
use crate::messaging::message::Message;

/// How long the server keeps a request for messages; then it is asked anew.
pub(super) const PULL: Duration = Duration::from_secs(20);
/// Requests at once for messages without key; those with one come one at a time.
const PULLS: usize = 64;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ack_wait: Duration,
    pub(super) in_flight: usize,
    pub(super) subscriptions: usize,
    /// Whether somebody asks for what is here when the last subscription has gone.
    pub(super) is_kept: bool,
    pub(super) waiting: usize,
    /// When somebody last wanted something.
    pub(super) wanted: Timestamp,
    pub(super) arrived: VecDeque<Arrived>,
    /// Deliveries in somebody's hands, and until when they are.
    pub(super) held: HashMap<u64, InHand>,
    pub(super) next: u64,
    /// Requests under way of each consumer, and when they end.
    pub(super) pulls: Vec<Vec<Timestamp>>,
    pub(super) failed: Option<BusError>,
}

#[derive(Debug)]
pub(super) struct InHand {
    pub(super) until: Timestamp,
    pub(super) reply: Arc<str>,
}

/// A message that has come, and is in nobody's hands yet.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) reply: Arc<str>,
    /// When its time began.
    pub(super) since: Timestamp,
}

/// What a delivery is settled by.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) reply: Arc<str>,
}

/// What is handed out.
pub(super) struct Taken {
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) ticket: Ticket,
    /// Its number, if its time should begin anew: it has waited here for a part of it.
    pub(super) is_old: Option<u64>,
}

/// What to do next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Of which consumers to ask for a message.
    pub(super) pull: Vec<usize>,
    /// What to say of messages that wait here.
    pub(super) tell: Vec<(Arc<str>, &'static str)>,
    /// When to look again.
    pub(super) next: Timestamp,
    pub(super) is_over: bool,
}

impl Shared {
    pub(super) fn plan(&mut self, now: Timestamp, is_up: bool) -> Plan {
        let mut plan = Plan { next: now + PULL, ..Plan::default() };
        if self.subscriptions == 0 {
            plan.is_over = true;
            return plan;
        }
        if !is_up {
            return plan;
        }
        let half = self.ack_wait / 2;
        // Given back rather than hoarded, if nobody here has wanted anything for as long as a delivery may take.
        let is_wanted = now - self.wanted < self.ack_wait;
        self.arrived.retain_mut(|arrived| {
            if now - arrived.since >= half {
                plan.tell.push((arrived.reply.clone(), if is_wanted { "+WPI" } else { "-NAK" }));
                arrived.since = now;
                return is_wanted;
            }
            plan.next = plan.next.min(arrived.since + half);
            true
        });
        self.pulls.iter_mut().for_each(|ends| ends.retain(|end| *end > now));
        // What has come for them already is not asked for again: a server that delivers to somebody who has gone counts
        // its attempts anew.
        let waiting = self.waiting.saturating_sub(self.arrived.len());
        if waiting == 0 || self.has_no_room(now) {
            return plan;
        }
        // Longer than the server keeps it, which says so when it ends.
        let end = now + PULL + PULL / 4;
        for (consumer, ends) in self.pulls.iter_mut().enumerate() {
            let wanted = if consumer == 0 { waiting.min(PULLS) } else { 1 };
            while ends.len() < wanted {
                ends.push(end);
                plan.pull.push(consumer);
            }
        }
        plan
    }

    /// Whether the last subscription has gone, and something may still come.
    pub(super) fn is_ending(&self) -> bool {
        self.subscriptions == 0 && self.failed.is_none()
    }

    pub(super) fn take(&mut self, now: Timestamp) -> Option<Taken> {
        if self.has_no_room(now) { None } else { self.hand_out(now) }
    }

    /// The next that has come, whether there is room for it or not.
    pub(super) fn hand_out(&mut self, now: Timestamp) -> Option<Taken> {
        // What has been here for too long was taken back, and is in other hands.
        while self.arrived.front().is_some_and(|first| now - first.since >= self.ack_wait) {
            self.arrived.pop_front();
        }
        let Arrived { message, attempt, reply, since } = self.arrived.pop_front()?;
        let number = self.next;
        let is_old = (now - since >= self.ack_wait / 8).then_some(number);
        self.next += 1;
        self.held.insert(number, InHand { until: since + self.ack_wait, reply: reply.clone() });
        Some(Taken { message, attempt, ticket: Ticket { number, reply }, is_old })
    }

    pub(super) fn has_no_room(&mut self, now: Timestamp) -> bool {
        if self.held.len() >= self.in_flight {
            // Those that were taken back do not count.
            self.held.retain(|_, held| held.until > now);
        }
        self.held.len() >= self.in_flight
    }

    /// When there is room again without anybody's doing, if there is none.
    pub(super) fn frees(&self) -> Option<Timestamp> {
        if self.held.len() >= self.in_flight { self.held.values().map(|held| held.until).min() } else { None }
    }
}
