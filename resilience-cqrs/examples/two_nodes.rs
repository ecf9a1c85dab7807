//! Two tills that sell from one list, each with a store of its own, while the line between them is cut.
//!
//! `cargo run -p resilience-cqrs --example two_nodes`
//!
//! Each node changes its own copy and asks nobody. A relay reads a node's log and publishes what it finds; the other
//! node takes it in and acknowledges. While the line is down both go on; when it is up again the relays go on where they
//! were, and both copies are the same. What is published may arrive twice or late, and nothing has to be decided.
//!
//! The line stands for whatever carries messages between your nodes, if it says when one was taken in.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use resilience_core::time::SharedTimer;
use resilience_cqrs::aggregate::{EventCodec, Json, Repository};
use resilience_cqrs::conflict::{
    Change, HybridClock, LwwRegister, Merge, Merged, NodeId, OrSet, PnCounter, Replica, Replicated,
};
use resilience_cqrs::{EventStore, Position, Query, SqliteStore};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

type Failure = Box<dyn Error + Send + Sync>;

/// Clocks may differ by this much; writes from further ahead wait.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// How long a relay waits before it publishes anew what somebody could not take in.
const RETRY: Duration = Duration::from_millis(100);

/// What the nodes share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct List {
    articles: OrSet<String>,
    notice: LwwRegister<String>,
    sold: PnCounter,
}

impl Merge for List {
    fn merge(&mut self, other: Self) {
        self.articles.merge(other.articles);
        self.notice.merge(other.notice);
        self.sold.merge(other.sold);
    }
}

impl Replicated for List {
    const STREAM: &'static str = "list";
}

/// One node: its store, its clock, and what may be done.
#[derive(Clone)]
struct Node {
    id: NodeId,
    lists: Repository<Replica<List>, SqliteStore>,
    clock: Arc<Mutex<HybridClock>>,
    timer: SharedTimer,
}

impl Node {
    async fn open(id: u64, directory: &Path) -> Result<Self, Failure> {
        let store = SqliteStore::open(directory.join(format!("node-{id}.db"))).await?;
        let lists: Repository<Replica<List>, _> = Repository::new(store);
        // After a restart the clock goes on after what is stored.
        let last = lists.load("today").await?.state.state().notice.stamp();
        let clock = HybridClock::resume(NodeId::new(id), MAX_DRIFT, last.map(|stamp| stamp.time).unwrap_or_default());
        let clock = Arc::new(Mutex::new(clock));
        Ok(Self { id: NodeId::new(id), lists, clock, timer: SharedTimer::default() })
    }

    async fn add(&self, article: &str) -> Result<(), Failure> {
        let (id, article) = (self.id, article.to_owned());
        self.change(move |list| List { articles: list.articles.add(id, article.clone()), ..List::default() }).await
    }

    async fn remove(&self, article: &str) -> Result<(), Failure> {
        let article = article.to_owned();
        self.change(move |list| List { articles: list.articles.remove(&article), ..List::default() }).await
    }

    async fn sell(&self, pieces: u64) -> Result<(), Failure> {
        let id = self.id;
        self.change(move |list| List { sold: list.sold.increment(id, pieces), ..List::default() }).await
    }

    async fn announce(&self, notice: &str) -> Result<(), Failure> {
        let stamp = self.clock.lock().map_err(|_| "the clock is broken")?.tick(self.timer.wall())?;
        let notice = notice.to_owned();
        self.change(move |list| List { notice: list.notice.set(stamp, notice.clone()), ..List::default() }).await
    }

    async fn change(&self, change: impl Fn(&mut List) -> List + Send + Sync + 'static) -> Result<(), Failure> {
        self.lists.execute("today", &Change::local(change)).await?;
        Ok(())
    }

    /// Takes in what another node has published; done when it is stored.
    async fn take_in(&self, delta: Merged<List>) -> Result<(), Failure> {
        if let Some(stamp) = delta.0.notice.stamp() {
            self.clock.lock().map_err(|_| "the clock is broken")?.observe(stamp.time, self.timer.wall())?;
        }
        self.lists.execute("today", &Change::remote(delta)).await?;
        Ok(())
    }

    async fn list(&self) -> Result<List, Failure> {
        Ok(self.lists.load("today").await?.state.into_state())
    }

    /// Reads the node's log and publishes all that is merged here, in order, for ever.
    ///
    /// How far it has come is kept in memory only: a relay that starts over publishes what is known already.
    async fn relay(&self, line: &Line) -> Result<(), Failure> {
        let (store, mut at) = (self.lists.store(), Position::ORIGIN);
        let merged = Query::types([Merged::<List>::KIND]);
        loop {
            let page = store.read(at, &merged, 100).await?;
            for recorded in &page.events {
                let delta: Merged<List> = Json.decode(recorded)?;
                let message = serde_json::to_vec(&delta)?;
                while line.publish(self.id, &message).await.is_err() {
                    match line.is_up() {
                        true => self.timer.sleep(RETRY).await, // Somebody could not take it in.
                        false => line.up().await,
                    }
                }
            }
            at = page.next;
            if page.is_last() {
                store.wait_past(at).await;
            }
        }
    }

    /// Takes in what others publish, for ever. What cannot be taken in now is not acknowledged, and comes again.
    async fn follow(&self, mut messages: mpsc::Receiver<Message>) -> Result<(), Failure> {
        while let Some((message, taken)) = messages.recv().await {
            match self.take_in(serde_json::from_slice(&message)?).await {
                Ok(()) => drop(taken.send(())),
                Err(error) => eprintln!("{}: not now: {error}", self.id),
            }
        }
        Ok(())
    }
}

/// What was published, and where to say that it was taken in.
type Message = (Vec<u8>, oneshot::Sender<()>);

/// Publish and subscribe within one process, over a line that can be cut. A bus between processes goes in its place.
struct Line {
    up: watch::Sender<bool>,
    subscribers: Mutex<HashMap<NodeId, mpsc::Sender<Message>>>,
}

/// Nobody knows whether it arrived.
struct Lost;

impl Line {
    fn new() -> Self {
        Self { up: watch::Sender::new(true), subscribers: Mutex::default() }
    }

    fn subscribe(&self, node: NodeId) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(16);
        if let Ok(mut subscribers) = self.subscribers.lock() {
            subscribers.insert(node, sender);
        }
        receiver
    }

    /// Sends to all others; done when each has taken it in.
    async fn publish(&self, from: NodeId, message: &[u8]) -> Result<(), Lost> {
        let others: Vec<_> = match self.subscribers.lock() {
            Ok(subscribers) => {
                subscribers.iter().filter(|(node, _)| **node != from).map(|(_, to)| to.clone()).collect()
            }
            Err(_) => return Err(Lost),
        };
        let deliveries = others.into_iter().map(async |to| {
            let (taken, arrived) = oneshot::channel();
            to.send((message.to_vec(), taken)).await.map_err(|_| Lost)?;
            arrived.await.map_err(|_| Lost)
        });
        let mut up = self.up.subscribe();
        if !*up.borrow() {
            return Err(Lost);
        }
        tokio::select! {
            // The line went down before all had answered. What is under way arrives or does not.
            _ = up.wait_for(|up| !up) => Err(Lost),
            all = join_all(deliveries) => all.into_iter().collect(),
        }
    }

    async fn up(&self) {
        // The sender lives as long as the line, so there is always an answer.
        let _ = self.up.subscribe().wait_for(|up| *up).await;
    }

    fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    fn cut(&self) {
        self.up.send_replace(false);
    }

    fn heal(&self) {
        self.up.send_replace(true);
    }
}

/// Waits until both nodes have the same list.
async fn same(a: &Node, b: &Node) -> Result<List, Failure> {
    loop {
        let heads = (a.lists.store().head(), b.lists.store().head());
        let (list, other) = (a.list().await?, b.list().await?);
        if list == other {
            return Ok(list);
        }
        tokio::select! {
            _ = a.lists.store().wait_past(heads.0) => {}
            _ = b.lists.store().wait_past(heads.1) => {}
        }
    }
}

fn show(what: &str, list: &List) {
    let articles: Vec<_> = list.articles.iter().map(String::as_str).collect();
    let notice = list.notice.get().map_or("", String::as_str);
    println!("{what:>10}: {:<24} sold {:>2}, {notice:?}", articles.join(", "), list.sold.value());
}

/// The day of two tills, and what they agree on in the evening.
async fn day() -> Result<List, Failure> {
    let directory = tempfile::tempdir()?;
    let (a, b, line) = (Node::open(1, directory.path()).await?, Node::open(2, directory.path()).await?, Line::new());
    let work = async {
        a.add("lamp").await?;
        a.add("chair").await?;
        b.sell(2).await?;
        a.announce("open").await?;
        show("in peace", &same(&a, &b).await?);

        line.cut();
        // Both sell; one takes the lamp off the list, the other has just got a new one in.
        a.remove("lamp").await?;
        a.remove("chair").await?;
        a.sell(3).await?;
        b.add("lamp").await?;
        b.add("table").await?;
        b.sell(5).await?;
        b.announce("closed at six").await?;
        let (list, other) = (a.list().await?, b.list().await?);
        assert_ne!(list, other, "the line is cut");
        show("node 1", &list);
        show("node 2", &other);

        line.heal();
        let list = same(&a, &b).await?;
        show("healed", &list);
        Ok(list)
    };
    // Who subscribes after something was published has missed it. The relays and the followers end with the day.
    let (to_a, to_b) = (line.subscribe(a.id), line.subscribe(b.id));
    tokio::select! {
        list = work => list,
        ended = async { tokio::try_join!(a.relay(&line), b.relay(&line), a.follow(to_a), b.follow(to_b)) } => {
            Err(ended.err().unwrap_or_else(|| "the line is gone".into()))
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    day().await.map(drop)
}

/// The two diverge, the line heals, and nothing is lost or comes back: the new lamp is there, the old one and the chair
/// are not, every piece sold is counted, and the later notice stands.
#[tokio::test]
async fn two_nodes_that_were_cut_off_agree_once_the_line_is_up() {
    let list = day().await.unwrap();
    assert_eq!(list.articles.iter().collect::<Vec<_>>(), ["lamp", "table"]);
    assert_eq!((list.sold.value(), list.notice.get().map(String::as_str)), (10, Some("closed at six")));
}
