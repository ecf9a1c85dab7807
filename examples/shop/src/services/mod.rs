//! One service process: bind, say where, serve until told to stop.

pub(crate) mod call;
pub(crate) mod gateway;
pub(crate) mod inventory;
pub(crate) mod notices;
pub(crate) mod orders;
mod participant;
pub(crate) mod payments;
pub(crate) mod shipping;
pub(crate) mod store;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use resilience_core::bulkhead::Bulkhead;
use resilience_core::http::ExtractLayer;
use resilience_core::time::SharedTimer;
use resilience_core::{Error, LiftLayer, LowerLayer, http};
use resilience_cqrs::messaging::consumer::ConsumerHandle;
use resilience_saga::barrier;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower::ServiceBuilder;

use self::participant::Participant;
use self::store::Store;
use crate::cli::ServiceArgs;
use crate::domain::ServiceName;
use crate::generate::World;
use crate::policies::Policies;
use crate::problem::Problem;
use crate::stats::Stats;
use crate::stores;

/// Longest time requests in progress are waited for after the order to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a service until it is told to stop.
pub(crate) async fn run(name: ServiceName, args: ServiceArgs) -> Result<(), Problem> {
    // First the port: a busy one should be reported before anything is opened.
    let listener = bind(&args).await?;
    let policies = Policies::watch(name, &args.dir, &Stats::new())?;
    match name {
        ServiceName::Gateway => gateway::run(args, listener, policies).await,
        ServiceName::Orders => orders::run(args, listener, policies).await,
        ServiceName::Inventory | ServiceName::Payments | ServiceName::Shipping => {
            let store = open(name, &args)?;
            let participant = Participant::new(store.clone(), policies.stats().clone(), args.trouble, args.seed);
            let routes = match name {
                ServiceName::Inventory => inventory::routes(participant),
                ServiceName::Payments => payments::routes(participant),
                _ => shipping::routes(participant),
            };
            let hearing = match stores::Stores::of(&args.dir)?.bus {
                Some(bus) if name == ServiceName::Shipping => {
                    let bus = stores::bus(&bus).await?;
                    Some(notices::start(bus, store.clone(), policies.stats().clone(), &args.dir).await?)
                }
                _ => None,
            };
            serve(name, listener, routes, policies, args.attached).await?;
            if let Some(Err(error)) = futures::future::OptionFuture::from(hearing.map(ConsumerHandle::stop)).await {
                tracing::warn!(%error, "the consumer had ended before");
            }
            store.close();
            Ok(())
        }
    }
}

async fn bind(args: &ServiceArgs) -> Result<TcpListener, Problem> {
    TcpListener::bind(args.listen).await.map_err(|why| {
        Problem::new(format!("cannot listen on {}: {}", args.listen, crate::problem::reason(&why.to_string())))
    })
}

/// The store of a participant, with what the world puts into it at first.
fn open(name: ServiceName, args: &ServiceArgs) -> Result<Store, Problem> {
    let world = world(&args.dir)?;
    let path = args.dir.join(format!("{name}.db"));
    let business = match name {
        ServiceName::Inventory => inventory::SCHEMA,
        ServiceName::Payments => payments::SCHEMA,
        _ => shipping::SCHEMA,
    };
    Store::open(&path, business, |tx| {
        barrier::create_table(tx)?;
        if name == ServiceName::Shipping {
            tx.execute_batch(notices::SCHEMA)?;
        }
        match name {
            ServiceName::Inventory => inventory::fill(tx, &world.stock),
            ServiceName::Payments => payments::fill(tx, &world.accounts),
            _ => Ok(()),
        }
    })
}

/// What `world.json` says; without the file, empty stores.
fn world(dir: &Path) -> Result<World, Problem> {
    let path = dir.join("world.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(World::default()),
        Err(error) => return Err(Problem::file("read", &path, error)),
    };
    serde_json::from_slice(&text).map_err(|why| Problem::file("use", &path, why))
}

/// The routes behind deadline and bulkhead: a crowd is refused at the door instead of being worked on until nobody
/// waits any more, and so is who comes too late.
fn guarded(routes: Router, policies: &Policies) -> Result<Router, Problem> {
    let server = policies.server()?;
    let stack = ServiceBuilder::new()
        .layer(LowerLayer::new(|error: Error<Infallible>| error_response(&error)))
        .layer(ExtractLayer::http())
        // Detached: an order that is half accepted when its caller gives up is accepted all the same, and found by the
        // next try.
        .option_layer(server.timeout("timeout").map(|timeout| timeout.layer().detached()))
        .option_layer(server.bulkhead("bulkhead").map(Bulkhead::layer))
        .layer(LiftLayer);
    Ok(routes.layer(stack))
}

/// Serves `routes`, `/stats` and `/policies`, and prints `ready ADDRESS` once connections are accepted.
async fn serve(
    name: ServiceName,
    listener: TcpListener,
    routes: Router,
    policies: Policies,
    attached: bool,
) -> Result<(), Problem> {
    let address = listener.local_addr().map_err(|why| Problem::new(format!("no local address: {why}")))?;
    let routes = guarded(routes, &policies)?;
    let (figures, registry) = (policies.stats().clone(), policies.registry.clone());
    let page = async move || ([(header::CONTENT_TYPE, "application/json")], registry.to_json());
    let router = routes.route("/stats", get(async move || Json(figures.snapshot()))).route("/policies", get(page));
    let (stopping, stopped) = oneshot::channel();
    let signal = async move {
        stop_signal(attached).await;
        let _ = stopping.send(());
    };
    tracing::info!(service = %name, %address, pid = std::process::id(), "ready");
    let mut stdout = std::io::stdout();
    // Whoever started this process may not listen; it serves all the same.
    let _ = writeln!(stdout, "ready {address}").and_then(|()| stdout.flush());
    let timer = SharedTimer::default();
    let too_long = async {
        let _ = stopped.await;
        timer.sleep(GRACE).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(signal) => {
            served.map_err(|why| Problem::new(format!("{name} stopped serving: {why}")))?;
        }
        () = too_long => tracing::warn!(service = %name, "connections left open at the end"),
    }
    tracing::info!(service = %name, "stopped");
    Ok(())
}

/// Completes at Ctrl-C, at SIGTERM, and, for an attached process, when its standard input is closed.
pub(crate) async fn stop_signal(attached: bool) {
    let closed = async { if attached { stdin_closed().await } else { std::future::pending().await } };
    tokio::select! {
        () = interrupted() => {}
        () = closed => {}
    }
}

/// Completes at Ctrl-C or SIGTERM; never if neither can be caught.
pub(crate) async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        caught = tokio::signal::ctrl_c() => if caught.is_err() { std::future::pending().await },
    }
}

/// On a thread of its own: a read of the standard input cannot be abandoned, and must not hold up the runtime's end.
async fn stdin_closed() {
    let (closing, closed) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        while matches!(std::io::stdin().read(&mut sink), Ok(1..)) {}
        drop(closing);
    });
    let _ = closed.await;
}

/// A stack's error as a response: 503 with `Retry-After` for a refusal, 504 for silence and for what comes too late,
/// 502 for a broken connection.
fn error_response<E: std::fmt::Display>(error: &Error<E>) -> Response {
    let status = if let Error::Service(_) = error { StatusCode::BAD_GATEWAY } else { http::status(error) };
    let mut response = (status, Json(json!({ "error": error.to_string() }))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, seconds(error.retry_after()).into());
    }
    response
}

/// `Retry-After` counts in whole seconds, so it is rounded up: coming back too early would be refused again.
fn seconds(wait: Option<Duration>) -> u64 {
    wait.map_or(1, |wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use resilience_core::{Reason, Rejected};

    use super::*;

    #[test]
    fn a_refusal_asks_to_come_back_no_earlier_than_it_helps() {
        let after = |wait| {
            let refused: Error<Infallible> = Rejected::new("b", Reason::Open).with_retry_after(wait).into();
            error_response(&refused).headers()[header::RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(after(Duration::from_millis(1)), "1");
        assert_eq!(after(Duration::from_secs(2)), "2");
        assert_eq!(after(Duration::from_millis(2_001)), "3");
    }
}
