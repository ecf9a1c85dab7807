//! The aggregate of the rows that decide: an account, by its rules as a [`Decider`] and as a [`Model`] of a tag.

use resilience_cqrs::aggregate::Decider;
use resilience_cqrs::decision::Model;
use resilience_cqrs::{Query, StreamId, Tag};
use serde::{Deserialize, Serialize};

/// An account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// Its balance.
    pub cents: i64,
    /// What it was made of.
    pub entries: u64,
}

/// What can happen to it; in JSON as long as the payload of the rows that only append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// Money came in. The reference names the account.
    Deposited { cents: i64, currency: String, reference: String, by: String },
}

/// What can be asked of it.
#[derive(Clone, Debug)]
pub struct Deposit {
    pub cents: i64,
    pub reference: String,
}

/// A deposit of nothing.
#[derive(Debug)]
pub struct Nothing;

impl Account {
    fn take(&mut self, Entry::Deposited { cents, .. }: &Entry) {
        self.cents += cents;
        self.entries += 1;
    }

    /// The rule.
    pub fn deposit(&self, deposit: &Deposit) -> Result<Vec<Entry>, Nothing> {
        if deposit.cents <= 0 {
            return Err(Nothing);
        }
        let (cents, reference) = (deposit.cents, deposit.reference.clone());
        Ok(vec![Entry::Deposited { cents, currency: "EUR".into(), reference, by: "teller-3".into() }])
    }

    /// The events that an account's decisions depend on.
    pub fn query(stream: &str) -> Query {
        Query::tags([stream.to_owned()])
    }
}

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = Deposit;
    type Event = Entry;
    type Error = Nothing;

    fn evolve(&mut self, event: &Entry) {
        self.take(event);
    }

    fn decide(&self, deposit: &Deposit) -> Result<Vec<Entry>, Nothing> {
        self.deposit(deposit)
    }
}

impl Model for Account {
    type Event = Entry;

    fn evolve(&mut self, event: &Entry) {
        self.take(event);
    }

    fn stream(Entry::Deposited { reference, .. }: &Entry) -> StreamId {
        reference.as_str().into()
    }

    fn tags(Entry::Deposited { reference, .. }: &Entry) -> Vec<Tag> {
        vec![reference.as_str().into()]
    }
}
