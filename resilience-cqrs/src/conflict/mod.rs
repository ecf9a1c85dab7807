//! State that several nodes change without asking each other, and that comes out the same on all of them.
//!
//! # Why
//!
//! An [aggregate](crate::aggregate) is decided on in one place, one command after the other. That is the right thing for
//! money, and it needs the place to be reachable. A phone in a tunnel, two regions with a cut cable, a till that must go
//! on selling: there, each node decides by itself, and what they decided is put together later. Putting together is
//! where data gets lost: "the newer one wins" by clocks that differ drops what was written later; a set that is merged by
//! union brings back what was removed; a counter that is overwritten forgets half of its increments.
//!
//! The types here are put together without loss or quarrel, by [laws](Merge) that are tested, and not by a protocol:
//! in whatever order, in whatever pieces, and however often the news arrives, who has heard the same has the same.
//!
//! # Which
//!
//! | you have | you want | of concurrent changes |
//! |---|---|---|
//! | one truth at a time, and losing a write is no harm | [`LwwRegister`], [`LwwMap`] for many | the later is kept, by [`HybridClock`] and node |
//! | one truth, and losing a write is harm | [`MvRegister`] | all are kept, until somebody decides |
//! | a sum | [`GCounter`], [`PnCounter`] | all count |
//! | a set | [`OrSet`] | an addition beats a removal that did not know of it |
//! | things that only become more | `BTreeSet`, `BTreeMap` of what merges, `Option` | all are kept |
//! | a text or a tree people edit | `automerge::Document`, `yrs::Document` (features of the same names) | as those engines do |
//! | a rule over the whole ("never below zero") | none of these: an [aggregate](crate::aggregate) | decided in one place |
//! | writes of your own design, and the question which knew of which | [`VersionVector`], [`DottedVersion`], [`Dots`] | told, not resolved |
//!
//! A struct of them merges field by field. [`merge_laws`] tries a [`Merge`] of yours.
//!
//! # Behaviour
//!
//! ```text
//!            add milk ──delta──╮   ╳ cut                            heal
//! node 1 ───────●──────────────│───╳────── remove milk ●─────────────╳──────────●── {milk}: the addition on node 2
//!                              ▼   ╳                    ╲           ╱           ▲   was not known to the removal
//! node 2 ──────────────────────●───╳── add milk ●────────╲─────────╱────────────●── {milk}
//!                            {milk}                       deltas of both, in any order
//! ```
//!
//! Each mutator returns a *delta*: a small state with nothing in it but the change, to be merged by others. A [`Replica`]
//! is an aggregate whose events are deltas: its log is what is sent, and a position in it is all there is to remember
//! of a peer. That needs no protocol between the nodes but "give me what came after".
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::time::SharedTimer;
//! use resilience_cqrs::conflict::{HybridClock, LwwRegister, Merge, NodeId, PnCounter};
//!
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct Article {
//!     title: LwwRegister<String>,
//!     stock: PnCounter,
//! }
//!
//! impl Merge for Article {
//!     fn merge(&mut self, other: Self) {
//!         self.title.merge(other.title);
//!         self.stock.merge(other.stock);
//!     }
//! }
//!
//! let (shop, depot) = (NodeId::new(1), NodeId::new(2));
//! let timer = SharedTimer::default();
//! let mut clock = HybridClock::new(shop, Duration::from_secs(60));
//! let (mut in_shop, mut in_depot) = (Article::default(), Article::default());
//! in_shop.title.set(clock.tick(timer.wall())?, "Lamp".into());
//! in_shop.stock.decrement(shop, 1);
//! in_depot.stock.increment(depot, 20);
//!
//! // Some hours later, the line is up again.
//! in_shop.merge(in_depot.clone());
//! in_depot.merge(in_shop.clone());
//! assert_eq!(in_shop, in_depot);
//! assert_eq!(in_depot.stock.value(), 19);
//! # Ok::<_, resilience_cqrs::conflict::ClockError>(())
//! ```
//!
//! `examples/two_nodes.rs` in this crate has two nodes with a store each, a link between them that is cut and healed,
//! and both carts the same in the end.
//!
//! # Errors
//!
//! Merging cannot fail. What can is a [clock](ClockError): a stamp from further in the future than `max_drift` is
//! refused, and the clock stays as it was, so that one broken clock does not win every write of everybody from then on.
//!
//! # Memory
//!
//! | type | has an entry for each | and no more than |
//! |---|---|---|
//! | [`GCounter`], [`PnCounter`], [`VersionVector`] | node that ever wrote | 8 bytes of count each |
//! | [`LwwRegister`] | | one value |
//! | [`LwwMap`] | key, and key removed since the last [`prune`](LwwMap::prune) | one value or tombstone each |
//! | [`MvRegister`] | node that ever wrote; value nobody has overwritten | one value for each concurrent write |
//! | [`OrSet`] | node that ever wrote; element | one dot for each element and node; nothing of what was removed |
//! | [`Dots`] | node that ever wrote; write that came before an earlier one | what is under way |
//!
//! # Do and don't
//!
//! - Do give each writer an id that nobody else has or had: [`NodeId`] says how. Two writers under one id lose writes.
//! - Do [observe](HybridClock::observe) a stamp before the write it is on is merged; of a map, or a delta of one, the
//!   [latest](LwwMap::latest).
//! - Do [prune](LwwMap::prune) only up to what [`Stability`] says.
//! - Don't send deltas in place of whole states to a node that is new, or that has lost some: it gets the state once.
//! - Don't merge what must not be exceeded. Stock that may not go below zero is decided on where it is, or each node gets
//!   a share of it beforehand.
//!
//! # Limits
//!
//! Nodes are trusted: one that lies about its counts or stamps is believed, within the drift. Entries of nodes that
//! left are kept. Nothing here sends anything.

#[cfg(feature = "automerge")]
pub mod automerge;
#[cfg(any(feature = "automerge", feature = "yrs"))]
mod bytes;
mod clock;
mod counter;
mod dots;
mod laws;
mod lww;
mod merge;
mod node;
mod pairs;
mod register;
mod replica;
mod set;
mod stability;
mod version;
#[cfg(feature = "yrs")]
pub mod yrs;

#[cfg(test)]
mod tests;

pub use self::clock::{ClockError, HybridClock, HybridTime, Stamp};
pub use self::counter::{GCounter, PnCounter};
pub use self::dots::Dots;
pub use self::laws::{LawBroken, merge_laws};
pub use self::lww::{LwwMap, LwwRegister};
pub use self::merge::Merge;
pub use self::node::NodeId;
pub use self::register::MvRegister;
pub use self::replica::{Change, Merged, Replica, Replicated};
pub use self::set::OrSet;
pub use self::stability::Stability;
pub use self::version::{Causality, Dot, DottedVersion, VersionVector};
