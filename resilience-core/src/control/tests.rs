use std::time::Duration;

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sample(rtt: u64, in_flight: u32) -> Sample {
    Sample { rtt: ms(rtt), in_flight, dropped: false }
}

#[test]
fn a_throttle_lets_twice_what_is_accepted_through_and_never_stops_asking() {
    assert_eq!(Throttle::SRE.refusal(0, 0), 0.0);
    assert_eq!(Throttle::SRE.refusal(100, 50), 0.0);
    assert!(Throttle::SRE.refusal(1_000_000, 0) < 1.0);
    assert_eq!(Throttle::AEGIS.refusal(99, 0), 0.0);
    assert_eq!(Throttle::ENVOY.refusal(1_000, 0), 0.8);
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    // Scenario AD1: one call at a time says nothing about more.
    let mut limits: Vec<Box<dyn Limit>> = vec![
        Box::new(Aimd::new(50)),
        Box::new(Vegas::new(50)),
        Box::new(Gradient::new(50)),
        Box::new(Gradient2::new(50, 600, 10)),
    ];
    for limit in &mut limits {
        for _ in 0..200 {
            limit.sample(sample(10, 1));
        }
        assert_eq!(limit.limit(), 50);
    }
}

#[test]
fn a_permanently_longer_path_is_not_taken_for_a_queue_for_ever() {
    // Scenario AD4: 10 ms become 20 ms; Gradient2 forgets by itself, Vegas when it probes.
    let mut gradient = Gradient2::new(50, 600, 10);
    let mut vegas = Vegas::new(50);
    vegas.max = 60;
    for nth in 0..3_000_u64 {
        let rtt = if nth < 500 { 10 } else { 20 };
        if nth == 1_000 {
            vegas.probe_after(1);
        }
        gradient.sample(sample(rtt, gradient.limit()));
        vegas.sample(sample(rtt, vegas.limit()));
    }
    assert!(gradient.limit() >= 160, "{}", gradient.limit());
    assert!(vegas.limit() >= 48, "{}", vegas.limit());
}

#[test]
fn a_server_with_room_for_fifty_is_found() {
    // A station that serves 50 at once in 10 ms and queues the rest: the limit settles near 50.
    let rtt = |in_flight: u32| 10 * u64::from(in_flight.div_ceil(50).max(1));
    let mut vegas = Vegas::new(10);
    let mut low = u32::MAX;
    for nth in 0..2_000 {
        let limit = vegas.limit();
        vegas.sample(sample(rtt(limit), limit));
        if nth > 1_000 {
            low = low.min(vegas.limit());
        }
    }
    assert!((40..=70).contains(&vegas.limit()) && low >= 40, "{} from {low}", vegas.limit());
}

#[test]
fn a_clock_that_stands_still_fills_no_bucket() {
    let mut bucket = RateBucket::new(10.0, 0.5, 0.0);
    assert!(bucket.acquire(1.0, 0.1).is_ok());
    assert!(bucket.acquire(1.0, 0.1).is_err());
    assert!(bucket.acquire(1.0, 0.0).is_err(), "nor does one that goes back");
    assert_eq!(bucket.capacity(), 10.0);
}

#[test]
fn a_throttled_client_slows_down_and_comes_back() {
    let mut limiter = ClientRate::new(0.0);
    let mut at = 0.0;
    let mut sent = |limiter: &mut ClientRate, seconds: f64, throttled: bool| {
        let (mut count, end) = (0, at + seconds);
        while at < end {
            at += 0.05;
            if limiter.acquire(1.0, at).is_ok() {
                count += 1;
                limiter.answered(throttled, at);
            }
        }
        count
    };
    let free = sent(&mut limiter, 5.0, false);
    let throttled = sent(&mut limiter, 5.0, true);
    assert!(throttled * 2 < free, "{throttled} of {free}");
    sent(&mut limiter, 60.0, false);
    assert!(sent(&mut limiter, 5.0, false) * 10 > free * 8);
}

#[test]
fn far_away_times_and_huge_permits_do_not_panic() {
    let far = Duration::MAX;
    let mut cycle = Cycle::new(Duration::from_nanos(1), u32::MAX);
    assert!(cycle.reserve(far, u32::MAX, far).is_some());
    assert_eq!(Cycle::new(ms(1), 0).next(far), Duration::MAX);
    let mut smooth = Smooth::new(far);
    smooth.acquire(Duration::ZERO, u32::MAX);
    assert_eq!(smooth.acquire(Duration::ZERO, u32::MAX), Duration::MAX);
    let mut bursty = Bursty::new(1, far);
    assert_eq!(bursty.acquire(Duration::ZERO, u32::MAX), Duration::MAX);
    bursty.acquire(far, u32::MAX);
    let mut codel = CoDel::default();
    codel.is_overloaded(far, ms(1));
    assert_eq!(codel.load(), 100);
}

fn moments() -> impl Strategy<Value = Vec<(u64, u32)>> {
    proptest::collection::vec((0..400_u64, 1..4_u32), 1..60)
}

proptest! {
    /// Whatever is asked when: in no cycle are more permits due than there are in one.
    #[test]
    fn no_cycle_gives_more_than_its_permits(asks in moments(), limit in 1..6_u32) {
        let (mut limiter, mut now, mut due) = (Cycle::new(ms(100), limit), 0, std::collections::BTreeMap::new());
        for (pause, permits) in asks {
            now += pause;
            // A call of more permits than a cycle has is due over several: ones alone are counted here.
            for _ in 0..permits {
                let wait = limiter.reserve(ms(now), 1, Duration::MAX).unwrap();
                *due.entry((ms(now) + wait).as_millis() / 100).or_insert(0) += 1;
            }
        }
        prop_assert!(due.values().all(|&count| count <= limit), "{:?}", due);
    }

    /// A smooth limiter's permits are an interval apart, each at its place.
    #[test]
    fn smooth_permits_are_an_interval_apart(asks in moments()) {
        let (mut limiter, mut now, mut last) = (Smooth::new(ms(100)), 0, None);
        for (pause, _) in asks {
            now += pause;
            let due = (ms(now) + limiter.acquire(ms(now), 1)).as_millis() / 100;
            prop_assert!(last.is_none_or(|last| due > last));
            last = Some(due);
        }
    }

    /// What a part releases is what it had, the whole never has more than the limit and every guarantee, and it says that
    /// it is full exactly when nobody gets in.
    #[test]
    fn shares_add_up(steps in proptest::collection::vec((0..4_u8, 0..8_u8), 1..200)) {
        let mut shares = Shares::new(10, [(0, 0.2), (1, 0.3), (2, 0.5)]).with_guest(3);
        let (mut held, mut most) = ([0_u32; 4], 0);
        for (part, what) in steps {
            match what {
                0..=4 => held[usize::from(part)] += u32::from(shares.acquire(&part)),
                5 if held[usize::from(part)] > 0 => {
                    held[usize::from(part)] -= 1;
                    shares.release(&part);
                }
                6 => shares.set_limit(u32::from(part) * 4),
                7 => held[usize::from(part)] += u32::from(shares.overfill(&part)),
                _ => {}
            }
            prop_assert_eq!(shares.in_flight(), held.iter().sum::<u32>());
            let guaranteed = |key| shares.guaranteed(&key).unwrap();
            most = most.max(shares.limit() + (0..4).map(guaranteed).sum::<u32>()) + u32::from(what == 7);
            prop_assert!(shares.in_flight() <= most);
            for (key, held) in held.iter().enumerate() {
                prop_assert!(*held >= guaranteed(key as u8) || shares.clone().acquire(&(key as u8)));
            }
            prop_assert_eq!(shares.is_full(), (0..4).all(|key| !shares.clone().acquire(&key)));
        }
    }
}
