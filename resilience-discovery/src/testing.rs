//! What the tests of this crate share: sources told what to say, and listeners that remember.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resilience_core::event::{Event, Sink};
use resilience_core::time::{SharedTimer, Timestamp};
use tokio::sync::mpsc;

use crate::{Endpoint, Source, SourceError, Update};

/// An endpoint named `id` at port `port` of the loopback address.
pub(crate) fn endpoint(id: &str, port: u16) -> Endpoint {
    Endpoint::new(id, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// `count` endpoints named by number.
pub(crate) fn endpoints(count: usize) -> Vec<Endpoint> {
    (0..count).map(|n| endpoint(&format!("e{n:05}"), 1 + u16::try_from(n).unwrap())).collect()
}

/// Says what it is told, and notes when it is asked.
#[derive(Debug)]
pub(crate) struct Told {
    words: mpsc::UnboundedReceiver<Result<Update, SourceError>>,
    asked: Arc<Mutex<Vec<Timestamp>>>,
    heartbeat: Option<Duration>,
}

/// Tells a [`Told`] what to say.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    words: mpsc::UnboundedSender<Result<Update, SourceError>>,
    pub(crate) asked: Arc<Mutex<Vec<Timestamp>>>,
}

pub(crate) fn told() -> (Teller, Told) {
    let (sender, words) = mpsc::unbounded_channel();
    let asked = Arc::default();
    (Teller { words: sender, asked: Arc::clone(&asked) }, Told { words, asked, heartbeat: None })
}

impl Told {
    pub(crate) fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }
}

impl Teller {
    pub(crate) fn say(&self, endpoints: impl Into<Vec<Endpoint>>) {
        self.words.send(Ok(Update::Endpoints(endpoints.into()))).unwrap();
    }

    pub(crate) fn confirm(&self) {
        self.words.send(Ok(Update::Unchanged)).unwrap();
    }

    pub(crate) fn fail(&self, error: &str) {
        self.words.send(Err(SourceError::new(error))).unwrap();
    }

    /// When the source was asked.
    pub(crate) fn asked(&self) -> Vec<Timestamp> {
        self.asked.lock().unwrap().clone()
    }

    /// Whether the source was dropped.
    pub(crate) fn is_alone(&self) -> bool {
        self.words.is_closed()
    }
}

impl Source for Told {
    async fn next(&mut self, timer: &SharedTimer) -> Result<Update, SourceError> {
        self.asked.lock().unwrap().push(timer.now());
        self.words.recv().await.unwrap_or_else(|| Err(SourceError::new("the stream ended")))
    }

    fn heartbeat(&self) -> Option<Duration> {
        self.heartbeat
    }
}

/// Remembers the names of what happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<&'static str>>>);

impl Heard {
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|heard| **heard == name).count()
    }
}

impl Sink for Heard {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.fact.name());
    }
}

/// Lets every task that is ready run, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Moves tokio's paused clock, and lets what that wakes run.
pub(crate) async fn pass(duration: Duration) {
    tokio::time::advance(duration).await;
    settle().await;
}
