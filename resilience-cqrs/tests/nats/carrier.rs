//! A server, and a bus on it.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;
use resilience_cqrs::messaging::conformance::Carrier;
use resilience_cqrs::messaging::nats::{NatsBus, NatsBusBuilder, NatsSubscription};
use resilience_cqrs::messaging::{Bus as _, Subscribe};
use testkit::nats::Nats;

pub(super) struct Server;

impl Carrier for Server {
    type Bus = NatsBus;

    fn with(&self, law: impl AsyncFnOnce(NatsBus)) {
        run(async |server| law(patient(&server).open().await.expect("it opens")).await);
    }
}

/// Runs a test with a server of its own.
pub(super) fn run(test: impl AsyncFnOnce(Nats)) {
    let server = Nats::start().expect("a private server starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test(server));
}

/// Longer than a server takes that nobody kills, on whatever machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// For tests that kill the server: what it did not answer is asked again after a while.
pub(super) fn builder(server: &Nats) -> NatsBusBuilder {
    NatsBus::builder(server.url()).prefix("test.bus").max_bytes(64 << 20)
}

/// For tests that do not.
pub(super) fn patient(server: &Nats) -> NatsBusBuilder {
    builder(server).answer_within(SOON)
}

/// Opens a bus that may have too little patience for a busy machine, until it is open.
pub(super) async fn opened(builder: impl Fn() -> NatsBusBuilder) -> NatsBus {
    loop {
        match builder().open().await {
            Ok(bus) => return bus,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// The same for a subscription.
pub(super) async fn subscribed(bus: &NatsBus, to: Subscribe) -> NatsSubscription {
    loop {
        match bus.subscribe(to.clone()).await {
            Ok(subscription) => return subscription,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// What comes in that time, if anything does.
pub(super) async fn within<F: Future>(time: Duration, work: F) -> Option<F::Output> {
    let timer = SharedTimer::default();
    match select(pin!(work), pin!(timer.sleep(time))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
