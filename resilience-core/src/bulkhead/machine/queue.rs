//! Those who wait, in the order of a discipline.
//!
//! The waiters are nodes of a slab, so that waiting allocates nothing once the slab has grown. They stand in lanes, one
//! for each criticality, or by deadline in a heap. Lanes are linked lists: taking from either end, leaving from the middle
//! and displacing the newest cost the same few steps however many wait; the heap takes as many as the length of the queue
//! has bits, twenty at most.

use std::time::Duration;

use super::heap::Heap;
use super::rule::Rule;
use crate::Reason;
use crate::bulkhead::Discipline;
use crate::context::Criticality;
use crate::time::Timestamp;

/// A place in the [`Queue`]. Whoever has it must give it back with [`Queue::remove`].
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bulkhead) struct Place(u32);

/// What the discipline may ask of somebody who takes a place.
#[derive(Clone, Copy, Debug)]
pub(in crate::bulkhead) struct Ticket {
    pub(in crate::bulkhead) now: Timestamp,
    pub(in crate::bulkhead) deadline: Timestamp,
    pub(in crate::bulkhead) criticality: Criticality,
}

impl Ticket {
    /// Of somebody of whom nothing was asked.
    pub(in crate::bulkhead) const fn blank(now: Timestamp) -> Self {
        Self { now, deadline: Timestamp::NEVER, criticality: Criticality::Critical }
    }
}

/// A place that was taken, and how long the discipline lets one wait there.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bulkhead) struct Taken {
    pub(in crate::bulkhead) place: Place,
    pub(in crate::bulkhead) patience: Option<Duration>,
}

/// Whose turn it is. Its place stays until it is removed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bulkhead) enum Turn<W> {
    /// It gets the slot.
    Served(W),
    /// It is refused, and the slot is still to be had.
    GivenUp(W),
}

/// How somebody left its place.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bulkhead) enum Left<W> {
    /// Of its own accord, while it waited.
    Waiting(W),
    /// It has a slot.
    Served,
    /// It was refused.
    GivenUp(Reason),
}

/// The waiters; each leaves a `W` by which to call it.
#[derive(Debug)]
pub(in crate::bulkhead) struct Queue<W> {
    nodes: Vec<Node<W>>,
    /// The first unused node.
    free: u32,
    lanes: [Lane; LANES],
    heap: Heap,
    rule: Rule,
}

/// As many as there are criticalities. Where those do not matter, all stand in the first.
pub(in crate::bulkhead) const LANES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Lane {
    /// Who came first.
    head: u32,
    /// Who came last.
    tail: u32,
}

#[derive(Debug)]
enum Node<W> {
    Free {
        next: u32,
    },
    Waiting {
        before: u32,
        after: u32,
        lane: u8,
        arrived: Timestamp,
        waiter: W,
    },
    /// Served, and not yet collected.
    Served,
    /// Refused, and not yet told.
    GivenUp(Reason),
}

/// No node: the end of a list.
const NONE: u32 = u32::MAX;

impl<W> Queue<W> {
    pub(in crate::bulkhead) fn new(discipline: Discipline) -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            lanes: [Lane { head: NONE, tail: NONE }; LANES],
            heap: Heap::default(),
            rule: Rule::new(discipline),
        }
    }

    /// Takes a place.
    pub(in crate::bulkhead) fn push(&mut self, waiter: W, ticket: Ticket) -> Taken {
        let patience = self.rule.arrived(self.oldest().is_none(), ticket.now);
        let node = Node::Waiting { before: NONE, after: NONE, lane: 0, arrived: ticket.now, waiter };
        let at = match self.nodes.get(self.free as usize) {
            Some(Node::Free { next }) => {
                let at = std::mem::replace(&mut self.free, *next);
                self.nodes[at as usize] = node;
                at
            }
            _ => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.line_up(at, ticket);
        Taken { place: Place(at), patience }
    }

    /// Names whose turn it is, and takes it out of the line. With `any`, nobody is given up.
    pub(in crate::bulkhead) fn next(&mut self, now: Timestamp, any: bool) -> Option<Turn<W>> {
        let (at, deadline) = match self.heap.first() {
            Some((deadline, at)) => (at, Timestamp::from_nanos(deadline)),
            None => {
                let lane = self.lanes.iter().rev().find(|lane| lane.head != NONE)?;
                (if self.rule.serves_last(now) { lane.tail } else { lane.head }, Timestamp::NEVER)
            }
        };
        let verdict = match self.nodes.get(at as usize)? {
            Node::Waiting { arrived, .. } if !any => self.rule.verdict(*arrived, deadline, now),
            _ => None,
        };
        match verdict {
            None => self.unlink(at, Node::Served).map(Turn::Served),
            Some(reason) => self.unlink(at, Node::GivenUp(reason)).map(Turn::GivenUp),
        }
    }

    /// Takes the place of the newest of the least critical, if it is less critical than `criticality`, which is then
    /// refused: who it was.
    pub(in crate::bulkhead) fn displace(&mut self, criticality: Criticality) -> Option<W> {
        let least = self.least();
        if least >= self.rule.lane(criticality) {
            return None;
        }
        let at = self.lanes.get(usize::from(least))?.tail;
        self.unlink(at, Node::GivenUp(Reason::Displaced))
    }

    /// The least critical lane in which somebody waits; [`LANES`] if nobody does.
    pub(in crate::bulkhead) fn least(&self) -> u8 {
        self.lanes.iter().position(|lane| lane.head != NONE).unwrap_or(LANES) as u8
    }

    /// Who waits at `place`; `None` if it has been served or given up.
    pub(in crate::bulkhead) fn waiter(&mut self, place: &Place) -> Option<&mut W> {
        match self.nodes.get_mut(place.0 as usize) {
            Some(Node::Waiting { waiter, .. }) => Some(waiter),
            _ => None,
        }
    }

    /// Gives the place back.
    pub(in crate::bulkhead) fn remove(&mut self, place: Place) -> Left<W> {
        let left = match self.nodes.get(place.0 as usize) {
            Some(Node::GivenUp(reason)) => Left::GivenUp(*reason),
            _ => self.unlink(place.0, Node::Served).map_or(Left::Served, Left::Waiting),
        };
        if let Some(node) = self.nodes.get_mut(place.0 as usize) {
            *node = Node::Free { next: self.free };
            self.free = place.0;
        }
        left
    }

    pub(in crate::bulkhead) fn discipline(&self) -> Discipline {
        self.rule.discipline()
    }

    /// Goes on under another discipline. Those who wait line up anew in the order they stood in, as if they came now with
    /// nothing to show: nobody asked them for what the new discipline may ask.
    pub(in crate::bulkhead) fn set_discipline(&mut self, discipline: Discipline, now: Timestamp) {
        let mut line = Vec::new();
        while let Some(at) = self.oldest() {
            self.step_out(at);
            line.push(at);
        }
        self.rule = Rule::new(discipline);
        self.rule.arrived(true, now);
        for at in line {
            if let Some(Node::Waiting { arrived, .. }) = self.nodes.get_mut(at as usize) {
                *arrived = now;
            }
            self.line_up(at, Ticket::blank(now));
        }
    }

    /// Nodes in memory, used or not. Each that is not free belongs to a future of the caller's, so they are bounded by
    /// those.
    #[cfg(all(test, not(loom)))]
    pub(in crate::bulkhead) fn capacity(&self) -> usize {
        self.nodes.len()
    }

    /// The first of the line, whichever end is served.
    fn oldest(&self) -> Option<u32> {
        let of_lanes = || self.lanes.iter().rev().find(|lane| lane.head != NONE).map(|lane| lane.head);
        self.heap.first().map(|(_, at)| at).or_else(of_lanes)
    }

    /// Puts the waiter at `at` where it belongs.
    fn line_up(&mut self, at: u32, ticket: Ticket) {
        if self.rule.is_by_deadline() {
            return self.heap.push(ticket.deadline.as_nanos(), at);
        }
        let own = self.rule.lane(ticket.criticality);
        let Some(tail) = self.lanes.get(usize::from(own)).map(|lane| lane.tail) else { return };
        if let Some(Node::Waiting { lane, .. }) = self.nodes.get_mut(at as usize) {
            *lane = own;
        }
        self.link(own, tail, at);
        self.link(own, at, NONE);
    }

    /// Takes the waiter at `at` out of the line and leaves `left` in its node.
    fn unlink(&mut self, at: u32, left: Node<W>) -> Option<W> {
        self.step_out(at);
        match std::mem::replace(self.nodes.get_mut(at as usize)?, left) {
            Node::Waiting { waiter, .. } => Some(waiter),
            _ => None,
        }
    }

    /// Takes the waiter at `at` out of the line, if one is there.
    fn step_out(&mut self, at: u32) {
        let Some(&Node::Waiting { before, after, lane, .. }) = self.nodes.get(at as usize) else { return };
        if self.rule.is_by_deadline() {
            return self.heap.remove(at);
        }
        self.link(lane, before, after);
    }

    /// Makes `next` follow `previous` in a lane; the lane begins or ends there where one is none.
    fn link(&mut self, lane: u8, previous: u32, next: u32) {
        let Some(ends) = self.lanes.get_mut(usize::from(lane)) else { return };
        match self.nodes.get_mut(previous as usize) {
            Some(Node::Waiting { after, .. }) => *after = next,
            _ => ends.head = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(Node::Waiting { before, .. }) => *before = previous,
            _ => ends.tail = previous,
        }
    }
}
