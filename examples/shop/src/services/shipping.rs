//! Shipments: after the point of no return, so it never refuses.

use axum::Router;
use axum::routing::post;
use resilience_saga::barrier::Entry;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::inventory::{Line, Reserve};
use super::participant::{Participant, done};
use crate::domain::Order;

/// No unique key on the order: that nothing is shipped twice is the barrier's doing, and the audit counts.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS shipment (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, customer TEXT NOT NULL, sku TEXT NOT NULL, qty INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS shipment_order ON shipment (order_id);
";

/// What to send to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ship {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) lines: Vec<Line>,
}

impl From<&Order> for Ship {
    fn from(order: &Order) -> Self {
        let Reserve { order_id, lines } = Reserve::from(order);
        Self { order_id, customer: order.customer.clone(), lines }
    }
}

pub(crate) fn routes(participant: Participant) -> Router {
    Router::new()
        .route("/ship", post(|participant, call, body| Participant::handle(participant, call, body, ship)))
        .with_state(participant)
}

fn ship(tx: &Transaction<'_>, ship: Ship) -> rusqlite::Result<Entry> {
    let mut insert =
        tx.prepare_cached("INSERT INTO shipment (order_id, customer, sku, qty) VALUES (?1, ?2, ?3, ?4)")?;
    for line in &ship.lines {
        insert.execute(params![ship.order_id, ship.customer, line.sku, line.qty])?;
    }
    Ok(done())
}
