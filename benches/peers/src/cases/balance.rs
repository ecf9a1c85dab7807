//! Pick an endpoint and call it.

use std::time::Duration;

use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma, PendingRequests};

use crate::echo::{Broken, Echo};
use crate::harness::{Answer, Kind, Spec, group, owned_service, service};

/// The sizes of the endpoint set.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// The balance group.
pub fn specs() -> Vec<Spec> {
    let peer = Kind::Peer;
    let mut specs = vec![service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new)];
    for n in SIZES {
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

type List<S> = ServiceList<Vec<S>>;

fn pending(n: usize) -> Balance<List<PendingRequests<Echo<Broken>>>, u64> {
    let services = (0..n).map(|_| PendingRequests::new(Echo::new(), CompleteOnResponse::default())).collect::<Vec<_>>();
    Balance::new(ServiceList::new::<u64>(services))
}

fn ewma(n: usize) -> Balance<List<PeakEwma<Echo<Broken>>>, u64> {
    let decay = Duration::from_secs(10).as_nanos() as f64;
    let service = |_| PeakEwma::new(Echo::new(), Duration::from_millis(30), decay, CompleteOnResponse::default());
    Balance::new(ServiceList::new::<u64>((0..n).map(service).collect::<Vec<_>>()))
}
