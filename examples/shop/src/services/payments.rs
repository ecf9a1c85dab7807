//! Accounts and a ledger of charges and refunds.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::post;
use resilience_saga::barrier::Entry;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::inventory::OfOrder;
use super::participant::{Participant, done, refused};
use super::store::signed;
use crate::domain::Order;

/// No unique key on the charges of an order: that nobody is charged twice is the barrier's doing, and the audit counts.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS account (customer TEXT PRIMARY KEY, opening INTEGER NOT NULL, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, customer TEXT NOT NULL, cents INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund'))
);
CREATE INDEX IF NOT EXISTS ledger_order ON ledger (order_id);
";

/// Opens the accounts, once.
pub(crate) fn fill(tx: &Transaction<'_>, accounts: &BTreeMap<String, u64>) -> rusqlite::Result<()> {
    let mut insert = tx.prepare("INSERT OR IGNORE INTO account VALUES (?1, ?2, ?2)")?;
    for (customer, cents) in accounts {
        insert.execute(params![customer, signed(*cents)?])?;
    }
    Ok(())
}

/// Whom to charge how much.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

impl From<&Order> for Charge {
    fn from(order: &Order) -> Self {
        Self { order_id: order.order_id.clone(), customer: order.customer.clone(), cents: order.total() }
    }
}

pub(crate) fn routes(participant: Participant) -> Router {
    Router::new()
        .route("/charge", post(|participant, call, body| Participant::handle(participant, call, body, charge)))
        .route("/refund", post(|participant, call, body| Participant::handle(participant, call, body, refund)))
        .with_state(participant)
}

fn charge(tx: &Transaction<'_>, charge: Charge) -> rusqlite::Result<Entry> {
    let cents = signed(charge.cents)?;
    let balance: Option<i64> = tx
        .prepare_cached("SELECT balance FROM account WHERE customer = ?1")?
        .query_row([&charge.customer], |row| row.get(0))
        .optional()?;
    match balance {
        None => return Ok(refused(format!("no account for {}", charge.customer))),
        Some(balance) if balance < cents => {
            return Ok(refused(format!("{} is short of money", charge.customer)));
        }
        Some(_) => {}
    }
    tx.prepare_cached("UPDATE account SET balance = balance - ?2 WHERE customer = ?1")?
        .execute(params![charge.customer, cents])?;
    tx.prepare_cached("INSERT INTO ledger (order_id, customer, cents, kind) VALUES (?1, ?2, ?3, 'charge')")?
        .execute(params![charge.order_id, charge.customer, cents])?;
    Ok(done())
}

/// Gives back what was charged for the order. That it is given back once is the barrier's doing.
fn refund(tx: &Transaction<'_>, of: OfOrder) -> rusqlite::Result<Entry> {
    tx.prepare_cached(
        "UPDATE account SET balance = balance + charged.cents
         FROM (SELECT customer, sum(cents) AS cents FROM ledger WHERE order_id = ?1 AND kind = 'charge'
               GROUP BY customer) AS charged
         WHERE account.customer = charged.customer",
    )?
    .execute([&of.order_id])?;
    tx.prepare_cached(
        "INSERT INTO ledger (order_id, customer, cents, kind)
         SELECT order_id, customer, cents, 'refund' FROM ledger WHERE order_id = ?1 AND kind = 'charge'",
    )?
    .execute([&of.order_id])?;
    Ok(done())
}
