//! Pick an endpoint and call it.

use std::net::SocketAddr;
use std::time::Duration;

use resilience_discovery::{Address, Balance, Discovery, Endpoint, StaticSource};
use tower::balance::p2c::Balance as TowerBalance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma, PendingRequests};

use super::bulkhead::keeping;
use super::retry::VALID;
use crate::echo::{Broken, Echo, Failure};
use crate::harness::{Answer, Kind, Spec, group, owned_service, service};

/// The sizes of the endpoint set.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// The balance group.
pub fn specs() -> Vec<Spec> {
    let peer = Kind::Peer;
    let mut specs = vec![service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new)];
    for n in SIZES {
        specs.push(service(format!("balance N={n}"), Kind::Ours, Answer::Ok, move || ours(n)));
        specs.push(owned_service(
            format!("tower p2c PendingRequests N={n} (not Clone)"),
            peer,
            Answer::Ok,
            move || pending(n),
        ));
        specs.push(owned_service(format!("tower p2c PeakEwma N={n} (not Clone)"), peer, Answer::Ok, move || ewma(n)));
        specs.push(service(format!("tower Buffer<p2c PendingRequests> N={n}"), peer, Answer::Ok, move || {
            Buffer::new(pending(n), 1_024)
        }));
        specs.push(service(format!("tower Buffer<p2c PeakEwma> N={n}"), peer, Answer::Ok, move || {
            Buffer::new(ewma(n), 1_024)
        }));
    }
    group("h1 balance: pick and call", specs)
}

/// Our balancer over a fixed list; the discovery lives for as long as the process.
fn ours(n: usize) -> Balance<Echo<Failure>, u64> {
    let endpoint = |i: usize| {
        let (a, b) = (i / 250, i % 250 + 1);
        Endpoint::at(Address::from(SocketAddr::from(([10, 0, a as u8, b as u8], 80))))
    };
    let discovery = Discovery::builder().build(StaticSource::new((0..n).map(endpoint))).expect(VALID);
    let balance = Balance::builder().build(&discovery, |_: &Endpoint| Echo::<Failure>::new()).expect(VALID);
    keeping(balance, discovery)
}

type List<S> = ServiceList<Vec<S>>;

fn pending(n: usize) -> TowerBalance<List<PendingRequests<Echo<Broken>>>, u64> {
    let services = (0..n).map(|_| PendingRequests::new(Echo::new(), CompleteOnResponse::default())).collect::<Vec<_>>();
    TowerBalance::new(ServiceList::new::<u64>(services))
}

fn ewma(n: usize) -> TowerBalance<List<PeakEwma<Echo<Broken>>>, u64> {
    let decay = Duration::from_secs(10).as_nanos() as f64;
    let service = |_| PeakEwma::new(Echo::new(), Duration::from_millis(30), decay, CompleteOnResponse::default());
    TowerBalance::new(ServiceList::new::<u64>((0..n).map(service).collect::<Vec<_>>()))
}
