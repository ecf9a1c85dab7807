//! Given what happened, when this is asked, then that happens: the rules alone.

use std::fmt::Debug;

use super::Decider;

/// Starts from what has happened; see the [module](super).
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let mut state = D::default();
    for event in events {
        state.evolve(&event);
    }
    Given { state }
}

/// A state made of events.
#[derive(Debug)]
pub struct Given<D> {
    state: D,
}

impl<D: Decider> Given<D> {
    /// Asks something of it.
    pub fn when(self, command: D::Command) -> Outcome<D> {
        let decided = self.state.decide(&command);
        Outcome { state: self.state, decided }
    }

    /// The state, to look at.
    pub fn state(&self) -> &D {
        &self.state
    }
}

/// What a command led to.
#[must_use]
pub struct Outcome<D: Decider> {
    state: D,
    decided: Result<Vec<D::Event>, D::Error>,
}

impl<D: Decider> Outcome<D>
where
    D::Event: Debug + PartialEq,
    D::Error: Debug + PartialEq,
{
    /// It led to exactly these events. Returns the state after them, as a further [`Given`].
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::given;
    ///
    /// // One case can tell a story: what it led to is where the next question starts.
    /// let after = given::<Counter>([]).when(5).then([Event::Added { n: 5 }]).when(-2).then([Event::Added { n: -2 }]);
    /// assert_eq!(after.state().0, 3);
    /// after.when(-4).then_error("below zero");
    /// ```
    ///
    /// # Panics
    /// If it led to anything else.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(self.decided, Ok(expected), "decided (left) is not as expected (right)");
        let mut state = self.state;
        for event in self.decided.iter().flatten() {
            state.evolve(event);
        }
        Given { state }
    }

    /// It was refused, for exactly this reason.
    ///
    /// # Panics
    /// If it was not, or for another reason.
    #[track_caller]
    pub fn then_error(self, expected: D::Error) {
        assert_eq!(self.decided, Err(expected), "decided (left) is not as expected (right)");
    }
}

impl<D: Decider + Debug> Debug for Outcome<D>
where
    D::Event: Debug,
    D::Error: Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome").field("state", &self.state).field("decided", &self.decided).finish()
    }
}
