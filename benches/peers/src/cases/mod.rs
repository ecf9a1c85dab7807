//! Every row of the layer tables.

mod adaptive;
mod balance;
pub mod breaker;
mod bulkhead;
mod cache;
mod floors;
mod hedge;
mod rate;
mod retry;
mod stack;
mod timeout;

use crate::harness::Spec;

/// All cases, group by group; the first case of a group is its floor.
pub fn all() -> Vec<Spec> {
    let mut specs = floors::specs();
    specs.extend(breaker::specs());
    specs.extend(retry::specs());
    specs.extend(bulkhead::specs());
    specs.extend(adaptive::specs());
    specs.extend(rate::specs());
    specs.extend(timeout::specs());
    specs.extend(stack::specs());
    specs.extend(balance::specs());
    specs.extend(hedge::specs());
    specs.extend(cache::specs());
    specs
}
