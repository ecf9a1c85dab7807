//! Given what happened, when this is asked, then that happens: the rules alone.

use std::fmt::{self, Debug};

use super::{Decider, OnConflict};

/// Starts from what has happened; see the [module](super).
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let history: Vec<_> = events.into_iter().collect();
    Given { state: fold(&history), history }
}

fn fold<'e, D: Decider>(events: impl IntoIterator<Item = &'e D::Event>) -> D {
    let mut state = D::default();
    events.into_iter().for_each(|event| state.evolve(event));
    state
}

/// A state made of events.
pub struct Given<D: Decider> {
    state: D,
    history: Vec<D::Event>,
}

impl<D: Decider> Given<D> {
    /// Asks something of it.
    pub fn when(self, command: D::Command) -> Outcome<D> {
        let decided = self.state.decide(&command);
        Outcome { missed_from: self.history.len(), given: self, command, decided, gave_up: false }
    }

    /// The state, to look at.
    pub fn state(&self) -> &D {
        &self.state
    }
}

/// What a command led to.
#[must_use]
pub struct Outcome<D: Decider> {
    given: Given<D>,
    command: D::Command,
    decided: Result<Vec<D::Event>, D::Error>,
    /// Up to where the history was known when the command was asked.
    missed_from: usize,
    gave_up: bool,
}

impl<D: Decider> Outcome<D> {
    /// Others were faster: these events came between the decision and its append. Goes on as a
    /// [`Repository`](super::Repository) does, by [`on_conflict`](Decider::on_conflict).
    ///
    /// Nothing changes where nothing was to be appended.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::{Decider, OnConflict};
    /// # #[derive(Clone, Debug, PartialEq)]
    /// # enum Event { Added(i64), Closed }
    /// # #[derive(Clone, Debug, Default, PartialEq)]
    /// # struct Counter { sum: i64, closed: bool }
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, event: &Event) {
    /// #         match event { Event::Added(n) => self.sum += n, Event::Closed => self.closed = true }
    /// #     }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.closed { Err("closed") } else { Ok(vec![Event::Added(*n)]) }
    /// #     }
    /// #     fn on_conflict(&self, _: &[Event], missed: &[Event]) -> OnConflict {
    /// #         if missed.iter().all(|event| matches!(event, Event::Added(_))) { OnConflict::Commute } else { OnConflict::Rebase }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::given;
    ///
    /// // Two additions commute. A counter that was closed in between is another matter.
    /// given::<Counter>([]).when(5).meanwhile([Event::Added(2)]).then_commutes([Event::Added(5)]);
    /// given::<Counter>([]).when(5).meanwhile([Event::Closed]).then_error("closed");
    /// ```
    pub fn meanwhile(mut self, missed: impl IntoIterator<Item = D::Event>) -> Self {
        let missed: Vec<_> = missed.into_iter().collect();
        let Ok(decided) = &self.decided else { return self };
        if decided.is_empty() || missed.is_empty() {
            return self;
        }
        // Asked of the aggregate as it was when it decided.
        let resolution = self.given.state.on_conflict(decided, &missed);
        missed.iter().for_each(|event| self.given.state.evolve(event));
        self.given.history.extend(missed);
        match resolution {
            OnConflict::Commute => {}
            OnConflict::Rebase => self.decided = self.given.state.decide(&self.command),
            OnConflict::Reject => self.gave_up = true,
        }
        self
    }

    /// What was decided, for a look of your own.
    ///
    /// # Errors
    /// Why the command was refused.
    pub fn decided(&self) -> Result<&[D::Event], &D::Error> {
        self.decided.as_deref()
    }
}

impl<D: Decider> Outcome<D>
where
    D::Event: Debug + PartialEq,
    D::Error: Debug + PartialEq,
{
    /// It led to exactly these events. Returns the state after them, as a further [`Given`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::aggregate::given;
    ///
    /// # fn main() {
    /// // One case can tell a story: what it led to is where the next question starts.
    /// let after = given::<Counter>([]).when(5).then([Event::Added { n: 5 }]).when(-2).then([Event::Added { n: -2 }]);
    /// assert_eq!(after.state().0, 3);
    /// after.when(-4).then_error("below zero");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it led to anything else.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let expected: Vec<_> = expected.into_iter().collect();
        assert!(!self.gave_up, "the conflict was shown to the caller");
        assert_eq!(self.decided, Ok(expected), "decided (left) is not as expected (right)");
        let Given { mut state, mut history } = self.given;
        for event in self.decided.into_iter().flatten() {
            if let Err(problem) = D::validate(&event) {
                panic!("{event:?} is not valid: {problem}");
            }
            state.evolve(&event);
            history.push(event);
        }
        Given { state, history }
    }

    /// There was nothing to do.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::aggregate::given;
    ///
    /// # fn main() {
    /// // To add zero is done already, and a command that comes twice should be like that.
    /// given::<Counter>([Event::Added { n: 5 }]).when(0).then_nothing();
    /// # }
    /// ```
    ///
    /// # Panics
    /// If there was, or if it was refused.
    #[track_caller]
    pub fn then_nothing(self) -> Given<D> {
        self.then([])
    }

    /// It led to exactly these events, and what came [meanwhile](Self::meanwhile) makes no difference: in either order
    /// the same comes of them. An aggregate that [says so](OnConflict::Commute) has to keep its word.
    ///
    /// # Panics
    /// If it led to anything else, or if the order makes a difference.
    #[track_caller]
    pub fn then_commutes(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D>
    where
        D: Debug + PartialEq,
    {
        let (known, missed_from) = (self.given.history.len(), self.missed_from);
        let after = self.then(expected);
        let (before, decided) = after.history.split_at(known);
        let (before, missed) = before.split_at(missed_from);
        let other = fold::<D>(before.iter().chain(decided).chain(missed));
        assert_eq!(other, after.state, "the order makes a difference: decided first (left), decided last (right)");
        after
    }

    /// It was refused, for exactly this reason.
    ///
    /// # Panics
    /// If it was not, or for another reason.
    #[track_caller]
    pub fn then_error(self, expected: D::Error) {
        assert!(!self.gave_up, "the conflict was shown to the caller");
        assert_eq!(self.decided, Err(expected), "decided (left) is not as expected (right)");
    }

    /// It was refused, for a reason that passes `check`: for errors that hold what a test does not know.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::aggregate::given;
    ///
    /// # fn main() {
    /// given::<Counter>([]).when(-1).then_refused(|why| assert!(why.contains("zero")));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it was not, or if `check` does.
    #[track_caller]
    pub fn then_refused(self, check: impl FnOnce(&D::Error)) {
        match &self.decided {
            Err(reason) => check(reason),
            Ok(events) => panic!("it was not refused, but led to {events:?}"),
        }
    }

    /// The aggregate [gave up](OnConflict::Reject): the caller sees the conflict.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn then_conflict(self) {
        assert!(self.gave_up, "no conflict was shown to the caller, but {:?}", self.decided);
    }
}

impl<D: Decider + Debug> Debug for Given<D>
where
    D::Event: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("state", &self.state).field("history", &self.history).finish()
    }
}

impl<D: Decider + Debug> Debug for Outcome<D>
where
    D::Event: Debug,
    D::Error: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("given", &self.given)
            .field("decided", &self.decided)
            .field("gave_up", &self.gave_up)
            .finish_non_exhaustive()
    }
}
