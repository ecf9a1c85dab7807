//! Stock and reservations: what is reserved is off the shelf at once, and goes back or goes out.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::post;
use resilience_saga::barrier::Entry;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::participant::{Participant, done, refused};
use super::store::signed;
use crate::domain::Order;

/// No unique key on the reservations of an order: that nothing is reserved twice is the barrier's doing, and the audit
/// counts.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, initial INTEGER NOT NULL, available INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservation (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, sku TEXT NOT NULL, qty INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'released', 'shipped'))
);
CREATE INDEX IF NOT EXISTS reservation_order ON reservation (order_id);
";

/// Puts the first stock on the shelf, once.
pub(crate) fn fill(tx: &Transaction<'_>, stock: &BTreeMap<String, u64>) -> rusqlite::Result<()> {
    let mut insert = tx.prepare("INSERT OR IGNORE INTO stock VALUES (?1, ?2, ?2)")?;
    for (sku, pieces) in stock {
        insert.execute(params![sku, signed(*pieces)?])?;
    }
    Ok(())
}

/// What to reserve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reserve {
    pub(crate) order_id: String,
    pub(crate) lines: Vec<Line>,
}

/// So many of one sku.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) qty: u32,
}

impl From<&Order> for Reserve {
    fn from(order: &Order) -> Self {
        let lines = order.items.iter().map(|item| Line { sku: item.sku.clone(), qty: item.qty });
        Self { order_id: order.order_id.clone(), lines: lines.collect() }
    }
}

/// Whose reservation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OfOrder {
    pub(crate) order_id: String,
}

pub(crate) fn routes(participant: Participant) -> Router {
    Router::new()
        .route("/reserve", post(|participant, call, body| Participant::handle(participant, call, body, reserve)))
        .route("/release", post(|participant, call, body| Participant::handle(participant, call, body, release)))
        .route("/confirm", post(|participant, call, body| Participant::handle(participant, call, body, confirm)))
        .with_state(participant)
}

/// Takes every line off the shelf, or none.
fn reserve(tx: &Transaction<'_>, wanted: Reserve) -> rusqlite::Result<Entry> {
    let mut available = tx.prepare_cached("SELECT available FROM stock WHERE sku = ?1")?;
    for line in &wanted.lines {
        let on_shelf: Option<u32> = available.query_row([&line.sku], |row| row.get(0)).optional()?;
        match on_shelf {
            None => return Ok(refused(format!("no such sku: {}", line.sku))),
            Some(on_shelf) if on_shelf < line.qty => {
                return Ok(refused(format!("out of stock: {}", line.sku)));
            }
            Some(_) => {}
        }
    }
    let mut take = tx.prepare_cached("UPDATE stock SET available = available - ?2 WHERE sku = ?1")?;
    let mut hold =
        tx.prepare_cached("INSERT INTO reservation (order_id, sku, qty, state) VALUES (?1, ?2, ?3, 'held')")?;
    for line in &wanted.lines {
        take.execute(params![line.sku, line.qty])?;
        hold.execute(params![wanted.order_id, line.sku, line.qty])?;
    }
    Ok(done())
}

/// Puts what the order holds back on the shelf.
fn release(tx: &Transaction<'_>, of: OfOrder) -> rusqlite::Result<Entry> {
    tx.prepare_cached(
        "UPDATE stock SET available = available + held.qty
         FROM (SELECT sku, sum(qty) AS qty FROM reservation WHERE order_id = ?1 AND state = 'held' GROUP BY sku) AS held
         WHERE stock.sku = held.sku",
    )?
    .execute([&of.order_id])?;
    tx.prepare_cached("UPDATE reservation SET state = 'released' WHERE order_id = ?1 AND state = 'held'")?
        .execute([&of.order_id])?;
    Ok(done())
}

/// What the order holds has left the house.
fn confirm(tx: &Transaction<'_>, of: OfOrder) -> rusqlite::Result<Entry> {
    tx.prepare_cached("UPDATE reservation SET state = 'shipped' WHERE order_id = ?1 AND state = 'held'")?
        .execute([&of.order_id])?;
    Ok(done())
}
