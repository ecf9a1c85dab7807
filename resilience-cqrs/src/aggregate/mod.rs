//! Aggregates: what may happen is decided by a pure function of what has happened.
//!
//! A [`Decider`] has no store, no clock and no `async` in sight. [`evolve`](Decider::evolve) says what an event makes of
//! the state, [`decide`](Decider::decide) which events a command leads to, or why to none. The [`Repository`] does the
//! rest: load, decide, append at exactly the version loaded, and on a conflict fold in what was missed and decide again.
//!
//! Rules that live in one function without surroundings are tested without surroundings: [`given`] is the whole fixture.
//!
//! ```
//! use resilience_cqrs::MemoryStore;
//! use resilience_cqrs::aggregate::{Decider, Repository, given};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum Bank {
//!     Opened { owner: String },
//!     Deposited { cents: i64 },
//!     Withdrawn { cents: i64 },
//! }
//!
//! enum Command {
//!     Open(String),
//!     Deposit(i64),
//!     Withdraw(i64),
//! }
//!
//! #[derive(Debug, PartialEq)]
//! enum Refusal {
//!     NotAllowed,
//!     Insufficient,
//! }
//!
//! #[derive(Default)]
//! struct Account {
//!     open: bool,
//!     cents: i64,
//! }
//!
//! impl Decider for Account {
//!     const STREAM: &'static str = "account";
//!     type Command = Command;
//!     type Event = Bank;
//!     type Error = Refusal;
//!
//!     fn evolve(&mut self, event: &Bank) {
//!         match event {
//!             Bank::Opened { .. } => self.open = true,
//!             Bank::Deposited { cents } => self.cents += cents,
//!             Bank::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//!
//!     fn decide(&self, command: &Command) -> Result<Vec<Bank>, Refusal> {
//!         match command {
//!             Command::Open(owner) if !self.open => Ok(vec![Bank::Opened { owner: owner.clone() }]),
//!             Command::Deposit(cents) if self.open => Ok(vec![Bank::Deposited { cents: *cents }]),
//!             Command::Withdraw(cents) if self.cents >= *cents => Ok(vec![Bank::Withdrawn { cents: *cents }]),
//!             Command::Withdraw(_) => Err(Refusal::Insufficient),
//!             _ => Err(Refusal::NotAllowed),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The rules alone:
//! given::<Account>([Bank::Opened { owner: "Ann".into() }, Bank::Deposited { cents: 10 }])
//!     .when(Command::Withdraw(20))
//!     .then_error(Refusal::Insufficient);
//!
//! // And on a store:
//! let accounts: Repository<Account, _> = Repository::new(MemoryStore::new());
//! accounts.execute("1", &Command::Open("Ann".into())).await?;
//! let done = accounts.execute("1", &Command::Deposit(500)).await?;
//! assert_eq!(done.state.cents, 500);
//! assert_eq!(done.version.get(), 2);
//! # Ok(()) }
//! ```

mod answer;
mod codec;
mod config;
mod dispatch;
mod execute;
mod fixture;
mod json;
mod many;
mod past;
mod repository;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod unknown;
mod unseen;

use crate::log::{BoxError, Tag};

pub use self::answer::{ExecuteError, Executed};
pub use self::codec::{CodecError, EventCodec, Json};
pub use self::config::RepositoryBuilder;
pub use self::dispatch::{ByExecution, Dispatch, DispatchFuture};
pub use self::execute::Request;
pub use self::fixture::{Given, Outcome, given};
pub use self::past::Entry;
pub use self::repository::{Loaded, Repository};
pub use self::schema::{
    Event, EventShape, EventTypes, FieldShape, LockError, Replacement, Schema, SchemaBuilder, SchemaChange,
    SchemaError, SchemaLock, Told, What,
};
pub use self::snapshot::{SnapshotCounts, Snapshots};
pub use self::unknown::{OnUnknown, Unknown};
#[cfg(feature = "derive")]
pub use resilience_cqrs_derive::Event;

/// The rules of one kind of aggregate; a value of it is the state of one of them.
///
/// Pure and synchronous. Commands that need something from elsewhere (a price, the time, a random number) bring it along.
pub trait Decider: Default + Send + Sync + 'static {
    /// What its streams' names begin with: the aggregate `7` of `account` has the stream `account-7`.
    const STREAM: &'static str;

    /// What can be asked of it.
    type Command: Send + Sync;
    /// What can happen to it.
    type Event: Send + Sync + 'static;
    /// Why it may refuse.
    type Error: Send + 'static;

    /// Takes in one event. Events have happened: this cannot refuse, whatever the order they come in.
    fn evolve(&mut self, event: &Self::Event);

    /// What the command leads to in this state; no events if there is nothing to do.
    ///
    /// May be called several times for one command, with a newer state each time.
    ///
    /// # Errors
    /// Why the command is refused.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// What to do when events were appended between loading this state and appending `decided`.
    ///
    /// By default the command is decided again on the newer state. Say [`Commute`](OnConflict::Commute) where the order
    /// of `missed` and `decided` makes no difference, as for two deposits: nothing is decided again.
    fn on_conflict(&self, decided: &[Self::Event], missed: &[Self::Event]) -> OnConflict {
        let _ = (decided, missed);
        OnConflict::Rebase
    }

    /// What must hold of every event, whatever decided it: a guard against mistakes in `decide`, which would stay in the log
    /// for good. By default nothing.
    ///
    /// # Errors
    /// What is wrong with it: the command fails as [`Invalid`](ExecuteError::Invalid), and nothing is written.
    fn validate(event: &Self::Event) -> Result<(), BoxError> {
        let _ = event;
        Ok(())
    }

    /// What an event is about, for queries and decisions that reach over several aggregates. By default nothing.
    fn tags(event: &Self::Event) -> Vec<Tag> {
        let _ = event;
        Vec::new()
    }
}

/// What to do about events that were appended since the state was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// Append the same events after them: the order makes no difference.
    Commute,
    /// Take them in and decide again.
    Rebase,
    /// Give up, and let the caller see the conflict.
    Reject,
}
