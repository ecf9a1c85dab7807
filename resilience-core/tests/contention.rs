//! What a call costs when another thread calls at the same time.
//!
//! A program measures it better (`cargo bench -p benches --bench layers`, and the peers beside it); this is the bound
//! below which it must not fall again. It measures real time, so what other programs take from the machine is left out:
//! of many rounds the fastest counts. A build that is not optimised takes some 160 ns a call, so what it finds is a lock both
//! wait for; a count that both write costs a quarter of that, and shows only in the tables.
#![allow(clippy::disallowed_methods)] // It measures.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use resilience_core::Class;
use resilience_core::circuit_breaker::CircuitBreaker;

const CALLS: u32 = 10_000;
/// Rounds of which the fastest counts, and how often as many again are made where others took the machine meanwhile.
const ROUNDS: u32 = 40;
const AGAIN: u32 = 10;

/// What a round takes each of so many threads, at best.
fn round(breaker: &CircuitBreaker, threads: u32) -> Duration {
    let begin = Barrier::new(threads as usize);
    let one = || {
        begin.wait();
        let started = Instant::now();
        for _ in 0..CALLS {
            breaker.try_acquire().expect("closed").settle(Class::Success);
        }
        started.elapsed()
    };
    let rounds = (0..ROUNDS).map(|_| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it measures")).max().expect("there are some")
        })
    });
    rounds.min().expect("there are some")
}

#[test]
fn two_threads_on_one_breaker_do_not_pay_for_each_other() {
    // CP6: with a lock, a count of references or a window that both write, a second core makes each call cost 2.2
    // (failsafe, seatbelt) to 40 times as much (tower-resilience).
    let in_a_row = CircuitBreaker::builder().consecutive_failures(5).build().unwrap();
    let by_rate = CircuitBreaker::builder().build().unwrap();
    for (breaker, which) in [(in_a_row, "failures in a row"), (by_rate, "a rate")] {
        let (mut alone, mut together) = (round(&breaker, 1), round(&breaker, 2));
        for _ in 0..AGAIN {
            if together > 2 * alone {
                (alone, together) = (alone.min(round(&breaker, 1)), together.min(round(&breaker, 2)));
            }
        }
        assert!(together <= 2 * alone, "{which}: {together:?} for {CALLS} calls, and {alone:?} alone");
    }
}
