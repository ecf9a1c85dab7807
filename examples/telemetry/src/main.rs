//! `cargo run -p telemetry -- --calls 400`: a client with policies in front of a dependency that fails for a while, and
//! what its policies do as OpenTelemetry metrics on the standard output. Without `--calls` it runs until Ctrl-C.
//!
//! `sink.rs` is the part to copy: facts in, instruments out, with no other crate between. For a collector take
//! `opentelemetry_otlp::MetricExporter` instead of the one for the standard output, and nothing else changes.

mod sink;

use std::error::Error as StdError;
use std::time::Duration;

use clap::Parser;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use resilience_core::bulkhead::Bulkhead;
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::retry::{Backoff, Retry, RetryBudget};
use resilience_core::time::SharedTimer;
use resilience_core::timeout::Timeout;
use resilience_core::{ConfigError, Error, LiftLayer};
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use self::sink::OpenTelemetrySink;

/// A client with policies, watched through OpenTelemetry.
#[derive(Clone, Copy, Debug, Parser)]
struct Args {
    /// How many calls to make; 0 for no end.
    #[arg(long, default_value_t = 0)]
    calls: u32,
    /// Seconds between two reports. There is one more at the end.
    #[arg(long, default_value_t = 10)]
    every: u64,
}

/// Items, of each thousand, for which the dependency is down.
const OUTAGE: std::ops::Range<u32> = 100..160;
/// Between two calls.
const PACE: Duration = Duration::from_millis(3);

type Client = BoxCloneService<u32, u32, Error<std::io::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let args = Args::parse();
    let provider = SdkMeterProvider::builder()
        .with_resource(Resource::builder().with_service_name("telemetry").build())
        .with_reader(
            PeriodicReader::builder(opentelemetry_stdout::MetricExporter::default())
                .with_interval(Duration::from_secs(args.every.max(1)))
                .build(),
        )
        .build();
    let client = client(&OpenTelemetrySink::new(provider.meter("resilience")))?;
    tokio::select! {
        () = call(client, args.calls) => {}
        stop = tokio::signal::ctrl_c() => stop?,
    }
    // What was counted since the last report is in this one.
    provider.shutdown()?;
    Ok(())
}

/// The stack of a client, each of its policies telling the sink.
fn client(sink: &OpenTelemetrySink) -> Result<Client, ConfigError> {
    let name = "stock";
    let total = Timeout::builder().name(name).limit(Duration::from_millis(500)).listener(sink.clone()).build()?;
    let retry = Retry::builder()
        .name(name)
        .attempts(3)
        .backoff(Backoff::exponential(Duration::from_millis(2), Duration::from_millis(20)))
        .budget(RetryBudget::builder().name(name).ratio(0.2).build()?)
        .listener(sink.clone())
        .build()?;
    let breaker = CircuitBreaker::builder()
        .name(name)
        .consecutive_failures(5)
        .open_for(Duration::from_millis(50))
        .listener(sink.clone())
        .build()?;
    let bulkhead = Bulkhead::builder().name(name).limit(16).listener(sink.clone()).build()?;
    let stack = ServiceBuilder::new()
        .layer(total.layer())
        .layer(retry.layer())
        .layer(breaker.layer())
        .layer(bulkhead.layer())
        .layer(LiftLayer);
    Ok(BoxCloneService::new(stack.service(dependency())))
}

/// Answers, but for a part of each thousand items.
fn dependency() -> impl Service<u32, Response = u32, Error = std::io::Error, Future: Send> + Clone + Send {
    service_fn(
        async |item: u32| {
            if OUTAGE.contains(&(item % 1_000)) { Err(std::io::Error::other("out for lunch")) } else { Ok(item) }
        },
    )
}

/// Calls at an even pace. How the calls end is for the metrics to say.
async fn call(mut client: Client, calls: u32) {
    let timer = SharedTimer::default();
    let mut item = 0;
    while calls == 0 || item < calls {
        if let Ok(client) = client.ready().await {
            let _ = client.call(item).await;
        }
        timer.sleep(PACE).await;
        item = item.wrapping_add(1);
    }
}
