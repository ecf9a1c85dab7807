//! A database server of the run's own: started, killed and started again like the services.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use testkit::postgres::Postgres;
use tokio::sync::oneshot;

use crate::problem::Problem;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    orders: Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Kill(oneshot::Sender<std::io::Result<()>>),
    Restart(oneshot::Sender<std::io::Result<()>>),
}

impl Server {
    /// Starts one, with its own directory and address, which waits for the disk before it acknowledges.
    pub(crate) async fn start() -> Result<Self, Problem> {
        let (orders, inbox) = channel();
        let (started, ready) = oneshot::channel();
        // A thread of its own: the server ends with the thread that started it.
        let keep = move || match Postgres::start_with(&[]) {
            Ok(server) => {
                let _ = started.send(Ok(server.url()));
                keep(server, &inbox);
            }
            Err(why) => drop(started.send(Err(why))),
        };
        thread::Builder::new()
            .name("server".into())
            .spawn(keep)
            .map_err(|why| Problem::new(format!("cannot start PostgreSQL: {why}")))?;
        match ready.await {
            Ok(Ok(url)) => Ok(Self { url, orders }),
            Ok(Err(why)) => Err(Problem::new(format!("cannot start PostgreSQL: {why}"))),
            Err(_) => Err(Problem::new("cannot start PostgreSQL")),
        }
    }

    /// Where its database is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Kills it with SIGKILL, and starts it again after `down`. Not waited for by the caller.
    pub(crate) fn kill(&self, down: Duration) {
        let orders = self.orders.clone();
        tokio::spawn(async move {
            said("kill", &orders, Order::Kill).await;
            SharedTimer::default().sleep(down).await;
            said("restart", &orders, Order::Restart).await;
        });
    }
}

async fn said(what: &str, orders: &Sender<Order>, order: impl FnOnce(oneshot::Sender<std::io::Result<()>>) -> Order) {
    let (answer, answered) = oneshot::channel();
    let _ = orders.send(order(answer));
    if let Ok(Err(error)) = answered.await {
        tracing::error!(what, %error, "PostgreSQL");
    }
}

fn keep(mut server: Postgres, inbox: &Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        // Nobody waits any more if the run is over.
        let _ = match order {
            Order::Kill(answer) => answer.send(server.kill()),
            Order::Restart(answer) => answer.send(server.restart()),
        };
    }
}
