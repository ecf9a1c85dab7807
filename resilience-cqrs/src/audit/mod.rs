//! A chain of hashes over the log, by which it is found whether somebody has changed what happened.
//!
//! # Why
//!
//! A log that is only ever appended to is the better witness, as long as that is true of the file as well. Whoever can write
//! to the disk can also write to the past: an auditor's question, a dispute, or a bit that turned over by itself then ends
//! with "the log says so". With this it ends with "and it is what it said when it was sealed", or with the first event of
//! which that is not so.
//!
//! # Behaviour
//!
//! ```text
//! event       #1      #2      #3      #4      #5      #6      #7
//! entry   h0 ─▶ h1 ───▶ h2 ───▶ h3 ───▶ h4 ───▶ h5       not sealed yet
//! rows           └─ block from #1 ─┘  └─ block from #4 ─┘
//! ```
//!
//! - Each event has an **entry**: SHA-256 over the entry before it and all that the log says of the event (stream, version,
//!   type, tags, payload, metadata, time, position). Any change changes every entry after it.
//! - A [`Sealer`] **follows** the log and writes the entries to rows, some events at a time. It is not part of the append, so
//!   appends cost what they did, and what other processes append, or a group commit brings, is covered like anything
//!   else: what is hashed is the order of the log itself. Several sealers on one log do no harm; they would write the same,
//!   and of two one finds it done.
//! - [`verify`] works the chain out anew and compares. As each event has its own entry, it names the **first** that is not
//!   what it was, and tells an event from an entry that was changed, by the entry that follows.
//! - A [`Seal`], which is a position and its entry, is **kept elsewhere** (printed, mailed, in another's log): the chain
//!   has no secret, so whoever can write to the log can also write a whole new chain. [`verify_against`] finds that out.
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::audit::{Evidence, VerifyError, seal, verify, verify_against};
//! use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let paid = |cents: &str| Append::new().events("account-1", Expected::Any, [NewEvent::new("Paid", cents.to_owned())]);
//! store.append(paid("500")).await?;
//! let kept_elsewhere = seal(&store).await?;
//! store.append(paid("700")).await?;
//!
//! let verified = verify(&store).await?;
//! assert_eq!((verified.seal, verified.unsealed), (kept_elsewhere, 1));
//!
//! // Another log, with a chain that fits it.
//! let forged = MemoryStore::new();
//! forged.append(paid("5")).await?;
//! seal(&forged).await?;
//! verify(&forged).await?;
//! let Err(VerifyError::Tampered(found)) = verify_against(&forged, [kept_elsewhere]).await else { panic!() };
//! assert!(matches!(found.evidence, Evidence::Rewritten { .. }));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`SealerBuilder::block`] | 1,024 events | a row of 32 KiB; a crash repeats little |
//! | [`SealerBuilder::linger`] | 1 s | how long the end of the log stays unsealed: a commit a second, however many events |
//! | `timer` | tokio's | |
//!
//! # Errors
//!
//! [`SealError`] when the store cannot be read or written. [`VerifyError`] keeps apart that the log was
//! [changed](Tampered) and that it could not be read at all.
//!
//! # Do and don't
//!
//! - Do verify a copy on another machine, or a store that was opened for it: one in use answers from its memory what the
//!   disk may not say any more.
//! - Do keep seals where those who write to the log cannot write. A seal a day bounds what can be rewritten to a day.
//! - Do seal the store itself, below what changes what it says: the chain is over what is on the disk, and stays whole when
//!   somebody is [forgotten](crate::privacy) or a stream [archived](crate::archive).
//!
//! # Limits
//!
//! Rows (checkpoints, read models, snapshots) are not covered, nor are indexes: an index that lies is found by
//! [`SqliteStore::verify`](crate::SqliteStore::verify) or by reading without it. Events after the last seal are counted,
//! not vouched for. A log that has lost its entries as well as its events looks like one that was never sealed, to all
//! but a seal kept elsewhere. To verify reads the whole log.
//!
//! The chain is that of Haber and Stornetta, "How to time-stamp a digital document" (1991).

mod block;
mod chain;
mod event;
mod sealer;
#[cfg(test)]
mod tests;
mod verify;

pub use self::chain::{Seal, SealFormat};
pub use self::event::Event;
pub use self::sealer::{SealError, Sealer, SealerBuilder, Sealing, seal};
pub use self::verify::{Evidence, Tampered, Verified, VerifyError, verify, verify_against};
