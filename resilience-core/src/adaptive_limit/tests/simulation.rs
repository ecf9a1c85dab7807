//! Experiments in virtual time: a server with room for so many calls at once, a queue for all the others, and clients who
//! send twice what it can do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;
use crate::rng::Rng;
use crate::time::Timer;

/// Works on so many calls at once, for so long each.
struct Server {
    room: u32,
    work: fn(Duration, &mut Rng) -> Duration,
}

impl Server {
    /// Fifty calls at once, each 10 ms.
    const STEADY: Self = Self { room: 50, work: |_, _| ms(10) };
    /// The same on average, each drawn from an exponential distribution.
    const VARYING: Self = Self { room: 50, work: |_, rng| ms(10).mul_f64(exponential(rng)) };
    /// The path takes 10 ms at first, and 20 ms from the twentieth second on.
    const MOVED: Self = Self { room: 50, work: |at, _| ms(if at < MOVE { 10 } else { 20 }) };
}

const MOVE: Duration = Duration::from_secs(20);
/// Calls a second that fifty at 10 ms are.
const CAPACITY: u64 = 5_000;

/// With mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.unit()).ln()
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// When a call ended, how long it took, and the limit then.
    calls: Vec<(Duration, Duration, u32)>,
}

impl Seen {
    /// Those of the calls that ended within these seconds.
    fn within(&self, from: u64, to: u64) -> Seen {
        let within = Duration::from_secs(from)..Duration::from_secs(to);
        Seen { calls: self.calls.iter().copied().filter(|call| within.contains(&call.0)).collect() }
    }

    fn p99(&self) -> Duration {
        let mut rtts: Vec<_> = self.calls.iter().map(|call| call.1).collect();
        rtts.sort();
        crate::control::percentile(&rtts, 0.99).unwrap()
    }

    fn mean_limit(&self) -> f64 {
        self.calls.iter().map(|call| f64::from(call.2)).sum::<f64>() / self.calls.len() as f64
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrival,
    End(usize),
}

/// Calls arrive at random, twice as many as there is capacity, for so many seconds.
fn run(builder: AdaptiveLimitBuilder, server: &Server, seconds: u64) -> Seen {
    let timer = ManualTimer::new();
    let limit = builder.timer(timer.clone()).seed(7).build().unwrap();
    let (mut rng, mut seen, start) = (Rng::seeded(11), Seen::default(), timer.now());
    let (mut events, mut queue, mut working) = (BinaryHeap::new(), VecDeque::new(), 0);
    let mut calls: Vec<Option<(Duration, Permit)>> = Vec::new();
    events.push(Reverse((Duration::ZERO, What::Arrival)));
    while let Some(Reverse((at, what))) = events.pop() {
        if at > Duration::from_secs(seconds) {
            break;
        }
        timer.advance(at.saturating_sub(timer.now() - start));
        match what {
            What::Arrival => {
                let next = Duration::from_secs_f64(exponential(&mut rng) / (2 * CAPACITY) as f64);
                events.push(Reverse((at + next, What::Arrival)));
                if let Ok(permit) = limit.try_acquire() {
                    queue.push_back(calls.len());
                    calls.push(Some((at, permit)));
                }
            }
            What::End(call) => {
                let (began, permit) = calls[call].take().unwrap();
                permit.settle(Class::Success);
                working -= 1;
                seen.calls.push((at, at - began, limit.snapshot().limit));
            }
        }
        while working < server.room
            && let Some(call) = queue.pop_front()
        {
            working += 1;
            events.push(Reverse((at + (server.work)(at, &mut rng), What::End(call))));
        }
    }
    seen
}

/// The limit is within a fifth of the capacity, and throughput within a tenth.
fn assert_settled(seen: &Seen, seconds: u64) {
    let limit = seen.mean_limit();
    assert!((40.0..=60.0).contains(&limit), "limit {limit}");
    assert_busy(seen, seconds);
}

fn assert_busy(seen: &Seen, seconds: u64) {
    let goodput = seen.calls.len() as u64 / seconds;
    assert!(goodput >= CAPACITY * 9 / 10, "{goodput} a second");
}

#[test]
fn an_overloaded_server_is_kept_busy_and_its_queue_short() {
    // AD6: room for 50 at 10 ms, which nobody has told the limit, and twice the calls that makes.
    let seen = run(AdaptiveLimit::builder(), &Server::STEADY, 10);
    assert_settled(&seen.within(5, 10), 5);
    assert_busy(&seen, 10);
    assert!(seen.p99() < ms(30), "{:?}", seen.p99());
    // The figures on the module's page.
    let settled = seen.within(5, 10);
    let used = settled.calls.len() as f64 / (5 * CAPACITY) as f64;
    let told = (settled.mean_limit().round(), (100.0 * used).round(), (settled.p99().as_secs_f64() * 1e3).round());
    assert_eq!(told, (55.0, 99.0, 13.0));
    let rule = Rule::Aimd { backoff: 0.9, timeout: ms(12) };
    let seen = run(AdaptiveLimit::builder().rule(rule), &Server::STEADY, 10);
    assert_settled(&seen.within(5, 10), 5);
    assert!(seen.p99() < ms(30), "{:?}", seen.p99());
    // It compares with an average that the queue is part of: never idle, and a longer queue.
    let seen = run(AdaptiveLimit::builder().gradient2(), &Server::STEADY, 10);
    assert_busy(&seen.within(5, 10), 5);
    assert!(seen.p99() < ms(30), "{:?}", seen.p99());
}

#[test]
fn calls_that_take_one_time_and_then_another_are_not_taken_for_a_queue() {
    // Against the shortest round trip ever seen, each of them looks like a queue, and the limit goes down to a handful.
    for figure in [Figure::Percentile(0.5), Figure::Mean] {
        let seen = run(AdaptiveLimit::builder().figure(figure), &Server::VARYING, 40);
        assert_busy(&seen.within(5, 40), 35);
        // The 99th percentile of the work alone is 46 ms.
        assert!(seen.p99() < ms(92), "{:?}", seen.p99());
    }
}

#[test]
fn a_path_that_takes_longer_for_good_is_not_taken_for_a_queue_for_ever() {
    // AD4: from 10 to 20 ms with the same room. Against the 10 ms, fifty calls look like a queue of twenty-five.
    let windows = [(ms(100), Duration::from_secs(1)), (Duration::ZERO, Duration::from_secs(1))];
    for (least, most) in windows {
        let seen = run(AdaptiveLimit::builder().window(least, most), &Server::MOVED, 60);
        let before = seen.within(10, 20).mean_limit();
        let after = seen.calls.iter().filter(|call| call.0 > MOVE).map(|call| f64::from(call.2));
        let recovered = after.skip(1_900).take(100).sum::<f64>() / 100.0;
        assert!(recovered >= 0.8 * before, "{recovered} of {before} after 2,000 samples");
        // And it stays there, neither by and by lower nor higher.
        let late = seen.within(50, 60).mean_limit();
        assert!((0.8..1.25).contains(&(late / before)), "{late} of {before} at last");
    }
}

#[test]
fn a_limit_that_began_with_a_queue_finds_out() {
    // All that was ever measured has waited behind 200 others. At half the limit, less is measured.
    let seen = run(AdaptiveLimit::builder().initial(200), &Server::STEADY, 60);
    assert_settled(&seen.within(50, 60), 10);
}
