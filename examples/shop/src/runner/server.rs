//! Servers of the run's own, a database or a bus: started, killed and started again like the services.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::messaging::Bus;
use testkit::nats::Nats;
use testkit::postgres::Postgres;
use tokio::sync::oneshot;

use crate::cli::{BusArg, RunArgs, StoreArg};
use crate::domain::Victim;
use crate::problem::Problem;
use crate::services::notices;
use crate::stores::{self, BusAt, Stores};

/// The servers of a run; they end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    postgres: Option<Server>,
    nats: Option<Server>,
}

impl Servers {
    /// Starts what the run asks for, and writes down in `dir` what it uses.
    pub(crate) async fn start(args: &RunArgs, dir: &Path) -> Result<Self, Problem> {
        let (now, mut servers) = (SharedTimer::default().wall(), Self::default());
        let mut stores = match &args.store {
            StoreArg::Sqlite => Stores::in_files(),
            StoreArg::Server(url) => Stores::on_server(url, now),
            StoreArg::Postgres => {
                let started = Server::start::<Postgres>("PostgreSQL").await?;
                let stores = Stores::on_server(&started.url, now);
                servers.postgres = Some(started);
                stores
            }
        };
        let url = match &args.bus {
            None => None,
            Some(BusArg::Server(url)) => Some(url.clone()),
            Some(BusArg::Nats) => Some(servers.nats.insert(Server::start::<Nats>("NATS").await?).url.clone()),
        };
        stores.bus = url.map(|url| BusAt { url, prefix: format!("shop-{}", now.as_unix_millis()) });
        if let Some(address) = &stores.bus {
            // Before anything is published: a group hears of what comes after its first subscription.
            let subscribed = stores::bus(address).await?.subscribe(notices::subscription()).await;
            drop(subscribed.map_err(|why| Problem::new(format!("cannot subscribe to the bus: {why}")))?);
        }
        stores.write(dir)?;
        Ok(servers)
    }

    /// Kills one with SIGKILL, and starts it again after `down`. Not waited for.
    pub(crate) fn kill(&self, victim: Victim, down: Duration) {
        let server = if victim == Victim::Nats { &self.nats } else { &self.postgres };
        server.iter().for_each(|server| server.kill(down));
    }
}

/// What is killed and started again.
trait Killable: Sized + 'static {
    fn start() -> io::Result<Self>;
    fn url(&self) -> String;
    fn kill(&mut self) -> io::Result<()>;
    fn restart(&mut self) -> io::Result<()>;
}

impl Killable for Postgres {
    /// It waits for the disk before it acknowledges.
    fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Self::kill(self)
    }

    fn restart(&mut self) -> io::Result<()> {
        Self::restart(self)
    }
}

impl Killable for Nats {
    fn start() -> io::Result<Self> {
        Self::start()
    }

    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Self::kill(self)
    }

    fn restart(&mut self) -> io::Result<()> {
        Self::restart(self)
    }
}

#[derive(Debug)]
struct Server {
    url: String,
    orders: Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Kill(oneshot::Sender<io::Result<()>>),
    Restart(oneshot::Sender<io::Result<()>>),
}

impl Server {
    /// Starts one, with its own directory and address.
    async fn start<K: Killable>(what: &'static str) -> Result<Self, Problem> {
        let (orders, inbox) = channel();
        let (started, ready) = oneshot::channel();
        // A thread of its own: the server ends with the thread that started it.
        let keep = move || match K::start() {
            Ok(server) => {
                let _ = started.send(Ok(server.url()));
                keep(server, &inbox);
            }
            Err(why) => drop(started.send(Err(why))),
        };
        let failed = |why: io::Error| Problem::new(format!("cannot start {what}: {why}"));
        thread::Builder::new().name(what.into()).spawn(keep).map_err(failed)?;
        match ready.await {
            Ok(started) => Ok(Self { url: started.map_err(failed)?, orders }),
            Err(_) => Err(Problem::new(format!("cannot start {what}"))),
        }
    }

    fn kill(&self, down: Duration) {
        let orders = self.orders.clone();
        tokio::spawn(async move {
            said(&orders, Order::Kill).await;
            SharedTimer::default().sleep(down).await;
            said(&orders, Order::Restart).await;
        });
    }
}

async fn said(orders: &Sender<Order>, order: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Order) {
    let (answer, answered) = oneshot::channel();
    let _ = orders.send(order(answer));
    if let Ok(Err(error)) = answered.await {
        tracing::error!(%error, "a server of the run");
    }
}

fn keep(mut server: impl Killable, inbox: &Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        // Nobody waits any more if the run is over.
        let _ = match order {
            Order::Kill(answer) => answer.send(server.kill()),
            Order::Restart(answer) => answer.send(server.restart()),
        };
    }
}
