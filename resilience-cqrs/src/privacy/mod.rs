//! Personal data that can be forgotten, in a log that forgets nothing.
//!
//! # Why
//!
//! Events are kept for good, and somebody has a right to be forgotten. To rewrite the log would break what is built on it:
//! positions, copies, backups, a [chain of hashes](crate::audit). So personal values are encrypted, each subject's under a
//! key of its own, and to forget somebody is to destroy one key: every copy of every value is unreadable from then on, in
//! backups too, because the keys were never in them.
//!
//! The usual ways to do that leave holes that nobody sees. A field that is marked where the marking does not reach, in a
//! `Vec` or a struct within, is written in plain text, or not at all. A key that cannot be asked for looks like one that
//! was destroyed. A backup of the keys brings everybody back.
//!
//! # Behaviour
//!
//! ```text
//! request ─ Vault::subject ─ seal ─▶ Personal<T> ──▶ command, rules, event ──▶ PrivateStore ──▶ store
//!               key is made           ciphertext from here on                     │ asks for the keys of a page
//!                                                                                 ▼
//!                                     Known, Redacted or Sealed ◀── event, snapshot, row ◀── ciphertext
//! ```
//!
//! - A field is [`Personal<T>`], wherever it is: in an enum's case, a `Vec`, an `Option`, a struct within a struct. It is
//!   made with the key in hand and is ciphertext from then on, so no way of writing it down can miss it. What must not be
//!   does not compile: a personal value in a tag, as text, within another.
//! - Reading needs no key either: [`PrivateStore`], in front of any [`EventStore`](crate::EventStore), asks for the keys of
//!   a page and opens the values in it, in events, in rows (snapshots, read models), and in what a conflict has missed.
//!   Codecs stay as they are.
//! - [`forget`](PrivateStore::forget) appends a [`SUBJECT_FORGOTTEN`], then destroys the key and remembers that in one step.
//!   From then on the subject's values read as [`Redacted`](View::Redacted), from whatever they were
//!   written to before: a snapshot or a row that holds a `Personal` need not be made anew. A projection that has made
//!   something else of a value takes that event in and removes it.
//! - A key that is *lost* is not a key that was destroyed. Without a key the values stay [`Sealed`](View::Sealed), and
//!   if keys cannot be asked for, a read fails.
//! - A **restored backup of the keys** brings nobody back: the log says who was forgotten, and
//!   [`PrivateStore::open`] tells the key store.
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::aggregate::{Decider, Repository};
//! use resilience_cqrs::MemoryStore;
//! use resilience_cqrs::privacy::{Personal, PrivateStore, StoreKeys, Vault};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum Event {
//!     Registered { name: Personal<String>, phones: Vec<Personal<String>> },
//! }
//!
//! #[derive(Clone, Debug, Default)]
//! struct Customer {
//!     name: Option<Personal<String>>,
//! }
//!
//! # #[derive(Debug)]
//! struct Register {
//!     name: Personal<String>,
//!     phones: Vec<Personal<String>>,
//! }
//!
//! impl Decider for Customer {
//!     const STREAM: &'static str = "customer";
//!     type Command = Register;
//!     type Event = Event;
//!     type Error = &'static str;
//!
//!     fn evolve(&mut self, Event::Registered { name, .. }: &Event) {
//!         self.name = Some(name.clone());
//!     }
//!
//!     fn decide(&self, command: &Register) -> Result<Vec<Event>, &'static str> {
//!         let Register { name, phones } = command;
//!         if name.get().is_none_or(String::is_empty) {
//!             return Err("no name");
//!         }
//!         Ok(vec![Event::Registered { name: name.clone(), phones: phones.clone() }])
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In earnest: two files, or two databases, with backups of their own.
//! let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
//! let store = PrivateStore::open(MemoryStore::new(), vault.clone()).await?;
//! let customers: Repository<Customer, _> = Repository::new(store.clone());
//!
//! let ann = vault.subject("s-1").await?;
//! let register = Register { name: ann.seal("Ann".into())?, phones: vec![ann.seal("555-0123".into())?] };
//! customers.execute("1", &register).await?;
//! let name = customers.load("1").await?.state.name.ok_or("no name")?;
//! assert_eq!(name.get().map(String::as_str), Some("Ann"));
//!
//! store.forget("s-1").await?;
//! let name = customers.load("1").await?.state.name.ok_or("no name")?;
//! assert!(name.is_redacted());
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`VaultBuilder::cache`] | 10,000 keys | a few megabytes; a key that is not kept is asked for |
//! | [`VaultBuilder::max_age`] | 60 s | for how long another program may go on reading what was forgotten here |
//! | `timer` | tokio's | |
//!
//! # Errors
//!
//! [`VaultError`] where a value is made, [`ForgetError`] where somebody is forgotten: do it again until it is done. A read
//! for which the keys cannot be asked fails as unavailable.
//!
//! # What is encrypted, and how
//!
//! AES-SIV (RFC 5297) with two 256-bit keys per subject, the value as JSON. What is authenticated along with it is the
//! subject and what the ciphertext is for, but not where it stands: a value is to go from an event into a state, a snapshot
//! and a read model, and stay what it is. That it was put somewhere else by somebody who can write to the log, the
//! [chain of hashes](crate::audit) finds out. Why there is no nonce is told at [`Key`].
//!
//! # Do and don't
//!
//! - Do name subjects by something that says nothing, and give them one that is theirs alone. Names stay.
//! - Do keep the keys apart from the events, and their backups for no longer than somebody may have to wait to be forgotten.
//! - Do open a SQLite file of keys with [`erase`](crate::sqlite::SqliteStoreBuilder::erase), or destroyed ones are in its
//!   free pages for as long as nothing else is written there.
//! - Do give relays, copies and sealers the [inner](PrivateStore::inner) store: ciphertext is what leaves the program.
//! - Don't encrypt what rules look for: an event is found by its tags, which are in the clear.
//! - Don't write logs of values that were taken out of their `Personal`.
//!
//! # Limits
//!
//! What forgetting cannot reach: what a program holds in memory at that moment, until it is dropped (the states it
//! [keeps](crate::aggregate::RepositoryBuilder::keep_states) between commands are, at once); other programs, for
//! [`max_age`](VaultBuilder::max_age), and for as long again where they keep states; what was made of a value and is no `Personal`, where nobody listens for the event;
//! what was sent to others; backups of the keys, which is why they should be short-lived; and the medium itself, which may
//! keep what was written over. [`StoreKeys::encrypted`] makes what it keeps worth nothing without the master key.
//!
//! Values are found in JSON, which is what events, snapshots and most read models here are; in another format they are
//! whole, but [`Sealed`](View::Sealed), to be opened one by one. SQL that reads the tables itself sees ciphertext. A value
//! costs a third more than its JSON and some 60 bytes.

mod key;
mod keys;
mod personal;
mod store;
mod subject;
#[cfg(test)]
mod tests;
mod token;
mod vault;

pub use self::key::{KEY_BYTES, Key, KeyError};
pub use self::keys::{KeyState, KeyStore, StoreKeys};
pub use self::personal::{Personal, PersonalData, Unsealable, View};
pub use self::store::{ForgetError, PrivateStore, SUBJECT_FORGOTTEN, SubjectForgotten};
pub use self::subject::{SUBJECT_BYTES, Subject, SubjectId};
pub use self::vault::{Vault, VaultBuilder, VaultError};
