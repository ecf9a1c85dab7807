//! Who is in a batch, who drives it, and whose answer is whose.

use std::collections::BTreeMap;

/// How much goes into one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) size: usize,
    pub(super) weight: u64,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Others may join.
    Open,
    /// Nobody joins any more, and it is to be sent.
    Due,
    /// Sent, and not answered.
    Sent,
    /// Each has an answer, or has none.
    Done,
}

/// One batch: requests of type `R`, answers of type `A`, and how to wake who waits.
///
/// Nothing runs a batch but those who wait for it: one of them drives it, and when it leaves, another does.
#[derive(Debug)]
pub(super) struct Roster<R, A, W> {
    seats: BTreeMap<u64, Seat<R, A, W>>,
    joined: u64,
    weight: u64,
    stage: Stage,
    driver: Option<u64>,
    /// Who was sent, in the order of the requests.
    sent: Vec<u64>,
}

/// One caller's place.
#[derive(Debug)]
pub(super) struct Seat<R, A, W> {
    request: Option<R>,
    answer: Option<A>,
    weight: u64,
    /// Taken when it is woken.
    waker: Option<W>,
}

/// Somebody has left.
#[derive(Debug)]
pub(super) struct Left<R, A, W> {
    /// What is gone, to be dropped outside of locks.
    pub(super) gone: Option<Seat<R, A, W>>,
    /// Who is to drive now.
    pub(super) next: Option<W>,
    pub(super) is_empty: bool,
}

/// The answers have come.
#[derive(Debug)]
pub(super) struct Landed<A, W> {
    /// Whom to wake.
    pub(super) wakers: Vec<W>,
    /// What nobody gets, to be dropped outside of locks.
    pub(super) nobodys: Vec<A>,
    pub(super) mismatch: Option<Mismatch>,
}

/// So many were sent, and so many answers came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) requests: usize,
    pub(super) answers: usize,
}

impl<R, A, W> Roster<R, A, W> {
    pub(super) fn new() -> Self {
        Self { seats: BTreeMap::new(), joined: 0, weight: 0, stage: Stage::Open, driver: None, sent: Vec::new() }
    }

    /// Takes a seat. Who fills the batch drives it: it need not wake anybody to have it sent.
    pub(super) fn sit(&mut self, request: R, weight: u64, waker: W, limits: Limits) -> u64 {
        let seat = self.joined;
        self.joined += 1;
        self.weight = self.weight.saturating_add(weight);
        self.seats.insert(seat, Seat { request: Some(request), answer: None, weight, waker: Some(waker) });
        if self.seats.len() >= limits.size || self.weight >= limits.weight {
            self.stage = Stage::Due;
            self.driver = Some(seat);
        }
        seat
    }

    /// Closes it; whom to wake to have it sent.
    pub(super) fn close(&mut self) -> Option<W> {
        self.stage = Stage::Due;
        self.wake_driver()
    }

    /// Whether the seat drives: so it does if nobody does.
    pub(super) fn drives(&mut self, seat: u64) -> bool {
        *self.driver.get_or_insert(seat) == seat
    }

    /// Leaves a waker; the one left before, to be dropped outside of locks.
    pub(super) fn rest(&mut self, seat: u64, waker: W) -> Option<W> {
        self.seats.get_mut(&seat)?.waker.replace(waker)
    }

    /// The requests of those who are there, in the order in which they came.
    pub(super) fn send(&mut self) -> Vec<R> {
        self.stage = Stage::Sent;
        let (mut sent, mut requests) = (Vec::with_capacity(self.seats.len()), Vec::with_capacity(self.seats.len()));
        for (number, seat) in &mut self.seats {
            if let Some(request) = seat.request.take() {
                sent.push(*number);
                requests.push(request);
            }
        }
        self.sent = sent;
        requests
    }

    /// Gives each its answer, those who have left excepted; whom to wake.
    ///
    /// With fewer or more answers than requests nobody knows whose is whose, and nobody gets any. Answers that are nobody's
    /// are for the caller to drop.
    pub(super) fn land(&mut self, own: u64, answers: Vec<A>) -> Landed<A, W> {
        let counts = Mismatch { requests: self.sent.len(), answers: answers.len() };
        if counts.requests != counts.answers {
            return Landed { wakers: self.end(own), nobodys: answers, mismatch: Some(counts) };
        }
        let mut nobodys = Vec::new();
        for (number, answer) in self.sent.iter().zip(answers) {
            match self.seats.get_mut(number) {
                Some(seat) => seat.answer = Some(answer),
                None => nobodys.push(answer),
            }
        }
        Landed { wakers: self.end(own), nobodys, mismatch: None }
    }

    /// Done, with whatever answers there are; whom to wake: all but the one who is awake.
    pub(super) fn end(&mut self, own: u64) -> Vec<W> {
        self.stage = Stage::Done;
        let others = self.seats.iter_mut().filter(|(seat, _)| **seat != own);
        others.filter_map(|(_, seat)| seat.waker.take()).collect()
    }

    /// Gives a seat up. If nobody drives then, the youngest who waits is woken to: it has the most patience left.
    pub(super) fn leave(&mut self, seat: u64) -> Left<R, A, W> {
        let gone = self.seats.remove(&seat);
        if let (Stage::Open, Some(gone)) = (self.stage, &gone) {
            self.weight = self.weight.saturating_sub(gone.weight);
        }
        if self.driver == Some(seat) {
            self.driver = None;
        }
        let next = match (self.stage, self.driver) {
            (Stage::Done, _) | (_, Some(_)) => None,
            _ => self.seats.values_mut().rev().find_map(|seat| seat.waker.take()),
        };
        Left { gone, next, is_empty: self.seats.is_empty() }
    }

    /// What a seat was answered, once.
    pub(super) fn answer(&mut self, seat: u64) -> Option<A> {
        self.seats.get_mut(&seat)?.answer.take()
    }

    /// Whether another of this weight may join. What is too heavy for any batch has one to itself.
    pub(super) fn has_room(&self, weight: u64, limits: Limits) -> bool {
        let fits = self.weight.saturating_add(weight) <= limits.weight;
        self.stage == Stage::Open && self.seats.len() < limits.size && (self.seats.is_empty() || fits)
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    fn wake_driver(&mut self) -> Option<W> {
        let driver = self.driver.and_then(|driver| self.seats.get_mut(&driver));
        match driver {
            Some(seat) => seat.waker.take(),
            None => self.seats.values_mut().rev().find_map(|seat| seat.waker.take()),
        }
    }
}
