//! Experiments in virtual time: a server with room for so many calls at once, and a queue for all the others.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::*;
use crate::time::SharedTimer;

/// A server that works on so many calls at once for so long each.
struct Server {
    room: Arc<Semaphore>,
    work: Cell<Duration>,
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// Round trips of the calls that were admitted, in the order of their ends.
    rtts: Vec<Duration>,
    refused: u64,
    limits: Vec<u32>,
}

impl Seen {
    fn percentile(&self, share: f64) -> Duration {
        let mut rtts = self.rtts.clone();
        rtts.sort();
        crate::control::percentile(&rtts, share).unwrap()
    }
}

/// Every millisecond so many calls arrive, for so long; the work may change on the way.
async fn load(limit: &AdaptiveLimit, server: Rc<Server>, per_ms: u32, millis: u64, work: impl Fn(u64) -> u64) -> Seen {
    let timer = SharedTimer::default();
    let (seen, local) = (Rc::new(std::cell::RefCell::new(Seen::default())), LocalSet::new());
    let clients = async {
        for at in 0..millis {
            server.work.set(ms(work(at)));
            for _ in 0..per_ms {
                let Ok(permit) = limit.try_acquire() else {
                    seen.borrow_mut().refused += 1;
                    continue;
                };
                let (server, seen, timer) = (server.clone(), seen.clone(), timer.clone());
                tokio::task::spawn_local(async move {
                    let started = timer.now();
                    let place = server.room.acquire().await.unwrap();
                    timer.sleep(server.work.get()).await;
                    drop(place);
                    permit.settle(Class::Success);
                    seen.borrow_mut().rtts.push(timer.now() - started);
                });
            }
            seen.borrow_mut().limits.push(limit.snapshot().limit);
            timer.sleep(ms(1)).await;
        }
    };
    local.run_until(clients).await;
    drop(local);
    Rc::into_inner(seen).unwrap().into_inner()
}

fn server(room: usize) -> Rc<Server> {
    Rc::new(Server { room: Arc::new(Semaphore::new(room)), work: Cell::new(ms(10)) })
}

#[tokio::test(start_paused = true)]
async fn explore() {
    let rules: [(&str, AdaptiveLimitBuilder); 4] = [
        ("vegas", AdaptiveLimit::builder()),
        ("gradient2", AdaptiveLimit::builder().gradient2()),
        ("aimd", AdaptiveLimit::builder().rule(Rule::Aimd { backoff: 0.9, timeout: ms(12) })),
        ("vegas200", AdaptiveLimit::builder().initial(200)),
    ];
    for (name, builder) in rules {
        let limit = builder.seed(7).build().unwrap();
        let seen = load(&limit, server(50), 10, 20_000, |at| if at < 10_000 { 10 } else { 20 }).await;
        println!("{name}: p50 {:?} p99 {:?} served {} refused {}", seen.percentile(0.5), seen.percentile(0.99), seen.rtts.len(), seen.refused);
        println!("{:?}", seen.limits.iter().step_by(100).collect::<Vec<_>>());
    }
}
