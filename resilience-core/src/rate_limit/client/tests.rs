use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use testkit::wakes::Task;

use super::*;
use crate::context::{Context, Deadline};
use crate::time::{ManualTimer, SharedTimer, Timer};
use crate::{Name, Reason};

const SECOND: Duration = Duration::from_secs(1);

/// A server that allows so many calls a second and throttles the rest, called as often as the limiter allows.
async fn served(limit: u32, seconds: u32) -> (ClientRateLimiter, Vec<(u32, u32)>) {
    let limiter = ClientRateLimiter::builder().build().unwrap();
    let mut by_second = vec![(0, 0); seconds as usize];
    let timer = SharedTimer::default();
    let start = timer.now();
    loop {
        limiter.acquire().await.unwrap();
        let second = (timer.now() - start).as_secs() as usize;
        let Some((good, throttled)) = by_second.get_mut(second) else { break };
        let is_throttled = *good >= limit;
        *(if is_throttled { throttled } else { good }) += 1;
        limiter.answered(is_throttled);
        // What a call takes.
        timer.sleep(Duration::from_millis(1)).await;
    }
    (limiter, by_second)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_throttled_finds_the_rate_it_is_not() {
    let (limiter, by_second) = served(50, 60).await;
    let (good, throttled) = by_second.iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1));
    // Sent as fast as it can, 940 of each second's thousand would be refused.
    assert!(good > 60 * 50 * 8 / 10 && throttled < good / 10, "{good} good, {throttled} throttled");
    assert!(limiter.rate().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_throttled_is_not_limited() {
    let (limiter, by_second) = served(u32::MAX, 5).await;
    assert!(by_second.iter().all(|(good, _)| *good >= 900), "{by_second:?}");
    assert_eq!((limiter.rate(), limiter.snapshot().queued), (None, 0));
}

/// Twenty answers at once are one piece of news. Cut for each of them, by a third twenty times over, the rate is the least
/// there is, and the server idle for seconds: in the lab, of callers who for a second were more than a quota allows, 29 % were
/// lost where it now are 3.
#[test]
fn one_congestion_cuts_the_rate_once() {
    let timer = ManualTimer::new();
    let limiter = ClientRateLimiter::builder().timer(timer.clone()).build().unwrap();
    for _ in 0..400 {
        timer.advance(Duration::from_millis(5));
        limiter.answered(false);
    }
    let measured = limiter.snapshot().measured;
    assert!((190.0..=200.0).contains(&measured), "{measured}");
    let sent = limiter.cuts();
    (0..20).for_each(|_| limiter.answer(true, sent));
    let cut = limiter.rate().unwrap();
    assert!((0.69 * measured..0.72 * measured).contains(&cut), "{cut} of {measured}");
    // Nor does what was sent since then, as long as the rate measured is that from before.
    timer.advance(Duration::from_millis(400));
    limiter.answered(true);
    assert!(limiter.rate().unwrap() >= cut);
    // What was sent before the cut is old news however late it comes; what was sent since is not.
    timer.advance(Duration::from_millis(200));
    limiter.answer(true, sent);
    assert!(limiter.rate().unwrap() >= cut);
    limiter.answered(true);
    assert!(limiter.rate().unwrap() < cut);
    assert_eq!(limiter.snapshot().throttled, 23);
}

fn throttled() -> (ClientRateLimiter, ManualTimer) {
    let timer = ManualTimer::new();
    let limiter = ClientRateLimiter::builder().timer(timer.clone()).max_wait(3 * SECOND).build().unwrap();
    limiter.answered(true); // half a call a second, the least there is
    (limiter, timer)
}

#[test]
fn a_wait_that_would_be_too_long_is_refused_at_once_and_says_how_long() {
    let (limiter, timer) = throttled();
    let mut first = Task::new(limiter.acquire());
    assert!(first.run().is_pending());
    timer.advance(2 * SECOND);
    assert!(matches!(first.run(), Poll::Ready(Ok(()))));
    // Two wait for the next token; who loses it would have to wait for four seconds in all.
    let (mut second, mut third) = (Task::new(limiter.acquire()), Task::new(limiter.acquire()));
    assert!(second.run().is_pending() && third.run().is_pending());
    timer.advance(2 * SECOND);
    assert!(matches!(second.run(), Poll::Ready(Ok(()))));
    let Poll::Ready(Err(rejected)) = third.run() else { panic!("it waits for ever") };
    assert_eq!((rejected.reason(), rejected.retry_after()), (Reason::RateLimited, Some(2 * SECOND)));
    assert_eq!(rejected.policy(), &Name::from_static("rate_limit"));
    assert_eq!((limiter.snapshot().queued, limiter.snapshot().rejected), (3, 1));
}

#[test]
fn nobody_waits_past_the_deadline_of_its_request() {
    let (limiter, timer) = throttled();
    let soon = Context::default().with_deadline(Deadline::at(timer.now() + SECOND));
    let answer = soon.run(|| limiter.acquire().now_or_never());
    assert_eq!(answer.map(|it| it.unwrap_err().reason()), Some(Reason::Deadline));
}
