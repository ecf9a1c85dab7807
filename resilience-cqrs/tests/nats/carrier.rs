//! A server, and a bus on it.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;
use resilience_cqrs::messaging::conformance::Carrier;
use resilience_cqrs::messaging::nats::{NatsBus, NatsBusBuilder};
use testkit::nats::Nats;

pub(super) struct Server;

impl Carrier for Server {
    type Bus = NatsBus;

    fn with(&self, law: impl AsyncFnOnce(NatsBus)) {
        run(async |server| law(builder(&server).open().await.expect("it opens")).await);
    }
}

/// Runs a test with a server of its own.
pub(super) fn run(test: impl AsyncFnOnce(Nats)) {
    let server = Nats::start().expect("a private server starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test(server));
}

pub(super) fn builder(server: &Nats) -> NatsBusBuilder {
    NatsBus::builder(server.url()).prefix("test.bus").max_bytes(64 << 20)
}

/// What comes in that time, if anything does.
pub(super) async fn within<F: Future>(time: Duration, work: F) -> Option<F::Output> {
    let timer = SharedTimer::default();
    match select(pin!(work), pin!(timer.sleep(time))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
