//! A fleet of services under the test's control.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use resilience_core::{Elapsed, Error, Rejected};
use tokio::sync::watch;
use tower::{Service, ServiceExt};

use crate::testing::{Heard, Teller, settle, told};
use crate::{Balance, Discovery, Endpoint};

pub(super) type Answer = Result<String, Error<&'static str>>;

/// How a server answers readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    No,
    Broken,
}

/// One server, by endpoint and address; shared by all instances of its service.
#[derive(Debug)]
pub(super) struct Server {
    ready: Mutex<(Ready, Vec<Waker>)>,
    answer: Mutex<Result<(), Error<&'static str>>>,
    gate: watch::Sender<bool>,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Services made for it.
    pub(super) made: usize,
    /// Instances alive.
    pub(super) alive: usize,
    pub(super) polls: usize,
    pub(super) calls: usize,
}

impl Server {
    pub(super) fn set(&self, ready: Ready) {
        let wakers = {
            let mut state = self.ready.lock().unwrap();
            state.0 = ready;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn refuse_with(&self, rejected: Option<Rejected>) {
        *self.answer.lock().unwrap() = rejected.map_or(Ok(()), |rejected| Err(rejected.into()));
    }

    /// Whether calls are answered; while they are not, they wait.
    pub(super) fn answers(&self, answers: bool) {
        self.gate.send_replace(answers);
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap()
    }
}

/// The instance a balancer holds. Calling one that was not polled ready fails the test.
pub(super) struct Client {
    name: String,
    server: Arc<Server>,
    is_ready: bool,
}

impl Client {
    fn new(name: String, server: Arc<Server>) -> Self {
        server.counts.lock().unwrap().alive += 1;
        Self { name, server, is_ready: false }
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(self.name.clone(), self.server.clone())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server.counts.lock().unwrap().alive -= 1;
    }
}

impl Service<&'static str> for Client {
    type Response = String;
    type Error = Error<&'static str>;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.server.counts.lock().unwrap().polls += 1;
        let mut state = self.server.ready.lock().unwrap();
        self.is_ready = state.0 == Ready::Yes;
        match state.0 {
            Ready::Yes => Poll::Ready(Ok(())),
            Ready::Broken => Poll::Ready(Err(Error::Service("worn out"))),
            Ready::No => {
                state.1.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "{} called without being ready", self.name);
        self.server.counts.lock().unwrap().calls += 1;
        let mut gate = self.server.gate.subscribe();
        let answer = self.server.answer.lock().unwrap().clone().map(|()| format!("{}: {request}", self.name));
        Box::pin(async move {
            if gate.wait_for(|answers| *answers).await.is_err() {
                return Err(Elapsed::new(Duration::ZERO).into());
            }
            answer
        })
    }
}

/// Servers, a registry that lists them, and a balancer over them.
pub(super) struct Fleet {
    pub(super) registry: Teller,
    pub(super) balance: Balance<Client, &'static str>,
    pub(super) heard: Heard,
    servers: Servers,
}

#[derive(Clone, Default)]
struct Servers(Arc<Mutex<BTreeMap<String, Arc<Server>>>>);

impl Servers {
    /// The server of `endpoint`, which exists and is ready before anybody makes a service for it.
    fn of(&self, endpoint: &Endpoint) -> Arc<Server> {
        let make = || {
            Arc::new(Server {
                ready: Mutex::new((Ready::Yes, Vec::new())),
                answer: Mutex::new(Ok(())),
                gate: watch::Sender::new(true),
                counts: Mutex::default(),
            })
        };
        self.0.lock().unwrap().entry(endpoint.to_string()).or_insert_with(make).clone()
    }
}

impl Fleet {
    /// A fleet of `endpoints`, known and warmed up.
    pub(super) async fn of<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let fleet = Self::unlisted();
        fleet.list(endpoints).await;
        fleet
    }

    /// A fleet of which the balancer knows nobody yet.
    pub(super) fn unlisted() -> Self {
        let (registry, source) = told();
        let heard = Heard::default();
        let servers = Servers::default();
        let discovery =
            Discovery::builder().name("payments").debounce(Duration::ZERO).max_shrink(1.0, Duration::ZERO).seed(1);
        let discovery = discovery.confirm_empty(1, Duration::ZERO).build(source).unwrap();
        let make = {
            let servers = servers.clone();
            move |endpoint: &Endpoint| {
                let server = servers.of(endpoint);
                server.counts.lock().unwrap().made += 1;
                Client::new(endpoint.to_string(), server)
            }
        };
        let balance = Balance::builder().listener(heard.clone()).seed(7).build(&discovery, make).unwrap();
        Self { registry, balance, heard, servers }
    }

    /// Lists `endpoints`, and lets the news travel.
    pub(super) async fn list<'a>(&self, endpoints: impl IntoIterator<Item = &'a Endpoint>) {
        self.registry.say(endpoints.into_iter().cloned().collect::<Vec<_>>());
        settle().await;
    }

    pub(super) fn server(&self, endpoint: &Endpoint) -> Arc<Server> {
        self.servers.of(endpoint)
    }

    pub(super) async fn call(&self) -> Answer {
        self.balance.clone().oneshot("hello").await
    }

    pub(super) fn in_flight(&self, endpoint: &Endpoint) -> Option<usize> {
        let snapshot = self.balance.snapshot();
        let status = snapshot.endpoints.iter().find(|status| status.endpoint == *endpoint);
        status.map(|status| status.in_flight)
    }
}
