//! All groups and queues of a bus in memory, and who waits for what.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Timestamp};
use resilience_core::{Name, Reason, Rejected};
use tokio::sync::{Notify, mpsc};

use super::machine::Machine;
use super::{Load, Question, Snapshot};
use crate::messaging::bus::{Source, Subscribe};
use crate::messaging::error::BusError;
use crate::messaging::message::{Message, MessageId};
use crate::messaging::subject::{Filter, Subject};

/// Groups and queues there may be, and those that answer.
const LANES: usize = 4_096;

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) capacity: usize,
    pub(super) window: Duration,
    state: Mutex<State>,
    /// Told when something was settled, for those who wait to send.
    pub(super) room: Notify,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<Name, (Filter, Arc<Lane>)>,
    queues: HashMap<Subject, Arc<Lane>>,
    seen: Seen,
    answers: Vec<Answer>,
    /// Turns of those that answer the same.
    turn: usize,
}

/// One group or queue. Its lock is taken under the hub's or alone, never the other way.
#[derive(Debug)]
pub(super) struct Lane {
    machine: Mutex<Machine<Arc<Message>>>,
    /// Told when something may be ready.
    pub(super) news: Notify,
    /// Whether it was removed.
    closed: AtomicBool,
}

/// Somebody who answers.
#[derive(Debug)]
struct Answer {
    group: Name,
    filter: Filter,
    to: mpsc::Sender<Question>,
}

/// The ids of the messages that were taken lately.
#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<MessageId>,
    order: VecDeque<(Timestamp, MessageId)>,
}

impl Seen {
    fn forget(&mut self, before: Timestamp, most: usize) {
        while let Some((at, id)) = self.order.front() {
            if *at > before && self.order.len() < most {
                return;
            }
            self.ids.remove(id);
            self.order.pop_front();
        }
    }
}

/// What became of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    Duplicate,
    Full,
}

impl Hub {
    pub(super) fn new(name: Name, timer: SharedTimer, capacity: usize, window: Duration) -> Self {
        Self { name, timer, capacity, window, state: Mutex::default(), room: Notify::new() }
    }

    /// Gives the message to all groups that want it, or to none.
    pub(super) fn publish(&self, message: &Arc<Message>) -> Offered {
        let now = self.timer.now();
        let mut state = lock(&self.state);
        if state.is_known(message, now, self.window) {
            return Offered::Duplicate;
        }
        let wants = |(filter, _): &&(Filter, Arc<Lane>)| filter.matches(message.subject());
        let lanes: Vec<Arc<Lane>> = state.groups.values().filter(wants).map(|(_, lane)| lane.clone()).collect();
        self.deliver(state, &lanes, message, now)
    }

    /// Puts the message into its queue.
    pub(super) fn send(&self, message: &Arc<Message>) -> Result<Offered, BusError> {
        let now = self.timer.now();
        let mut state = lock(&self.state);
        if state.is_known(message, now, self.window) {
            return Ok(Offered::Duplicate);
        }
        let lane = self.queue(&mut state, message.subject())?;
        Ok(self.deliver(state, &[lane], message, now))
    }

    fn deliver(
        &self,
        mut state: MutexGuard<'_, State>,
        lanes: &[Arc<Lane>],
        message: &Arc<Message>,
        now: Timestamp,
    ) -> Offered {
        // Room in all of them is still there below: messages come in under the lock of `state` only.
        if lanes.iter().any(|lane| lane.lock().len() >= self.capacity) {
            return Offered::Full;
        }
        for lane in lanes {
            lane.lock().push(message.clone(), message.key());
        }
        state.seen.ids.insert(message.id.clone());
        state.seen.order.push_back((now, message.id.clone()));
        drop(state);
        lanes.iter().for_each(|lane| lane.news.notify_one());
        Offered::Taken
    }

    pub(super) fn subscribe(&self, to: &Subscribe) -> Result<Arc<Lane>, BusError> {
        let in_flight = usize::try_from(to.in_flight.get()).unwrap_or(usize::MAX);
        let mut state = lock(&self.state);
        let lane = match &to.source {
            Source::Queue { subject } => self.queue(&mut state, subject)?,
            Source::Group { name, filter } => match state.groups.get(name) {
                Some((known, lane)) if known == filter => lane.clone(),
                Some((known, _)) => {
                    return Err(BusError::Refused { why: format!("group {name} exists, with the filter {known}") });
                }
                None => {
                    self.has_place(state.groups.len())?;
                    let lane = Arc::new(Lane::new(to.ack_wait, in_flight));
                    state.groups.insert(name.clone(), (filter.clone(), lane.clone()));
                    lane
                }
            },
        };
        lane.lock().set_limits(to.ack_wait, in_flight);
        // More may be in flight than whoever waits knows of.
        lane.news.notify_one();
        Ok(lane)
    }

    /// Removes a group or queue with all that waits in it; whether there was one.
    pub(super) fn remove(&self, source: &Source) -> bool {
        let mut state = lock(&self.state);
        let lane = match source {
            Source::Group { name, .. } => state.groups.remove(name).map(|(_, lane)| lane),
            Source::Queue { subject } => state.queues.remove(subject),
        };
        drop(state);
        let Some(lane) = lane else { return false };
        lane.close();
        self.room.notify_waiters();
        true
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        let load = |lane: &Lane| {
            let machine = lane.lock();
            Load { messages: machine.len(), in_flight: machine.in_flight() }
        };
        Snapshot {
            groups: state.groups.iter().map(|(name, (_, lane))| (name.clone(), load(lane))).collect(),
            queues: state.queues.iter().map(|(subject, lane)| (subject.clone(), load(lane))).collect(),
        }
    }

    fn queue(&self, state: &mut State, subject: &Subject) -> Result<Arc<Lane>, BusError> {
        if let Some(lane) = state.queues.get(subject) {
            return Ok(lane.clone());
        }
        self.has_place(state.queues.len())?;
        // Until somebody subscribes nothing is in flight, so its limits do not matter yet.
        let lane = Arc::new(Lane::new(Duration::from_secs(30), 1));
        state.queues.insert(subject.clone(), lane.clone());
        Ok(lane)
    }

    pub(super) fn answer(&self, group: Name, filter: Filter, to: mpsc::Sender<Question>) -> Result<(), BusError> {
        let mut state = lock(&self.state);
        state.answers.retain(|answer| !answer.to.is_closed());
        self.has_place(state.answers.len())?;
        state.answers.push(Answer { group, filter, to });
        Ok(())
    }

    /// One of those that answer the subject, in turn. Of several groups the first one answers.
    pub(super) fn who_answers(&self, subject: &Subject) -> Option<mpsc::Sender<Question>> {
        let mut state = lock(&self.state);
        state.answers.retain(|answer| !answer.to.is_closed());
        state.turn = state.turn.wrapping_add(1);
        let group = state.answers.iter().find(|answer| answer.filter.matches(subject))?.group.clone();
        let same = |answer: &&Answer| answer.group == group && answer.filter.matches(subject);
        let all: Vec<_> = state.answers.iter().filter(same).collect();
        all.get(state.turn % all.len().max(1)).map(|answer| answer.to.clone())
    }

    /// The refusal of what has no room.
    pub(super) fn full(&self) -> Rejected {
        let limit = u32::try_from(self.capacity).unwrap_or(u32::MAX);
        Rejected::new(self.name.clone(), Reason::Full { limit, queued: 0 })
    }

    fn has_place(&self, taken: usize) -> Result<(), BusError> {
        if taken < LANES { Ok(()) } else { Err(BusError::Refused { why: format!("it has {LANES} of these already") }) }
    }
}

impl State {
    fn is_known(&mut self, message: &Message, now: Timestamp, window: Duration) -> bool {
        self.seen.forget(now.before(window), SEEN);
        self.seen.ids.contains(&message.id)
    }
}

/// Ids that are kept, whatever the window.
const SEEN: usize = 100_000;

impl Lane {
    fn new(ack_wait: Duration, in_flight: usize) -> Self {
        Self { machine: Mutex::new(Machine::new(ack_wait, in_flight)), news: Notify::new(), closed: false.into() }
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        // Release pairs with the Acquire above: whoever is woken below finds it closed.
        self.closed.store(true, Ordering::Release);
        self.news.notify_waiters();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Machine<Arc<Message>>> {
        lock(&self.machine)
    }
}

/// No code of others runs under these locks, so a panic cannot leave anything by half.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
