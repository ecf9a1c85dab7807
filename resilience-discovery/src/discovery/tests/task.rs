//! The task that drives a source, on paused time.

use std::time::Duration;

use resilience_core::time::{ManualTimer, SharedTimer};

use crate::discovery::Event;
use crate::testing::{Heard, Teller, endpoints, pass, settle, told};
use crate::{Discovery, Freshness, Source, SourceError, StaticSource, Update};

const SECOND: Duration = Duration::from_secs(1);

async fn discovery_of(count: usize) -> (Teller, Discovery, Heard) {
    let (teller, source) = told();
    let heard = Heard::default();
    let discovery = Discovery::builder().name("payments").listener(heard.clone()).seed(1).build(source).unwrap();
    teller.say(endpoints(count));
    assert_eq!(discovery.first().await.endpoints().len(), count);
    (teller, discovery, heard)
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_a_registry_cost_no_endpoint_and_few_questions() {
    let (teller, discovery, heard) = discovery_of(5).await;
    let asked_before = teller.asked().len();
    let went_down = SharedTimer::default().now();
    for _ in 0..100 {
        teller.fail("503 service unavailable");
    }
    settle().await;
    for _ in 0..600 {
        pass(SECOND).await;
        assert_eq!(discovery.snapshot().endpoints().len(), 5);
    }
    assert_eq!(discovery.snapshot().freshness(), Freshness::Stale { since: went_down });
    let asked = teller.asked();
    let gaps: Vec<Duration> = asked[asked_before..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(31)), "{gaps:?}");
    assert!((20..60).contains(&gaps.len()), "{}", gaps.len());
    assert!(gaps[8..].iter().all(|gap| *gap >= Duration::from_secs(14)), "{gaps:?}");
    assert_eq!(heard.count("stale"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_one_word_makes_it_live_again() {
    let (teller, discovery, heard) = discovery_of(5).await;
    teller.fail("timed out");
    settle().await;
    assert!(discovery.snapshot().freshness().is_stale());
    teller.say(endpoints(6));
    pass(SECOND).await;
    assert!(discovery.snapshot().is_live());
    pass(Duration::from_millis(100)).await;
    assert_eq!(discovery.snapshot().endpoints().len(), 6);
    assert_eq!(heard.names(), ["recovered", "updated", "source_failed", "stale", "recovered", "updated"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_subscribed_to_again_and_again() {
    let (teller, discovery, heard) = discovery_of(2).await;
    let asked = teller.asked.clone();
    drop(teller);
    for _ in 0..120 {
        pass(SECOND).await;
    }
    assert_eq!(discovery.snapshot().endpoints().len(), 2);
    assert!(asked.lock().unwrap().len() > 5);
    assert!(heard.count("source_failed") > 5);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_has_gone_silent_is_given_up_and_made_anew() {
    let (teller, source) = told();
    let discovery = Discovery::builder().seed(1).build(source.with_heartbeat(Duration::from_secs(10))).unwrap();
    teller.say(endpoints(3));
    discovery.first().await;
    // Alive as long as it speaks, though nothing changes.
    for _ in 0..5 {
        pass(Duration::from_secs(15)).await;
        assert!(discovery.snapshot().is_live());
        teller.confirm();
        settle().await;
    }
    let asked = teller.asked().len();
    pass(Duration::from_millis(19_999)).await;
    assert!(discovery.snapshot().is_live());
    pass(Duration::from_millis(2)).await;
    assert!(discovery.snapshot().freshness().is_stale());
    pass(SECOND).await;
    assert_eq!(teller.asked().len(), asked + 1);
    // The new subscription works.
    teller.confirm();
    settle().await;
    assert!(discovery.snapshot().is_live());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_a_source_that_failed() {
    struct Panics(u32);
    impl Source for Panics {
        async fn next(&mut self, timer: &SharedTimer) -> Result<Update, SourceError> {
            self.0 += 1;
            match self.0 {
                1 => Ok(Update::Endpoints(endpoints(2))),
                2 => {
                    timer.sleep(SECOND).await;
                    panic!("a source's own trouble")
                }
                3 => Ok(Update::Endpoints(endpoints(3))),
                _ => std::future::pending().await,
            }
        }
    }
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let discovery = Discovery::builder().build(Panics(0)).unwrap();
    assert_eq!(discovery.first().await.endpoints().len(), 2);
    pass(SECOND).await;
    assert!(discovery.snapshot().freshness().is_stale());
    pass(SECOND).await;
    pass(SECOND).await;
    std::panic::set_hook(quiet);
    assert_eq!(discovery.snapshot().endpoints().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn changes_are_gathered_and_a_follower_sees_them_as_one() {
    let (teller, discovery, _) = discovery_of(1).await;
    let mut following = discovery.subscribe();
    assert_eq!(following.next().await.version(), 1);
    for count in 2..=100 {
        teller.say(endpoints(count));
        pass(Duration::from_micros(500)).await;
    }
    assert_eq!(discovery.snapshot().endpoints().len(), 1);
    pass(Duration::from_millis(100)).await;
    let snapshot = following.next().await;
    assert_eq!((snapshot.version(), snapshot.endpoints().len()), (2, 100));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle_and_not_before() {
    let (teller, discovery, _) = discovery_of(1).await;
    let following = discovery.subscribe();
    drop(discovery);
    settle().await;
    assert!(!teller.is_alone());
    drop(following);
    settle().await;
    assert!(teller.is_alone());
}

#[tokio::test]
async fn a_fixed_list_needs_no_wake_up() {
    let timer = ManualTimer::new();
    let source = StaticSource::new(endpoints(3));
    let discovery = Discovery::builder().timer(timer.clone()).build(source).unwrap();
    assert_eq!(discovery.first().await.endpoints().len(), 3);
    settle().await;
    assert_eq!(timer.sleepers(), 0);
}

#[test]
fn outside_a_runtime_building_is_an_error_and_no_panic() {
    let error = Discovery::builder().build(StaticSource::new([])).unwrap_err();
    assert_eq!(error.field(), "runtime");
    let zero = Discovery::builder().backoff(Duration::ZERO, SECOND).build(StaticSource::new([])).unwrap_err();
    assert_eq!(zero.field(), "backoff");
}

#[test]
fn a_failure_is_told_with_its_cause() {
    use resilience_core::event::Fact;
    let error = std::sync::Arc::new(SourceError::new("connection refused").with_retry_after(SECOND));
    assert_eq!((error.to_string().as_str(), error.retry_after()), ("connection refused", Some(SECOND)));
    let event = Event::SourceFailed { error, failures: 1, retry_in: SECOND };
    assert_eq!((event.pattern(), event.name()), ("discovery", "source_failed"));
}
