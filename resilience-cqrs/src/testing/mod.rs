//! Tests of a program that is built on this crate.
//!
//! # Why
//!
//! Rules are pure, so most tests need no store at all: what has happened, what is asked, what comes of it. What is left
//! are the questions that only a store asks: what if the answer to an append is lost, if somebody else is faster, if the
//! process that runs a projection is replaced by another? They are asked of real databases once in a month, and of the
//! store here as often as a test wants.
//!
//! | to test | there is |
//! |---|---|
//! | the rules of an aggregate, and what it does about conflicts | [`given`] |
//! | a rule on a query | [`seen`] |
//! | a program: commands, history, read models | [`App`] |
//! | what happens when the store fails | [`FaultyStore`]: planned by number, by a [seed](random), or [everywhere](at_every_append) |
//! | what happens when two meet | [`FaultyStore::hold_appends`], [`Outcome::meanwhile`] |
//! | a consumer, without a server | [`MemoryBus`](crate::messaging::MemoryBus): [an example](crate::messaging::consumer#tests) |
//! | an engine of your own | [`conformance`](crate::conformance) |
//! | merges of your own | [`merge_laws`](crate::conflict::merge_laws) |
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::aggregate::Decider;
//! use resilience_cqrs::testing::{App, Fault, at_every_append, given};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum Bank {
//!     Deposited { cents: u64 },
//!     Withdrawn { cents: u64 },
//! }
//!
//! #[derive(Serialize)]
//! struct Withdraw(u64);
//!
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct Account {
//!     cents: u64,
//! }
//!
//! impl Decider for Account {
//!     const STREAM: &'static str = "account";
//!     type Command = Withdraw;
//!     type Event = Bank;
//!     type Error = &'static str;
//!
//!     fn evolve(&mut self, event: &Bank) {
//!         match event {
//!             Bank::Deposited { cents } => self.cents += cents,
//!             Bank::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//!
//!     fn decide(&self, Withdraw(cents): &Withdraw) -> Result<Vec<Bank>, &'static str> {
//!         if *cents > self.cents { Err("insufficient") } else { Ok(vec![Bank::Withdrawn { cents: *cents }]) }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! // The rules alone; and somebody else was at the machine in between.
//! let deposited = || [Bank::Deposited { cents: 10 }];
//! given::<Account>(deposited()).when(Withdraw(20)).then_error("insufficient");
//! given::<Account>(deposited()).when(Withdraw(5)).then([Bank::Withdrawn { cents: 5 }]);
//! given::<Account>(deposited()).when(Withdraw(8)).meanwhile([Bank::Withdrawn { cents: 3 }]).then_error("insufficient");
//!
//! // On a store that fails at each append in turn, tried again as the program does: paid out once.
//! at_every_append([Fault::Refused, Fault::AnswerLost], async |store| {
//!     let app = App::on(store);
//!     app.given::<Account>("1", deposited()).await;
//!     while app.repository::<Account>().execute_once("1", "withdrawal-1", &Withdraw(5)).await.is_err() {}
//!     assert_eq!(app.history::<Account>("1").await.len(), 2);
//! })
//! .await;
//! # }
//! ```
//!
//! # Do and don't
//!
//! - Do give commands that are tried again an id; `at_every_append` shows what happens without.
//! - Do pause tokio's clock (`start_paused = true`): back-off and patience then take no time.
//! - Don't test rules on a store. It is slower, and what fails may be something else.

mod app;
mod fault;
mod gate;
#[cfg(test)]
pub(crate) mod late;
mod plan;
mod rule;
#[cfg(test)]
mod tests;

pub use self::app::App;
pub use self::fault::{Fault, FaultyStore};
pub use self::gate::Held;
pub use self::plan::{at_every_append, random};
pub use self::rule::{Ruling, Seen, seen};
pub use crate::aggregate::{Given, Outcome, given};
