//! The limit by hand, in a simulated server, and over services.

mod changes;
mod congestion;
mod gate;
mod machine;
mod model;
mod simulation;

use std::time::Duration;

use super::*;
use crate::time::ManualTimer;
use crate::{Class, Rejected};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A limit on a clock driven by hand, whose windows are single calls.
fn limit(timer: &ManualTimer) -> AdaptiveLimitBuilder {
    AdaptiveLimit::builder().window(Duration::ZERO, Duration::ZERO).samples(1).seed(7).timer(timer.clone())
}

/// So many permits at once.
fn permits(limit: &AdaptiveLimit, calls: usize) -> Vec<Permit> {
    (0..calls).map(|_| limit.try_acquire()).collect::<Result<_, Rejected>>().unwrap()
}

fn settle(permits: Vec<Permit>, class: Class) {
    permits.into_iter().for_each(|permit| permit.settle(class));
}
