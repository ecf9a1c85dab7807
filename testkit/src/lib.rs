//! What this workspace's tests share.
//!
//! | module | for |
//! |---|---|
//! | [`contract`] | the laws every tower layer keeps, as one named test each |
//! | [`probe`] | an inner service that watches how it is used and answers as told |
//! | [`wakes`] | futures run by hand: polls and wake-ups are counted, none comes unasked |
//! | [`alloc`] | allocations of one thread, counted |
//! | [`medium`] | a disk that breaks or fills up when it is told to |
//! | [`nats`] | a private NATS server, killed and started again at will |
//! | [`postgres`] | a private PostgreSQL server, killed and started again at will |
//! | [`process`] | real processes to start, kill and start again; scratch directories; addresses of their own |
//!
//! It depends on none of the crates it tests, so that any of them may use it.

pub mod alloc;
pub mod contract;
#[cfg(unix)]
pub mod medium;
#[cfg(unix)]
pub mod nats;
#[cfg(unix)]
pub mod postgres;
pub mod probe;
#[cfg(unix)]
pub mod process;
pub mod wakes;
