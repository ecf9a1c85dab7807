//! Everything the stores of a run say, read from the files themselves.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::checks::CANCELLED;
use crate::domain::{Order, ServiceName};
use crate::generate::World;
use crate::problem::Problem;
use crate::runner::directory;
use crate::services::orders::{Standing, records};
use crate::stores::Stores;

/// What was sent and promised, and what the five stores say became of it.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The orders that were to be sent, by id.
    pub(super) sent: BTreeMap<String, Order>,
    /// Ids of orders whose acceptance the customer has seen.
    pub(super) accepted: Vec<String>,
    /// Stock and money at first.
    pub(super) world: World,
    pub(crate) orders: BTreeMap<String, Kept>,
    /// What each order's saga came to last.
    pub(super) sagas: BTreeMap<String, String>,
    pub(super) stock: Vec<Stock>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) accounts: Vec<Account>,
    pub(super) ledger: Vec<Entry>,
    pub(super) shipments: Vec<Shipment>,
    /// The orders whose customers were told, in a run with a bus.
    pub(super) notices: Option<Vec<String>>,
    /// The files and logs that were read.
    pub(super) files: Vec<String>,
    /// What is wrong with one of them, by its name.
    pub(super) damage: Vec<(String, String)>,
}

/// An order as the orders store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) order: Order,
    pub(crate) settlement: Settlement,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    Open,
    Completed,
    /// Everything undone, for this reason.
    Cancelled(String),
}

impl Settlement {
    /// How the order ended, in few words: the reason without its particulars.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Open => "unsettled".to_owned(),
            Self::Completed => "completed".to_owned(),
            Self::Cancelled(why) => {
                let known = CANCELLED.iter().find(|(sign, _)| why.contains(sign));
                known.map_or("undone: other", |(_, label)| label).to_owned()
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Stock {
    pub(super) sku: String,
    pub(super) initial: i64,
    pub(super) available: i64,
}

#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) order_id: String,
    pub(super) sku: String,
    pub(super) qty: u32,
    pub(super) state: String,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) customer: String,
    pub(super) opening: i64,
    pub(super) balance: i64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) order_id: String,
    pub(super) customer: String,
    pub(super) cents: i64,
    pub(super) kind: String,
}

#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) order_id: String,
    pub(super) customer: String,
    pub(super) sku: String,
    pub(super) qty: u32,
}

impl Books {
    /// Reads all of them. The participants' files are opened read-only; the logs through the crate that wrote them, which
    /// checks them for gaps on the way.
    pub(super) async fn read(dir: &Path) -> Result<Self, Problem> {
        let (sent, accepted, world) = directory::read_inputs(dir)?;
        let mut books = Self {
            sent: sent.into_iter().map(|order| (order.order_id.clone(), order)).collect(),
            accepted: accepted.into_iter().map(|accepted| accepted.order_id).collect(),
            world,
            ..Self::default()
        };
        books.inventory(dir)?;
        books.payments(dir)?;
        books.shipping(dir)?;
        books.orders(dir).await?;
        Ok(books)
    }

    /// What completed orders cost together.
    pub(super) fn revenue(&self) -> u64 {
        let completed = self.orders.values().filter(|kept| kept.settlement == Settlement::Completed);
        completed.map(|kept| kept.order.total()).sum()
    }

    fn inventory(&mut self, dir: &Path) -> Result<(), Problem> {
        let store = self.open(dir, ServiceName::Inventory)?;
        self.stock = store.rows("SELECT sku, initial, available FROM stock", |row| {
            Ok(Stock { sku: row.get(0)?, initial: row.get(1)?, available: row.get(2)? })
        })?;
        self.reservations = store.rows("SELECT order_id, sku, qty, state FROM reservation", |row| {
            Ok(Reservation { order_id: row.get(0)?, sku: row.get(1)?, qty: row.get(2)?, state: row.get(3)? })
        })?;
        Ok(())
    }

    fn payments(&mut self, dir: &Path) -> Result<(), Problem> {
        let store = self.open(dir, ServiceName::Payments)?;
        self.accounts = store.rows("SELECT customer, opening, balance FROM account", |row| {
            Ok(Account { customer: row.get(0)?, opening: row.get(1)?, balance: row.get(2)? })
        })?;
        self.ledger = store.rows("SELECT order_id, customer, cents, kind FROM ledger", |row| {
            Ok(Entry { order_id: row.get(0)?, customer: row.get(1)?, cents: row.get(2)?, kind: row.get(3)? })
        })?;
        Ok(())
    }

    fn shipping(&mut self, dir: &Path) -> Result<(), Problem> {
        let store = self.open(dir, ServiceName::Shipping)?;
        self.shipments = store.rows("SELECT order_id, customer, sku, qty FROM shipment", |row| {
            Ok(Shipment { order_id: row.get(0)?, customer: row.get(1)?, sku: row.get(2)?, qty: row.get(3)? })
        })?;
        if Stores::of(dir)?.bus.is_some() {
            self.notices = Some(store.rows("SELECT order_id FROM notice", |row| row.get(0))?);
        }
        Ok(())
    }

    async fn orders(&mut self, dir: &Path) -> Result<(), Problem> {
        let records = records::read(dir).await?;
        let kept = |(order, standing)| {
            let settlement = match standing {
                Standing::Open => Settlement::Open,
                Standing::Completed => Settlement::Completed,
                Standing::Cancelled { why } => Settlement::Cancelled(why),
            };
            Kept { order, settlement }
        };
        self.orders = records.orders.into_iter().map(|(id, entry)| (id, kept(entry))).collect();
        self.sagas = records.sagas;
        self.files.extend(records.logs);
        self.damage.extend(records.damage);
        Ok(())
    }

    fn open(&mut self, dir: &Path, name: ServiceName) -> Result<Store, Problem> {
        let path = dir.join(format!("{name}.db"));
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|why| Problem::file("read", &path, why))?;
        let store = Store { path, connection };
        self.files.push(format!("{name}.db"));
        for word in store.rows("PRAGMA integrity_check", |row| row.get::<_, String>(0))? {
            if word != "ok" {
                self.damage.push((format!("{name}.db"), word));
            }
        }
        Ok(store)
    }
}

struct Store {
    path: std::path::PathBuf,
    connection: Connection,
}

impl Store {
    fn rows<T>(&self, sql: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Problem> {
        let rows = || self.connection.prepare(sql)?.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>();
        rows().map_err(|why| Problem::file("read", &self.path, why))
    }
}
