//! Deterministic experiments in virtual time.
//!
//! A test shows that a policy does what it says. Whether that helps (whether a system with it comes out of an outage
//! sooner, loses less, waits less) depends on queues, on callers who give up and come back, and on servers that work for
//! callers who have left. Here the real layers, ours and the rivals', meet simulated servers in such a world.
//!
//! Nothing is modelled but the servers and the callers: layers are the crates' own, in the stack a program would build.
//! Time is tokio's paused clock in a runtime of one thread, and every random number comes from the scenario's seed, so
//! that a run of a minute takes a second or two and comes out the same to the last bit.
//!
//! | module | holds |
//! |---|---|
//! | [`scenario`] | what an experiment is, read from a file |
//! | [`sim`] | servers as queueing stations, faults, callers |
//! | [`stack`] | stacks from a file's list of layers |
//! | [`measure`] | figures and goals |
//! | [`report`] | tables and charts |
//!
//! # What is simulated, and how truly
//!
//! Arrivals are an open loop (Poisson): callers do not come later because others wait. A station has workers, a line and
//! a distribution of service times; it goes on working for callers who have left. There is no network: a call takes no
//! time to reach a station. Tokio's timers tick in milliseconds, so a layer's timeout, and the moment a caller hears of
//! his answer, are up to a millisecond late; arrivals and services themselves are computed exactly.
//!
//! Layers that ask the operating system for the time (tower-resilience's breaker, recloser) cannot be run in virtual
//! time. They run by the real clock instead, one to one; their rows say so, and vary a little from run to run.

pub mod measure;
pub mod report;
pub mod scenario;
pub mod sim;
pub mod stack;
