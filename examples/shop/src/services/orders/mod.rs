//! The orders service: keeps the order book and runs one checkout an order.
//!
//! An order is accepted once two things are durable: that it was placed, and that its checkout exists. If the process
//! dies between the two, the order is open in the book when the next one starts, which then starts its checkout; both
//! are recognised by the order's id, so nothing happens twice.

mod announce;
mod book;
mod checkout;
pub(crate) mod records;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use resilience_core::time::{SharedTimer, WallTime};
use resilience_cqrs::messaging::outbox::RelayHandle;
use resilience_cqrs::{AnyStore, BoxError};
use resilience_saga::{Engine, Outcome, Running, Saga};
use serde_json::json;
use tokio::net::TcpListener;

pub(crate) use self::announce::COMPLETED;
pub(crate) use self::book::Standing;
use self::book::{Book, Entry, Happened, Placed};
use self::checkout::Partners;
use crate::cli::ServiceArgs;
use crate::domain::{Order, ServiceName};
use crate::policies::Policies;
use crate::problem::{Problem, reason};
use crate::stats::Stats;
use crate::stores::{self, Stores};

pub(super) async fn run(args: ServiceArgs, listener: TcpListener, policies: Policies) -> Result<(), Problem> {
    let partners = Partners::find(&args.endpoints, &policies)?;
    let desk = Desk::open(&args, partners, policies.stats().clone()).await?;
    let routes =
        Router::new().route("/orders", post(place)).route("/orders/{id}", get(look_up)).with_state(desk.clone());
    super::serve(ServiceName::Orders, listener, routes, policies, args.attached).await?;
    desk.close().await;
    Ok(())
}

/// Longest time checkouts in progress may take to come to a rest when the service stops; the next process goes on
/// with what did not.
const GRACE: Duration = Duration::from_secs(4);

/// What the handlers share.
#[derive(Clone, Debug)]
struct Desk {
    book: Book<AnyStore>,
    engine: Engine<AnyStore>,
    checkout: Saga<Order, ()>,
    /// Orders whose checkout somebody in this process waits for.
    awaited: Arc<Mutex<HashSet<String>>>,
    stats: Stats,
    timer: SharedTimer,
    /// Publishes for as long as it is held.
    relay: Option<Arc<RelayHandle>>,
}

impl Desk {
    /// Opens the stores, takes over the checkouts the last process left, and starts those it had not come to start.
    async fn open(args: &ServiceArgs, partners: Partners, stats: Stats) -> Result<Self, Problem> {
        let Stores { orders, checkouts, bus } = Stores::of(&args.dir)?;
        let failed = |what: &str, log: &str, why: String| {
            Problem::new(format!("cannot {what} {}: {}", stores::shown(log), reason(&why)))
        };
        let log = stores::open(&orders).await?;
        let (book, open) = Book::open(log.clone()).await.map_err(|why| failed("read", &orders, why.to_string()))?;
        let checkout =
            checkout::definition().map_err(|why| Problem::new(format!("the checkout is ill-defined: {why}")))?;
        let store = stores::open(&checkouts).await?;
        let engine = Engine::builder(store)
            .name("checkouts")
            .register(&checkout)
            .service(partners)
            .listener(stats.clone())
            .start()
            .await
            .map_err(|why| failed("take over the sagas in", &checkouts, why.to_string()))?;
        let relay = match bus {
            Some(bus) => {
                let relay = announce::start(log, stores::bus(&bus).await?, stats.clone());
                Some(Arc::new(relay.map_err(|why| Problem::new(format!("cannot publish orders: {why}")))?))
            }
            None => None,
        };
        let awaited = Arc::default();
        let desk = Self { book, engine, checkout, awaited, stats, timer: SharedTimer::default(), relay };
        for entry in &open {
            let started = desk.start(&entry.order, entry.placed_at).await;
            started.map_err(|why| failed("resume", &checkouts, why.to_string()))?;
        }
        desk.show();
        Ok(desk)
    }

    /// Sees to it that the order's checkout exists and that its end will be written down. Durable once this returns.
    async fn start(&self, order: &Order, placed_at: WallTime) -> Result<(), resilience_saga::Error> {
        let running = self.engine.start(&self.checkout, &order.order_id, order.clone()).await?;
        if self.lock().insert(order.order_id.clone()) {
            tokio::spawn(self.clone().await_end(running, order.order_id.clone(), placed_at));
        }
        Ok(())
    }

    /// Writes down how a checkout ends. If the process dies before, the next one does it: the order is still open.
    async fn await_end(self, running: Running<()>, order_id: String, placed_at: WallTime) {
        let ended = match running.wait().await {
            Ok(Outcome::Completed(())) => Happened::Completed,
            Ok(Outcome::Compensated(cause)) => Happened::Cancelled { why: cause.to_string() },
            Ok(unsettled) => return tracing::error!(order_id, outcome = unsettled.label(), "an operator is needed"),
            Err(error) => return tracing::warn!(order_id, %error, "the checkout goes on in the next process"),
        };
        while let Err(error) = self.book.settle(&order_id, ended.clone()).await {
            tracing::error!(order_id, error, "the end of the order is not written down yet");
            self.timer.sleep(Duration::from_millis(200)).await;
        }
        self.lock().remove(&order_id);
        let millis = self.timer.wall().as_unix_millis().saturating_sub(placed_at.as_unix_millis());
        self.stats.took("checkout", Duration::from_millis(millis));
        self.show();
    }

    /// Shows the tally among the figures.
    fn show(&self) {
        let tally = self.book.tally();
        self.stats.gauge("in_flight", tally.open);
        self.stats.gauge("completed", tally.completed);
        self.stats.gauge("cancelled", tally.cancelled);
        self.stats.gauge("stock_outs", tally.stock_outs);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(self) {
        // Published is what the next process finds published; it goes on from there.
        drop(self.relay);
        if !self.engine.shutdown(GRACE).await {
            tracing::warn!("checkouts cut short; the next process takes them over");
        }
    }
}

/// `POST /orders`: 202 once the order and its checkout are durable, however often it is sent.
async fn place(State(desk): State<Desk>, Json(order): Json<Order>) -> Response {
    match accept(&desk, &order).await {
        Ok(Some(standing)) => (StatusCode::ACCEPTED, Json(standing)).into_response(),
        Ok(None) => {
            let why = format!("{} is the id of another order", order.order_id);
            (StatusCode::CONFLICT, Json(json!({ "error": why }))).into_response()
        }
        Err(error) => {
            tracing::error!(order_id = order.order_id, error, "not accepted");
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "not accepted, try again" }))).into_response()
        }
    }
}

/// How the order stands once it is durable; `None` if its id belongs to another.
async fn accept(desk: &Desk, order: &Order) -> Result<Option<Standing>, BoxError> {
    let now = desk.timer.wall();
    let (standing, placed_at) = match desk.book.place(order, now).await? {
        Placed::New => (Standing::Open, now),
        Placed::Known(Entry { standing, placed_at, .. }) => (standing, placed_at),
        Placed::Other => return Ok(None),
    };
    if standing == Standing::Open {
        desk.start(order, placed_at).await?;
    }
    desk.show();
    Ok(Some(standing))
}

/// `GET /orders/{id}`: how the order stands.
async fn look_up(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    match desk.book.find(&id).await {
        Ok(Some(entry)) => Json(entry.standing).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(order_id = id, error, "not read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
