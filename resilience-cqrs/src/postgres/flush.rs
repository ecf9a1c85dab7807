//! Makes durable what the writer has committed ahead of the disk, and answers.
//!
//! The log of the server is flushed in order: one durable commit of nothing, on a second connection, covers every commit
//! before it. While that waits for the disk, the writer goes on with the next batch; all batches that have come in
//! meanwhile share the next wait.
//!
//! It proves something only if the server has not crashed between the commit and it: a crash would take the commit, and
//! leave a barrier on a new connection to succeed all the same. A crash ends every connection. So a commit is made durable
//! only over a connection that was open before the commit was sent, and if that is lost, nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Timestamp};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::answer::{Answers, Committed};
use super::durable;
use super::error::Fault;

/// Batches on their way to the disk; then the writer waits, and the next batch is larger.
const AHEAD: usize = 8;

/// A connection that was not used for so long is asked whether it is there before a commit depends on it.
const IDLE: Duration = Duration::from_secs(1);

/// A connection, by number.
pub(super) type Epoch = u64;

/// No connection.
const NONE: Epoch = 0;

enum Order {
    Connect,
    Check,
    Make(Epoch, Committed),
}

/// The writer's end.
pub(super) struct Flush {
    orders: Option<mpsc::Sender<Order>>,
    task: JoinHandle<()>,
    state: Arc<State>,
    timer: SharedTimer,
    /// When it was last asked for a connection.
    used: Timestamp,
}

#[derive(Default)]
struct State {
    /// The connection that is open, or `NONE`.
    open: AtomicU64,
    /// Batches that are not answered.
    waiting: AtomicUsize,
}

impl Flush {
    pub(super) fn start(options: PgConnectOptions, answers: Answers) -> Self {
        let (sender, orders) = mpsc::channel(AHEAD);
        let state = Arc::new(State::default());
        let timer = answers.timer.clone();
        let running = Running { orders, options, conn: None, epoch: NONE, answers, state: state.clone() };
        let used = timer.now();
        Self { orders: Some(sender), task: tokio::spawn(running.run()), state, timer, used }
    }

    /// A connection that is open now, over which a commit sent from now on can be made durable. `None` if there is none
    /// yet: then the commit has to wait for the disk by itself, this time.
    pub(super) fn epoch(&mut self) -> Option<Epoch> {
        // Acquire pairs with the Release of `Running::connect`: the connection was open before it could be seen here, and
        // the commit is sent after.
        let open = self.state.open.load(Ordering::Acquire);
        let now = self.timer.now();
        let idle = now.since(self.used);
        self.used = now;
        let orders = self.orders.as_ref()?;
        if open == NONE {
            // An order that finds no room is not needed: others are there.
            let _ = orders.try_send(Order::Connect);
            return None;
        }
        if idle >= IDLE {
            let _ = orders.try_send(Order::Check);
            return None;
        }
        Some(open)
    }

    /// Whether there are batches that are not durable yet.
    pub(super) fn is_working(&self) -> bool {
        // Relaxed: a hint. A batch too many waits for the disk by itself.
        self.state.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes over a batch that was committed over the writer's connection after `epoch` was open.
    pub(super) async fn add(&self, epoch: Epoch, committed: Committed) {
        self.state.waiting.fetch_add(1, Ordering::Relaxed); // A hint, as in `is_working`.
        if let Some(orders) = &self.orders {
            // It goes on for as long as this handle is there.
            let _ = orders.send(Order::Make(epoch, committed)).await;
        }
    }

    /// Ends when everything is answered.
    pub(super) async fn end(mut self) {
        self.orders = None;
        let _ = self.task.await;
    }
}

struct Running {
    orders: mpsc::Receiver<Order>,
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    /// The number of the connection, or of the last.
    epoch: Epoch,
    answers: Answers,
    state: Arc<State>,
}

impl Running {
    async fn run(mut self) {
        let mut orders = Vec::with_capacity(AHEAD);
        while self.orders.recv_many(&mut orders, AHEAD).await > 0 {
            let mut batches = Vec::new();
            for order in orders.drain(..) {
                match order {
                    Order::Connect => self.connect().await,
                    Order::Check => self.check().await,
                    Order::Make(epoch, committed) => batches.push((epoch, committed)),
                }
            }
            self.flush(batches).await;
        }
        if let Some(conn) = self.conn.take() {
            let _ = conn.close().await;
        }
    }

    async fn connect(&mut self) {
        if self.conn.is_none()
            && let Ok(conn) = self.options.connect().await
        {
            self.conn = Some(conn);
            self.epoch += 1;
            // Release pairs with the Acquire of `Flush::epoch`.
            self.state.open.store(self.epoch, Ordering::Release);
        }
    }

    async fn check(&mut self) {
        if let Some(conn) = &mut self.conn
            && let Err(error) = conn.ping().await
        {
            self.lose(&error.into());
        }
    }

    async fn flush(&mut self, batches: Vec<(Epoch, Committed)>) {
        if batches.is_empty() {
            return;
        }
        let count = batches.len();
        let made = match &mut self.conn {
            Some(conn) => durable::barrier(conn).await,
            None => Err(lost()),
        };
        if let Err(fault) = &made {
            self.lose(fault);
        }
        for (epoch, committed) in batches {
            match &made {
                Ok(()) if epoch == self.epoch => self.answers.acknowledge(committed),
                _ => {
                    let written = committed.done.unless_durable();
                    self.answers.refuse(committed.batch, lost(), written);
                }
            }
        }
        self.state.waiting.fetch_sub(count, Ordering::Relaxed); // As in `Flush::is_working`.
    }

    fn lose(&mut self, fault: &Fault) {
        // Release, for the order of this and the next `connect`. Whoever has seen it open finds its number outdated.
        self.state.open.store(NONE, Ordering::Release);
        if self.conn.take().is_some() {
            self.answers.disconnected(fault);
        }
    }
}

fn lost() -> Fault {
    Fault::Database(sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::ConnectionReset,
        "the connection that was to make it durable is gone",
    )))
}

#[cfg(all(test, unix))]
mod tests {
    use std::str::FromStr;

    use resilience_core::Name;
    use resilience_core::event::Listeners;
    use tokio::sync::{Notify, oneshot};

    use super::super::batch::Done;
    use super::super::durable::Durable;
    use super::super::writer::AppendJob;
    use super::*;
    use crate::log::{Append, AppendError, Appended, Position, Written};

    /// What comes of a batch that was committed while connection 1 was open, if these orders are found at once.
    async fn answer(epoch: Epoch, connects_first: bool) -> Result<Appended, AppendError> {
        let answers = Answers {
            durable: Arc::new(Durable::new(1)),
            moved: Arc::new(Notify::new()),
            timer: SharedTimer::default(),
            name: Name::from_static("test"),
            listeners: Listeners::default(),
        };
        let (answer, answered) = oneshot::channel();
        let (first, last) = (Position::new(1), Position::new(1));
        let appended = Appended { first, last, versions: Vec::new(), already_committed: false };
        let done = Done { results: vec![Ok(appended)], head: last, events: 1, turn: 1, wrote: true };
        let batch = vec![AppendJob { append: Append::new(), answer }];
        let make = Order::Make(1, Committed { batch, done, began: None });
        let orders = if connects_first { [Order::Connect, make] } else { [make, Order::Connect] };
        let (sender, waiting) = mpsc::channel(AHEAD);
        for order in orders {
            assert!(sender.try_send(order).is_ok());
        }
        drop(sender);
        let options = PgConnectOptions::from_str(testkit::postgres::shared()).unwrap();
        Running { orders: waiting, options, conn: None, epoch, answers, state: Arc::default() }.run().await;
        answered.await.unwrap()
    }

    /// The connection that was there at the commit has gone, and the server, for all anybody knows, with it: that another
    /// one has a barrier proves nothing.
    #[tokio::test]
    async fn nothing_is_acknowledged_over_a_connection_that_was_opened_after_it() {
        for connects_first in [true, false] {
            answer(NONE, connects_first).await.unwrap();
            let Err(AppendError::Unavailable(unknown)) = answer(1, connects_first).await else {
                panic!("acknowledged")
            };
            assert_eq!(unknown.written, Written::Unknown);
        }
    }
}
