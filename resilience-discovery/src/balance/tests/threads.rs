//! Many threads at once.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::Error;
use tower::{Service, ServiceExt};

use crate::testing::{Heard, endpoints, told};
use crate::{Balance, Discovery, Endpoint};

/// A service that notes calls made after its endpoint was retired.
#[derive(Clone, Debug)]
struct Watched {
    retired: Arc<AtomicBool>,
    late: Arc<AtomicUsize>,
}

impl Service<u32> for Watched {
    type Response = u32;
    type Error = Error<Infallible>;
    type Future = Ready<Result<u32, Error<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        if self.retired.load(Ordering::Relaxed) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        ready(Ok(request))
    }
}

#[test]
fn picks_from_many_threads_survive_a_membership_that_never_rests() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let heard = Heard::default();
    let late = Arc::new(AtomicUsize::new(0));
    let (registry, source) = told();
    let all = endpoints(64);
    let retired: Vec<Arc<AtomicBool>> = all.iter().map(|_| Arc::default()).collect();
    let balance = runtime.block_on(async {
        let discovery =
            Discovery::builder().debounce(Duration::ZERO).max_shrink(1.0, Duration::ZERO).build(source).unwrap();
        let (retired, late) = (retired.clone(), late.clone());
        let make = move |endpoint: &Endpoint| {
            let index = usize::from(endpoint.address().port()) - 1;
            Watched { retired: retired[index].clone(), late: late.clone() }
        };
        let balance: Balance<Watched, u32> =
            Balance::builder().listener(heard.clone()).build(&discovery, make).unwrap();
        registry.say(all.clone());
        balance.clone().oneshot(0).await.unwrap();
        balance
    });

    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let pickers: Vec<_> = (0..4)
        .map(|_| {
            let (mut caller, stop, runtime) = (balance.clone(), stop.clone(), runtime.handle().clone());
            let made = made.clone();
            std::thread::spawn(move || {
                // A call that waits needs the runtime's clock.
                let _entered = runtime.enter();
                let mut calls = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(
                        futures::executor::block_on(async { caller.ready().await?.call(calls).await }).unwrap(),
                        calls
                    );
                    calls += 1;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                calls
            })
        })
        .collect();

    runtime.block_on(async {
        for round in 1..=100usize {
            let gone = (round * 7) % 64..((round * 7) % 64 + 20).min(64);
            let left = |index: &usize| !gone.contains(index);
            let listed: Vec<Endpoint> = (0..64).filter(left).map(|index| all[index].clone()).collect();
            let count = listed.len();
            registry.say(listed);
            while balance.snapshot().endpoints.len() != count {
                tokio::task::yield_now().await;
            }
            for index in gone.clone() {
                retired[index].store(true, Ordering::Relaxed);
            }
            // Whoever was about to call when the list changed has done so: what comes from now on counts as late.
            for index in gone {
                retired[index].store(false, Ordering::Relaxed);
            }
            registry.say(all.clone());
            while balance.snapshot().endpoints.len() != 64 {
                tokio::task::yield_now().await;
            }
        }
    });
    // On a machine with other things to do the membership may have been faster than the pickers.
    while made.load(Ordering::Relaxed) <= 1000 && !pickers.iter().any(|picker| picker.is_finished()) {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let calls: u32 = pickers.into_iter().map(|picker| picker.join().unwrap()).sum();
    assert!(calls > 1000, "{calls}");
    let snapshot = balance.snapshot();
    assert!(snapshot.endpoints.iter().all(|status| status.in_flight == 0), "{snapshot:?}");
    // Every endpoint that was ever removed has been drained, once.
    assert_eq!(heard.count("endpoint_drained"), heard.count("endpoint_removed"));
    assert!(heard.count("endpoint_removed") > 1000);
}
