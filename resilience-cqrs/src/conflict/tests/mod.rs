mod clients;
mod clock;
#[cfg(any(feature = "automerge", feature = "yrs"))]
mod documents;
mod history;
mod laws;
mod prune;
mod replica;
mod stored;

use super::*;

fn node(number: usize) -> NodeId {
    NodeId::new(number as u64 + 1)
}

fn at(millis: u64, number: usize) -> Stamp {
    Stamp::new(HybridTime::new(millis, 0), node(number))
}
