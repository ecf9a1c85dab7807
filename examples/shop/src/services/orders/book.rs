//! The order book: every order is a stream of events, and what holds now is folded from them.
//!
//! | event | when |
//! |---|---|
//! | `Placed` | the order was taken; its checkout starts |
//! | `Completed` | its checkout ended well |
//! | `Cancelled` | its checkout was undone, and why |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resilience_core::time::WallTime;
use resilience_cqrs::aggregate::{Decider, EventCodec, ExecuteError, Json, Repository};
use resilience_cqrs::{BoxError, EventStore, Position, Query, Recorded};
use serde::{Deserialize, Serialize};

use crate::domain::Order;

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Happened {
    Placed {
        order: Order,
        /// Unix milliseconds.
        at: u64,
    },
    Completed,
    Cancelled {
        why: String,
    },
}

impl Happened {
    pub(super) fn read(recorded: &Recorded) -> Result<Self, BoxError> {
        Ok(Json.decode(recorded)?)
    }
}

/// What can be asked of an order.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Place { order: Order, at: u64 },
    Settle(Happened),
}

/// Why an order refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the id belongs to another order")]
    OtherOrder,
    #[error("the order was never placed")]
    NeverPlaced,
}

/// The aggregate: an order, or a place for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot(Option<Entry>);

impl Decider for Slot {
    const STREAM: &'static str = "order";
    type Command = Command;
    type Event = Happened;
    type Error = Refusal;

    fn evolve(&mut self, event: &Happened) {
        self.0 = Entry::evolve(self.0.take(), event.clone());
    }

    /// Sent again, the same order leads to nothing; settled again, so does its end, for a saga has one end.
    fn decide(&self, command: &Command) -> Result<Vec<Happened>, Refusal> {
        match (&self.0, command) {
            (None, Command::Place { order, at }) => Ok(vec![Happened::Placed { order: order.clone(), at: *at }]),
            (Some(entry), Command::Place { order, .. }) if entry.order == *order => Ok(Vec::new()),
            (Some(_), Command::Place { .. }) => Err(Refusal::OtherOrder),
            (Some(entry), Command::Settle(end)) if entry.standing == Standing::Open => Ok(vec![end.clone()]),
            (Some(_), Command::Settle(_)) => Ok(Vec::new()),
            (None, Command::Settle(_)) => Err(Refusal::NeverPlaced),
        }
    }
}

/// An order as its events leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) order: Order,
    pub(super) placed_at: WallTime,
    pub(super) standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub(crate) enum Standing {
    Open,
    Completed,
    Cancelled { why: String },
}

impl Entry {
    /// What one more event makes of an order.
    pub(super) fn evolve(before: Option<Self>, happened: Happened) -> Option<Self> {
        let standing = match happened {
            Happened::Placed { order, at } => {
                return Some(Self { order, placed_at: WallTime::from_unix_millis(at), standing: Standing::Open });
            }
            Happened::Completed => Standing::Completed,
            Happened::Cancelled { why } => Standing::Cancelled { why },
        };
        before.map(|entry| Self { standing, ..entry })
    }
}

/// How many orders there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) open: i64,
    pub(super) completed: i64,
    pub(super) cancelled: i64,
    /// Of those, for want of stock.
    pub(super) stock_outs: i64,
}

impl Tally {
    fn add(&mut self, happened: &Happened) {
        match happened {
            Happened::Placed { .. } => self.open += 1,
            Happened::Completed => (self.open, self.completed) = (self.open - 1, self.completed + 1),
            Happened::Cancelled { why } => {
                (self.open, self.cancelled) = (self.open - 1, self.cancelled + 1);
                self.stock_outs += i64::from(why.contains("out of stock"));
            }
        }
    }
}

/// What became of a wish to place an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is durable now.
    New,
    /// It was durable before: the same order, sent again.
    Known(Entry),
    /// The id belongs to an order that says something else.
    Other,
}

/// The book; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Book<S: EventStore> {
    orders: Repository<Slot, S>,
    tally: Arc<Mutex<Tally>>,
}

/// Events read at once.
pub(super) const PAGE: usize = 1_000;

impl<S: EventStore> Book<S> {
    /// Reads the whole log: the orders that are open, oldest first.
    pub(super) async fn open(store: S) -> Result<(Self, Vec<Entry>), BoxError> {
        let mut tally = Tally::default();
        let mut open = BTreeMap::new();
        let mut after = Position::ORIGIN;
        loop {
            let page = store.read(after, &Query::all(), PAGE).await?;
            for recorded in &page.events {
                let happened = Happened::read(recorded)?;
                tally.add(&happened);
                let entry = Entry::evolve(open.remove(&recorded.stream), happened);
                if let Some(entry) = entry.filter(|entry| entry.standing == Standing::Open) {
                    open.insert(recorded.stream.clone(), entry);
                }
            }
            if page.is_last() {
                break;
            }
            after = page.next;
        }
        let mut open: Vec<Entry> = open.into_values().collect();
        open.sort_by_key(|entry| entry.placed_at);
        Ok((Self { orders: Repository::new(store), tally: Arc::new(Mutex::new(tally)) }, open))
    }

    /// Places an order, once however often it is sent.
    pub(super) async fn place(&self, order: &Order, at: WallTime) -> Result<Placed, BoxError> {
        let place = Command::Place { order: order.clone(), at: at.as_unix_millis() };
        match self.orders.execute(&order.order_id, &place).await {
            Ok(done) if !done.events.is_empty() => {
                self.count(&done.events);
                Ok(Placed::New)
            }
            Ok(done) => Ok(done.state.0.map_or(Placed::Other, Placed::Known)),
            Err(ExecuteError::Refused(_)) => Ok(Placed::Other),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down how an order's checkout ended, once however often it is said.
    pub(super) async fn settle(&self, order_id: &str, ended: Happened) -> Result<(), BoxError> {
        let done = self.orders.execute(order_id, &Command::Settle(ended)).await?;
        self.count(&done.events);
        Ok(())
    }

    /// An order as it stands.
    pub(super) async fn find(&self, order_id: &str) -> Result<Option<Entry>, BoxError> {
        Ok(self.orders.load(order_id).await?.state.0)
    }

    fn count(&self, events: &[Happened]) {
        events.iter().for_each(|happened| self.lock().add(happened));
    }

    pub(super) fn tally(&self) -> Tally {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use resilience_cqrs::MemoryStore;

    use super::*;

    const NOON: WallTime = WallTime::from_unix_millis(43_200_000);

    fn order(id: &str) -> Order {
        let items = vec![crate::domain::Item { sku: "tea".into(), qty: 1, cents: 250 }];
        Order { order_id: id.into(), customer: "c".into(), items }
    }

    #[tokio::test]
    async fn an_order_sent_twice_is_placed_once_and_another_under_its_id_never() {
        let (book, open) = Book::open(MemoryStore::new()).await.unwrap();
        assert!(open.is_empty());
        assert_eq!(book.place(&order("a"), NOON).await.unwrap(), Placed::New);
        assert!(
            matches!(book.place(&order("a"), NOON).await.unwrap(), Placed::Known(known) if known.order == order("a"))
        );
        let other = Order { customer: "d".into(), ..order("a") };
        assert_eq!(book.place(&other, NOON).await.unwrap(), Placed::Other);
        assert_eq!(book.tally().open, 1);
    }

    #[tokio::test]
    async fn a_reopened_book_knows_what_is_open_and_settles_nothing_twice() {
        let store = MemoryStore::new();
        let (book, _) = Book::open(store.clone()).await.unwrap();
        for id in ["a", "b", "c"] {
            book.place(&order(id), NOON).await.unwrap();
        }
        book.settle("a", Happened::Completed).await.unwrap();
        book.settle("b", Happened::Cancelled { why: "out of stock: tea".into() }).await.unwrap();
        book.settle("b", Happened::Cancelled { why: "out of stock: tea".into() }).await.unwrap();
        let (again, open) = Book::open(store).await.unwrap();
        assert_eq!(open.iter().map(|entry| entry.order.order_id.as_str()).collect::<Vec<_>>(), ["c"]);
        assert_eq!(again.tally(), Tally { open: 1, completed: 1, cancelled: 1, stock_outs: 1 });
        assert_eq!(again.tally(), book.tally());
    }
}
