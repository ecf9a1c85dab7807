//! What no layer can beat.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use resilience_core::time::{CoarseTimer, Timer};
use tokio::sync::Semaphore;

use crate::echo::{Echo, EchoPending, Failure};
use crate::harness::{Answer, Kind, Spec, function, group, service};

/// The floors.
pub fn specs() -> Vec<Spec> {
    let floor = Kind::Floor;
    group(
        "a floors",
        vec![
            service("echo", floor, Answer::Ok, Echo::<Infallible>::new),
            service("echo whose error is a stack's", floor, Answer::Ok, Echo::<Failure>::new),
            service("echo, pending once", floor, Answer::Ok, EchoPending::<Infallible>::new),
            function("fn call", floor, Answer::Ok, || (), |(), i| black_box(i) < u64::MAX),
            function("shared atomic fetch_add", floor, Answer::Ok, AtomicU64::default, |cell, i| {
                cell.fetch_add(i, Ordering::Relaxed);
                true
            }),
            function(
                "shared std Mutex lock and unlock",
                floor,
                Answer::Ok,
                || Mutex::new(0),
                |cell, i| cell.lock().map(|mut value| *value ^= i).is_ok(),
            ),
            function(
                "Instant::now",
                floor,
                Answer::Ok,
                || (),
                |(), _| {
                    black_box(Instant::now());
                    true
                },
            ),
            function(
                "coarse clock",
                floor,
                Answer::Ok,
                || (),
                |(), _| {
                    black_box(CoarseTimer.now());
                    true
                },
            ),
            function(
                "tokio Semaphore try_acquire and release",
                floor,
                Answer::Ok,
                || Arc::new(Semaphore::new(64)),
                |gate, _| gate.try_acquire().is_ok(),
            ),
        ],
    )
}
