//! What others learn of orders, in a run with a bus: each completed one is published, by a relay over the book's own log.
//!
//! The order book says nothing to the bus itself: what is sent after a commit is lost with the process, and what is sent
//! before may not happen. The relay reads the log and remembers how far it got in rows beside it.

use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::messaging::outbox::RelayHandle;
use resilience_cqrs::messaging::{Outgoing, Relay};
use resilience_cqrs::{AnyStore, BoxError, Query};

use crate::stats::Stats;

/// Where completed orders are published; the payload is the order's id.
pub(crate) const COMPLETED: &str = "orders.completed";

/// Publishes until the handle is dropped.
pub(super) fn start(store: AnyStore, bus: NatsBus, stats: Stats) -> Result<RelayHandle, BoxError> {
    let relay = Relay::builder(store, bus, "orders").events(Query::types(["Completed"]), |event| {
        let order = event.stream.as_str().strip_prefix("order-").ok_or("not an order")?;
        Ok(Some(Outgoing::new(COMPLETED, order.to_owned())))
    });
    Ok(relay.listener(stats).start()?)
}
